"""The Huawei Node SDK, with the calls of ECS: on npm there is no other of the guarded services."""

import json
import os
import subprocess
from types import SimpleNamespace

import pytest
from conftest import ED25519, KEYADMIN, PROJECT, RSA_2048
from gateway import ROOT

CREATE = "huawei.kps.CreateKeypair"


@pytest.fixture
def nova(gateway, road, node):
    """Runs nova.cjs: its exit status, what the SDK answered or threw, and what it printed."""

    def run(create=None):
        job = {"key": KEYADMIN.key, "secret": KEYADMIN.secret, "project": PROJECT, "create": create}
        if not road.transparent:
            host, _, port = (gateway.tls if road.tls else gateway.plain).rpartition(":")
            job["dial"] = {"tls": road.tls, "host": host, "port": int(port)}
        environment = os.environ | {
            "NODE_EXTRA_CA_CERTS": str(gateway.certificates.authority),
            "NODE_PATH": str(node.modules),
        }
        command = [node.program, str(ROOT / "tests" / "clients" / "nova.cjs"), json.dumps(job)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, env=environment)
        return SimpleNamespace(status=done.returncode, printed=done.stdout, **json.loads(done.stderr))

    return run


def test_the_list_comes_back(nova, cloud, recorded):
    listed = nova()
    assert listed.status == 0
    assert "kp-ops" in [entry["keypair"]["name"] for entry in listed.answer["keypairs"]]
    recorded("huawei.kps.ListKeypairs", "ci-keys", "succeeded")


def test_a_strong_key_is_imported(nova, cloud, recorded):
    made = nova({"name": "client-node-2026", "public_key": ED25519})
    assert (made.status, made.answer["keypair"]["name"]) == (0, "client-node-2026")
    [arrived] = cloud.seen(CREATE)
    # Its signature verified over this Host.
    assert arrived["host"] == "ecs.cn-north-4.myhuaweicloud.com"
    recorded(CREATE, "ci-keys", "succeeded")


def test_a_weak_key_is_denied(nova, refused):
    denied = nova({"name": "client-node-2026", "public_key": RSA_2048})
    error = denied.error
    assert (denied.status, error["httpStatusCode"], error["errorCode"]) == (1, 403, "KEYWARD.policy-forbids")
    sentence = "Import an Ed25519 key, or RSA of 3072 bits or more."
    assert sentence in error["errorMsg"]
    refused(json.dumps(error), error["requestId"], CREATE, sentence, "kps-strong-key")
