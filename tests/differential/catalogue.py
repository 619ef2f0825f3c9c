"""What the gateway's catalogue says of the operations, and what the gate reads of calls: both from the gateway's own code,
by the example program `judge`."""

import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
APIS = ROOT / "config" / "apis"
# Fits wherever a text is asked for, but for a repository: that is a number, or a path with an escaped slash.
ID = "465076de-dc36-4aec-80f5-ef9d8009428f"
REPOSITORY = "2813489"


@dataclass(frozen=True)
class Operation:
    """An operation that takes a body."""

    index: int
    name: str
    method: str
    target: str
    host: str
    media_type: str
    shape: dict
    examples: list

    @property
    def documented(self) -> list[str]:
        return sorted(_names(self.shape))

    def call(self, body: bytes) -> dict:
        return {"method": self.method, "target": self.target, "host": self.host, "headers": [["content-type", self.media_type]], "body": body.hex()}


def _names(shape):
    if shape["type"] == "array":
        return _names(shape["element"])
    names = set(shape.get("fields", {}))
    return names.union(*map(_names, shape.get("fields", {}).values()))


class Judge:
    """The gate's reading of calls."""

    def __init__(self, program: Path):
        self.program = program

    def operations(self) -> list[dict]:
        return json.loads(self._run("", "--operations"))

    def bodies(self) -> list[Operation]:
        """The operations that take a body."""
        taking = [operation for operation in self.operations() if operation["body"]]
        return [_operation(n, operation) for n, operation in enumerate(taking)]

    def read(self, calls: list[dict]) -> list[dict]:
        out = self._run("".join(json.dumps(call) + "\n" for call in calls)).split("\n")[:-1]
        assert len(out) == len(calls)
        return [json.loads(line) for line in out]

    def _run(self, text, *arguments):
        done = subprocess.run([self.program, APIS, *arguments], input=text, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout


def _operation(index, operation):
    body = operation["body"]
    example = body["example"]
    assert example is not None, f"{operation['id']} has no example"
    wanted = query(operation)
    host = re.sub(r"\((\w[^|)]*)[^)]*\)", r"\1", operation["hosts"][0]).replace("*", "cn-north-4")
    return Operation(
        index=index,
        name=f"{operation['service']}.{operation['id']}",
        method=operation["method"],
        target=path(operation) + (f"?{wanted}" if wanted else ""),
        host=host,
        media_type=body["media_type"],
        shape=body["shape"],
        examples=[example, _filled(body["shape"], example)],
    )


def path(operation: dict, raw: str | None = None) -> str:
    """A path of the operation; with `raw` where it takes an escaped slash."""
    sample = lambda name: (raw or REPOSITORY) if name in operation["raw_segments"] else _sample(operation["path"][name])  # noqa: E731
    return re.sub(r"\{(\w+)\}", lambda found: sample(found[1]), operation["template"])


def query(operation: dict) -> str | None:
    """The query that the operation needs, if it needs one."""
    return "&".join(f"{name}={_sample(field)}" for name, field in operation["query"].items() if field["required"]) or None


def _sample(field):
    return str(max(field["min"], 1)) if field["type"] == "integer" else ID[: field["max"]]


def _filled(shape, example):
    """The example with a value for each documented field, so that none of them stays untried."""
    match shape["type"]:
        case "object":
            example = example if isinstance(example, dict) else {}
            named = {name: _filled(field, example.get(name)) for name, field in shape["fields"].items()}
            return {**example, **named, **({"undocumented": [1, "x", {"a": None}]} if shape["additional"] else {})}
        case "array":
            return [_filled(shape["element"], element) for element in example or [None][: shape["max"]]]
        case "boolean":
            return False if example is None else example
        case "integer":
            return max(shape["min"], 1) if example is None else example
        case "any":
            return {"a": [1, 2.5, None, True]} if example is None else example
        case _:
            values = re.search(r"values: \[\"([^\"]*)", shape["meaning"])
            time = "2026-12-31T00:00:00Z" if shape["meaning"] == "DateTime" else ID
            return example if example is not None else (values[1] if values else time)
