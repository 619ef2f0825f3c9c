"""Real, unmodified clients against the built gateway. Each dials the gateway and means the cloud: by the Host that it
signs, or by a name that resolves to the gateway."""

import os
import re
import shutil
import socket
import subprocess
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import gateway as under_test
import pytest

for variable in [name for name in os.environ if name.lower() in ("http_proxy", "https_proxy", "all_proxy")]:
    # Every client here obeys them, and would leave loopback.
    del os.environ[variable]

CLOUDS = re.compile(r"[a-z0-9.-]+\.(myhuaweicloud\.com|aliyuncs\.com)$")

# What the demo's clouds know: src/sandbox/settings.rs, src/sandbox/state.rs.
PROJECT = "0123456789abcdef0123456789abcdef"
PARTNER_PROJECT = "7c2d9e1f0a3b4c5d8e6f7a8b9c0d1e2f"
ORGANIZATION = "60de7a6852743a5162b5f957"
IMAGE = "465076de-dc36-4aec-80f5-ef9d8009428f"
KEYADMIN = SimpleNamespace(
    key="AKDEMOKEYADMIN", secret="sandbox-secret-of-keyadmin", token="MIISANDBOXTOKENOFKEYADMIN0001"
)
IMAGEOPS = SimpleNamespace(
    key="AKDEMOIMAGEOPS", secret="sandbox-secret-of-imageops", token="MIISANDBOXTOKENOFIMAGEOPS0003"
)
PHONELAB = SimpleNamespace(key="AKDEMOCI", secret="sandbox-secret-of-ci", token="MIISANDBOXTOKENOFCI0004")
RELEASE_DESK = SimpleNamespace(
    key="LTAIDEMORELEASE", secret="sandbox-secret-of-release-desk", token="pt-sandboxReleaseDesk_0001"
)
BUILD_BOT = SimpleNamespace(token="pt-sandboxBuildBot_0002")

# The demo's; their private halves were thrown away.
ED25519 = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIN+GVlsot9Ve11q9LlWt4j2QqPbu1/n/asseE3F6VefF agent@build.example.com"
RSA_2048 = (
    "ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQCmdaoowkkmFODJmHHFjDZgjaAJz/hWKSq72rvocUbANesKadRrETRJI5gM5CCroFH4aBGXqjgq"
    "z4rTOuSfL5zrNeSyB4g31JwWAXxJ39JtI0daOjuM4fYsEvEQd8MTR14Of/R0rJPiIUUZEG+dWpYgBzI5fTuzBF2xYL8kkllbiaIc/k5H3YQe8hN7h8jwSv9h"
    "Jr0HeuWWNyq7QSMgRP5Lxb5TuTsnEQNSjgc3gTAcbPBmprjV9Oaiw6s+wwRUV1k7/7f03BR0f8D76MyD3gK4YQqrA5h6qF1Nz4CSwGd1eTmVBKvxu1MR"
    "mVtpL5MTxI+hZmaoU0lv+i6Xtfkr0iKr weak"
)


def in_days(days):
    """The instant in so many days, as Codeup's documentation writes it."""
    return (datetime.now(UTC) + timedelta(days=days)).strftime("%Y-%m-%dT%H:%M:%SZ")


def pytest_collection_modifyitems(items):
    # The search for secrets is worth most when all the other calls have been made.
    items.sort(key=lambda item: item.path.name == "test_secrets.py")


@pytest.fixture(scope="session")
def gateway(tmp_path_factory):
    """The gateway of this run. When it stops it must have drained and closed its journal: exit status 0."""
    binary = under_test.binary()
    assert binary.is_file(), f"{binary} is not there: run `cargo build`, or name a binary in KEYWARD_BIN"
    running = under_test.Gateway(binary, tmp_path_factory.mktemp("keyward"))
    yield running
    assert running.stop() == 0, running.log.read_text()


@pytest.fixture
def cloud(gateway):
    """The clouds in their first state, with nothing seen."""
    gateway.sandbox.reset()
    return gateway.sandbox


@pytest.fixture(scope="session")
def cloud_names():
    """The clouds' names lead to loopback, as in an organisation whose resolver points them at the gateway."""
    real = socket.getaddrinfo

    def resolve(host, *rest, **named):
        return real("127.0.0.1" if isinstance(host, str) and CLOUDS.fullmatch(host) else host, *rest, **named)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", resolve)
        yield


