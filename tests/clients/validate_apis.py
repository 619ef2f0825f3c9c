"""Checks of the API documents in config/apis, by software that is not keyward.

    python -m pip install -r tests/clients/requirements.txt
    python -m pytest tests/clients/validate_apis.py

The rules beyond OpenAPI are those of docs/catalogue.md; the facts are those of the providers' documentation.
"""

import base64
import binascii
import re
from pathlib import Path

import pytest
import yaml
from jsonschema import FormatChecker
from openapi_schema_validator import OAS31Validator
from openapi_spec_validator import OpenAPIV31SpecValidator
from referencing import Registry
from referencing.jsonschema import DRAFT202012

APIS = Path(__file__).resolve().parents[2] / "config" / "apis"
METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")

EXPECTED = {
    "alibaba-codeup": ("alibaba.codeup", "codeup", "https://openapi-rdc.aliyuncs.com"),
    "alibaba-devops": ("alibaba.devops", "acs", "https://devops.{region}.aliyuncs.com"),
    "huawei-cph": ("huawei.cph", "flat", "https://cph.{region}.myhuaweicloud.com"),
    "huawei-ecs": ("huawei.ecs", "nova", "https://ecs.{region}.myhuaweicloud.com"),
    "huawei-ims": ("huawei.ims", "ims", "https://ims.{region}.myhuaweicloud.com"),
    "huawei-kps": ("huawei.kps", "flat", "https://kms.{region}.myhuaweicloud.com"),
}

# What a request schema may say (docs/catalogue.md); nothing else is checked on the road. A description checks nothing.
REQUEST_KEYWORDS = {
    "type", "properties", "required", "additionalProperties", "items", "minItems", "maxItems", "enum", "const",
    "minLength", "maxLength", "pattern", "minimum", "maximum", "default", "format", "$ref",
    "x-keyward-secret", "x-keyward-as", "x-keyward-enum", "x-keyward-free-name", "description",
}  # fmt: skip
DOCUMENT_EXTENSIONS = {"x-keyward-service", "x-keyward-error-shape", "x-keyward-passing", "x-keyward-project", "x-keyward-absent"}
# Families of signatures that each provider's clouds verify.
SIGNATURES = {"huawei": ["SDK", "V11"], "alibaba": ["ACS3"]}
OPERATION_EXTENSIONS = {
    "x-keyward-groups", "x-keyward-alias-of", "x-keyward-resource", "x-keyward-items", "x-keyward-outcome",
}  # fmt: skip
PARAMETER_EXTENSIONS = {"x-keyward-secret", "x-keyward-as", "x-keyward-raw-segment"}

# Lower case, with "_" for "-". `key` is secret only where it is the login of a server.
SECRET_NAMES = {
    "authorization", "x_auth_token", "x_subject_token", "x_security_token", "x_yunxiao_token", "x_acs_security_token",
    "x_acs_signature_nonce", "proxy_authorization", "cookie", "set_cookie", "accesstoken", "yunxiao_access_token",
    "token", "signature", "private_key", "adminpass", "admin_pass", "new_password", "password", "user_data", "command",
    "ticket", "session_id", "os_ext_srv_attr:user_data", "secret", "securitytoken", "encoded_authorization_message",
}  # fmt: skip


class StrictLoader(yaml.SafeLoader):
    """Refuses repeated keys, which PyYAML would let the last one win."""


def _mapping(loader, node):
    seen = set()
    for key, _ in node.value:
        assert key.value not in seen, f"line {key.start_mark.line + 1}: {key.value} is given twice"
        seen.add(key.value)
    return yaml.SafeLoader.construct_mapping(loader, node, deep=True)


StrictLoader.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)

DOCUMENTS = {file.stem: yaml.load(file.read_text(), StrictLoader) for file in sorted(APIS.glob("*.yaml"))}
each_document = pytest.mark.parametrize("name", DOCUMENTS)


# ---------------------------------------------------------------- walking a document


def deref(doc, node):
    """The node itself, with a reference at its top followed."""
    while isinstance(node, dict) and "$ref" in node:
        assert node["$ref"].startswith("#/"), f"{node['$ref']}: only references into the document"
        target = doc
        for step in node["$ref"][2:].split("/"):
            target = target[step.replace("~1", "/").replace("~0", "~")]
        node = target
    return node


class Operation:
    def __init__(self, doc, path, method, node):
        self.doc, self.path, self.method, self.node = doc, path, method, node
        self.id = node.get("operationId")
        self.service = doc["x-keyward-service"]
        self.parameters = [deref(doc, p) for p in doc["paths"][path].get("parameters", []) + node.get("parameters", [])]
        self.body = deref(doc, node["requestBody"]) if "requestBody" in node else None
        self.responses = {status: deref(doc, answer) for status, answer in node["responses"].items()}

    def __str__(self):
        return f"{self.service}.{self.id} ({self.method.upper()} {self.path})"

    @property
    def action(self):
        """The action as which the operation is judged."""
        alias = self.node.get("x-keyward-alias-of")
        if alias is None:
            return f"{self.service}.{self.id}"
        return alias if "." in alias else f"{self.service}.{alias}"

    @property
    def body_schema(self):
        return self.body and next(iter(self.body["content"].values()))["schema"]

    def media(self):
        """Every media type of the request and of the answers, with a name for messages."""
        if self.body:
            yield from ((f"request {kind}", media) for kind, media in self.body["content"].items())
        for status, answer in self.responses.items():
            yield from ((f"{status} {kind}", media) for kind, media in answer.get("content", {}).items())


