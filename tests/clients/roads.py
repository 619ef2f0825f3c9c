"""How a client reaches the gateway, and the certificates with which the gateway answers on the way."""

import os
from dataclasses import dataclass

import trustme

# Whether `with-cloud-names` has pointed the clouds' names at loopback.
CLOUD_NAMES = os.environ.get("KEYWARD_CLOUD_NAMES") == "loopback"

LOOPBACK = "127.0.0.1"
HUAWEI_NAMES = ("*.cn-north-4.myhuaweicloud.com",)
ALIBABA_NAMES = ("openapi-rdc.aliyuncs.com", "devops.cn-hangzhou.aliyuncs.com", "codeup.example.com")


@dataclass(frozen=True)
class Road:
    """One way from a client to the gateway."""

    name: str
    tls: bool
    # By the clouds' own names and ports: the client knows nothing of the gateway but its CA.
    transparent: bool = False
    http2: bool = False

    @property
    def scheme(self):
        return "https" if self.tls else "http"


ROADS = {
    road.name: road
    for road in (
        Road("plain", tls=False),
        Road("tls", tls=True),
        Road("h2", tls=True, http2=True),
        Road("transparent", tls=True, transparent=True),
    )
}


class Certificates:
    """A CA of an organisation, and what it has certified for the gateway: a certificate for each vendor, so that the
    gateway has to choose by name. Both hold for its address too, for clients that dial that."""

    def __init__(self, folder):
        folder.mkdir()
        authority = trustme.CA(organization_name="an organisation")
        self.authority = folder / "ca.pem"
        authority.cert_pem.write_to_path(self.authority)
        self.pairs = []
        for vendor, names in (("huawei", HUAWEI_NAMES), ("alibaba", ALIBABA_NAMES)):
            issued = authority.issue_cert(*names, LOOPBACK)
            chain, key = folder / f"{vendor}.pem", folder / f"{vendor}.key"
            for i, certificate in enumerate(issued.cert_chain_pems):
                certificate.write_to_path(chain, append=i > 0)
            issued.private_key_pem.write_to_path(key)
            key.chmod(0o600)
            self.pairs.append((chain, key))
