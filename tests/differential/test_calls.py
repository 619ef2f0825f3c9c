"""A request that the gateway forwards is the same single request to the server behind it: what is on record is what the
server read, no more, no fewer, and no other."""

import re
import socket
import tempfile
from collections import Counter, defaultdict
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import quote, unquote_to_bytes

import calls
import catalogue
import gateway
import pytest
import servers
import tools

CASES = 3_000 if tools.FULL else 500
CLIENTS = 24
# For an answer; the gateway itself waits two seconds for a body.
PATIENCE = 4
SHOWN = 12


@pytest.fixture(scope="session")
def routes(judge):
    return [route(operation) for operation in judge.operations()]


def route(operation):
    body = operation["body"]
    return calls.Route(
        service=operation["service"],
        method=operation["method"],
        path=catalogue.path(operation, "group%2Frepository"),
        query=catalogue.query(operation),
        body=b"" if body is None else calls.json.dumps(body["example"]).encode(),
        media_type="" if body is None else body["media_type"],
    )


@pytest.fixture(scope="session")
def cases(judge, routes, corpus):
    hosts = {host.replace("*", "cn-north-4"): operation["service"] for operation in judge.operations() for host in operation["hosts"]}
    kept = [calls.Kept(wire, hosts) for _, wire in corpus("request")]
    return [*kept[:: 1 if tools.FULL else 4], *calls.generate(routes, CASES)]


@pytest.fixture(scope="session")
def behind():
    """The servers of this run, in a folder that those who give up root can enter."""
    with tempfile.TemporaryDirectory(prefix="keyward-servers-") as folder, ExitStack() as running:
        Path(folder).chmod(0o755)
        started = []
        for kind in (kind for kind in servers.ALL if tools.FULL or not kind.full):
            started.append(servers.Server(kind, Path(folder) / kind.name))
            running.callback(started[-1].stop)
        yield started


@pytest.fixture(scope="session")
def trail(cases, routes, behind, tmp_path_factory):
    """All cases were sent to every server through the gateway; gives what is on record, by the server's name."""
    services = sorted({route.service for route in routes})
    running = gateway.Gateway(tmp_path_factory.mktemp("gateway") / "run", services, behind)
    try:
        with ThreadPoolExecutor(CLIENTS) as clients:
            jobs = [(server, n, case) for n, case in enumerate(cases) for server in behind]
            sent = [(running.port, case.wire(lambda service: gateway.host_of(service, server.name), f"{server.name}-{n}")) for server, n, case in jobs]
            answers = list(clients.map(lambda one: converse(*one), sent))
    finally:
        running.stop()
    assert sum(answer.startswith(b"HTTP/1.1 ") for answer in answers) > len(answers) * 0.8
    found = defaultdict(list)
    for exchange in running.exchanges():
        name = re.match(r"[\w-]+\.([\w-]+)\.test", exchange["request"]["record"]["call"]["host"].lower())
        found[name[1] if name else ""].append(exchange)
    return found


def converse(port, wire, patience=PATIENCE):
    """Sends bytes, and reads what comes until the other side closes or has nothing more to say."""
    with socket.create_connection(("127.0.0.1", port), patience) as connection:
        connection.settimeout(patience)
        answer = b""
        try:
            connection.sendall(wire)
            while piece := connection.recv(65536):
                answer += piece
                # After the first answer, others follow at once or not at all.
                connection.settimeout(0.1)
        except OSError:
            pass
        return answer


def recorded(exchange):
    """What is on record of a call, as a server would log it."""
    record = exchange["request"]["record"]
    call, body = record["call"], record["body"]
    query = call.get("query")
    return {
        "case": call["headers"].get("x-case", [""])[0],
        "method": call["method"],
        "host": call["host"],
        "path": call["path"],
        "query": query,
        "length": body["length"],
        "digest": body.get("digest", ""),
    }


def differs(record, read, keeps):
    """What a server read otherwise than it is on record, if anything. What is secret is on record as a digest."""
    target = record["path"] + ("" if record["query"] is None else "?" + record["query"])
    path, _, query = read.target.decode("latin-1").partition("?")
    plain = "hmac-sha256:" not in target
    checks = {
        "method": (record["method"], read.method.decode("latin-1")),
        "host": (record["host"], read.host.decode("latin-1")),
        "raw path": (record["path"], path),
        "raw query": (record["query"] or "", query) if plain else ("", ""),
        "query": (query, read.query.decode("latin-1")),
        "decoded path": (decoded(record["path"], keeps), read.path),
        "length": (record["length"], read.length),
        "digest": (record["digest"], "sha256:" + read.digest) if record["digest"].startswith("sha256:") else ("", ""),
    }
    return {name: pair for name, pair in checks.items() if pair[0] != pair[1]}


def decoded(path, keeps):
    """The path that a server gives to its applications: decoded once, or less, and nothing else."""
    raw = path.encode("latin-1")
    if b"*" in keeps:
        return raw
    for kept in keeps:
        raw = re.sub(re.escape(kept), lambda found: quote(found[0]).encode(), raw, flags=re.IGNORECASE)
    return unquote_to_bytes(raw)