def operations(doc):
    for path, item in doc["paths"].items():
        for method in METHODS:
            if method in item:
                yield Operation(doc, path, method, item[method])


ALL = [operation for doc in DOCUMENTS.values() for operation in operations(doc)]
by_operation = pytest.mark.parametrize("op", ALL, ids=str)


def subschemas(doc, schema, name="", parents=()):
    """The schema and all below it, as (name of the property, names above it, schema, as written)."""
    written, schema = schema, deref(doc, schema)
    yield name, parents, schema, written
    for child, below in schema.get("properties", {}).items():
        yield from subschemas(doc, below, child, (*parents, name))
    for word in ("items", "additionalProperties", "not"):
        if isinstance(schema.get(word), dict):
            yield from subschemas(doc, schema[word], name, parents)
    for word in ("anyOf", "oneOf", "allOf"):
        for below in schema.get(word, []):
            yield from subschemas(doc, below, name, parents)


def field(doc, schema, path):
    """The schemas at `a.b[].c` below a schema; empty if there is none."""
    found = [deref(doc, schema)]
    for step in re.findall(r"\[\]|[^.\[\]]+", path):
        below = []
        for here in found:
            branches = [here, *(deref(doc, b) for w in ("anyOf", "oneOf", "allOf") for b in here.get(w, []))]
            for branch in branches:
                child = branch.get("items") if step == "[]" else branch.get("properties", {}).get(step)
                if child is not None:
                    below.append(deref(doc, child))
        found = below
    return found


def extensions(node):
    return {key for key in node if isinstance(key, str) and key.startswith("x-")}


# ---------------------------------------------------------------- (1) OpenAPI 3.1


def test_the_documents_are_these():
    assert set(DOCUMENTS) == set(EXPECTED)


@each_document
def test_is_openapi_3_1(name):
    assert DOCUMENTS[name]["openapi"].startswith("3.1.")
    errors = list(OpenAPIV31SpecValidator(DOCUMENTS[name]).iter_errors())
    assert not errors, errors


@each_document
def test_names_its_service_error_shape_and_host(name):
    doc, (service, shape, server) = DOCUMENTS[name], EXPECTED[name]
    assert (doc["x-keyward-service"], doc["x-keyward-error-shape"]) == (service, shape)
    assert doc["servers"][0]["url"] == server
    for entry in doc["servers"]:
        assert re.fullmatch(r"https://[^/]+", entry["url"]), "a server carries no path"


# ---------------------------------------------------------------- (2) examples

FORMATS = FormatChecker(formats=["date-time"])


@FORMATS.checks("ssh-public-key", raises=(ValueError, binascii.Error))
def is_ssh_public_key(text):
    kind, blob = text.split(" ")[:2]
    raw = base64.b64decode(blob, validate=True)
    length = int.from_bytes(raw[:4], "big")
    return raw[4 : 4 + length].decode() == kind and (kind != "ssh-ed25519" or len(raw) == 51)


def errors_of(doc, schema, value):
    registry = Registry().with_resource("urn:document", DRAFT202012.create_resource(doc))
    absolute = rebase(schema)
    return [e.message for e in OAS31Validator(absolute, registry=registry, format_checker=FORMATS).iter_errors(value)]


def rebase(node):
    if isinstance(node, dict):
        return {k: f"urn:document{v}" if k == "$ref" else rebase(v) for k, v in node.items()}
    return [rebase(n) for n in node] if isinstance(node, list) else node


@by_operation
def test_examples_fit_their_schemas(op):
    for where, media in op.media():
        OAS31Validator.check_schema(media["schema"])
        examples = media.get("examples", {})
        assert examples or where.endswith("zip"), f"{op}: {where} has no example"
        for key, example in examples.items():
            errors = errors_of(op.doc, media["schema"], example["value"])
            assert not errors, f"{op}: {where}, example {key}: {errors}"


def test_the_example_check_bites():
    doc = DOCUMENTS["alibaba-codeup"]
    schema = doc["components"]["schemas"]["CreateSSHKeyRequest"]
    good = doc["components"]["requestBodies"]["CreateSSHKey"]["content"]["application/json"]["examples"]["read_only"]["value"]
    assert errors_of(doc, schema, good) == []
    for wrong in ({"keyScope": "WRITE"}, {"extra": 1}, {"expireTime": "2027-01-31 00:00:00"}, {"key": "ssh-rsa AAAA"}):
        assert errors_of(doc, schema, good | wrong), wrong


# ---------------------------------------------------------------- (3) the five guarded endpoints

