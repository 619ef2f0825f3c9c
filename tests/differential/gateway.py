"""The gateway under test: the built binary with the shipped catalogue, a policy that permits everything, and a real server
behind each of its hosts. So all that its own checks let pass reaches a server."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import catalogue
from servers import READY_SECONDS, Server, free_port, reachable

# Longer than the gateway's own drain, so that a drain which does not end shows as an exit status.
STOP_SECONDS = 30
PAGE = 500

POLICY = """@id("all") @owner("tests") @message("All may.")
permit (principal, action, resource);
"""

CONFIGURATION = """
[gateway]
drain_seconds = 10

[[listener]]
address = "127.0.0.1:{port}"

[admin]
address = "127.0.0.1:{admin}"

[catalog]
dir = {apis}

[policies]
dir = "policies"

[audit]
dir = "audit"

[limits]
body_seconds = 2
idle_seconds = 5
"""


class Gateway:
    """`keyward serve`, with `SERVICE.SERVER.test` as a host of each service on each server."""

    def __init__(self, folder: Path, services: list[str], servers: list[Server]):
        folder.mkdir(parents=True)
        self.folder, self.port = folder, free_port()
        (folder / "policies").mkdir()
        (folder / "policies" / "all.cedar").write_text(POLICY)
        (folder / "callers.toml").write_text("groups = []\n")
        text = CONFIGURATION.format(port=self.port, admin=free_port(), apis=json.dumps(str(catalogue.APIS)))
        for service in services:
            text += f'\n[[service]]\nname = "{service}"\nhosts = ["{host_of(service, "*")}"]\n'
        for server in servers:
            hosts = json.dumps([host_of(service, server.name) for service in services])
            text += f'\n[[upstream]]\nhosts = {hosts}\nurl = "http://127.0.0.1:{server.port}"\n'
        (folder / "keyward.toml").write_text(text)
        self.log = folder / "log"
        with self.log.open("wb") as log:
            command = [binary(), "serve", "--config", folder / "keyward.toml"]
            self._process = subprocess.Popen(command, stdout=log, stderr=log, stdin=subprocess.DEVNULL)
        deadline = time.monotonic() + READY_SECONDS
        while not reachable(self.port):
            ended = self._process.poll() is not None or time.monotonic() > deadline
            assert not ended, f"keyward does not start\n{self.log.read_text()[-4000:]}"
            time.sleep(0.05)

    def stop(self):
        """Stops it. It must drain, close its journal and say that all went well."""
        self._process.send_signal(signal.SIGTERM)
        try:
            status = self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            raise
        assert status == 0, self.log.read_text()[-4000:]

    def exchanges(self) -> list[dict]:
        """All exchanges on record, after the stop."""
        found, cursor = [], []
        while True:
            command = [binary(), "audit", "query", "--dir", self.folder / "audit", "--format", "json", "--limit", str(PAGE), *cursor]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            page = json.loads(done.stdout)
            found += page["exchanges"]
            if not page.get("next"):
                return found
            cursor = ["--cursor", page["next"]]


def host_of(service: str, server: str) -> str:
    return f"{service.replace('.', '-')}.{server}.test"


def binary() -> Path:
    path = Path(os.environ.get("KEYWARD_BIN", catalogue.ROOT / "target" / "debug" / "keyward"))
    assert path.is_file(), f"{path} is not there: run `cargo build`, or name a binary in KEYWARD_BIN"
    return path
