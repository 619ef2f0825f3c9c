"""The gateway under test: the built binary as `keyward demo`, what crosses its listener, and what it leaves on disk."""

import http.client
import json
import os
import re
import signal
import socket
import subprocess
import threading
import time
import tomllib
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlencode, urlsplit

import zstandard

READY_SECONDS = 30
# Longer than the gateway's own drain, so that a drain which does not end shows as an exit status and not as a kill.
STOP_SECONDS = 45
ZSTD_FRAME = b"\x28\xb5\x2f\xfd"


class Tap:
    """Relays bytes to the gateway and keeps them. So a test knows every secret that crossed, those of refused calls
    included, without asking the client."""

    def __init__(self, target):
        self.target = target
        self.crossed = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        host, port = self._listener.getsockname()
        self.address = f"{host}:{port}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            gateway = socket.create_connection(self.target)
            for source, sink in ((client, gateway), (gateway, client)):
                kept = bytearray()
                self.crossed.append(kept)
                threading.Thread(target=self._relay, args=(source, sink, kept), daemon=True).start()

    @staticmethod
    def _relay(source, sink, kept):
        try:
            while data := source.recv(65536):
                # Kept first: whoever has seen an answer finds it here.
                kept += data
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            # Either side has left; the other one is told.
            for end in (source, sink):
                with suppress(OSError):
                    end.shutdown(socket.SHUT_RDWR)

    def streams(self):
        """All that crossed, one stream for each direction of each connection."""
        return [bytes(kept) for kept in self.crossed]

    def close(self):
        self._listener.close()


class Sandbox:
    """The clouds' side: what arrived there."""

    def __init__(self, address):
        self.address = address

    def _ask(self, method, path):
        connection = http.client.HTTPConnection(self.address, timeout=10)
        try:
            connection.request(method, path, headers={"Host": "sandbox.local"})
            answer = connection.getresponse()
            body = answer.read()
            assert answer.status == 200, body
            return json.loads(body)
        finally:
            connection.close()

    def reset(self):
        """Back to the first state, with nothing seen."""
        self._ask("POST", "/_sandbox/reset")

    def seen(self, action=None):
        """The calls that arrived, oldest first; of one action, if given."""
        return [call for call in self._ask("GET", "/_sandbox/seen")["calls"] if action in (None, call["action"])]


class Gateway:
    """`keyward demo` in a folder of its own, on free ports."""

    def __init__(self, binary, folder):
        self.folder = Path(folder)
        self.dir = self.folder / "demo"
        # Beside the working folder, so that the logs are searched for secrets too.
        self.log = self.folder / "log"
        self._out = self.folder / "out"
        command = [str(binary), "demo", "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--dir", str(self.dir)]
        with self._out.open("wb") as out, self.log.open("wb") as log:
            self._process = subprocess.Popen(command, stdout=out, stderr=log, stdin=subprocess.DEVNULL)
        try:
            self._find_addresses()
        except BaseException:
            self._process.kill()
            raise

    def _find_addresses(self):
        deadline = time.monotonic() + READY_SECONDS
        # The line comes after the demo's own calls: from then on nobody else calls.
        line = re.compile(r"The gateway listens on http://([\d.]+):(\d+), its admin on http://([\d.:]+\d)")
        while not (found := line.search(self._out.read_text())):
            self._still_starting(deadline)
        self.tap = Tap((found[1], int(found[2])))
        self.address = self.tap.address
        self.port = int(self.address.rpartition(":")[2])
        self.admin = found[3]
        while self.ask_admin("/readyz")[0] != 200:
            self._still_starting(deadline)
        settings = tomllib.loads((self.dir / "keyward.toml").read_text())
        self.sandbox = Sandbox(urlsplit(settings["upstream"][-1]["url"]).netloc)

    def _still_starting(self, deadline):
        ended = self._process.poll() is not None
        assert not ended and time.monotonic() < deadline, f"keyward did not start:\n{self.log.read_text()}"
        time.sleep(0.05)

    def ask_admin(self, path):
        """Status and body of a GET at the admin listener."""
        connection = http.client.HTTPConnection(self.admin, timeout=10)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read().decode()
        finally:
            connection.close()

    def stop(self):
        """As an init system does. The exit status."""
        self._process.send_signal(signal.SIGTERM)
        try:
            return self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return f"still running {STOP_SECONDS} s after SIGTERM"
        finally:
            self.tap.close()

    def on_disk(self):
        """Every file that the run left, by name: its bytes, and behind them what is compressed in them. Without the
        second part a search of the journal would find nothing, whatever is in it."""
        files = {}
        for path in sorted(path for path in self.folder.rglob("*") if path.is_file()):
            raw = path.read_bytes()
            files[str(path.relative_to(self.folder))] = raw + b"".join(unpacked(raw))
        return files

    def exchange(self, audit_id):
        """An exchange as auditors get it: both records and what was kept of the bodies."""
        status, body = self.ask_admin(f"/api/v1/exchanges/{audit_id}")
        assert status == 200, body
        return json.loads(body)

    def last(self, action, decision="allow"):
        """The latest exchange of an action. For clients that show no header of an answer which is a success."""
        query = urlencode({"action": action, "decision": decision, "limit": 1})
        status, body = self.ask_admin(f"/api/v1/exchanges?{query}")
        assert status == 200, body
        [exchange] = json.loads(body)["exchanges"]
        return self.exchange(exchange["id"])


def unpacked(raw):
    """What every zstd frame in the bytes holds."""
    at = raw.find(ZSTD_FRAME)
    while at >= 0:
        # Four bytes may look like a frame's beginning and be none.
        with suppress(zstandard.ZstdError):
            yield zstandard.ZstdDecompressor().decompressobj().decompress(raw[at:])
        at = raw.find(ZSTD_FRAME, at + 1)


def binary():
    """The binary under test."""
    root = Path(__file__).resolve().parents[2]
    return Path(os.environ.get("KEYWARD_BIN", root / "target" / "debug" / "keyward"))