UUID_OR_ZERO = "^(0|[0-9A-Fa-f]{8}(-[0-9A-Fa-f]{4}){3}-[0-9A-Fa-f]{12})$"
NO_MARKUP = r"^[^\r\n<>]*$"
SSH_KEY_ROWS = [
    # where, name, type, required, limits and default
    ("header", "x-yunxiao-token", "string", True, {}),
    ("body", "key", "string", True, {"format": "ssh-public-key"}),
    ("body", "keyScope", "string", True, {"enum": ["READ", "ALL"], "x-keyward-enum": "KeyScope"}),
    ("body", "title", "string", True, {}),
    ("body", "expireTime", "string", False, {"format": "date-time"}),
]
COPY_IMAGE_ROWS = [
    ("path", "image_id", "string", True, {}),
    ("header", "X-Project-Id", "string", False, {}),
    ("body", "name", "string", True, {"minLength": 1, "maxLength": 128}),
    ("body", "description", "string", False, {"maxLength": 1024, "pattern": NO_MARKUP, "default": ""}),
    ("body", "cmk_id", "string", False, {"default": ""}),
    ("body", "enterprise_project_id", "string", False, {"pattern": UUID_OR_ZERO, "default": "0"}),
]
SSH_KEY_ANSWER = {
    "id": "integer", "title": "string", "key": "string", "keyScope": "string", "fingerPrint": "string",
    "createdAt": "string", "updatedAt": "string", "expireTime": ["string", "null"], "lastUsedTime": ["string", "null"],
}  # fmt: skip
GUARDED = {
    # document, method, path, operationId: rows, answer, failure statuses, error fields
    ("huawei-kps", "post", "/v2/{project_id}/os-keypairs/copy", "CopyKeypairs"): (
        [
            ("path", "project_id", "string", True, {}),
            ("body", "user_name", "string", True, {}),
            ("body", "force", "boolean", False, {"default": False}),
        ],
        {
            "changed": "integer", "success": "array", "failed": "array",
            "success[].keypair": "string", "success[].message": "string",
            "failed[].keypair": "string", "failed[].message": "string",
        },
        ["400", "401", "403", "404", "500", "502", "504"],
        ["error_code", "error_msg"],
    ),
    ("huawei-cph", "put", "/v1/{project_id}/cloud-phone/servers/open-access", "UpdateKeypair"): (
        [
            ("path", "project_id", "string", True, {}),
            ("body", "servers", "array", True, {}),
            ("body", "servers[].server_id", "string", True, {"maxLength": 32}),
            ("body", "servers[].keypair_name", "string", True, {}),
        ],
        {
            "request_id": "string", "jobs": "array", "jobs[].server_id": "string", "jobs[].job_id": "string",
            "jobs[].error_code": "string", "jobs[].error_msg": "string",
        },
        ["400", "401", "403", "404", "500"],
        ["request_id", "error_code", "error_msg", "failures[].server_id", "failures[].error_code", "failures[].error_msg"],
    ),
    ("huawei-ims", "post", "/v1/cloudimages/{image_id}/copy", "CopyImageInRegion"): (
        COPY_IMAGE_ROWS,
        {"job_id": "string"},
        ["400", "401", "403", "404", "500", "503"],
        ["error.code", "error.message", "error_code", "error_msg"],
    ),
    ("huawei-ims", "post", "/v2.1/cloudimages/{image_id}/copy", "CopyImageInRegionSafe"): (
        COPY_IMAGE_ROWS,
        {"job_id": "string"},
        ["400", "401", "403", "404", "500", "503"],
        ["error.code", "error.message", "error_code", "error_msg"],
    ),
    ("alibaba-codeup", "post", "/oapi/v1/codeup/organizations/{organizationId}/keys", "CreateSSHKey"): (
        [("path", "organizationId", "string", True, {}), *SSH_KEY_ROWS],
        SSH_KEY_ANSWER,
        ["400", "401", "403", "429", "500"],
        ["errorCode", "errorMessage", "requestId"],
    ),
    ("alibaba-codeup", "post", "/oapi/v1/codeup/keys", "CreateSSHKeyRegion"): (
        SSH_KEY_ROWS,
        SSH_KEY_ANSWER,
        ["400", "401", "403", "429", "500"],
        ["errorCode", "errorMessage", "requestId"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("place", GUARDED, ids=lambda place: place[3])
def test_guarded_endpoint_is_as_documented(place):
    name, method, path, operation_id = place
    rows, answer, failures, error_fields = GUARDED[place]
    doc = DOCUMENTS[name]
    op = next(o for o in operations(doc) if (o.method, o.path) == (method, path))
    assert op.id == operation_id
    assert op.body["required"] is True

    for where, field_name, kind, required, limits in rows:
        if where == "body":
            [schema] = field(doc, op.body_schema, field_name)
            above, _, last = field_name.rpartition(".")
            [holder] = field(doc, op.body_schema, above)
            assert (last in holder["required"]) is required, field_name
            assert schema["description"], field_name
        else:
            parameter = next(p for p in op.parameters if (p["in"], p["name"]) == (where, field_name))
            assert parameter.get("required", False) is required, field_name
            assert parameter["description"]
            schema = parameter["schema"]
        assert schema["type"] == kind, field_name
        assert limits.items() <= schema.items(), field_name

    # and nothing that the documentation does not name
    assert {(p["in"], p["name"]) for p in op.parameters} == {r[:2] for r in rows if r[0] != "body"}
    said = {n for n, _, _, _ in subschemas(doc, op.body_schema) if n}
    assert said == {re.split(r"[.\]]+", r[1])[-1] for r in rows if r[0] == "body"}
    for _, _, schema, _ in subschemas(doc, op.body_schema):
        if schema["type"] == "object":
            assert schema["additionalProperties"] is False

    success = op.responses["200"]["content"]["application/json"]["schema"]
    for field_name, kind in answer.items():
        assert [s["type"] for s in field(doc, success, field_name)] == [kind], field_name
    assert set(op.responses) == {"200", *failures}
    for status in failures:
        media = op.responses[status]["content"]["application/json"]
        assert media["schema"] == {"$ref": "#/components/schemas/Error"}
        for field_name in error_fields:
            assert field(doc, media["schema"], field_name), field_name


# ---------------------------------------------------------------- (4) secrets


def normal(name):
    return name.lower().replace("-", "_")


@by_operation
def test_secret_fields_are_marked(op):
    for parameter in op.parameters:
        if normal(parameter["name"]) in SECRET_NAMES:
            assert parameter.get("x-keyward-secret") is True, f"{op}: {parameter['name']}"
    for where, media in op.media():
        for name, parents, schema, _ in subschemas(op.doc, media["schema"]):
            if normal(name) in SECRET_NAMES or (name == "key" and parents and parents[-1] == "auth"):
                assert schema.get("x-keyward-secret") is True, f"{op}: {where}: {name}"


@each_document
def test_secret_fields_of_unused_components_are_marked(name):
    doc = DOCUMENTS[name]
    for component in doc["components"].get("schemas", {}).values():
        for field_name, _, schema, _ in subschemas(doc, component):
            if normal(field_name) in SECRET_NAMES:
                assert schema.get("x-keyward-secret") is True, field_name


def test_secrets_without_a_telling_name_are_marked():
    def marked(name, operation_id, status, path):
        op = next(o for o in operations(DOCUMENTS[name]) if o.id == operation_id)
        content = op.body["content"] if status is None else op.responses[status]["content"]
        [media] = content.values()
        found = field(op.doc, media["schema"], path)
        return bool(found) and all(s.get("x-keyward-secret") is True for s in found)

    assert marked("huawei-kps", "BatchExportPrivateKey", "200", "")
    assert marked("huawei-kps", "AssociateKeypair", None, "server.auth.key")
    assert marked("huawei-kps", "BatchAssociateKeypair", None, "batch_keypairs[].server.auth.key")
    assert marked("huawei-kps", "DisassociateKeypair", None, "server.auth.key")
    assert marked("huawei-cph", "RunShellCommand", None, "content")
    assert marked("huawei-cph", "RunSyncCommand", "200", "jobs[].execute_msg")
    assert marked("huawei-ecs", "ShowServerRemoteConsole", "200", "remote_console.url")


def test_the_private_key_archive_is_a_zip():
    op = next(o for o in ALL if o.id == "BatchExportPrivateKey")
    assert list(op.responses["200"]["content"]) == ["application/zip"]


# ---------------------------------------------------------------- (5) the closed vocabulary


def assert_closed(op, schema, where):
    for name, _, resolved, written in subschemas(op.doc, schema):
        here = f"{op}: {where}: {name}"
        if "anyOf" in resolved:
            # Nothing stands beside it; each of its branches comes in its turn.
            assert set(resolved) == {"anyOf"} and len(resolved["anyOf"]) > 1, here
            continue
        assert set(resolved) <= REQUEST_KEYWORDS, f"{here}: {set(resolved) - REQUEST_KEYWORDS}"
        if "$ref" in written:
            assert set(written) == {"$ref"} and written["$ref"].startswith("#/components/schemas/"), here
        assert isinstance(resolved["type"], str), f"{here}: one type, and no null"
        assert isinstance(resolved.get("additionalProperties", True), bool), here
        if resolved["type"] == "object":
            assert "additionalProperties" in resolved, f"{here}: say whether further fields may come"
        if "enum" in resolved:
            assert resolved.get("x-keyward-enum"), f"{here}: name the values"


@by_operation
def test_request_schemas_use_the_closed_keyword_list(op):
    if op.body:
        [media_type] = op.body["content"]
        assert media_type == "application/json" or media_type.endswith("-json-patch"), str(op)
        assert_closed(op, op.body_schema, "body")
    for parameter in op.parameters:
        assert_closed(op, parameter["schema"], parameter["name"])
        assert extensions(parameter) <= PARAMETER_EXTENSIONS, str(op)
        assert parameter["description"], f"{op}: {parameter['name']}"


@each_document
def test_document_extensions_are_known(name):
    doc = DOCUMENTS[name]
    assert extensions(doc) <= DOCUMENT_EXTENSIONS
    for entry in doc.get("x-keyward-passing", []):
        assert set(entry) == {"methods", "path", "reason"} and entry["methods"] == ["GET"]
        assert "**" not in entry["path"].removesuffix("/**")


@each_document
def test_credentials_are_those_of_the_provider(name):
    doc = DOCUMENTS[name]
    schemes = doc["components"]["securitySchemes"]
    assert {used for requirement in doc["security"] for used in requirement} == set(schemes)
    for key, scheme in schemes.items():
        assert scheme["type"] == "apiKey" and scheme["description"], key
        signed = (scheme["in"], scheme["name"]) == ("header", "Authorization")
        assert extensions(scheme) == ({"x-keyward-signatures"} if signed else set()), key
        if signed:
            assert scheme["x-keyward-signatures"] == SIGNATURES[name.split("-")[0]], key
        else:
            assert scheme["name"].lower().replace("-", "_") in SECRET_NAMES, key


@each_document
def test_the_project_is_named_in_one_way(name):
    expected = {"header": "X-Project-Id", "path": "project_id"} if name.startswith("huawei") else None
    assert DOCUMENTS[name].get("x-keyward-project") == expected
    assert not expected or any("{project_id}" in path for path in DOCUMENTS[name]["paths"])


def test_ids_in_paths_have_no_suffix():
    """`kp.json` and `kp` are one thing to a server that cuts suffixes off."""
    for op in ALL:
        for p in op.parameters:
            if p["in"] == "path" and p["name"] not in ("repositoryId", "key", "tag"):
                schema = p["schema"]
                assert schema["type"] == "integer" or "enum" in schema or not re.search(schema["pattern"], "a.json"), f"{op}: {p['name']}"


def test_names_of_value_sets_have_one_meaning():
    meaning = {}
    for op in ALL:
        for schema in [op.body_schema, *(p["schema"] for p in op.parameters)]:
            for _, _, found, _ in subschemas(op.doc, schema) if schema else ():
                if "enum" in found:
                    values = meaning.setdefault(found["x-keyward-enum"], set(found["enum"]))
                    assert values == set(found["enum"]), f"{op}: {found['x-keyward-enum']}"


# ---------------------------------------------------------------- (6) operations, aliases, sources

SOURCE = re.compile(r"(path|query|header|item)\.[A-Za-z0-9_-]+|body(\[\])*(\.[A-Za-z0-9_:-]+(\[\])*)*")


def assert_source(op, source, allowed):
    assert SOURCE.fullmatch(source), f"{op}: {source}"
    kind, _, rest = source.partition(".")
    if source.startswith("body"):
        assert "body" in allowed and op.body and field(op.doc, op.body_schema, source[len("body") :]), f"{op}: {source}"
        return
    assert kind in allowed, f"{op}: {source}"
    if kind == "item":
        assert rest in op.node["x-keyward-items"], f"{op}: {source}"
    elif source != "header.host":
        given = {(p["in"], p["name"].lower() if kind == "header" else p["name"]) for p in op.parameters}
        assert (kind, rest) in given, f"{op}: {source}"


@by_operation
def test_operation_extensions(op):
    groups = op.node["x-keyward-groups"]
    assert extensions(op.node) <= OPERATION_EXTENSIONS
    assert op.id and op.node["summary"]
    assert groups[0] in ("read", "write", "discovery") and len(set(groups)) == len(groups)
    if groups[0] == "discovery":
        assert "x-keyward-resource" not in op.node and op.node["security"] == [] and op.method == "get"
        return
    if op.method in ("put", "patch", "delete"):
        assert groups[0] == "write", str(op)
    if op.method == "delete":
        assert "delete" in groups or {"image-share", "image-tag"} & set(groups), str(op)

    resource = op.node["x-keyward-resource"]
    items = op.node.get("x-keyward-items", {})
    assert set(resource) <= {"type", "id", "in"}
    assert_source(op, resource["id"], {"path", "query", "header", "body", "item"})
    assert "[]" not in resource["id"], f"{op}: an array is read through items"
    if "in" in resource:
        assert set(resource["in"]) == {"type", "id"}
        assert_source(op, resource["in"]["id"], {"path", "query", "header"})
    # an id that may be absent would leave the call without a resource
    kind, _, rest = resource["id"].partition(".")
    if kind in ("query", "header") and resource["id"] != "header.host":
        assert next(p for p in op.parameters if p["name"].lower() == rest.lower())["required"] is True
    assert_present(op, resource["id"])
    for name, source in items.items():
        # Every element is an item, whatever it leaves out: policies ask for an attribute with `has`.
        by_array = "[]" in source and resource["id"] != f"item.{name}"
        assert_present(op, source[: source.rindex("[]") + 2] if by_array else source)
    for source in items.values():
        assert_source(op, source, {"path", "query", "header", "body"})


def assert_present(op, source):
    """What a source in the body passes through must be required, and its arrays not empty: no item, no decision."""
    if not source.startswith("body"):
        return
    here, trail = deref(op.doc, op.body_schema), source[len("body") :]
    assert op.body["required"] is True, f"{op}: {source}"
    for step in re.findall(r"\[\]|[^.\[\]]+", trail):
        if step == "[]":
            assert here.get("minItems", 0) >= 1, f"{op}: {source}: an empty array would be judged not even once"
            here = deref(op.doc, here["items"])
        else:
            assert step in here["required"], f"{op}: {source}: {step} may be absent"
            here = deref(op.doc, here["properties"][step])


@by_operation
def test_outcomes_read_the_answer(op):
    outcome = op.node.get("x-keyward-outcome", {})
    assert set(outcome) <= {"accepted", "succeeded", "failed", "failed-if"}
    values = [v["at"] if k == "failed-if" else v for k, v in outcome.items()]
    sources = [source for v in values for source in (v if isinstance(v, list) else [v])]
    schemas = [
        media["schema"] for status, answer in op.responses.items() if status.startswith("2")
        for media in answer.get("content", {}).values()
    ]  # fmt: skip
    for source in sources:
        assert source.startswith("body."), f"{op}: {source}"
        assert any(field(op.doc, schema, source[len("body.") :]) for schema in schemas), f"{op}: {source}"


def test_operation_ids_are_unique():
    ids = [f"{op.service}.{op.id}" for op in ALL]
    assert len(set(ids)) == len(ids)


ACTIONS = {f"{op.service}.{op.id}": op for op in ALL if "x-keyward-alias-of" not in op.node}


def attributes(op):
    """What policies see of a body: names and kinds."""

    def shape(schema):
        schema = deref(op.doc, schema)
        kind = schema.get("x-keyward-enum") or schema.get("format") or schema["type"]
        inner = {schema_name(n, s): shape(s) for n, s in schema.get("properties", {}).items()}
        return (kind, inner) if inner else kind

    def schema_name(name, schema):
        return deref(op.doc, schema).get("x-keyward-as", name)

    result = shape(op.body_schema) if op.body else {}
    return result[1] if isinstance(result, tuple) else {}


def assert_agree(op, one, other, at=""):
    for name in one.keys() & other.keys():
        a, b = one[name], other[name]
        if isinstance(a, tuple) and isinstance(b, tuple):
            assert_agree(op, a[1], b[1], f"{at}{name}.")
        else:
            assert a == b, f"{op}: {at}{name} is {a} here and {b} in the action"


@pytest.mark.parametrize("op", [op for op in ALL if "x-keyward-alias-of" in op.node], ids=str)
def test_alias_fits_its_action(op):
    assert op.action in ACTIONS, f"{op}: {op.action} is no action"
    action = ACTIONS[op.action]
    assert op.node["x-keyward-groups"] == action.node["x-keyward-groups"], str(op)
    assert op.node["x-keyward-resource"]["type"] == action.node["x-keyward-resource"]["type"], str(op)
    assert set(op.node.get("x-keyward-items", {})) == set(action.node.get("x-keyward-items", {})), str(op)
    assert_agree(op, attributes(op), attributes(action))


@pytest.mark.parametrize(
    ("operation", "action"),
    {
        "huawei.kps.CreateKeypairV2": "huawei.kps.CreateKeypair",
        "huawei.ecs.NovaCreateKeypair": "huawei.kps.CreateKeypair",
        "huawei.ecs.NovaDeleteKeypair": "huawei.kps.DeleteKeypair",
        "huawei.ims.CopyImageInRegionSafe": "huawei.ims.CopyImageInRegion",
        "huawei.ims.BatchAddMembers": "huawei.ims.AddImageMember",
        "huawei.ims.BatchDeleteMembers": "huawei.ims.DeleteImageMember",
        "huawei.ims.BatchUpdateMembers": "huawei.ims.UpdateImageMember",
        "alibaba.codeup.CreateSSHKeyRegion": "alibaba.codeup.CreateSSHKey",
        "alibaba.devops.CreateUserKey": "alibaba.codeup.CreateSSHKey",
        "alibaba.devops.CreateDeployKey": "alibaba.codeup.CreateDeployKey",
    }.items(),
)
def test_every_door_is_the_same_action(operation, action):
    assert next(op.action for op in ALL if f"{op.service}.{op.id}" == operation) == action


def test_the_older_api_calls_the_public_key_as_the_newer_one_does():
    older = next(op for op in ALL if op.id == "CreateUserKey")
    assert attributes(older) == attributes(ACTIONS[older.action])
    assert "keyScope" not in deref(older.doc, older.body_schema)["required"]


def test_repository_ids_are_raw_segments():
    for op in ALL:
        for parameter in op.parameters:
            assert parameter.get("x-keyward-raw-segment", False) is (parameter["name"] == "repositoryId"), str(op)


# ---------------------------------------------------------------- (7) the documented routes, complete

ROUTES = {
    "huawei-kps": """
        GET POST /v3/{project_id}/keypairs
        GET PUT DELETE /v3/{project_id}/keypairs/{keypair_name}
        DELETE /v3/{project_id}/keypairs/{keypair_name}/private-key
        POST /v3/{project_id}/keypairs/private-key/import
        POST /v3/{project_id}/keypairs/private-key/export
        POST /v3/{project_id}/keypairs/private-key/batch-export
        POST /v3/{project_id}/keypairs/batch-import
        POST /v3/{project_id}/keypairs/associate
        POST /v3/{project_id}/keypairs/batch-associate
        POST /v3/{project_id}/keypairs/disassociate
        GET /v3/{project_id}/tasks/{task_id}
        GET /v3/{project_id}/running-tasks
        GET DELETE /v3/{project_id}/failed-tasks
        DELETE /v3/{project_id}/failed-tasks/{task_id}
        GET POST /v2.1/{project_id}/os-keypairs
        GET PUT DELETE /v2.1/{project_id}/os-keypairs/{keypair_name}
        GET POST /v2/{project_id}/os-keypairs
        GET DELETE /v2/{project_id}/os-keypairs/{keypair_name}
        POST /v2/{project_id}/os-keypairs/copy""",
    "huawei-ecs": """
        GET /
        GET /v2.1
        GET /v2.1/
        GET /v2.1/{project_id}
        GET /v2.1/{project_id}/
        GET /v2/{project_id}
        GET /v2/{project_id}/
        GET /v2
        GET /v2/
        GET POST /v2.1/{project_id}/os-keypairs
        GET DELETE /v2.1/{project_id}/os-keypairs/{keypair_name}
        GET POST /v2/{project_id}/os-keypairs
        GET DELETE /v2/{project_id}/os-keypairs/{keypair_name}
        POST /v1.1/{project_id}/cloudservers
        POST /v1/{project_id}/cloudservers
        POST /v2.1/{project_id}/servers
        POST /v1/{project_id}/cloudservers/{server_id}/changeos
        POST /v2/{project_id}/cloudservers/{server_id}/changeos
        POST /v1/{project_id}/cloudservers/{server_id}/reinstallos
        POST /v2/{project_id}/cloudservers/{server_id}/reinstallos
        PUT /v1/{project_id}/cloudservers/{server_id}/os-reset-password
        PUT /v1/{project_id}/cloudservers/os-reset-passwords
        GET /v1/{project_id}/cloudservers/{server_id}/os-server-password
        POST /v1/{project_id}/cloudservers/{server_id}/remote_console
        GET /v1.1/{project_id}/cloudservers/detail
        GET /v1/{project_id}/availability-zones
        GET /v1/{project_id}/cloudservers/detail
        GET /v1/{project_id}/cloudservers/flavor-sell-policies
        GET /v1/{project_id}/cloudservers/flavors
        GET /v1/{project_id}/cloudservers/limits
        GET /v1/{project_id}/cloudservers/os-server-groups
        GET /v1/{project_id}/cloudservers/os-server-groups/{server_group_id}
        GET /v1/{project_id}/cloudservers/resize_flavors
        GET /v1/{project_id}/cloudservers/tags
        GET /v1/{project_id}/cloudservers/{server_id}
        GET /v1/{project_id}/cloudservers/{server_id}/appendvolumequota
        GET /v1/{project_id}/cloudservers/{server_id}/block_device
        GET /v1/{project_id}/cloudservers/{server_id}/block_device/{volume_id}
        GET /v1/{project_id}/cloudservers/{server_id}/metadata-options
        GET /v1/{project_id}/cloudservers/{server_id}/os-interface
        GET /v1/{project_id}/cloudservers/{server_id}/os-interface_extension
        GET /v1/{project_id}/cloudservers/{server_id}/os-resetpwd-flag
        GET /v1/{project_id}/cloudservers/{server_id}/os-volume_attachments
        GET /v1/{project_id}/cloudservers/{server_id}/tags
        GET /v1/{project_id}/jobs/{job_id}
        GET /v1/{project_id}/recycle-bin
        GET /v1/{project_id}/recycle-bin/cloudservers
        GET /v2.1/{project_id}/os-availability-zone
        GET /v2.1/{project_id}/servers
        GET /v2.1/{project_id}/servers/detail
        GET /v2.1/{project_id}/servers/{server_id}
        GET /v2.1/{project_id}/servers/{server_id}/os-interface/{port_id}
        GET /v2.1/{project_id}/servers/{server_id}/os-security-groups
        GET /v3/{project_id}/instance-scheduled-events
        GET /v3/{project_id}/launch-template-versions
        GET /v3/{project_id}/launch-templates""",
    "huawei-ims": """
        POST /v1/cloudimages/{image_id}/copy
        POST /v2.1/cloudimages/{image_id}/copy
        POST /v1/cloudimages/{image_id}/cross_region_copy
        POST /v1/cloudimages/{image_id}/file
        POST /v2.1/cloudimages/{image_id}/file
        POST /v2/cloudimages/action
        POST /v2.1/cloudimages/action
        POST /v1/cloudimages/dataimages/action
        POST /v2.1/cloudimages/dataimages/action
        POST /v1/cloudimages/wholeimages/action
        POST /v2/cloudimages/quickimport/action
        POST /v2.1/cloudimages/quickimport/action
        PUT /v1/cloudimages/{image_id}/upload
        PATCH /v2/cloudimages/{image_id}
        POST PUT DELETE /v1/cloudimages/members
        GET /v1/{project_id}/cloudimages/{image_id}/members
        GET /v1/{project_id}/cloudimages/{image_id}/members/{member_id}
        GET POST /v2/images/{image_id}/members
        GET PUT DELETE /v2/images/{image_id}/members/{member_id}
        GET POST /v2/images
        GET PATCH DELETE /v2/images/{image_id}
        GET /v2/{project_id}/images/tags
        POST /v2/{project_id}/images/resource_instances/action
        GET POST /v2/{project_id}/images/{image_id}/tags
        POST /v2/{project_id}/images/{image_id}/tags/action
        DELETE /v2/{project_id}/images/{image_id}/tags/{key}
        GET PUT /v1/cloudimages/tags
        PUT DELETE /v2/images/{image_id}/tags/{tag}
        DELETE /v1/{project_id}/cloudimages/{image_id}/tags/delete
        GET /v2/cloudimages
        GET /v1/cloudimages/quota
        GET /v1/cloudimages/os_version
        GET /v1/{project_id}/jobs/{job_id}
        GET /v1/cloudimages/job/{job_id}
        GET /
        GET /{version}
        GET /{version}/
        GET /v2/schemas/images
        GET /v2/schemas/image
        GET /v2/schemas/members
        GET /v2/schemas/member""",
    "huawei-cph": """
        PUT /v1/{project_id}/cloud-phone/servers/open-access
        GET /v1/{project_id}/cloud-phone/servers
        POST DELETE /v2/{project_id}/cloud-phone/servers
        POST /v2.1/{project_id}/cloud-phone/servers
        POST /v2/{project_id}/cloud-phone/servers/{server_id}/change
        POST /v1/{project_id}/cloud-phone/servers/change-server-model
        POST PUT /v1/{project_id}/cloud-phone/images/{image_id}/members
        DELETE /v1/{project_id}/cloud-phone/images/{image_id}/members/{member_id}
        DELETE /v1/{project_id}/cloud-phone/images/{image_id}
        POST /v1/{project_id}/cloud-phone/phones/batch-connection
        POST /v1/{project_id}/cloud-phone/phones/commands
        POST /v1/{project_id}/cloud-phone/phones/sync-commands
        POST /v1/{project_id}/cloud-phone/phones/batch-storage
        POST /v1/{project_id}/cloud-phone/phones/batch-restore
        GET /v1/{project_id}/cloud-phone/jobs
        GET /v1/{project_id}/cloud-phone/jobs/{job_id}
        GET /v1/{project_id}/cloud-phone/bandwidths
        PUT /v1/{project_id}/cloud-phone/bandwidths/{band_width_id}
        GET /v1/{project_id}/cloud-phone/encode-servers
        POST /v1/{project_id}/cloud-phone/encode-servers/batch-restart
        GET /v1/{project_id}/cloud-phone/images
        GET /v1/{project_id}/cloud-phone/images/{image_id}/members
        GET /v1/{project_id}/cloud-phone/phone-images
        GET /v1/{project_id}/cloud-phone/phone-models
        GET /v1/{project_id}/cloud-phone/phones
        POST /v1/{project_id}/cloud-phone/phones-traffic
        POST /v1/{project_id}/cloud-phone/phones/batch-reset
        POST /v1/{project_id}/cloud-phone/phones/batch-restart
        POST /v1/{project_id}/cloud-phone/phones/batch-stop
        POST /v1/{project_id}/cloud-phone/phones/batch-update-property
        POST /v1/{project_id}/cloud-phone/phones/expand-volume
        POST DELETE /v1/{project_id}/cloud-phone/phones/share-apps
        POST /v1/{project_id}/cloud-phone/phones/share-files
        GET PUT /v1/{project_id}/cloud-phone/phones/{phone_id}
        GET /v1/{project_id}/cloud-phone/scheduled-events
        PUT /v1/{project_id}/cloud-phone/scheduled-events/{event_id}
        POST /v1/{project_id}/cloud-phone/scheduled-events/{event_id}/authorize
        GET /v1/{project_id}/cloud-phone/server-models
        POST /v1/{project_id}/cloud-phone/servers/batch-restart
        GET /v1/{project_id}/cloud-phone/servers/share-files
        GET PUT /v1/{project_id}/cloud-phone/servers/{server_id}
        GET /v1/{project_id}/server-model-offerings
        POST /v1/{project_id}/servers/attach-share-filesystem
        POST /v1/{project_id}/servers/detach-share-filesystem
        GET /v1/{project_id}/servers/{server_id}/share-apps-snapshot
        POST /v1/{project_id}/{resource_type}/resource_instances/action
        GET /v1/{project_id}/{resource_type}/tags
        GET /v1/{project_id}/{resource_type}/{resource_id}/tags
        POST /v1/{project_id}/{resource_type}/{resource_id}/tags/action""",
    "alibaba-codeup": "\n".join(
        f"{methods} {base}/{rest}"
        for base in ("/oapi/v1/codeup/organizations/{organizationId}", "/oapi/v1/codeup")
        for methods, rest in (
            ("GET POST", "keys"),
            ("GET DELETE", "keys/{keyId}"),
            ("GET", "users/{userId}/keys"),
            ("POST", "repositories/{repositoryId}/keys"),
            ("POST", "repositories/{repositoryId}/keys/{keyId}/enable"),
            ("POST", "repositories/{repositoryId}/keys/{keyId}/disable"),
        )
    ),
    "alibaba-devops": """
        POST /api/v3/user/keys/create
        GET /api/v3/user/keys
        DELETE /api/v3/user/keys/{keyId}
        POST /organization/{organizationId}/sshKey
        POST /repository/{repositoryId}/keys/create
        POST /repository/{repositoryId}/keys/{keyId}/enable""",
}


@each_document
def test_routes_are_complete(name):
    expected = {
        (method, line.split()[-1]) for line in ROUTES[name].strip().splitlines() for method in line.split()[:-1]
    }  # fmt: skip
    assert {(op.method.upper(), op.path) for op in operations(DOCUMENTS[name])} == expected


if __name__ == "__main__":
    raise SystemExit(pytest.main([__file__, "-q"]))
