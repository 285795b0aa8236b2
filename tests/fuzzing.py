"""Inputs as people, other programs and other machines write them, then spoiled: strategies of tests/test_fuzz.py."""

import json
import math
import tomllib
from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any

import tomli_w
from hypothesis import strategies as st

SECRET = "hunter2"  # a password, of which nothing may be told
DEEP: Any = json.loads("[" * 60 + "]" * 60)

# What bytes are replaced by.
TOKENS = [
    b"\0", b"\x1b[31m", b"\xff\xfe", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"\r", b"\r\n", b"\n\n", b'"', b"'", b'"""',
    b"\\", b"\\ud800", b"nan", b"-inf", b"1e999", b"-1", b"0x10", b"9" * 5000, b"null", b"true", b"..",
    b"/../../etc/passwd", b"~", b"://", b"@", b"%00", b"%", b"[[", b"{", b"}", b"[" * 20_000, b"{" * 20_000,
    b'{"a":' * 20_000, b"a" * 100_000, b"=", b"|", b"\t", b",", b";", b"#", b"<script>", "\u202e".encode(),
    "ሰ".encode(), "é".encode("latin-1"), b'"\\u001b[2J" = 1\n', b"{0.__class__}", b"%s%n", b"1970-01-01", b"inf",
    b"-0.0", b"1_0",
]  # fmt: skip
# What values of documents are replaced by; not all are of every format.
VALUES: list[Any] = [
    None, True, False, 0, -1, 1, 2**31, 2**63, 10**400, -0.0, 0.5, 1e-320, 1e308, math.nan, math.inf, -math.inf, "",
    " ", "x" * 20_000, "\x1b[31m", "\u202e", "\0", "..", "/etc/passwd", "../..", "~root", "nan", "1e-3", "true",
    "://", f"postgresql://a:{SECRET}@h/d", f"s3://key:{SECRET}@bucket", "{0.__class__}", "ሰላም", "\ud800", [], {},
    [None], [[]], [1, 1], [0.9, 0.1], [math.nan], {"a": 1}, {"low": 1}, {"low": 1, "high": 0}, DEEP,
    "2026-12-01T18:00", "+6h", [f"s{i}" for i in range(300)],
]  # fmt: skip


def bytes_of(seeds: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """One of `seeds`, spoiled at one to four places."""

    @st.composite
    def made(draw: Any) -> bytes:
        content, other = draw(st.sampled_from(seeds)), draw(st.sampled_from(seeds))
        for _ in range(draw(st.integers(1, 4))):
            at = draw(st.integers(0, len(content)))
            end = min(len(content), at + draw(st.sampled_from([0, 1, 1, 2, 8, 64, 2**20])))
            pieces = st.sampled_from([b"", content[at:end] * 2, other[at:end], content[end:][:200]])
            new = draw(st.one_of(st.sampled_from(TOKENS), st.binary(max_size=4), pieces))
            content = content[:at] + new + content[end:]
        return bytes(content)

    return made()


def documents(
    seeds: Sequence[bytes], loads: Callable[[bytes], Any], dumps: Callable[[Any], bytes]
) -> st.SearchStrategy[bytes]:
    """One of `seeds` with one to three of its values or keys replaced, or spoiled as bytes."""

    @st.composite
    def made(draw: Any) -> bytes:
        document = loads(draw(st.sampled_from(seeds)))
        for _ in range(draw(st.integers(1, 3))):
            places = list(_places(document))
            if not places:
                break
            holder, key = draw(st.sampled_from(places))
            match draw(st.sampled_from(["value", "value", "value", "gone", "renamed", "swapped"])):
                case "value":
                    holder[key] = deepcopy(draw(st.sampled_from(VALUES)))
                case "gone":
                    del holder[key]
                case "renamed" if isinstance(holder, dict):
                    holder[draw(st.sampled_from(["", "x", "a.b", "\x1b", "lr", "version", "0"]))] = holder.pop(key)
                case _:
                    other, name = draw(st.sampled_from(places))
                    holder[key] = deepcopy(other[name]) if isinstance(other, dict) and name in other else None
        try:
            return dumps(document)
        except (TypeError, ValueError, RecursionError):  # not in this format: DEEP, NaN, lone surrogates
            return draw(bytes_of(seeds))  # type: ignore[no-any-return]

    return st.one_of(made(), bytes_of(seeds))


def _places(document: Any) -> Any:
    """(holder, key) of each value, the outer ones first."""
    if isinstance(document, dict | list):
        pairs = list(document.items() if isinstance(document, dict) else enumerate(document))[:200]
        for key, value in pairs:
            yield document, key
            yield from _places(value)


def toml_of(*seeds: bytes) -> st.SearchStrategy[bytes]:
    return documents(seeds, lambda seed: tomllib.loads(seed.decode()), lambda made: tomli_w.dumps(made).encode())


def json_of(*seeds: bytes) -> st.SearchStrategy[bytes]:
    return documents(seeds, json.loads, lambda made: json.dumps(made).encode("utf-8", "surrogatepass"))
