"""Where the other readers are: on PATH, or unpacked by `setup` beside the virtual environment."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

UNPACKED = Path(sys.prefix) / "debian"
HERE = Path(__file__).resolve().parent
FULL = os.environ.get("KEYWARD_DIFFERENTIAL") == "full"


def environment() -> dict[str, str]:
    """For programs that stand where they were not built to stand."""
    libraries = [UNPACKED / "usr/lib/x86_64-linux-gnu", UNPACKED / "usr/lib/aarch64-linux-gnu"]
    ruby = [UNPACKED / "usr/lib/ruby/3.1.0", *(directory / "ruby/3.1.0" for directory in libraries)]
    join = lambda paths: os.pathsep.join(map(str, paths))  # noqa: E731
    return {**os.environ, "LD_LIBRARY_PATH": join(libraries), "RUBYLIB": join(ruby)}


def program(name: str, *places: str) -> str:
    """The program of that name. One that is missing fails the run in CI, and is skipped, and named, elsewhere."""
    found = shutil.which(name) or next((str(p) for p in (UNPACKED / place for place in places) if p.exists()), None)
    return found or missing(name)


def go_program(source: Path, folder: Path) -> Path:
    """A program in Go, built in a folder."""
    binary = folder / source.stem
    if not binary.exists():
        go = program("go", "usr/lib/go-1.19/bin/go")
        root = {"GOROOT": str(Path(go).parents[1])} if go.startswith(str(UNPACKED)) else {}
        env = {**environment(), **root, "GOCACHE": str(UNPACKED.parent / "go-cache"), "GO111MODULE": "off"}
        subprocess.run([go, "build", "-o", binary, source], check=True, env=env, cwd=folder)
    return binary


def jar(name: str) -> str:
    """A Java archive of Debian's."""
    places = [Path("/usr/share/java"), UNPACKED / "usr/share/java"]
    found = next((place / name for place in places if (place / name).exists()), None)
    return str(found or missing(name))


def missing(name: str):
    why = f"{name} is missing: tests/differential/setup could not get it"
    if os.environ.get("CI"):
        pytest.fail(why)
    pytest.skip(why)
