"""The Huawei Python SDK, which signs what it sends. The sandbox verifies every signature, so an answer of the cloud
shows that the gateway left intact whatever the signature covers."""

import json
from types import SimpleNamespace

import pytest
from conftest import IMAGE, IMAGEOPS, KEYADMIN, PHONELAB, RSA_2048
from huaweicloudsdkcore.exceptions.exceptions import ClientRequestException
from huaweicloudsdkcph import v1 as cph
from huaweicloudsdkcph.v1.region.cph_region import CphRegion
from huaweicloudsdkecs import v2 as ecs
from huaweicloudsdkecs.v2.region.ecs_region import EcsRegion
from huaweicloudsdkims import v2 as ims
from huaweicloudsdkims.v2.region.ims_region import ImsRegion
from huaweicloudsdkkps import v3 as kps
from huaweicloudsdkkps.v3.region.kps_region import KpsRegion

KPS = (kps.KpsClient, KpsRegion)
ECS = (ecs.EcsClient, EcsRegion)
IMS = (ims.ImsClient, ImsRegion)
CPH = (cph.CphClient, CphRegion)
CMK = "bd66a5d2-0b1c-4f6e-8a7d-3c2b1a0f9e8d"
# The second one is frozen: in a batch with it the cloud does the rest.
SERVERS = ("ae4d3b1c9f2e4a7d8c6b5a4f3e2d1c0b", "be5e4c2dad3f5b8e9d7c6b5a4f3e2d1c")


def create(client, name, public_key=None):
    action = kps.CreateKeypairAction(name=name, public_key=public_key)
    return client.create_keypair(kps.CreateKeypairRequest(body=kps.CreateKeypairRequestBody(keypair=action))).keypair


def names(client):
    return {entry.keypair.name for entry in client.list_keypairs(kps.ListKeypairsRequest()).keypairs}


def copy_image(client, **fields):
    return client.copy_image_in_region(
        ims.CopyImageInRegionRequest(image_id=IMAGE, body=ims.CopyImageInRegionRequestBody(**fields))
    )


def copy_keypairs(client, body):
    """The SDK knows KPS v3 alone; the call of V2 goes through its core with a path written by hand. The core wants a
    model for the answer, any will do; the answer itself is read."""
    answer = client.do_http_request(
        method="POST",
        resource_path="/v2/{project_id}/os-keypairs/copy",
        header_params={"Content-Type": "application/json;charset=UTF-8"},
        body=body,
        response_type="CreateKeypairResponse",
    )
    return json.loads(answer.raw_content)


def open_access(client, name):
    servers = [cph.ServerKeypair(server_id=server, keypair_name=name) for server in SERVERS]
    return client.update_keypair(cph.UpdateKeypairRequest(body=cph.UpdateKeypairRequestBody(servers=servers)))


def phones(client):
    listed = json.loads(client.list_cloud_phone_servers(cph.ListCloudPhoneServersRequest()).raw_content)
    return {server["server_id"]: server["keypair_name"] for server in listed["servers"]}


@pytest.fixture
def denied(refused):
    """Makes a call that must be refused, and asserts that the SDK's exception tells its user all there is to know."""

    def check(call, action, sentence, policy):
        with pytest.raises(ClientRequestException) as raised:
            call()
        error = raised.value
        assert (error.status_code, error.error_code) == (403, "KEYWARD.policy-forbids")
        refused(str(error), error.request_id, action, sentence, policy)

    return check


def test_kps_v3_creates_and_lists(huawei, cloud, recorded):
    client = huawei(*KPS, KEYADMIN)
    made = create(client, "client-sdk-2026")
    # The gateway hides the private key from its record, never from the caller.
    assert made.private_key.startswith("-----BEGIN OPENSSH PRIVATE KEY-----")
    assert "client-sdk-2026" in names(client)
    [arrived] = cloud.seen("huawei.kps.CreateKeypair")
    assert arrived["host"] == "kms.cn-north-4.myhuaweicloud.com"
    kept = json.loads(recorded("huawei.kps.CreateKeypair", "ci-keys", "succeeded")["answer"]["content"]["text"])
    assert (kept["keypair"]["name"], kept["keypair"]["public_key"]) == (made.name, made.public_key)
    assert "PRIVATE" not in kept["keypair"]["private_key"]


def test_kps_v3_create_is_denied_against_the_naming_rule(huawei, denied):
    client = huawei(*KPS, KEYADMIN)
    sentence = "Key pair names follow team-purpose-year, for example lab-adb-2026."
    denied(lambda: create(client, "mykey"), "huawei.kps.CreateKeypair", sentence, "keypair-names")


def test_kps_v2_copies_with_a_path_written_by_hand(huawei, cloud, recorded):
    client = huawei(*KPS, KEYADMIN)
    answer = copy_keypairs(client, {"user_name": "kpsuser"})
    assert (answer["changed"], [failed["keypair"] for failed in answer["failed"]]) == (2, ["kp-b"])
    assert {"kp-a", "kp-c"} <= names(client)
    recorded("huawei.kps.CopyKeypairs", "ci-keys", "partly-failed")


