"""The older Yunxiao SDK: another door to the same SSH keys, with a signature and a token in the query."""

import pytest
from alibabacloud_devops20210625.models import CreateUserKeyRequest, ListUserKeysRequest
from conftest import ED25519, ORGANIZATION, RELEASE_DESK, in_days
from darabonba.exceptions import DaraException

# It has no setting for a Host other than that of its endpoint, which it signs. A real cloud takes the transparent road
# only; the sandbox any Host.
pytestmark = pytest.mark.roads("plain", "transparent")
CREATE = "alibaba.codeup.CreateSSHKey"


def create(client, **changes):
    fields = {"title": "release desk", "public_key": ED25519, "key_scope": "READ", "expire_time": in_days(30)} | changes
    return client.create_user_key(
        CreateUserKeyRequest(access_token=RELEASE_DESK.token, organization_id=ORGANIZATION, **fields)
    )


def test_a_key_that_reads_and_expires_is_made(yunxiao, cloud, recorded):
    client = yunxiao(RELEASE_DESK)
    made = create(client).body
    assert (made.success, made.result.key_scope) == (True, "READ")
    # The token went where this API wants it, and arrived.
    [arrived] = cloud.seen(CREATE)
    assert f"accessToken={RELEASE_DESK.token}" in arrived["query"]
    listed = client.list_user_keys(
        ListUserKeysRequest(access_token=RELEASE_DESK.token, organization_id=ORGANIZATION)
    ).body
    assert made.result.id in [entry.id for entry in listed.result]
    recorded(CREATE, "release-desk", "succeeded")


@pytest.mark.parametrize(
    ("changes", "sentence", "policy"),
    [
        ({"key_scope": "ALL"}, "SSH keys are read only: keyScope must be READ.", "codeup-read-only"),
        # The provider chooses the scope of a key that names none.
        ({"key_scope": None}, "SSH keys are read only: keyScope must be READ.", "codeup-read-only"),
        ({"expire_time": None}, "SSH keys expire: expireTime must be given", "codeup-expiry-90d"),
    ],
    ids=["writes", "names-no-scope", "never-expires"],
)
def test_the_same_rules_hold_at_this_door(yunxiao, refused, changes, sentence, policy):
    with pytest.raises(DaraException) as raised:
        create(yunxiao(RELEASE_DESK), **changes)
    error = raised.value
    assert error.code == "KEYWARD.policy-forbids"
    assert error.data["requestId"] in error.message
    refused(str(error), error.data["requestId"], CREATE, sentence, policy)
