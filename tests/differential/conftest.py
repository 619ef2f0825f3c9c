"""What the gate lets pass, other programs must read as the gate did: other JSON parsers, and other servers."""

import os
import subprocess
from pathlib import Path

import catalogue
import pytest
import tools


def example(name):
    folder = Path(os.environ.get("KEYWARD_EXAMPLES", catalogue.ROOT / "target" / "debug" / "examples"))
    assert (folder / name).is_file(), f"{folder / name} is not there: run `cargo build --example {name}`"
    return folder / name


@pytest.fixture(scope="session")
def judge():
    return catalogue.Judge(example("judge"))


@pytest.fixture(scope="session")
def corpus(tmp_path_factory):
    """The bytes of tests/corpus, where there is one: the files of a folder for each kind."""
    if not (catalogue.ROOT / "tests" / "corpus").is_dir():
        return lambda kind: []
    folder = tmp_path_factory.mktemp("corpus")
    subprocess.run([example("corpus-seeds"), folder], check=True, capture_output=True)
    return lambda kind: [(file.name, file.read_bytes()) for file in sorted((folder / kind).iterdir())]


@pytest.fixture(scope="session")
def operations(judge):
    return judge.bodies()


@pytest.fixture(scope="session")
def report(tmp_path_factory):
    """Where the full run writes what it saw; nothing is asserted of it."""
    folder = catalogue.ROOT / "target" / "differential" if tools.FULL else tmp_path_factory.mktemp("report")
    folder.mkdir(parents=True, exist_ok=True)
    return folder
