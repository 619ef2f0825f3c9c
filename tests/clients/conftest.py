"""Real, unmodified clients against the built gateway, on every road by which they can come: plain HTTP, TLS, and
transparently, where the clouds' own names and ports lead to the gateway."""

import os
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import gateway as under_test
import pytest
from roads import CLOUD_NAMES, ROADS

for variable in [name for name in os.environ if name.lower() in ("http_proxy", "https_proxy", "all_proxy")]:
    # Every client here obeys them, and would leave loopback.
    del os.environ[variable]

# What the sandbox clouds know: crates/keyward-testkit/src/sandbox/settings.rs, state.rs.
REGION = "cn-north-4"
PROJECT = "0123456789abcdef0123456789abcdef"
PARTNER_PROJECT = "7c2d9e1f0a3b4c5d8e6f7a8b9c0d1e2f"
ORGANIZATION = "60de7a6852743a5162b5f957"
IMAGE = "465076de-dc36-4aec-80f5-ef9d8009428f"


def caller(name, group, key, secret, token):
    return SimpleNamespace(name=name, group=group, key=key, secret=secret, token=token)


KEYADMIN = caller(
    "ci-keys", "key-admins", "AKDEMOKEYADMIN", "sandbox-secret-of-keyadmin", "MIISANDBOXTOKENOFKEYADMIN0001"
)
IMAGEOPS = caller(
    "image-bot", "image-admins", "AKDEMOIMAGEOPS", "sandbox-secret-of-imageops", "MIISANDBOXTOKENOFIMAGEOPS0003"
)
PHONELAB = caller("phone-lab", "phone-ops", "AKDEMOCI", "sandbox-secret-of-ci", "MIISANDBOXTOKENOFCI0004")
RELEASE_DESK = caller(
    "release-desk",
    "codeup-developers",
    "LTAIDEMORELEASE",
    "sandbox-secret-of-release-desk",
    "pt-sandboxReleaseDesk_0001",
)
BUILD_BOT = caller("build-bot", "codeup-developers", None, None, "pt-sandboxBuildBot_0002")
CALLERS = (KEYADMIN, IMAGEOPS, PHONELAB, RELEASE_DESK, BUILD_BOT)

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


def pytest_generate_tests(metafunc):
    """A test that takes a road is run on each that its module names, or else on these."""
    if "road" in metafunc.fixturenames:
        marker = metafunc.definition.get_closest_marker("roads")
        metafunc.parametrize("road", marker.args if marker else ("plain", "tls", "transparent"), indirect=True)


@pytest.fixture
def road(request):
    found = ROADS[request.param]
    if found.transparent and not CLOUD_NAMES:
        pytest.skip(
            "the clouds' names do not lead here: run by tests/clients/with-cloud-names where it may make namespaces"
        )
    return found


@pytest.fixture(scope="session")
def gateway(tmp_path_factory):
    """The gateway of this run. When it stops it must have drained and closed its journal: exit status 0."""
    binary = under_test.binary()
    assert binary.is_file(), f"{binary} is not there: run `cargo build`, or name a binary in KEYWARD_BIN"
    running = under_test.Gateway(binary, tmp_path_factory.mktemp("keyward"), CALLERS)
    yield running
    assert running.stop() == (0, 0), running.logs()


@pytest.fixture
def cloud(gateway):
    """The clouds in their first state, with nothing seen."""
    gateway.sandbox.reset()
    return gateway.sandbox


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
def huawei(gateway, road):
    """A client of the Huawei SDK. Transparently it goes where its region says; else it signs for the real host and
    dials the gateway. The project is given, so that the SDK asks IAM for nothing."""
    from huaweicloudsdkcore.auth.credentials import BasicCredentials
    from huaweicloudsdkcore.http.http_config import HttpConfig

    def make(client_class, region_class, caller):
        authority = str(gateway.certificates.authority) if road.tls else None
        builder = (
            client_class.new_builder()
            .with_http_config(HttpConfig(timeout=(3, 20), retry_times=0, ssl_ca_cert=authority))
            .with_credentials(BasicCredentials(caller.key, caller.secret, PROJECT))
        )
        region = region_class.value_of(REGION)
        if road.transparent:
            return builder.with_region(region).build()
        client = builder.with_endpoint(f"{road.scheme}://{gateway.tls if road.tls else gateway.plain}").build()
        client.preset_headers["Host"] = region.endpoints[0].removeprefix("https://")
        return client

    return make


@pytest.fixture
def openstack(gateway, road):
    """A connection of openstacksdk with a token, as after a login at Keystone."""
    import openstack as sdk

    connections = []

    def make(caller):
        nova, glance = (
            f"https://{service}.{REGION}.myhuaweicloud.com"
            if road.transparent
            else f"http://{gateway.bound[f'huawei.{service}']}"
            for service in ("ecs", "ims")
        )
        connection = sdk.connection.Connection(
            auth_type="admin_token",
            auth={"endpoint": nova},
            # Not in `auth`: from there, versions 3.3.0 and 4.4.0 send the text `None` in its place.
            token=caller.token,
            region_name=REGION,
            compute_endpoint_override=f"{nova}/v2.1/{PROJECT}",
            image_endpoint_override=f"{glance}/v2/",
            cacert=str(gateway.certificates.authority),
        )
        connections.append(connection)
        return connection

    yield make
    for connection in connections:
        connection.close()


@pytest.fixture
def yunxiao(gateway, road):
    """A client of the older Yunxiao SDK, whose token goes into the query."""
    from alibabacloud_devops20210625.client import Client
    from alibabacloud_tea_openapi.models import Config

    def make(caller):
        config = Config(access_key_id=caller.key, access_key_secret=caller.secret)
        if road.transparent:
            config.endpoint, config.ca = "devops.cn-hangzhou.aliyuncs.com", str(gateway.certificates.authority)
        else:
            config.endpoint, config.protocol = gateway.bound["alibaba.devops"], "http"
        return Client(config)

    return make


@pytest.fixture
def curl(gateway, road, tmp_path):
    """curl as in the provider's examples, with the real host in the URL; unless that leads to the gateway by itself,
    `--connect-to` does."""
    program = shutil.which("curl")
    assert program, "curl is not installed"

    def call(host, path, *options):
        body = tmp_path / "answer"
        command = [program, "-sS", "--max-time", "20", "--cacert", str(gateway.certificates.authority), "-o", str(body)]
        command += ["--http2" if road.http2 else "--http1.1"]
        if not road.transparent:
            command += ["--connect-to", f"{host}::{gateway.tls if road.tls else gateway.plain}"]
        shown = "%{http_code} %{http_version} %header{x-request-id} %header{x-keyward-audit-id}"
        command += ["-w", shown, *options, f"{road.scheme}://{host}{path}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        status, version, request_id, audit_id = done.stdout.split(" ")
        assert version == ("2" if road.http2 else "1.1")
        return SimpleNamespace(status=int(status), request_id=request_id, audit_id=audit_id, text=body.read_text())

    return call


@pytest.fixture(scope="session")
def node():
    """Node, and the folder with the packages of package-lock.json."""
    modules = under_test.ROOT / "tests" / "clients" / "node_modules"
    program = shutil.which("node")
    assert program, "node is not installed"
    assert modules.is_dir(), "node's packages are not there: `make clients` puts them there"
    return SimpleNamespace(program=program, modules=modules)
