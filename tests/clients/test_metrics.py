"""What Prometheus scrapes, judged by Prometheus' own tool."""

import json
import shutil
import subprocess

import pytest
from conftest import BUILD_BOT, ED25519, ORGANIZATION, in_days

pytestmark = pytest.mark.roads("plain")
PATH = ("openapi-rdc.aliyuncs.com", f"/oapi/v1/codeup/organizations/{ORGANIZATION}/keys")


def requests(decision, reason):
    labels = f'action="alibaba.codeup.CreateSSHKey",decision="{decision}",reason="{reason}",service="alibaba.codeup"'
    return f"keyward_requests_total{{{labels}}}"


@pytest.fixture
def metrics(gateway):
    def scrape():
        status, text = gateway.ask_admin("/metrics")
        assert status == 200, text
        return text

    return scrape


def sample(text, name):
    """A sample's value; 0 where there is none, as for Prometheus' `increase`."""
    return next((float(line.rpartition(" ")[2]) for line in text.splitlines() if line.rpartition(" ")[0] == name), 0.0)


def test_promtool_finds_no_fault(metrics):
    promtool = shutil.which("promtool")
    assert promtool, "promtool is not on PATH: `make clients` puts it there"
    text = metrics()
    # Linted too: names, units, help texts.
    done = subprocess.run([promtool, "check", "metrics"], input=text, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


def test_every_call_is_counted_by_what_became_of_it(metrics, curl, cloud):
    before = metrics()
    headers = ("-H", "Content-Type: application/json", "-H", f"x-yunxiao-token: {BUILD_BOT.token}")
    body = {"key": ED25519, "keyScope": "READ", "title": "counted", "expireTime": in_days(30)}
    for scope in ("READ", "ALL"):
        curl(*PATH, "-X", "POST", *headers, "--data", json.dumps(body | {"keyScope": scope}))
    after = metrics()
    for name, risen in [
        (requests("allow", "permitted"), 1),
        (requests("deny", "policy-forbids"), 1),
        ('keyward_refusals_total{reason="policy-forbids"}', 1),
        (
            'keyward_outcomes_total{action="alibaba.codeup.CreateSSHKey",outcome="succeeded",service="alibaba.codeup"}',
            1,
        ),
        ("keyward_journal_commit_records_sum", 3),
        ("keyward_unknown_outcomes_total", 0),
    ]:
        assert sample(after, name) - sample(before, name) == risen, name
    assert sample(after, "keyward_journal_healthy") == 1
    assert sample(after, "process_start_time_seconds") > 0
