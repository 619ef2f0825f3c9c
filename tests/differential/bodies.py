"""Bodies to compare readings of: seeded mutations of the bodies that the operations take, written as a hostile client
would write them. The same seed gives the same cases."""

import json
import random
from dataclasses import dataclass

from catalogue import Operation

SEED = 20260801

BLANKS = ["", "", "", " ", "\n", "\t", "\r\n", "  \t"]
# No blanks to RFC 8259, but to some readers.
ODD_BLANKS = ["\v", "\f", "\xa0", "\u2028", "\ufeff", "\x00", "/**/", "//\n", "#\n"]
NUMBERS = """0 -0 1 -1 1.0 1e0 1E+0 10e-1 0.1e1 1e400 -1e400 1e-400 9007199254740993 -9007199254740993 9223372036854775807
    9223372036854775808 -9223372036854775808 -9223372036854775809 18446744073709551615 18446744073709551616
    123456789012345678901234567890 1.7976931348623157e308 4.9e-324 0.1 3.0000000000000000000001 01 +1 .5 5. 0x10 1_000
    1e 1e+ -  NaN Infinity -Infinity nan inf ００ １""".split()
LITERALS = ["true", "false", "null", "True", "TRUE", "tru", "None", "undefined", "yes", "'a'", "a", "[]", "{}", '""', '"true"', '"1"']
TEXTS = ["", " ", "a ", " a", "READ", "ALL", "read", "ＲＥＡＤ", "é", "e\u0301", "\u200b", "\u202e", "\U0001f600", "\x7f", "\x80", "\ufeff", "\ufffd", "\uffff", "ſ", "K", "İ", "ı", "a" * 300, "../x", "%2e", "a\u0000b"]
# Written as they stand, between quotes.
ESCAPES = [r"\u0000", r"\ud83d\ude00", r"\ud800", r"\udc00", r"\ud800a", r"\ude00\ud83d", r"\/", r"\b\f\n\r\t", r"\u00e9", r"\uFEFF", r"\x41", r"\'", r"\0", r"\a", r"\u12", r"\u{41}", r"\U00000041", "\\\n", "\n", "\t", "\x01", r"\u2028", "\u2028", r"\u005C", r"\u0022"]
NAMES = ["__proto__", "constructor", "$ref", "@type", "a.b", "", "0", "\u0000", "class", "toString"]
DEPTHS = [30, 31, 32, 33, 100, 600]


@dataclass(frozen=True)
class Case:
    """A body for an operation, and what was done to it."""

    operation: int
    body: bytes
    done: tuple[str, ...]


class Raw(str):
    """Text that goes into the document as it stands."""


class Pairs(list):
    """An object as its pairs: names may stand twice."""


def generate(operations: list[Operation], count: int, seed: int = SEED) -> list[Case]:
    """Cases for all operations that take a body, in turn."""
    chance = random.Random(seed)
    return [_case(chance, operations[n % len(operations)]) for n in range(count)]


def _case(chance, operation):
    document = _pairs(chance.choice(operation.examples))
    writer = Writer(chance)
    done = []
    for _ in range(chance.choice([0, 1, 1, 1, 2, 2, 3])):
        mutation = chance.choice(MUTATIONS)
        document = mutation(chance, document, operation, writer)
        done.append(mutation.__name__.lstrip("_"))
    body = writer.write(document)
    if chance.random() < 0.15:
        spoil = chance.choice(SPOILS)
        body = spoil(chance, body)
        done.append(spoil.__name__.lstrip("_"))
    return Case(operation.index, body, tuple(done))


def _pairs(value):
    if isinstance(value, dict):
        return Pairs((name, _pairs(inner)) for name, inner in value.items())
    return [_pairs(inner) for inner in value] if isinstance(value, list) else value


