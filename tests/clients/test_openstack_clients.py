"""OpenStack's other clients: novaclient, glanceclient and shade. Each takes an error apart in its own way: novaclient
asks Nova where it is before it asks for anything else, glanceclient takes every value of an error for an object, and
shade looks for the sentence only where an error has one name. All must show it."""

import glanceclient
import glanceclient.exc
import novaclient.api_versions
import novaclient.client
import novaclient.exceptions
import pytest
import shade
from conftest import ED25519, IMAGE, IMAGEOPS, KEYADMIN, PARTNER_PROJECT, PROJECT, REGION, RSA_2048
from keystoneauth1.session import Session
from keystoneauth1.token_endpoint import Token

# None has a setting for a Host other than that of its URL: so by base URL, or transparently.
pytestmark = pytest.mark.roads("plain", "transparent")
WEAK = "Import an Ed25519 key, or RSA of 3072 bits or more. The exponent of an RSA key is 65537 or more. [kps-strong-key]"
STRANGER = "Images are shared with the projects of this organisation only: ask data protection to add a project. [image-share-projects]"


@pytest.fixture
def endpoint(gateway, road):
    def of(service):
        return f"https://{service}.{REGION}.myhuaweicloud.com" if road.transparent else f"http://{gateway.bound[f'huawei.{service}']}"

    return of


@pytest.fixture
def session(gateway, endpoint):
    sessions = []

    def make(service, caller):
        made = Session(auth=Token(endpoint(service), caller.token), verify=str(gateway.certificates.authority))
        sessions.append(made)
        return made

    yield make
    for made in sessions:
        made.session.close()


@pytest.fixture
def nova(endpoint, session):
    base = f"{endpoint('ecs')}/v2.1/{PROJECT}"
    return novaclient.client.Client("2.1", session=session("ecs", KEYADMIN), endpoint_override=base)


@pytest.fixture
def glance(endpoint, session):
    return glanceclient.Client("2", session=session("ims", IMAGEOPS), endpoint_override=endpoint("ims"))


@pytest.fixture
def older_shade(gateway, endpoint, monkeypatch, tmp_path):
    # Else it looks for a route to the world, of which there is none here.
    clouds = tmp_path / "clouds.yaml"
    clouds.write_text("client: {force_ipv4: true}\n")
    monkeypatch.setenv("OS_CLIENT_CONFIG_FILE", str(clouds))

    def make(caller):
        return shade.openstack_cloud(
            auth_type="admin_token",
            auth={"endpoint": endpoint("ecs"), "token": caller.token},
            region_name=REGION,
            compute_endpoint_override=f"{endpoint('ecs')}/v2.1/{PROJECT}",
            image_endpoint_override=f"{endpoint('ims')}/v2/",
            image_api_version="2",
            cacert=str(gateway.certificates.authority),
        )

    return make


@pytest.fixture
def last_refusal(gateway, cloud):
    """Asserts that the latest refusal of an action is on record for this reason, and that nothing came to the cloud."""

    def check(action, reason="policy-forbids"):
        exchange = gateway.last(action, "deny")
        assert (exchange["outcome"], exchange["request"]["record"]["decision"]["reason"]) == ("refused", reason)
        assert cloud.seen(action) == []
        return exchange

    return check


def test_novaclient_first_asks_where_its_endpoint_is(nova, cloud):
    latest = novaclient.api_versions.APIVersion("2.latest")
    assert novaclient.api_versions.discover_version(nova, latest).ver_major == 2
    asked = [(call["method"], call["path"]) for call in cloud.seen()]
    assert ("GET", f"/v2.1/{PROJECT}") in asked


