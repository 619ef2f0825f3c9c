"""A body that the gate lets pass says the same to other JSON parsers: the same document, and the same value in every field
that the catalogue documents, however leniently its name is matched."""

import json
import re
import unicodedata
from collections import Counter

import bodies
import pytest
import readers
import tools

CASES = 60_000 if tools.FULL else 8_000
SHOWN = 12


@pytest.fixture(scope="session")
def cases(operations, corpus):
    return [*of_corpus(operations, corpus("body")), *bodies.generate(operations, CASES)]


def of_corpus(operations, files):
    """Each body of the corpus, for the operations that have most names in common with it."""
    for name, body in files:
        known = sorted(operations, key=lambda operation: -sum(word.encode() in body for word in operation.documented))
        yield from (bodies.Case(operation.index, body, (name,)) for operation in known[:3])


@pytest.fixture(scope="session")
def readings(judge, operations, cases):
    """What the gate reads of each case."""
    return judge.read([operations[case.operation].call(case.body) for case in cases])


@pytest.fixture(scope="session")
def passed(cases, readings):
    """The cases that the gate lets pass, with its readings. No body at all is no document."""
    return [(case, reading) for case, reading in zip(cases, readings, strict=True) if "refused" not in reading and case.body]


@pytest.fixture(scope="session")
def workshop(operations, tmp_path_factory):
    """Where readers are built."""
    folder = tmp_path_factory.mktemp("readers")
    readers.write_shapes([operation.shape for operation in operations], folder)
    return folder


def same(a, b):
    """The same JSON value, of the same type. A number is what all can tell apart: a double."""
    if isinstance(a, dict) and isinstance(b, dict):
        return a.keys() == b.keys() and all(same(value, b[name]) for name, value in a.items())
    if isinstance(a, list) and isinstance(b, list):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, bool) or isinstance(b, bool) or a is None or b is None:
        return a is b
    if isinstance(a, int | float) and isinstance(b, int | float):
        return float(a) == float(b)
    return type(a) is type(b) and a == b


def documented(shape, value):
    """The part of a value that the catalogue documents, by exact names."""
    match shape["type"]:
        case "object":
            return {name: documented(field, value[name]) for name, field in shape["fields"].items() if name in value}
        case "array":
            return [documented(shape["element"], element) for element in value]
        case _:
            return value


def without_nulls(value):
    """Binders leave out what is null, and cannot tell it from what is missing."""
    if isinstance(value, dict):
        return {name: without_nulls(inner) for name, inner in value.items() if inner is not None}
    return [without_nulls(inner) for inner in value] if isinstance(value, list) else value


def integers(shape, value, place="body"):
    """Every documented integer, with its place: policies see it exactly, so all must read it exactly."""
    match shape["type"]:
        case "object":
            for name, field in shape["fields"].items():
                if name in value:
                    yield from integers(field, value[name], f"{place}.{name}")
        case "array":
            for n, element in enumerate(value):
                yield from integers(shape["element"], element, f"{place}[{n}]")
        case "integer":
            yield place, value


def said(operations, case, reading):
    return f"{operations[case.operation].name} {'+'.join(case.done)}: {case.body[:600]!r}\n    read as {reading!r:.600}"


def none_of(differences):
    assert not differences, f"{len(differences)} bodies are read differently\n" + "\n".join(differences[:SHOWN])


@pytest.mark.parametrize("reader", [r for r in readers.ALL if tools.FULL or not r.full], ids=lambda r: r.name)
def test_what_passes_means_the_same_to(reader, operations, passed, workshop):
    differences = []
    for (case, reading), other in zip(passed, reader.read([case for case, _ in passed], workshop), strict=True):
        shape, mine = operations[case.operation].shape, reading["json"]
        wanted = without_nulls(documented(shape, mine)) if reader.binds else mine
        other = without_nulls(other) if reader.binds and other is not readers.REFUSED else other
        if other is readers.REFUSED or not same(wanted, other):
            differences.append(said(operations, case, "refused" if other is readers.REFUSED else other))
        elif [n for _, n in integers(shape, mine)] != [n for _, n in integers(shape, other)]:
            differences.append(said(operations, case, list(integers(shape, other))))
    none_of(differences)


def loose(name):
    """What the most lenient binders make of a name: compatibility forms and letter case folded, marks taken out."""
    folded = unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold()).replace("ı", "i").replace("i\u0307", "i")
    return re.sub(r"[^a-z0-9]", "", folded)


