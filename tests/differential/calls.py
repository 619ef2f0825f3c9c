"""Requests to compare readings of: seeded mutations of the calls that the catalogue knows, as the bytes that a hostile client
would send. The same seed gives the same cases."""

import json
import random
from collections.abc import Callable
from dataclasses import dataclass, field

SEED = 20260802

# Put into a path somewhere, or behind it.
PATH_PIECES = """/ // /. /.. /./ /../ %2e %2E%2E %2f %2F ..%2F %2F..%2F %5c \\ ; ;a=b ;/ %3b %3f ? ?? # %23 %00 %0a %0d%0a %20 + %25 %252e %25%32%65
    %c0%ae %c0%af %e0%80%af %u002e %zz % %4 a A ~ - _ . * ' ( ) ! $ & , = : @ | ^ [ ] { } < > " ` %41 %7e %2d %E4%BD%A0 %e4%bd%a0 %ff .json .php/x %09""".split()
PATH_BYTES = [b" ", b"\t", b"\xe4\xbd\xa0", b"\x80", b"\x00", b"\x0b", b"\x7f", b"\r", b"\n", b"\\x2e"]
QUERIES = """a=1 a=1&a=2 a[]=1&a[]=2 &  && a & =1 a== a=1;b=2 a=%zz a=% a=%00 a=%26b a=+ a=%2B a=b+c a=../.. a=/x?y a=# %61=1&a=2 A=1&a=2 a=%c0%af a=%E4%BD%A0
    limit=1 limit=1&limit=2 limit=01 limit=%31 Limit=1 li%6Dit=1 _method=DELETE x-http-method-override=DELETE accessToken=x organizationId=o callback=f ?""".split()
VERSIONS = ["HTTP/1.1"] * 6 + ["HTTP/1.0", "HTTP/1.2", "HTTP/2.0", "http/1.1", "HTTP/1.1 ", "HTTP/01.1", "HTTP/1.10", "HTTP/0.9", "", "HTTP/1.1 x"]
METHODS = """GET HEAD POST PUT PATCH DELETE OPTIONS TRACE CONNECT get Post PROPFIND GET\t \tGET G@T DELETE, POST/ PRI M-SEARCH""".split(" ")
HEADERS = """X-A: 1|X-A : 1|X-A:1|X-A:|X-A:  1  |X-A:\t1|X-A|: 1| X-A: 1|X-A: 1\r\n folded|X-A: 1\r\n\tContent-Length: 9|X A: 1|X_A: 1|Content_Length: 9|X-A: \x00|X-A: a\rb|X-A: a\nb|X-A: \x80|X-A: \xe9|X(A): 1
Host: other.test|host: other.test|Host : other.test|X-Host: other.test|X-Forwarded-Host: other.test|X-Forwarded-Proto: https|Forwarded: host=other.test|X-Original-URL: /other|X-Rewrite-URL: /other|X-Forwarded-Prefix: /other
X-HTTP-Method-Override: DELETE|X-HTTP-Method: DELETE|X-Method-Override: DELETE|Connection: close|Connection: keep-alive|Connection: X-A, close|Connection: Content-Length|Connection: Host|Connection: upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__
Upgrade: websocket|Keep-Alive: timeout=5|Proxy-Connection: close|TE: trailers|TE: chunked|Trailer: Host|Expect: 100-continue|Expect: 100-Continue|Expect: 200-ok|Content-Encoding: gzip|Content-Encoding: identity|Content-Type: text/plain|Content-Type: application/json
Content-Length: 0|Content-Length: 5|Content-Length: +5|Content-Length: 5, 5|Content-Length: 05|Content-Length: 0x5|Content-Length: -1|Content-Length: |Content-Length : 5|Content-Length:5|content-length: 5|Content-Length: 5\r\nContent-Length: 6|Content-Length: 18446744073709551617
Transfer-Encoding: chunked|Transfer-Encoding: Chunked|Transfer-Encoding: chunked, chunked|Transfer-Encoding: gzip, chunked|Transfer-Encoding: chunked, identity|Transfer-Encoding: identity|Transfer-Encoding: xchunked|Transfer-Encoding: chunked;q=1|Transfer-Encoding : chunked|Transfer-Encoding:\tchunked|Transfer-Encoding:\x0bchunked|Transfer-Encoding: "chunked"|Transfer-Encoding: \r\n chunked|Transfer-Encoding: chunked\r\nTransfer-Encoding: identity|transfer-encoding: chunked|X: y\nTransfer-Encoding: chunked|Transfer_Encoding: chunked
Accept-Encoding: gzip, br|Accept: */*|Cookie: a=b; a=c|Range: bytes=0-1|If-None-Match: *|Authorization: Basic eDp5|X-Auth-Token: x|Via: 1.1 x|Max-Forwards: 0|Date: x|Early-Data: 1|Content-Location: /other|Destination: /other|Transfer-Encoding-X: chunked""".replace("\n", "|").split("|")
HOSTS = ["{host}", "{HOST}", "{host}:80", "{host}.", "{host}:", " {host}", "{host} ", "{host},other.test", "{host}@other.test", "other.test", "", "{host}:80:80", "{host}/", "{host}?", "[::1]"]
CHUNK_SIZES = ["{n:x}", "{n:X}", "0{n:x}", "00000000{n:x}", "{n:x};a=b", "{n:x} ", " {n:x}", "{n:x};a=\"\r\n\"", "0x{n:x}", "+{n:x}", "-{n:x}", "{n:x}\t", "{n:x};\n", "ffffffffffffffff{n:x}", "{n:x}\x00", "{n:x}_"]
CHUNK_ENDS = ["\r\n"] * 8 + ["\n", "\r", "", "\r\n\r\n", "\n\r\n", "x\r\n"]
LAST_CHUNKS = ["0\r\n\r\n"] * 6 + ["0\n\n", "0\r\n\n", "00\r\n\r\n", "0;a=b\r\n\r\n", "0\r\nHost: other.test\r\n\r\n", "0\r\nX-A: 1\r\n\r\n", "0\r\n", "", "0\r\nContent-Length: 5\r\n\r\n", "0\r\n \r\n\r\n"]


