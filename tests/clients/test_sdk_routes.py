"""Every call that the vendor's SDK can make of the guarded families is known to the catalogue, by the SDK's own word."""

import inspect
import re

import pytest
from huaweicloudsdkcph import v1 as cph
from huaweicloudsdkecs import v2 as ecs
from huaweicloudsdkims import v2 as ims
from huaweicloudsdkkps import v3 as kps
from validate_apis import DOCUMENTS, operations

# What a console has printed can hold what was typed there; and ids with a dot have another spelling to some servers.
LEFT_OUT = {
    "/v1/{}/cloudservers/{}/console-output",
    "/v1/{}/cloudservers/flavors/{}/resources",
    "/v2.1/{}/flavors/{}/os-extra_specs",
    "/{}",
}


def unnamed(path):
    return re.sub(r"\{[^}]+\}", "{}", path)


def routes(client):
    source = inspect.getsource(client)
    found = re.findall(r'"method": "(\w+)",\s+"resource_path": "([^"]+)"', source)
    assert len(found) > 10, client
    return {(method, unnamed(path)) for method, path in found}


@pytest.mark.parametrize(
    ("client", "document", "methods"),
    [
        (kps.KpsClient, "huawei-kps", None),
        (ims.ImsClient, "huawei-ims", None),
        (cph.CphClient, "huawei-cph", None),
        # Its writes are many, and most move no key: of them the document has those that do.
        (ecs.EcsClient, "huawei-ecs", {"GET"}),
    ],
    ids=["kps", "ims", "cph", "ecs"],
)
def test_the_catalogue_knows_what_the_sdk_calls(client, document, methods):
    known = {(op.method.upper(), unnamed(op.path)) for op in operations(DOCUMENTS[document])}
    called = {(method, path) for method, path in routes(client) if methods is None or method in methods}
    assert {(method, path) for method, path in called - known if path not in LEFT_OUT} == set()
