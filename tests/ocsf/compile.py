#!/usr/bin/env python3
"""Makes api_activity.schema.json: what OCSF publishes of its class API Activity, as JSON Schema.

    compile.py CHECKOUT TAG > api_activity.schema.json

CHECKOUT is a git checkout of https://github.com/ocsf/ocsf-schema (Apache-2.0). Taken over are facts alone: names, types,
which are required, enumerations, patterns, and of which attributes one must be there; no texts. Objects that the export does
not use are left out, and so are attributes that the schema calls deprecated: an event that holds one does not fit.
"""

import json
import subprocess
import sys

CLASS, CATEGORY, PROFILES = "api_activity", "application", ["security_control"]
OBJECTS = """actor api authorization group http_header http_request http_response key_value_object metadata network_endpoint
    policy product programmatic_credential request resource_details response service url user""".split()
PRIMITIVE = {"string_t": "string", "integer_t": "integer", "long_t": "integer", "float_t": "number", "boolean_t": "boolean"}

checkout, tag = sys.argv[1:]


def read(path):
    return json.loads(subprocess.run(["git", "-C", checkout, "show", f"{tag}:{path}.json"], check=True, capture_output=True).stdout)


dictionary = read("dictionary")
types = dictionary["types"]["attributes"]


def paths(folder):
    listed = subprocess.run(["git", "-C", checkout, "ls-tree", "-r", "--name-only", tag, folder], check=True, capture_output=True, text=True)
    return {p.rsplit("/", 1)[-1].removesuffix(".json"): p.removesuffix(".json") for p in listed.stdout.split()}


EVENTS, OBJECT_PATHS = paths("events/"), paths("objects/")


def attributes(definition):
    """The attributes of one file, those of the profiles that it includes among them."""
    found = {}
    for include in definition["attributes"].get("$include", []):
        profile = read(include.removesuffix(".json"))
        if profile["name"] in PROFILES:
            found.update(profile["attributes"])
    for name, own in definition["attributes"].items():
        if name != "$include" and own.get("profile") in (None, *PROFILES):
            found[name] = {**found.get(name, {}), **own}
    return found


def inherited(name, where):
    """All attributes of a class or object, and the constraints that are in force."""
    definition = read(where[name])
    parent = definition.get("extends")
    found, constraints = inherited(parent, where) if parent else ({}, {})
    for attribute, own in attributes(definition).items():
        merged = {**found.get(attribute, {}), **own}
        enum = {**found.get(attribute, {}).get("enum", {}), **own.get("enum", {})}
        found[attribute] = {**merged, **({"enum": enum} if enum else {})}
    return found, definition.get("constraints", constraints)


def of_type(name):
    if name == "object" or name == "json_t":
        return {}
    if name in PRIMITIVE:
        return {"type": PRIMITIVE[name]}
    if name in types:
        facts = types[name]
        schema = of_type(facts["type"])
        schema.update({"pattern": facts["regex"]} if "regex" in facts else {})
        schema.update({"maxLength": facts["max_len"]} if "max_len" in facts else {})
        schema.update({"minimum": facts["range"][0], "maximum": facts["range"][1]} if "range" in facts else {})
        return schema
    return {"$ref": f"#/$defs/{name}"} if name in OBJECTS else None


def of(name, where):
    found, constraints = inherited(name, where)
    properties, required = {}, []
    for attribute, own in sorted(found.items()):
        facts = {**dictionary["attributes"][attribute], **own}
        enum = {**dictionary["attributes"][attribute].get("enum", {}), **own.get("enum", {})}
        schema = of_type(facts["type"])
        if facts.get("requirement") == "required":
            required.append(attribute)
        if schema is None or "@deprecated" in facts:
            continue
        if enum:
            schema["enum"] = sorted(int(value) if schema["type"] == "integer" else value for value in enum)
        properties[attribute] = {"type": "array", "items": schema} if facts.get("is_array") else schema
    schema = {"type": "object", "additionalProperties": False, "properties": properties}
    schema.update({"required": required} if required else {})
    if "at_least_one" in constraints:
        schema["anyOf"] = [{"required": [attribute]} for attribute in constraints["at_least_one"]]
    return schema


event = of(CLASS, EVENTS)
category = read("categories")["attributes"][CATEGORY]["uid"]
uid = category * 1000 + read(EVENTS[CLASS])["uid"]
event["properties"]["category_uid"] = {"const": category}
event["properties"]["class_uid"] = {"const": uid}
event["properties"]["type_uid"] = {"enum": [uid * 100 + activity for activity in event["properties"]["activity_id"]["enum"]]}
version = read("version")["version"]
definitions = {name: of(name, OBJECT_PATHS) for name in OBJECTS}
definitions["metadata"]["properties"]["version"] = {"const": version}
print(json.dumps({
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "$comment": f"Facts of OCSF {version}, class {CLASS} with profiles {', '.join(PROFILES)}: made by compile.py from "
                f"https://github.com/ocsf/ocsf-schema, tag {tag}",
    **event,
    "$defs": definitions,
}, indent=1, sort_keys=True))