def test_novaclient_makes_and_imports_key_pairs(nova, cloud, recorded):
    nova.keypairs.create("client-nova-2026")
    nova.keypairs.create("client-nova-2027", public_key=ED25519)
    assert {"client-nova-2026", "client-nova-2027"} <= {keypair.name for keypair in nova.keypairs.list()}
    assert nova.keypairs.get("client-nova-2027").public_key == ED25519
    nova.keypairs.delete("client-nova-2026")
    recorded("huawei.kps.CreateKeypair", "ci-keys", "succeeded")


def test_novaclient_shows_the_sentence_and_the_id(nova, last_refusal):
    with pytest.raises(novaclient.exceptions.Forbidden) as raised:
        nova.keypairs.create("client-nova-2027", public_key=RSA_2048)
    exchange = last_refusal("huawei.kps.CreateKeypair")
    assert str(raised.value) == f"{WEAK} (HTTP 403) (Request-ID: {exchange['id']})"


def test_novaclient_shows_what_the_catalogue_does_not_know(nova, last_refusal):
    with pytest.raises(novaclient.exceptions.Forbidden) as raised:
        nova.hypervisors.list()
    assert "match no operation of the catalogue" in str(raised.value)
    last_refusal("unknown", "operation-unknown")


def test_novaclient_shows_whose_word_it_is_that_a_name_has_no_blank(nova, last_refusal):
    with pytest.raises(novaclient.exceptions.BadRequest) as raised:
        nova.keypairs.get("de mo")
    assert "`path.keypair_name` does not fit its pattern (so says keyward's document of huawei.ecs)" in str(raised.value)
    last_refusal("huawei.kps.ListKeypairDetail", "path-invalid")


def test_glanceclient_lists_shows_and_shares(glance, cloud, recorded):
    assert IMAGE in [image.id for image in glance.images.list()]
    assert glance.images.get(IMAGE).id == IMAGE
    glance.image_members.create(IMAGE, PARTNER_PROJECT)
    recorded("huawei.ims.AddImageMember", "image-bot", "succeeded")


def test_glanceclient_shows_the_sentence(glance, last_refusal):
    with pytest.raises(glanceclient.exc.HTTPForbidden) as raised:
        glance.image_members.create(IMAGE, "0" * 29 + "bad")
    assert str(raised.value) == f"HTTP {STRANGER}"
    last_refusal("huawei.ims.AddImageMember")


def test_glanceclient_shows_what_cannot_be_read(glance, last_refusal):
    with pytest.raises(glanceclient.exc.HTTPBadRequest) as raised:
        glance.images.update(IMAGE, min_disk=-1.5)
    assert "body[0].value" in str(raised.value)
    last_refusal("huawei.ims.UpdateImage", "body-wrong-type")


def test_glanceclient_shows_that_nobody_knows_the_caller(endpoint, gateway, last_refusal):
    stranger = glanceclient.Client(
        "2",
        session=Session(auth=Token(endpoint("ims"), "MIINOBODY"), verify=str(gateway.certificates.authority)),
        endpoint_override=endpoint("ims"),
    )
    with pytest.raises(glanceclient.exc.HTTPUnauthorized) as raised:
        list(stranger.images.list())
    assert "to callers who are not known: the credential is not in the callers file" in str(raised.value)
    last_refusal("huawei.ims.ListImages", "caller-unknown")


def test_shade_shows_the_sentence_of_either_service(older_shade, last_refusal):
    keys = older_shade(KEYADMIN)
    assert "kp-ops" in [keypair.name for keypair in keys.list_keypairs()]
    with pytest.raises(shade.OpenStackCloudHTTPError) as raised:
        keys.create_keypair("client-nova-2027", RSA_2048)
    assert WEAK in str(raised.value)
    last_refusal("huawei.kps.CreateKeypair")
    images = older_shade(IMAGEOPS)
    with pytest.raises(shade.OpenStackCloudHTTPError) as raised:
        images.delete_image(IMAGE)
    assert "No policy permits huawei.ims.GlanceDeleteImage to `image-bot`." in str(raised.value)
    last_refusal("huawei.ims.GlanceDeleteImage", "no-policy-permits")