class Writer:
    """Writes a document in one of the many spellings that JSON has."""

    def __init__(self, chance):
        self.chance = chance
        self.blanks = [""] if chance.random() < 0.5 else BLANKS
        self.escaped = 0.0

    def write(self, value) -> bytes:
        return self._value(value).encode("utf-8", "surrogatepass")

    def _blank(self):
        return self.chance.choice(self.blanks)

    def _value(self, value):
        if isinstance(value, Pairs):
            inner = ",".join(f"{self._blank()}{self._text(n)}{self._blank()}:{self._value(v)}" for n, v in value)
            text = "{" + inner + self._blank() + "}"
        elif isinstance(value, list):
            text = "[" + ",".join(map(self._value, value)) + self._blank() + "]"
        elif isinstance(value, str):
            text = self._text(value)
        else:
            text = json.dumps(value)
        return f"{self._blank()}{text}{self._blank()}"

    def _text(self, text):
        if isinstance(text, Raw):
            return str(text)
        if not self.escaped:
            return json.dumps(text, ensure_ascii=False)
        return '"' + "".join(self._character(c) for c in text) + '"'

    def _character(self, c):
        if c not in '"\\' and c >= " " and self.chance.random() > self.escaped:
            return c
        units = c.encode("utf-16-be", "surrogatepass").hex()
        return "".join(rf"\u{units[i : i + 4]}" for i in range(0, len(units), 4))


def _places(value, path=()):
    """Every value of a document, as a function that replaces it would find it."""
    yield path
    if isinstance(value, Pairs):
        for n, (_, inner) in enumerate(value):
            yield from _places(inner, (*path, n))
    elif isinstance(value, list):
        for n, inner in enumerate(value):
            yield from _places(inner, (*path, n))


def _change(value, path, make):
    if not path:
        return make(value)
    at, rest = path[0], path[1:]
    if isinstance(value, Pairs):
        return Pairs((name, _change(v, rest, make)) if n == at else (name, v) for n, (name, v) in enumerate(value))
    return [_change(v, rest, make) if n == at else v for n, v in enumerate(value)]


def _at_some(chance, document, wanted, make):
    places = [path for path in _places(document) if wanted(_get(document, path))]
    return _change(document, chance.choice(places), make) if places else document


def _get(value, path):
    for at in path:
        value = value[at][1] if isinstance(value, Pairs) else value[at]
    return value


def _object(value):
    return isinstance(value, Pairs) and value


def _anything(_):
    return True


def _scalar(value):
    return not isinstance(value, list)


def _escape_texts(chance, document, operation, writer):
    writer.escaped = chance.choice([0.1, 0.5, 1.0])
    return document


def _repeat_a_name(chance, document, operation, writer):
    def make(pairs):
        name, value = chance.choice(pairs)
        again = chance.choice([value, None, "ALL", True, Pairs(), [value]])
        spelled = chance.choice([name, name, Raw('"' + "".join(rf"\u{ord(c):04x}" for c in name) + '"'), _near(chance, name)])
        more = [*pairs, (spelled, again)]
        chance.shuffle(more)
        return Pairs(more)

    return _at_some(chance, document, _object, make)


def _near(chance, name):
    """A name that a lenient reader could take for this one."""
    words = "".join(f"_{c.lower()}" if c.isupper() else c for c in name)
    return chance.choice(
        [
            name.upper(), name.capitalize(), name.swapcase(), words, words.replace("_", "-"), name.replace("_", ""), f" {name}", f"{name} ",
            f"_{name}", f"is{name.capitalize()}", f"is_{name}", name.replace("s", "ſ"), name.replace("k", "\u212a"), name.replace("i", "ı"),
            f"{name}\u0000", f"{name}\u200b", "".join(chr(ord(c) + 0xFEE0) if "!" <= c <= "~" else c for c in name), f"{name}[]", f"{name}.",
            name.replace("e", "\u0435"), f"\ufeff{name}", f"${name}", f"@{name}", name.replace("_", "."), name.replace("_", " "),
        ]
    )  # fmt: skip


def _add_a_near_name(chance, document, operation, writer):
    names = [name for name in operation.documented if name]
    value = chance.choice(["ALL", True, 1, None, Pairs(), [], "x"])
    return _at_some(chance, document, lambda v: isinstance(v, Pairs), lambda pairs: Pairs([*pairs, (_near(chance, chance.choice(names)), value)]))