@dataclass
class Request:
    """A request in parts, each as it will stand on the wire. `{host}` in a header is the server's host."""

    method: str
    path: bytes
    query: str | None
    service: str
    body: bytes
    version: str = "HTTP/1.1"
    host: str = "{host}"
    headers: list[str] = field(default_factory=list)
    chunks: list[bytes] | None = None
    blanks: tuple[str, str] = (" ", " ")
    before: bytes = b""
    after: bytes = b""
    done: list[str] = field(default_factory=list)

    def wire(self, host_of: Callable[[str], str], case: str) -> bytes:
        """All its bytes, for a host of its service."""
        host = host_of(self.service)
        target = self.path + (b"?" + self.query.encode("utf-8", "surrogateescape") if self.query is not None else b"")
        named = self.host.format(host=host, HOST=host.upper())
        # Odd bytes are written as characters of Latin-1.
        headers = [f"Host: {named}", f"X-Case: {case}", *self.headers]
        head = "".join(f"{line}\r\n" for line in headers).encode("latin-1")
        line = self.method.encode() + self.blanks[0].encode() + target + self.blanks[1].encode() + self.version.encode()
        after = self.after.replace(b"{host}", host.encode()).replace(b"{case}", case.encode())
        return self.before + line + b"\r\n" + head + b"\r\n" + (self.body if self.chunks is None else b"".join(self.chunks)) + after


@dataclass(frozen=True)
class Kept:
    """A request of the corpus, as it stands there but for its host. `hosts` tells the services."""

    bytes: bytes
    hosts: dict[str, str]

    def wire(self, host_of: Callable[[str], str], case: str) -> bytes:
        wire = self.bytes
        for host, service in self.hosts.items():
            wire = wire.replace(host.encode(), host_of(service).encode())
        return wire.replace(b"\r\nHost:", b"\r\nX-Case: " + case.encode() + b"\r\nHost:")


@dataclass(frozen=True)
class Route:
    """An operation, as the catalogue has it."""

    service: str
    method: str
    path: str
    query: str | None
    body: bytes
    media_type: str


def generate(routes: list[Route], count: int, seed: int = SEED) -> list[Request]:
    """Cases for all routes, in turn."""
    chance = random.Random(seed)
    return [_case(chance, routes[n % len(routes)]) for n in range(count)]


def _case(chance, route):
    request = Request(route.method, route.path.encode(), route.query, route.service, route.body)
    if route.body:
        request.headers.append(f"Content-Type: {route.media_type}")
    framing = chance.random()
    for _ in range(chance.choice([0, 1, 1, 1, 1, 2, 2])):
        mutation = chance.choice(MUTATIONS)
        mutation(chance, request)
        request.done.append(mutation.__name__.lstrip("_"))
    if request.chunks is None and route.body:
        if framing < 0.3:
            _chunk(chance, request, plain=True)
        elif not any("ength" in line for line in request.headers) or framing < 0.9:
            request.headers.append(f"Content-Length: {len(request.body)}")
    chance.shuffle(request.headers)
    return request