@pytest.mark.parametrize("kind", [k for k in servers.ALL if tools.FULL or not k.full], ids=lambda k: k.name)
def test_what_is_forwarded_is_the_same_single_request_to(kind, behind, trail):
    server = next(s for s in behind if s.kind is kind)
    forwarded = [exchange for exchange in trail[kind.name] if exchange["outcome"] != "refused"]
    reads = server.read()
    assert len(reads) > len(forwarded) * 0.8 > 20, f"{len(reads)} read, {len(forwarded)} forwarded"
    by_case = defaultdict(list)
    for exchange in forwarded:
        by_case[recorded(exchange)["case"]].append(exchange)
    problems = []
    for read in reads:
        mine = by_case[read.case.decode("latin-1")]
        if not mine:
            problems.append(f"nobody asked for {read}")
            continue
        closest = min(mine, key=lambda exchange: len(differs(recorded(exchange), read, kind.keeps)))
        mine.remove(closest)
        if found := differs(recorded(closest), read, kind.keeps):
            problems.append(f"{found}\n    {read}")
    # What is on record as forwarded and was not read was refused by the server: its parser is the stricter one.
    for exchange in (exchange for rest in by_case.values() for exchange in rest):
        answer = exchange["answer"]["record"]
        if not 400 <= answer.get("status", 0) < 500:
            problems.append(f"not read: {recorded(exchange)}, {answer}")
    assert not problems, f"{len(problems)} of {len(reads)} requests\n" + "\n".join(problems[:SHOWN])


def test_the_cases_reach_what_they_are_for(cases, trail):
    """A generator that has lost its way would prove nothing."""
    reasons = Counter(exchange["request"]["record"]["decision"]["reason"] for exchanges in trail.values() for exchange in exchanges)
    wanted = """permitted operation-unknown head-line head-version head-method head-host head-framing head-value head-repeated head-trailer
        target-form target-escape target-byte target-dot-segment target-empty-segment query-malformed query-unknown method-override path-override
        body-framing body-not-expected""".split()
    assert not [reason for reason in wanted if reasons[reason] < 5], reasons
    assert reasons["permitted"] > sum(reasons.values()) / 5, reasons


@pytest.mark.skipif(not tools.FULL, reason="a report of the full run")
def test_what_is_refused_is_read_in_many_ways(cases, trail, behind, report):
    """Documentation, not a proof: how the servers read what the gateway refuses, sent to them directly."""
    reasons = {}
    for exchange in (exchange for exchanges in trail.values() for exchange in exchanges):
        record = exchange["request"]["record"]
        headers = record["call"]["headers"]
        # Of a head that is too long for its record not all headers are kept: then they are no table.
        number = headers.get("x-case", [""])[0].rpartition("-")[2] if isinstance(headers, dict) else ""
        why = record["decision"]["reason"]
        if exchange["outcome"] == "refused" and number.isdigit() and why.startswith(FORMS):
            reasons[int(number)] = why, record["decision"]["message"]
    forms = sorted({why for why, _ in reasons.values()})
    some = [n for form in forms for n in sorted(n for n, (why, _) in reasons.items() if why == form)[:DIRECT]]
    with ThreadPoolExecutor(len(behind)) as clients:
        columns = list(clients.map(lambda server: [directly(server, cases[n]) for n in some], behind))
    rows = [(n, grouped(behind, row)) for n, row in zip(some, zip(*columns, strict=True), strict=True)]
    text = ["# How servers read the requests that the gateway refuses for their form", ""]
    for reason in forms:
        mine = [(n, groups) for n, groups in rows if reasons[n][0] == reason]
        apart = sorted((row for row in mine if len(row[1]) > 1), key=lambda row: -len(row[1]))
        text += [f"## {reason}", "", f"{len(mine)} requests, of which {len(apart)} are not read alike by all of {', '.join(s.name for s in behind)}.", ""]
        seen = set()
        for n, groups in apart:
            if reasons[n][1] not in seen:
                seen.add(reasons[n][1])
                wire = ascii(cases[n].wire(lambda service: "HOST", "CASE"))[2:-1]
                text += [f"{reasons[n][1]}", "", "```text", wire[:600], *(f"  {', '.join(names)}: {shown:.400}" for shown, names in groups.items()), "```", ""]
    (report / "requests.md").write_text("\n".join(text))


FORMS = ("head-", "target-", "query-", "method-", "path-", "body-cut", "body-framing")
DIRECT = 40


def directly(server, case):
    """What a server reads of a case without the gateway in front of it."""
    before = server.log.stat().st_size
    try:
        converse(server.port, case.wire(lambda service: gateway.host_of(service, server.name), "direct"), 0.3)
    except OSError:
        pass
    return server.read(before)


def grouped(behind, row):
    """The servers, by what they read."""
    groups = {}
    for server, reads in zip(behind, row, strict=True):
        shown = " then ".join(f"{r.method.decode('latin-1')} {ascii(unquote_to_bytes(r.path))[2:-1]} ? {ascii(r.query)[2:-1]} {ascii(r.body)[2:-1]}" for r in reads)
        groups.setdefault(shown or "refused", []).append(server.name)
    return groups
