"""openstacksdk with a token. Before its first call it asks for a version document without one, and gives up if it gets
none; so a gateway that lets only known callers through would lock it out."""

import openstack.exceptions
import pytest
from conftest import ED25519, IMAGE, IMAGEOPS, KEYADMIN, PARTNER_PROJECT, RSA_2048

# It has no setting for a Host other than that of its URL: so by base URL, or transparently.
pytestmark = pytest.mark.roads("plain", "transparent")


@pytest.fixture
def denied(refused):
    """openstacksdk shows the sentence in its message, and keeps the code in the answer and the id in a field."""

    def check(call, action, sentence, policy):
        with pytest.raises(openstack.exceptions.ForbiddenException) as raised:
            call()
        error = raised.value
        assert sentence in str(error)
        refused(error.response.text, error.request_id, action, sentence, policy)

    return check


def test_discovery_passes_without_a_token_and_the_list_with_it(openstack, cloud):
    listed = [keypair.name for keypair in openstack(KEYADMIN).compute.keypairs()]
    assert "kp-ops" in listed
    first, *rest = cloud.seen()
    assert first["path"].rstrip("/") == "/v2.1"
    assert "x-auth-token" not in dict(first["headers"])
    assert [call["action"] for call in rest] == ["huawei.kps.ListKeypairs"]


def test_nova_makes_a_key_pair(openstack, cloud, recorded):
    compute = openstack(KEYADMIN).compute
    made = compute.create_keypair(name="client-nova-2026")
    assert made.private_key.startswith("-----BEGIN OPENSSH PRIVATE KEY-----")
    assert "client-nova-2026" in [keypair.name for keypair in compute.keypairs()]
    record = recorded("huawei.kps.CreateKeypair", "ci-keys", "succeeded")["request"]["record"]
    assert (record["caller"]["assurance"], record["call"]["operation"]) == ("token", "NovaCreateKeypair")


def test_nova_imports_a_strong_key(openstack, cloud):
    compute = openstack(KEYADMIN).compute
    compute.create_keypair(name="client-nova-2027", public_key=ED25519)
    assert "client-nova-2027" in [keypair.name for keypair in compute.keypairs()]


def test_nova_import_of_a_weak_key_is_denied(openstack, denied):
    compute = openstack(KEYADMIN).compute
    sentence = "Import an Ed25519 key, or RSA of 3072 bits or more."
    denied(
        lambda: compute.create_keypair(name="client-nova-2027", public_key=RSA_2048),
        "huawei.kps.CreateKeypair",
        sentence,
        "kps-strong-key",
    )


def test_glance_shares_an_image_with_a_partner(openstack, cloud, recorded):
    image = openstack(IMAGEOPS).image
    member = image.add_member(IMAGE, member=PARTNER_PROJECT)
    assert (member.member_id, member.status) == (PARTNER_PROJECT, "pending")
    assert [found.member_id for found in image.members(IMAGE)] == [PARTNER_PROJECT]
    recorded("huawei.ims.AddImageMember", "image-bot", "succeeded")


def test_glance_sharing_with_a_stranger_is_denied(openstack, denied):
    image = openstack(IMAGEOPS).image
    sentence = "Images are shared with the projects of this organisation only"
    denied(
        lambda: image.add_member(IMAGE, member="0" * 29 + "bad"),
        "huawei.ims.AddImageMember",
        sentence,
        "image-share-projects",
    )


def test_a_file_is_refused_before_it_leaves_an_empty_image_behind(openstack, cloud, denied, tmp_path):
    """The client makes an image first and fills it then, by a call that no gateway could judge."""
    file = tmp_path / "golden.qcow2"
    file.write_bytes(b"QFI\xfb" + bytes(2 * 1024 * 1024))
    image = openstack(IMAGEOPS).image
    denied(
        lambda: image.create_image("lab-golden", filename=str(file), validate_checksum=False),
        "huawei.ims.GlanceCreateImageMetadata",
        "Image files do not go through this gateway",
        "image-files-by-bucket",
    )
    assert "lab-golden" not in [found.name for found in image.images()]


def test_glance_changes_attributes_that_are_no_text(openstack, cloud, recorded):
    openstack(IMAGEOPS).image.update_image(IMAGE, min_disk=40, is_protected=True)
    patch = cloud.seen()[-1]
    assert patch["method"] == "PATCH"
    recorded("huawei.ims.UpdateImage", "image-bot", "succeeded")
