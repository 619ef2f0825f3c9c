"""The gateway under test: the built binary with the shipped catalogue and policies, in front of the sandbox clouds;
what crosses in the clear, and what the gateway leaves on disk."""

import http.client
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlencode

import zstandard
from roads import CLOUD_NAMES, LOOPBACK, Certificates

ROOT = Path(__file__).resolve().parents[2]
READY_SECONDS = 30
# Longer than the gateway's own drain, so that a drain which does not end shows as an exit status and not as a kill.
STOP_SECONDS = 45
ZSTD_FRAME = b"\x28\xb5\x2f\xfd"

# Each has a plain listener of its own, for clients that take a base URL and so name no cloud in Host.
BOUND = ("huawei.ecs", "huawei.ims", "alibaba.codeup", "alibaba.devops")


class Tap:
    """Relays bytes and keeps them. So a test knows every secret that crossed, those of refused calls included, without
    asking the client."""

    def __init__(self, target, port=0):
        self.target = target
        self.crossed = []
        self._listener = socket.create_server((LOOPBACK, port))
        self.port = self._listener.getsockname()[1]
        self.address = f"{LOOPBACK}:{self.port}"
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


class Program:
    """A command of the binary that runs until it is stopped, with its log in a file."""

    def __init__(self, command, log):
        self.log = log
        with log.open("wb") as out:
            self._process = subprocess.Popen(command, stdout=out, stderr=out, stdin=subprocess.DEVNULL)

    def await_line(self, pattern):
        """The match of the line that says where it listens."""
        deadline = time.monotonic() + READY_SECONDS
        while not (found := re.search(pattern, self.log.read_text())):
            ended = self._process.poll() is not None
            if ended or time.monotonic() > deadline:
                self._process.kill()
                raise AssertionError(f"keyward did not start:\n{self.log.read_text()}")
            time.sleep(0.02)
        return found

    def stop(self, how):
        """As an init system does. The exit status."""
        self._process.send_signal(how)
        try:
            return self._process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return f"still running {STOP_SECONDS} s after {how.name}"


class Sandbox:
    """The clouds' side: what arrived there."""

    def __init__(self, binary, apis, log):
        self._program = Program([binary, "sandbox", "--listen", f"{LOOPBACK}:0", "--apis", apis], log)
        self.address = self._program.await_line(r"the sandbox clouds listen address=(\S+)")[1]
        host, _, port = self.address.rpartition(":")
        # What the gateway forwards is in the clear here, by whatever road it came.
        self.tap = Tap((host, int(port)))

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

    def stop(self):
        """The exit status."""
        self.tap.close()
        return self._program.stop(signal.SIGINT)


class Gateway:
    """`keyward serve` in a folder of its own, in front of `keyward sandbox`: a plain listener, one with TLS, and a
    plain one for each service of BOUND. On the clouds' own ports where their names lead here, else on free ones."""

    def __init__(self, binary, folder, callers):
        self.folder = Path(folder)
        self.certificates = Certificates(self.folder / "certificates")
        self._binary = str(binary)
        self._config = self.folder / "keyward.toml"
        apis = catalogue(self.folder / "apis")
        shutil.copytree(ROOT / "policies", self.folder / "policies")
        self.sandbox = Sandbox(self._binary, str(apis), self.folder / "sandbox.log")
        self._config.write_text(self._configuration())
        (self.folder / "callers.toml").write_text(self._callers(callers))
        self._program = Program([self._binary, "serve", "--config", str(self._config)], self.folder / "keyward.log")
        addresses = r"keyward serves gateway=\[([^]]*)\] admin=(\S+)"
        listeners, self.admin = self._program.await_line(addresses).groups()
        plain, self.tls, *bound = listeners.split(", ")
        self._taps = [tap(plain, 80 if CLOUD_NAMES else 0), *map(tap, bound)]
        self.plain = self._taps[0].address
        self.bound = {service: tap.address for service, tap in zip(BOUND, self._taps[1:], strict=True)}

    def _configuration(self):
        certificates = ", ".join(f'{{ chain = "{chain}", key = "{key}" }}' for chain, key in self.certificates.pairs)
        upstream = f'url = "http://{self.sandbox.tap.address}"\n'
        bound_listeners = "".join(f'[[listener]]\naddress = "{LOOPBACK}:0"\nservice = "{name}"\n' for name in BOUND)
        bound_upstreams = "".join(f'[[upstream]]\nservice = "{name}"\n{upstream}' for name in BOUND)
        return f"""
[[listener]]
address = "{LOOPBACK}:0"

[[listener]]
address = "{LOOPBACK}:{443 if CLOUD_NAMES else 0}"
[listener.tls]
certificates = [{certificates}]

{bound_listeners}
[admin]
address = "{LOOPBACK}:0"

[policies]
dir = "policies"

[audit]
dir = "audit"
digest_key_file = "digest.key"

{bound_upstreams}
[[upstream]]
hosts = ["*.*.myhuaweicloud.com", "openapi-rdc.aliyuncs.com", "devops.*.aliyuncs.com", "codeup.example.com"]
{upstream}"""

    def _callers(self, callers):
        """The callers file, with tokens as `keyward digest` prints them."""
        groups = sorted({caller.group for caller in callers})
        text = f"groups = {json.dumps(groups + ['platform-admins', 'auditors'])}\n"
        for caller in callers:
            tokens = [self._digest(caller.token)]
            text += f'\n[callers.{caller.name}]\nkind = "robot"\ngroups = ["{caller.group}"]\ntokens = {tokens}\n'
            text += f'access_keys = ["{caller.key}"]\n' if caller.key else ""
        return text

    def _digest(self, secret):
        command = [self._binary, "digest", "--config", str(self._config)]
        return subprocess.run(command, input=secret, capture_output=True, text=True, check=True).stdout.strip()

    def streams(self):
        """All that crossed in the clear, towards the gateway and behind it."""
        return [stream for tap in [*self._taps, self.sandbox.tap] for stream in tap.streams()]

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
        """The exit status of the gateway and that of the sandbox."""
        statuses = (self._program.stop(signal.SIGTERM), self.sandbox.stop())
        for each in self._taps:
            each.close()
        return statuses

    def logs(self):
        """What both said."""
        return "".join(path.read_text() for path in sorted(self.folder.glob("*.log")))

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


def tap(address, port=0):
    """A tap in front of an address."""
    host, _, target = address.rpartition(":")
    return Tap((host, int(target)), port)


def catalogue(folder):
    """The shipped documents, changed as an operator would: one has the calls of codeup-repositories.yaml, and one takes
    for absence what test_huawei_mcp.py's client writes."""
    shutil.copytree(ROOT / "config" / "apis", folder)
    images = folder / "huawei-ims.yaml"
    images.write_text("x-keyward-absent: [null-field, empty-object]\n" + images.read_text())
    codeup = folder / "alibaba-codeup.yaml"
    added = (Path(__file__).parent / "codeup-repositories.yaml").read_text().partition("paths:\n")[2]
    codeup.write_text(codeup.read_text().replace("\npaths:\n", f"\npaths:\n{added}", 1))
    return folder


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
    return Path(os.environ.get("KEYWARD_BIN", ROOT / "target" / "debug" / "keyward"))
