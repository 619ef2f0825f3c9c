"""The Yunxiao MCP server, as an assistant runs it. It has no tool for SSH keys: what it calls are their neighbours,
which codeup-repositories.yaml adds to the catalogue."""

import os

import mcp
import pytest
from conftest import BUILD_BOT, ORGANIZATION

pytestmark = pytest.mark.roads("plain", "transparent")


@pytest.fixture
def server(gateway, road, node, tmp_path):
    environment = os.environ | {"YUNXIAO_ACCESS_TOKEN": BUILD_BOT.token}
    if road.transparent:
        environment |= {"NODE_EXTRA_CA_CERTS": str(gateway.certificates.authority)}
    else:
        # The edition must be named: it takes every base URL but the central one for the region edition.
        environment |= {
            "YUNXIAO_API_BASE_URL": f"http://{gateway.bound['alibaba.codeup']}",
            "YUNXIAO_EDITION": "central",
        }
    program = node.modules / "alibabacloud-devops-mcp-server" / "dist" / "index.js"
    session = mcp.Session([node.program, str(program)], environment, tmp_path / "log")
    yield session
    session.close()


@pytest.fixture
def denied(gateway, cloud):
    """The server shows the sentence alone: neither the code nor the id."""

    def check(call, action, sentence, reason):
        with pytest.raises(mcp.ToolError) as raised:
            call()
        assert f"Yunxiao API error (403): {sentence}" in str(raised.value)
        exchange = gateway.last(action, "deny")
        assert (exchange["outcome"], exchange["request"]["record"]["decision"]["reason"]) == ("refused", reason)
        assert cloud.seen() == []

    return check


def test_repositories_are_listed_and_shown(server, cloud, recorded):
    assert server.server["name"] == "alibabacloud-devops-mcp-server"
    assert [shown["name"] for shown in server.call("list_repositories", organizationId=ORGANIZATION)] == ["Demo"]
    recorded("alibaba.codeup.ListRepositories", "build-bot", "succeeded")
    shown = server.call("get_repository", organizationId=ORGANIZATION, repositoryId=f"{ORGANIZATION}/Demo")
    assert shown["name"] == "Demo"
    # The slash within the repository's path is sent as %2F, and arrives so.
    [arrived] = cloud.seen("alibaba.codeup.GetRepository")
    assert arrived["path"].endswith(f"/repositories/{ORGANIZATION}%2FDemo")
    assert dict(arrived["headers"])["x-yunxiao-token"] == BUILD_BOT.token
    recorded("alibaba.codeup.GetRepository", "build-bot", "succeeded")


def test_a_branch_that_no_policy_permits_is_not_made(server, denied):
    denied(
        lambda: server.call(
            "create_branch", organizationId=ORGANIZATION, repositoryId="2835387", branch="topic", ref="main"
        ),
        "alibaba.codeup.CreateBranch",
        "No policy permits alibaba.codeup.CreateBranch to `build-bot`.",
        "no-policy-permits",
    )


def test_what_the_catalogue_does_not_know_is_refused(server, denied):
    denied(
        lambda: server.call("list_branches", organizationId=ORGANIZATION, repositoryId="2835387"),
        "unknown",
        "The method and path match no operation of the catalogue, so the call is refused (this path takes POST)",
        "operation-unknown",
    )
