"""Real JSON parsers, each in a process of its own: a line with a body goes in, a line with what was read comes out."""

import base64
import json
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import tools
from bodies import Case

READERS = tools.HERE / "readers"
SECONDS = 300
JARS = ["jackson-core.jar", "jackson-annotations.jar", "jackson-databind.jar", "gson.jar"]
# What a reader gives for a body that it does not take.
REFUSED = object()


@dataclass(frozen=True)
class Reader:
    """A parser, and how it is started in a folder of its own."""

    name: str
    command: Callable[["Reader", Path], list[str]]
    # Binds bodies to classes that are made of the catalogue, as servers do, and gives what is bound.
    binds: bool = False
    full: bool = False

    def read(self, cases: list[Case], folder: Path) -> list:
        """The reading of each case: a value, or `REFUSED`."""
        lines = "".join(f"{case.operation} {base64.b64encode(case.body).decode()}\n" for case in cases)
        done = subprocess.run(
            self.command(self, folder), input=lines, capture_output=True, text=True, timeout=SECONDS, check=False, cwd=folder, env=tools.environment()
        )
        out = done.stdout.split("\n")[:-1]
        assert done.returncode == 0 and len(out) == len(cases), f"{self.name}: {len(out)} of {len(cases)} lines\n{done.stderr[-2000:]}"
        return [_value(line[1:]) if line.startswith("=") else REFUSED for line in out]


def _value(text):
    try:
        return json.loads(text, object_pairs_hook=_no_name_twice)
    except ValueError:
        # No JSON: not what the gate read, whatever it is.
        return f"wrote {text}"


def _no_name_twice(pairs):
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a name that was kept twice would hide a difference")
    return value


def _python(reader, folder):
    return [str(Path(tools.sys.executable)), str(READERS / "read.py"), reader.name]


def _script(program, file, *options):
    return lambda reader, folder: [tools.program(program), *options, str(READERS / file)]


def _php(reader, folder):
    return [tools.program("php", "usr/bin/php8.2"), "-n", str(READERS / "read.php")]


def _ruby(reader, folder):
    return [tools.program("ruby", "usr/bin/ruby3.1"), "--disable-gems", str(READERS / "read.rb")]


def _java(reader, folder):
    classes = folder / "classes"
    paths = ":".join([str(classes), *map(tools.jar, JARS)])
    if not (classes / "Read.class").exists():
        sources = [READERS / "Read.java", folder / "Shapes.java"]
        subprocess.run([tools.program("javac"), "-nowarn", "-d", classes, "-cp", paths, *sources], check=True)
    return [tools.program("java"), "-Xss16m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-cp", paths, "Read", reader.name]


def _go(reader, folder):
    return [str(tools.go_program(READERS / "read.go", folder)), reader.name, str(folder / "shapes.json")]


ALL = [
    Reader("python", _python),
    Reader("orjson", _python),
    Reader("ujson", _python),
    Reader("rapidjson", _python),
    Reader("simdjson", _python),
    Reader("msgspec", _python),
    Reader("node", _script("node", "read.mjs")),
    Reader("jq", _script("jq", "read.jq", "--raw-input", "--raw-output", "--from-file")),
    Reader("perl", _script("perl", "read.pl")),
    Reader("php", _php),
    Reader("ruby", _ruby),
    Reader("jackson", _java),
    Reader("jackson-bind", _java, binds=True),
    Reader("gson", _java),
    Reader("gson-bind", _java, binds=True),
    Reader("go", _go, full=True),
    Reader("go-bind", _go, full=True, binds=True),
]


def write_shapes(shapes: list[dict], folder: Path):
    """The shapes of all bodies, as the binders take them: as data, and as Java."""
    (folder / "shapes.json").write_text(json.dumps(shapes))
    java = JavaClasses()
    types = [java.type(shape) for shape in shapes]
    fields = "\n".join(f"    public {type_} b{n};" for n, type_ in enumerate(types))
    (folder / "Shapes.java").write_text(
        "import com.fasterxml.jackson.annotation.JsonProperty;\nimport com.google.gson.annotations.SerializedName;\n"
        "import java.lang.reflect.Type;\nimport java.util.List;\n\npublic class Shapes {\n"
        f"{fields}\n    static final Type[] ALL = new Type[{len(types)}];\n"
        "    static {\n        try {\n            for (int n = 0; n < ALL.length; n++) ALL[n] = Shapes.class.getField(\"b\" + n).getGenericType();\n"
        "        } catch (NoSuchFieldException e) {\n            throw new IllegalStateException(e);\n        }\n    }\n"
        + "\n".join(java.classes)
        + "\n}\n"
    )


@dataclass
class JavaClasses:
    """Plain classes for the objects of shapes."""

    classes: list[str] = field(default_factory=list)

    def type(self, shape: dict) -> str:
        match shape["type"]:
            case "object":
                fields = [f"        @JsonProperty({json.dumps(n)}) @SerializedName({json.dumps(n)}) public {self.type(f)} f{i};" for i, (n, f) in enumerate(shape["fields"].items())]
                name = f"C{len(self.classes)}"
                self.classes.append(f"    public static class {name} {{\n" + "\n".join(fields) + "\n    }")
                return name
            case "array":
                return f"List<{self.type(shape['element'])}>"
            case other:
                return {"text": "String", "integer": "Long", "boolean": "Boolean", "any": "Object"}[other]