@pytest.fixture
def recorded(gateway):
    """Asserts what the trail holds of a call that was allowed; gives the exchange."""

    def check(action, caller, outcome):
        exchange = gateway.last(action)
        record = exchange["request"]["record"]
        assert (record["caller"]["name"], exchange["outcome"]) == (caller, outcome)
        assert exchange["answer"]["record"]["whole"] is True
        return exchange

    return check


@pytest.fixture
def refused(gateway, cloud):
    """Asserts what must hold of every refusal, however its client words it: the code, the sentence, the deciding
    policy's id, a record under the id that the client shows, and nothing at the cloud."""

    def check(shown, audit_id, action, sentence, policy=None, code="policy-forbids"):
        assert f"KEYWARD.{code}" in shown, shown
        assert sentence in shown, shown
        exchange = gateway.exchange(audit_id)
        record = exchange["request"]["record"]
        assert (exchange["outcome"], exchange["answer"]) == ("refused", None)
        assert (record["call"]["action"], record["decision"]["reason"]) == (action, code)
        if policy:
            assert f"[{policy}]" in shown, shown
            assert policy in [deciding["id"] for deciding in record["decision"]["policies"]]
        assert cloud.seen(action) == []

    return check


@pytest.fixture
def huawei(gateway):
    """A client of the Huawei SDK that signs for the real host and dials the gateway. The project is given, so that the
    SDK asks IAM for nothing."""
    from huaweicloudsdkcore.auth.credentials import BasicCredentials
    from huaweicloudsdkcore.http.http_config import HttpConfig

    def make(client_class, service, caller):
        http = HttpConfig(timeout=(3, 20), retry_times=0)
        builder = (
            client_class.new_builder()
            .with_http_config(http)
            .with_credentials(BasicCredentials(caller.key, caller.secret, PROJECT))
        )
        client = builder.with_endpoint(f"http://{gateway.address}").build()
        client.preset_headers["Host"] = f"{service}.cn-north-4.myhuaweicloud.com"
        return client

    return make


@pytest.fixture
def openstack(gateway, cloud_names):
    """A connection of openstacksdk with a token, as after a login at Keystone."""
    import openstack as sdk

    connections = []

    def make(caller):
        nova, glance = (f"http://{service}.cn-north-4.myhuaweicloud.com:{gateway.port}" for service in ("ecs", "ims"))
        connection = sdk.connection.Connection(
            auth_type="admin_token",
            auth={"endpoint": nova, "token": caller.token},
            region_name="cn-north-4",
            compute_endpoint_override=f"{nova}/v2.1/{PROJECT}",
            image_endpoint_override=f"{glance}/v2/",
        )
        connections.append(connection)
        return connection

    yield make
    for connection in connections:
        connection.close()


@pytest.fixture
def yunxiao(gateway, cloud_names):
    """A client of the older Yunxiao SDK, whose token goes into the query."""
    from alibabacloud_devops20210625.client import Client
    from alibabacloud_tea_openapi.models import Config

    def make(caller):
        endpoint = f"devops.cn-hangzhou.aliyuncs.com:{gateway.port}"
        return Client(
            Config(
                access_key_id=caller.key,
                access_key_secret=caller.secret,
                endpoint=endpoint,
                protocol="http",
                region_id="cn-hangzhou",
            )
        )

    return make


@pytest.fixture
def curl(gateway, tmp_path):
    """curl as in the provider's examples, with the real host in the URL; `--connect-to` leads it to the gateway."""
    program = shutil.which("curl")
    assert program, "curl is not installed"

    def call(host, path, *options):
        body = tmp_path / "answer"
        command = [program, "-sS", "--max-time", "20", "--connect-to", f"{host}:80:{gateway.address}", "-o", str(body)]
        command += [
            "-w",
            "%{http_code} %header{x-request-id} %header{x-keyward-audit-id}",
            *options,
            f"http://{host}{path}",
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        status, request_id, audit_id = done.stdout.split(" ")
        return SimpleNamespace(status=int(status), request_id=request_id, audit_id=audit_id, text=body.read_text())

    return call