def test_kps_v2_copy_is_denied_with_force(huawei, denied):
    client = huawei(*KPS, KEYADMIN)
    body = {"user_name": "kpsuser", "force": True}
    sentence = "Copying key pairs must not overwrite your own: leave force out."
    denied(lambda: copy_keypairs(client, body), "huawei.kps.CopyKeypairs", sentence, "kps-no-overwrite")


def test_nova_lists_and_is_denied_a_weak_key_like_kps(huawei, denied):
    client = huawei(*ECS, KEYADMIN)
    listed = client.nova_list_keypairs(ecs.NovaListKeypairsRequest()).keypairs
    assert "kp-ops" in {entry.keypair.name for entry in listed}
    option = ecs.NovaCreateKeypairOption(name="client-sdk-2026", public_key=RSA_2048)
    request = ecs.NovaCreateKeypairRequest(body=ecs.NovaCreateKeypairRequestBody(keypair=option))
    sentence = "Import an Ed25519 key, or RSA of 3072 bits or more."
    denied(lambda: client.nova_create_keypair(request), "huawei.kps.CreateKeypair", sentence, "kps-strong-key")


def test_ims_copies_an_image_under_a_key(huawei, cloud, recorded):
    client = huawei(*IMS, IMAGEOPS)
    # Not ASCII: the SDK sends it in escapes, and a body written anew would not fit its signature.
    assert copy_image(client, name="sdk-copy", cmk_id=CMK, description="复制 é").job_id
    assert [image.name for image in client.list_images(ims.ListImagesRequest(name="sdk-copy")).images] == ["sdk-copy"]
    [arrived] = cloud.seen("huawei.ims.CopyImageInRegion")
    assert json.loads(arrived["body"])["description"] == "复制 é"
    recorded("huawei.ims.CopyImageInRegion", "image-bot", "accepted")


def test_ims_copy_is_denied_without_a_key(huawei, denied):
    client = huawei(*IMS, IMAGEOPS)
    sentence = "A copy of an image must be encrypted: give cmk_id."
    denied(lambda: copy_image(client, name="sdk-copy"), "huawei.ims.CopyImageInRegion", sentence, "ims-encrypted-copy")


def test_cph_changes_the_key_pair_of_phones(huawei, cloud, recorded):
    create(huawei(*KPS, KEYADMIN), "lab-adb-2026")
    client = huawei(*CPH, PHONELAB)
    done, frozen = open_access(client, "lab-adb-2026").jobs
    assert (done.server_id, frozen.server_id, frozen.error_code) == (*SERVERS, "CPS.0012")
    assert done.job_id
    after = phones(client)
    assert (after[SERVERS[0]], after[SERVERS[1]]) == ("lab-adb-2026", "kp-b")
    recorded("huawei.cph.UpdateKeypair", "phone-lab", "partly-failed")


def test_cph_change_is_denied_against_the_naming_rule(huawei, denied):
    client = huawei(*CPH, PHONELAB)
    sentence = "Key pair names follow team-purpose-year, for example lab-adb-2026."
    denied(lambda: open_access(client, "mykey"), "huawei.cph.UpdateKeypair", sentence, "keypair-names")


def test_a_signature_that_does_not_verify_is_the_clouds_to_refuse(huawei, cloud, recorded):
    """The gateway holds no secret key: it takes an access key's id for a claim, and the cloud's answer settles it. This
    shows too that the sandbox does verify, without which the calls above would prove little."""
    forger = SimpleNamespace(key=KEYADMIN.key, secret="a guess")
    with pytest.raises(ClientRequestException) as raised:
        create(huawei(*KPS, forger), "client-sdk-2026")
    assert (raised.value.status_code, raised.value.error_code) == (401, "APIGW.0301")
    assert len(cloud.seen("huawei.kps.CreateKeypair")) == 1
    exchange = recorded("huawei.kps.CreateKeypair", "ci-keys", "failed")
    assert exchange["answer"]["record"]["caller_accepted"] is False
    assert "client-sdk-2026" not in names(huawei(*KPS, KEYADMIN))


@pytest.mark.parametrize(
    ("service", "look"),
    [
        (CPH, lambda c: c.list_cloud_phones(cph.ListCloudPhonesRequest(server_id=SERVERS[0], limit=10))),
        (CPH, lambda c: c.show_cloud_phone_server_detail(cph.ShowCloudPhoneServerDetailRequest(server_id=SERVERS[0]))),
        (CPH, lambda c: c.list_images(cph.ListImagesRequest())),
        (CPH, lambda c: c.list_cloud_phone_models(cph.ListCloudPhoneModelsRequest())),
        (CPH, lambda c: c.list_project_tags(cph.ListProjectTagsRequest(resource_type="cph-server"))),
        (ECS, lambda c: c.list_servers_details(ecs.ListServersDetailsRequest(name="web", limit=10))),
        (ECS, lambda c: c.nova_list_servers_details(ecs.NovaListServersDetailsRequest())),
        (ECS, lambda c: c.show_job(ecs.ShowJobRequest(job_id="ff80808288d41e1b018990260955686a"))),
    ],
)
def test_looking_around_passes(huawei, cloud, service, look):
    look(huawei(*service, PHONELAB))
    [seen] = cloud.seen()
    assert seen["action"].startswith(("huawei.cph.", "huawei.ecs.")), seen["action"]
