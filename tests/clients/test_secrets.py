"""Secrets never land: neither in the journal, nor in a log, nor anywhere else in the files of a run."""

import re

import pytest
from alibabacloud_devops20210625.models import CreateUserKeyRequest
from conftest import BUILD_BOT, ED25519, KEYADMIN, ORGANIZATION, RELEASE_DESK
from huaweicloudsdkkps import v3 as kps
from huaweicloudsdkkps.v3.region.kps_region import KpsRegion

# What crosses in plain can be searched for.
pytestmark = pytest.mark.roads("plain")

# What is secret on the wire, by the kind of place in which clients and clouds put it.
SECRET = {
    "signature": rb"Signature=([0-9a-f]{64})",
    "nonce": rb"(?i)\r\nx-acs-signature-nonce: *([^\r]+)",
    "x-auth-token": rb"(?i)\r\nx-auth-token: *([^\r]+)",
    "x-yunxiao-token": rb"(?i)\r\nx-yunxiao-token: *([^\r]+)",
    "token in the query": rb"[?&]accessToken=([^& ]+)",
    # Line by line, for the line ends are written differently in JSON, in a file and in a log.
    "private key": rb'"private_key":"-----BEGIN OPENSSH PRIVATE KEY-----((?:\\n[A-Za-z0-9+/=]+)+)\\n-----END',
}

# The last line of a key is as short as it happens to be, and a few characters are found anywhere.
SECRET_BYTES_MIN = 16


@pytest.fixture
def calls_with_secrets(huawei, openstack, yunxiao, curl, cloud):
    """One call of each kind at least, when this test runs alone."""
    action = kps.CreateKeypairAction(name="client-secret-2026")
    huawei(kps.KpsClient, KpsRegion, KEYADMIN).create_keypair(
        kps.CreateKeypairRequest(body=kps.CreateKeypairRequestBody(keypair=action))
    )
    list(openstack(KEYADMIN).compute.keypairs())
    fields = {"title": "t", "public_key": ED25519, "key_scope": "READ", "expire_time": "2020-01-01T00:00:00Z"}
    with pytest.raises(Exception, match="codeup-expiry-90d"):
        yunxiao(RELEASE_DESK).create_user_key(
            CreateUserKeyRequest(access_token=RELEASE_DESK.token, organization_id=ORGANIZATION, **fields)
        )
    headers = ("-H", f"x-yunxiao-token: {BUILD_BOT.token}")
    assert (
        curl("openapi-rdc.aliyuncs.com", f"/oapi/v1/codeup/organizations/{ORGANIZATION}/keys", *headers).status == 200
    )


def test_no_secret_of_the_run_is_in_any_file(gateway, calls_with_secrets):
    secrets = {kind: set() for kind in SECRET}
    ids = set()
    for stream in gateway.streams():
        for kind, pattern in SECRET.items():
            for found in re.findall(pattern, stream):
                secrets[kind].update(part for part in found.split(rb"\n") if len(part) >= SECRET_BYTES_MIN)
        ids.update(re.findall(rb"(?i)\r\nx-keyward-audit-id: *([^\r]+)", stream))
    assert all(secrets.values()), f"nothing of a kind crossed, so nothing was tested: {secrets}"

    files = gateway.on_disk()
    everything = b"".join(files.values())
    # A search that is blind would find no secret either: every exchange of the run must be in sight.
    assert [audit_id for audit_id in ids if audit_id not in everything] == []
    assert b"client-secret-2026" in everything
    found = [
        (kind, name)
        for kind, values in secrets.items()
        for name, data in files.items()
        for value in values
        if value in data
    ]
    assert found == []