def _path(chance, request):
    piece = chance.choice(PATH_PIECES).encode() if chance.random() < 0.85 else chance.choice(PATH_BYTES)
    at = chance.choice([len(request.path), chance.randrange(len(request.path) + 1), request.path.rfind(b"/") + 1, 0])
    request.path = request.path[:at] + piece + request.path[at:]


def _escaped_letter(chance, request):
    if not request.path:
        return
    at = chance.randrange(len(request.path))
    request.path = request.path[:at] + chance.choice([b"%%%02x", b"%%%02X"]) % request.path[at] + request.path[at + 1 :]


def _letter_case(chance, request):
    request.path = request.path.swapcase()


def _other_form(chance, request):
    request.path = chance.choice([b"http://{h}" + request.path, b"https://{h}" + request.path, b"//{h}" + request.path, b"{h}:80", b"*", b"", request.path[1:]]).replace(b"{h}", b"other.test")


def _query(chance, request):
    more = chance.choice(QUERIES)
    request.query = more if request.query is None or chance.random() < 0.5 else f"{request.query}&{more}"


def _header(chance, request):
    request.headers.insert(chance.randrange(len(request.headers) + 1), chance.choice(HEADERS))


def _host(chance, request):
    request.host = chance.choice(HOSTS)


def _method(chance, request):
    request.method = chance.choice(METHODS)


def _version(chance, request):
    request.version = chance.choice(VERSIONS)


def _blanks(chance, request):
    request.blanks = chance.choice([("  ", " "), (" ", "  "), ("\t", " "), (" ", "\t"), (" ", "\x0b"), (" ", " \r")])


def _before(chance, request):
    request.before = chance.choice([b"\r\n", b"\n", b"\r\n\r\n", b" ", b"\x00", b"\r", b"0\r\n\r\n"])


def _chunk(chance, request, plain=False):
    sizes, ends, lasts = (CHUNK_SIZES[:2], CHUNK_ENDS[:1], LAST_CHUNKS[:1]) if plain else (CHUNK_SIZES, CHUNK_ENDS, LAST_CHUNKS)
    request.headers.append("Transfer-Encoding: chunked")
    at = chance.randrange(len(request.body) + 1)
    pieces = [piece for piece in (request.body[:at], request.body[at:]) if piece]
    written = [f"{chance.choice(sizes)}\r\n".format(n=len(piece)).encode() + piece + chance.choice(ends).encode() for piece in pieces]
    request.chunks = [*written, chance.choice(lasts).encode()]


def _odd_chunks(chance, request):
    if request.chunks is None and request.body:
        _chunk(chance, request)


def _another_behind(chance, request):
    """A second request in the same breath: alone it is as good as any."""
    body = json.dumps({"user_name": "x"})
    request.after = chance.choice(
        [
            b"GET /v3/other/keypairs HTTP/1.1\r\nHost: {host}\r\nX-Case: {case}-behind\r\n\r\n",
            b"POST /v2/other/os-keypairs/copy HTTP/1.1\r\nHost: {host}\r\nX-Case: {case}-behind\r\nContent-Type: application/json\r\n"
            + f"Content-Length: {len(body)}\r\n\r\n{body}".encode(),
            b"0\r\n\r\nGET /v3/other/keypairs HTTP/1.1\r\nHost: {host}\r\nX-Case: {case}-behind\r\n\r\n",
            b"x",
            b"\r\n",
        ]
    )


def _other_length(chance, request):
    if request.body:
        more = chance.choice([-1, 1, -len(request.body), 10])
        request.headers.append(f"Content-Length: {max(len(request.body) + more, 0)}")


def _unasked_body(chance, request):
    if not request.body:
        request.body = chance.choice([b"{}", b"GET /v3/other/keypairs HTTP/1.1\r\nHost: {host}\r\n\r\n"])
        request.headers.append(chance.choice([f"Content-Length: {len(request.body)}", "X-B: 1"]))


def _both_lengths(chance, request):
    if request.body:
        _chunk(chance, request, plain=True)
        request.headers.append(f"Content-Length: {chance.choice([0, 4, len(request.body), len(b''.join(request.chunks))])}")


MUTATIONS = [
    _path, _path, _path, _path, _path, _escaped_letter, _letter_case, _other_form, _query, _query, _query, _header, _header, _header, _header, _host, _method,
    _version, _blanks, _before, _odd_chunks, _odd_chunks, _odd_chunks, _another_behind, _another_behind, _other_length, _unasked_body, _both_lengths,
]  # fmt: skip
