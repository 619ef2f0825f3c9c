"""Real servers on loopback. Each logs every request that it reads, as it reads it: a line of seven fields in hexadecimal."""

import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import tools

SERVERS = tools.HERE / "servers"
READY_SECONDS = 30


@dataclass(frozen=True)
class Read:
    """A request as a server read it. Of a long body a server may tell the beginning alone."""

    method: bytes
    target: bytes
    path: bytes
    query: bytes
    host: bytes
    case: bytes
    body: bytes
    length: int
    digest: str


class Server:
    """A server in a folder of its own."""

    def __init__(self, kind: "Kind", folder: Path):
        folder.mkdir(parents=True)
        self.kind, self.name, self.log = kind, kind.name, folder / "log"
        self.log.touch()
        # Some servers give up root before they log.
        self.log.chmod(0o666)
        self.port = free_port()
        command, more = kind.command(folder, self.port)
        out = (folder / "out").open("wb")
        env = {**tools.environment(), **more, "LOG": str(self.log)}
        self._process = subprocess.Popen(command, stdout=out, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, cwd=folder, env=env, start_new_session=True)
        deadline = time.monotonic() + READY_SECONDS
        while not reachable(self.port):
            ended = self._process.poll() is not None or time.monotonic() > deadline
            assert not ended, f"{self.name} does not start\n{(folder / 'out').read_text()[-2000:]}"
            time.sleep(0.05)

    def read(self, since: int = 0) -> list[Read]:
        """All that it has read and not refused itself, from a place in its log on."""
        return [read for line in self.log.read_bytes()[since:].split(b"\n")[:-1] if (read := self.kind.line(line))]

    def stop(self):
        # The whole group: some have workers.
        os.killpg(self._process.pid, signal.SIGTERM)
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


def _whole(fields: list[bytes]) -> Read:
    return Read(*fields, length=len(fields[-1]), digest=hashlib.sha256(fields[-1]).hexdigest())


def _fields(line: bytes) -> Read:
    return _whole([bytes.fromhex(field.decode()) for field in line.split(b" ")])


