"""Codeup's CreateSSHKey by curl, as in the provider's examples, at both editions."""

import json

import pytest
from conftest import BUILD_BOT, ED25519, ORGANIZATION, in_days

pytestmark = pytest.mark.roads("plain", "tls", "h2", "transparent")
CENTRAL = ("openapi-rdc.aliyuncs.com", f"/oapi/v1/codeup/organizations/{ORGANIZATION}/keys")
REGION = ("codeup.example.com", "/oapi/v1/codeup/keys")
EDITIONS = pytest.mark.parametrize("edition", [CENTRAL, REGION], ids=["central", "region"])
CREATE = "alibaba.codeup.CreateSSHKey"
HEADERS = ("-H", "Content-Type: application/json", "-H", f"x-yunxiao-token: {BUILD_BOT.token}")


def key(**changes):
    """The documented body; a field that is set to None is left out."""
    body = {"key": ED25519, "keyScope": "READ", "title": "build agent", "expireTime": in_days(30)} | changes
    return json.dumps({name: value for name, value in body.items() if value is not None})


@pytest.fixture
def create(curl):
    return lambda edition, data: curl(*edition, "-X", "POST", *HEADERS, "--data", data)


@pytest.fixture
def denied(refused):
    def check(answer, status, code, sentence, policy=None):
        body = json.loads(answer.text)
        assert (answer.status, body["error_code"]) == (status, f"KEYWARD.{code}")
        assert answer.request_id == answer.audit_id == body["request_id"]
        refused(answer.text, answer.audit_id, CREATE, sentence, policy, code)

    return check


@EDITIONS
def test_a_key_that_reads_and_expires_is_made(create, curl, cloud, recorded, road, edition):
    answer = create(edition, key())
    made = json.loads(answer.text)
    assert (answer.status, made["keyScope"], made["key"]) == (200, "READ", ED25519)
    exchange = recorded(CREATE, "build-bot", "succeeded")
    version = "HTTP/2.0" if road.http2 else "HTTP/1.1"
    assert (exchange["id"], exchange["request"]["record"]["call"]["version"]) == (answer.audit_id, version)
    # Host and body as curl sent them.
    [arrived] = cloud.seen(CREATE)
    assert (arrived["host"], json.loads(arrived["body"])["title"]) == (edition[0], "build agent")
    listed = curl(*edition, *HEADERS)
    assert made["id"] in [entry["id"] for entry in json.loads(listed.text)]


@EDITIONS
def test_a_key_that_writes_is_denied(create, denied, edition):
    denied(
        create(edition, key(keyScope="ALL")),
        403,
        "policy-forbids",
        "SSH keys are read only: keyScope must be READ.",
        "codeup-read-only",
    )


@EDITIONS
def test_a_key_that_never_expires_is_denied(create, denied, edition):
    sentence = "SSH keys expire: expireTime must be given, in the future and within 90 days."
    denied(create(edition, key(expireTime=None)), 403, "policy-forbids", sentence, "codeup-expiry-90d")


@EDITIONS
def test_a_body_with_two_readings_is_refused(create, denied, edition):
    twice = key().replace("{", '{"keyScope": "ALL", ', 1)
    denied(create(edition, twice), 400, "body-duplicate-name", "keyScope")


def test_an_unknown_token_is_refused(curl, denied, cloud):
    headers = ("-H", "Content-Type: application/json", "-H", "x-yunxiao-token: pt-nobodyKnowsThisOne")
    answer = curl(*CENTRAL, "-X", "POST", *headers, "--data", key())
    denied(answer, 401, "caller-unknown", "the credential is not in the callers file")
