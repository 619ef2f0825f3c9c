"""An MCP server for Huawei Cloud, as an assistant runs it. It cannot leave out what nobody asked for: every optional field
is there as null, and a GET has an empty object for a body. The document of the images takes both for absence here
(`x-keyward-absent`, gateway.py); that of the servers does not, as it is shipped."""

import json
import os
import sys
from pathlib import Path

import mcp
import pytest
from conftest import IMAGE, IMAGEOPS, KEYADMIN, PROJECT

# It knows no address but the clouds' own.
pytestmark = pytest.mark.roads("transparent")
CMK = "bd66a5d2-0b1c-4f6e-8a7d-3c2b1a0f9e8d"


@pytest.fixture
def server(gateway, road, tmp_path):
    sessions = []

    def run(service, caller):
        environment = os.environ | {
            "HUAWEI_ACCESS_KEY": caller.key,
            "HUAWEI_SECRET_KEY": caller.secret,
            "HUAWEI_PROJECT_ID": PROJECT,
            "REQUESTS_CA_BUNDLE": str(gateway.certificates.authority),
        }
        program = Path(sys.executable).parent / f"mcp-server-{service}"
        sessions.append(mcp.Session([str(program), "--transport", "stdio"], environment, tmp_path / "log"))
        return sessions[-1]

    yield run
    for session in sessions:
        session.close()


def test_null_is_absence_and_an_empty_object_no_body(server, cloud, recorded):
    images = server("ims", IMAGEOPS)
    assert IMAGE in [image["id"] for image in images.call("ListImages")["images"]]
    assert "job_id" in images.call("CopyImageInRegion", image_id=IMAGE, name="lab-copy", cmk_id=CMK)
    exchange = recorded("huawei.ims.CopyImageInRegion", "image-bot", "accepted")
    listed, copied = cloud.seen("huawei.ims.ListImages")[-1], cloud.seen("huawei.ims.CopyImageInRegion")[-1]
    # What was judged is what was sent, and what is on record.
    assert listed["body"] == "{}"
    assert json.loads(copied["body"])["description"] is None
    assert exchange["request"]["content"]["text"] == copied["body"]


def test_a_denied_call_shows_the_policy(server, cloud, gateway):
    images = server("ims", IMAGEOPS)
    with pytest.raises(mcp.ToolError) as raised:
        images.call("CopyImageInRegion", image_id=IMAGE, name="lab-copy")
    assert "A copy of an image must be encrypted: give cmk_id. [ims-encrypted-copy]" in str(raised.value)
    exchange = gateway.last("huawei.ims.CopyImageInRegion", "deny")
    assert exchange["request"]["record"]["decision"]["reason"] == "policy-forbids"
    assert cloud.seen("huawei.ims.CopyImageInRegion") == []


def test_a_document_that_does_not_say_so_takes_neither(server, cloud):
    servers = server("ecs", KEYADMIN)
    with pytest.raises(mcp.ToolError) as raised:
        servers.call("NovaListKeypairs", project_id=PROJECT)
    assert "takes no body: leave it out" in str(raised.value)
    assert cloud.seen() == []