@dataclass(frozen=True)
class Kind:
    """How a server is started, and how its log is read."""

    name: str
    command: Callable[[Path, int], tuple[list, dict]]
    line: Callable[[bytes], Read | None] = _fields
    full: bool = False
    # What stays encoded in the path that it gives to its applications.
    keeps: tuple[bytes, ...] = ()


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def reachable(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


NGINX = r"""
daemon off; master_process off; pid nginx.pid; error_log stderr crit;
events {{ worker_connections 512; }}
http {{
    access_log off;
    client_body_temp_path t1; proxy_temp_path t2; fastcgi_temp_path t3; uwsgi_temp_path t4; scgi_temp_path t5;
    client_max_body_size 4m; client_body_buffer_size 4m; large_client_header_buffers 8 64k; keepalive_timeout 60;
    log_format read escape=json '["$status","$request_method","$request_uri","$uri","$args","$http_host","$http_x_case","$request_body"]';
    server {{
        listen 127.0.0.1:{port}; access_log {folder}/log read;
        # nginx reads a body for whoever wants it: its own second server.
        location / {{ proxy_pass http://127.0.0.1:{inner}; }}
    }}
    server {{ listen 127.0.0.1:{inner}; location / {{ default_type application/json; return 200 '{{}}'; }} }}
}}
"""


def _nginx(folder, port):
    (folder / "conf").write_text(NGINX.format(folder=folder, port=port, inner=free_port()))
    return [tools.program("nginx", "usr/sbin/nginx"), "-p", folder, "-c", folder / "conf", "-e", "stderr"], {}


def _nginx_line(line):
    status, *fields = json.loads(line.decode("utf-8", "surrogateescape"))
    return _whole([field.encode("utf-8", "surrogateescape") for field in fields]) if int(status) < 400 else None


HAPROXY = """
global
    log fd@1 len 65535 format raw local0
    tune.bufsize 131072
defaults
    mode http
    timeout client 60s
    timeout http-request 10s
    timeout connect 5s
    timeout server 5s
    option http-buffer-request
    option dontlognull
frontend reader
    bind 127.0.0.1:{port}
    log global
    # A line ends at 65535 bytes: a long target stands in it as it is, and of a long body its digest.
    log-format "%[var(txn.method)] %[var(txn.path)] %[var(txn.query)] %[var(txn.host)] %[var(txn.case)] %[var(txn.body)] %[var(txn.length)] %[var(txn.digest)] %[var(txn.target)]"
    http-request set-var(txn.method) method,hex
    http-request set-var(txn.path) path,hex
    http-request set-var(txn.query) query,hex
    http-request set-var(txn.host) req.hdr(host),hex
    http-request set-var(txn.case) req.hdr(x-case),hex
    http-request set-var(txn.body) req.body,bytes(0,1000),hex
    http-request set-var(txn.length) req.body_len
    http-request set-var(txn.digest) req.body,sha2(256),hex
    http-request set-var(txn.target) url
    http-request return status 200 content-type application/json string {{}}
"""


def _haproxy(folder, port):
    (folder / "conf").write_text(HAPROXY.format(port=port))
    # It logs where it speaks.
    (folder / "log").unlink()
    (folder / "log").symlink_to("out")
    return [tools.program("haproxy", "usr/sbin/haproxy"), "-db", "-f", folder / "conf"], {}


def _haproxy_line(line):
    *fields, length, digest, target = line.split(b" ", 8)
    if len(fields) != 6 or fields[0] in (b"", b"-"):
        return None
    method, path, query, host, case, body = (bytes.fromhex(field.strip(b"-").decode()) for field in fields)
    return Read(method, target, path, query, host, case, body, int(length), digest.decode().lower())


APACHE = """
ServerRoot {folder}
PidFile {folder}/pid
ServerName localhost
Listen 127.0.0.1:{port}
ErrorLog {folder}/errors
LoadModule mpm_event_module {modules}/mod_mpm_event.so
LoadModule authz_core_module {modules}/mod_authz_core.so
LoadModule alias_module {modules}/mod_alias.so
LoadModule env_module {modules}/mod_env.so
LoadModule cgid_module {modules}/mod_cgid.so
User #65534
Group #65534
ScriptSock {folder}/cgid
ScriptAlias / {folder}/apache.pl/
PassEnv LOG
# Else it refuses the escaped slash that some operations take.
AllowEncodedSlashes NoDecode
KeepAliveTimeout 60
LimitRequestLine 65536
"""


def _apache(folder, port):
    modules = next(d for d in (Path("/usr/lib/apache2/modules"), tools.UNPACKED / "usr/lib/apache2/modules") if d.exists())
    shutil.copy(SERVERS / "apache.pl", folder)
    (folder / "conf").write_text(APACHE.format(folder=folder, port=port, modules=modules))
    return [tools.program("apache2", "usr/sbin/apache2"), "-f", folder / "conf", "-DFOREGROUND"], {}


def _node(folder, port):
    return [tools.program("node", "usr/bin/node"), SERVERS / "node.mjs", str(port), folder / "log"], {}


def _uvicorn(http):
    def command(folder, port):
        return [tools.sys.executable, "-m", "uvicorn", "--app-dir", SERVERS, "--http", http, "--port", str(port), "--no-access-log", "asgi:app"], {}

    return command


def _hypercorn(folder, port):
    return [tools.sys.executable, "-m", "hypercorn", "--bind", f"127.0.0.1:{port}", "--worker-class", "asyncio", "asgi:app"], {"PYTHONPATH": str(SERVERS)}


def _go(folder, port):
    return [tools.go_program(SERVERS / "go.go", folder), f"127.0.0.1:{port}", folder / "log"], {}


ALL = [
    Kind("nginx", _nginx, _nginx_line),
    Kind("haproxy", _haproxy, _haproxy_line, keeps=(b"*",)),
    Kind("apache", _apache, keeps=(b"%2F",)),
    Kind("node", _node, keeps=(b"*",)),
    Kind("uvicorn-h11", _uvicorn("h11")),
    Kind("uvicorn-httptools", _uvicorn("httptools")),
    Kind("hypercorn", _hypercorn),
    Kind("go", _go, full=True),
]