def _add_another_name(chance, document, operation, writer):
    value = chance.choice([1, "x", None, Raw(chance.choice(NUMBERS)), Pairs([("a", [1, Pairs()])])])
    return _at_some(chance, document, lambda v: isinstance(v, Pairs), lambda pairs: Pairs([*pairs, (chance.choice(NAMES), value)]))


def _drop_a_name(chance, document, operation, writer):
    return _at_some(chance, document, _object, lambda pairs: Pairs(p for p in pairs if p is not chance.choice(pairs)))


def _shuffle(chance, document, operation, writer):
    return _at_some(chance, document, _object, lambda pairs: Pairs(chance.sample(pairs, len(pairs))))


def _other_number(chance, document, operation, writer):
    number = Raw(chance.choice(NUMBERS))
    wanted = (lambda v: isinstance(v, int)) if chance.random() < 0.7 else _scalar
    return _at_some(chance, document, wanted, lambda _: number)


def _other_literal(chance, document, operation, writer):
    return _at_some(chance, document, _scalar, lambda _: Raw(chance.choice(LITERALS)))


def _other_text(chance, document, operation, writer):
    text = chance.choice(TEXTS)
    keep = chance.random() < 0.5
    return _at_some(chance, document, lambda v: isinstance(v, str), lambda old: f"{old}{text}" if keep and not isinstance(old, Raw) else text)


def _odd_escape(chance, document, operation, writer):
    odd = chance.choice(ESCAPES)
    return _at_some(chance, document, lambda v: isinstance(v, str), lambda old: Raw(json.dumps(str(old).strip('"'), ensure_ascii=False)[:-1] + odd + '"'))


def _nest(chance, document, operation, writer):
    depth = chance.choice(DEPTHS)
    opening, closing = chance.choice([("[", "]"), ('{"a":', "}")])
    return _at_some(chance, document, _anything, lambda old: Raw(opening * depth + "1" + closing * depth))


def _wrap(chance, document, operation, writer):
    return _at_some(chance, document, _anything, lambda old: chance.choice([[old], [old, old], Pairs([("0", old)]), Pairs([("value", old)])]))


def _grow_an_array(chance, document, operation, writer):
    return _at_some(chance, document, lambda v: isinstance(v, list) and not isinstance(v, Pairs) and v, lambda old: old * chance.choice([0, 2, 3, 40]))


def _odd_blanks(chance, document, operation, writer):
    writer.blanks = ["", "", "", "", "", "", chance.choice(ODD_BLANKS)]
    return document


MUTATIONS = [
    _escape_texts, _escape_texts, _repeat_a_name, _repeat_a_name, _add_a_near_name, _add_a_near_name, _add_another_name, _drop_a_name, _shuffle,
    _other_number, _other_number, _other_literal, _other_text, _other_text, _odd_escape, _odd_escape, _nest, _wrap, _grow_an_array, _odd_blanks,
]  # fmt: skip


def _trailing(chance, body):
    return body + chance.choice([b" ", b"\n\n", b"\x00", b"}", b"]", b",", b"x", b"{}", b"\n" + body, b"// c", b"\xef\xbb\xbf", b"\x1a", b"null"])


def _leading(chance, body):
    return chance.choice([b"\xef\xbb\xbf", b"\xff\xfe", b"\xfe\xff", b"\x00", b")]}',\n", b"// c\n", b"\x1e", b"(", b"\xc2\xa0"]) + body


def _encoded(chance, body):
    return body.decode("utf-8", "replace").encode(chance.choice(["utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-le", "utf-7", "latin-1"]), "replace")


def _cut(chance, body):
    return body[: chance.randrange(len(body) + 1)]


def _byte_changed(chance, body):
    at = chance.randrange(len(body) + 1)
    return body[:at] + bytes([chance.randrange(256)]) + body[at + 1 :]


def _bytes_inserted(chance, body):
    at = chance.randrange(len(body) + 1)
    odd = chance.choice([b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x80", b"\xff", b"\x00", b"\\", b'"', b",", b":", b"{", b"\x0b"])
    return body[:at] + odd + body[at:]


SPOILS = [_trailing, _leading, _encoded, _cut, _byte_changed, _bytes_inserted]