def misread(shape, value, place="body"):
    """Names that a lenient binder would take for a documented one that they are not."""
    if shape["type"] == "array":
        for n, element in enumerate(value):
            yield from misread(shape["element"], element, f"{place}[{n}]")
    if shape["type"] != "object":
        return
    taken = {loose(name): name for name in shape["fields"]}
    # fastjson binds `isForce` to a Boolean `force`, and beans have `isForce` and `force` for one property.
    for name in [name for name, field in shape["fields"].items() if field["type"] == "boolean"]:
        taken.setdefault("is" + loose(name), name)
        taken.setdefault(loose(name).removeprefix("is"), name)
    for name, inner in value.items():
        if name in shape["fields"]:
            yield from misread(shape["fields"][name], inner, f"{place}.{name}")
        elif loose(name) in taken:
            yield f"{place}: {name!r} for {taken[loose(name)]!r}"


def test_no_name_that_passes_could_be_taken_for_a_documented_one(operations, passed):
    differences = []
    for case, reading in passed:
        if found := list(misread(operations[case.operation].shape, reading["json"])):
            differences.append(said(operations, case, found))
    none_of(differences)


def facts_of(shape, value):
    """The facts of a body, as the catalogue's documentation describes them. Keys and times are not texts any more."""
    if shape["type"] == "array":
        return [facts_of(shape["element"], element) for element in value]
    if shape["type"] != "object":
        return value
    seen = {name: field for name, field in shape["fields"].items() if name in value and not field["secret"] and not unseen(field)}
    return {field["fact"]: facts_of(field, value[name]) for name, field in seen.items()}


def unseen(field):
    return field["type"] == "any" or field.get("meaning") in ("DateTime", "SshPublicKey") or (field["type"] == "array" and unseen(field["element"]))


def contains(facts, wanted):
    """Whether all that is wanted is there; vendors' defaults may stand beside it."""
    if isinstance(wanted, dict):
        return isinstance(facts, dict) and all(name in facts and contains(facts[name], inner) for name, inner in wanted.items())
    if isinstance(wanted, list):
        return isinstance(facts, list) and len(facts) == len(wanted) and all(map(contains, facts, wanted))
    return type(facts) is type(wanted) and facts == wanted


def test_policies_see_what_the_body_says(operations, passed):
    differences = []
    for case, reading in passed:
        shape = operations[case.operation].shape
        if shape["type"] == "object" and not contains(reading["body"], facts_of(shape, reading["json"])):
            differences.append(said(operations, case, reading["body"]))
    none_of(differences)


def test_the_cases_reach_what_they_are_for(operations, cases, readings):
    """A generator that has lost its way would prove nothing."""
    verdicts = Counter((case.operation, "refused" in reading) for case, reading in zip(cases, readings, strict=True))
    assert not [operation.name for operation in operations for refused in (True, False) if verdicts[operation.index, refused] < 3]
    reasons = Counter(reading.get("refused", "passed") for reading in readings)
    wanted = """passed body-bom body-not-utf8 body-not-json body-trailing-data body-control body-surrogate body-number body-duplicate-name body-name
        body-lookalike-field body-too-complex body-wrong-type body-unknown-field body-missing-field body-value""".split()
    assert not [reason for reason in wanted if reasons[reason] < 5], reasons
    assert reasons["passed"] > len(cases) / 10, reasons


@pytest.mark.skipif(not tools.FULL, reason="a report of the full run")
def test_what_is_refused_is_read_in_many_ways(cases, readings, workshop, report):
    """Documentation, not a proof: how other parsers read what the gate refuses for its form."""
    forms = {reason: [case for case, reading in zip(cases, readings, strict=True) if reading.get("refused") == reason][:1000] for reason in FORMS}
    refused = [(case, reason) for reason, some in forms.items() for case in some]
    trees = [reader for reader in readers.ALL if not reader.binds]
    columns = [reader.read([case for case, _ in refused], workshop) for reader in trees]
    text = ["# How other parsers read the bodies that the gate refuses for their form", ""]
    for reason in FORMS:
        rows = [(case, values) for (case, why), values in zip(refused, zip(*columns, strict=True), strict=True) if why == reason]
        apart = [(case, values) for case, values in rows if len(grouped(trees, values)) > 1]
        text += [f"## {reason}", "", f"{len(rows)} bodies, of which {len(apart)} are not read alike by all {len(trees)} parsers.", ""]
        for case, values in sorted(apart, key=lambda row: (-len(grouped(trees, row[1])), len(row[0].body)))[:3]:
            text += ["```text", ascii(case.body)[2:-1][:400], *(f"  {', '.join(names)}: {shown:.300}" for shown, names in grouped(trees, values).items()), "```", ""]
    (report / "bodies.md").write_text("\n".join(text))


FORMS = """body-bom body-not-utf8 body-not-json body-trailing-data body-control body-surrogate body-number body-duplicate-name body-name
    body-too-complex""".split()


def grouped(trees, values):
    """The readers, by what they read."""
    groups = {}
    for reader, value in zip(trees, values, strict=True):
        groups.setdefault("refused" if value is readers.REFUSED else json.dumps(value, sort_keys=True), []).append(reader.name)
    return groups
