"""Reads JSON with a parser of Python: the standard one, or one of the packages that bind parsers written in C and C++."""

import base64
import importlib
import json
import sys

PARSERS = {
    "python": lambda: json.loads,
    "orjson": lambda: importlib.import_module("orjson").loads,
    "ujson": lambda: importlib.import_module("ujson").loads,
    "rapidjson": lambda: importlib.import_module("rapidjson").loads,
    "simdjson": lambda: importlib.import_module("simdjson").loads,
    "msgspec": lambda: importlib.import_module("msgspec").json.decode,
}

parse = PARSERS[sys.argv[1]]()
for line in sys.stdin:
    body = base64.b64decode(line.split()[1])
    try:
        # Surrogates that a parser lets through are written as escapes again.
        print("=" + json.dumps(parse(body)))
    except Exception as error:  # noqa: BLE001: each parser has errors of its own
        print("!" + ascii(str(error)))
