"""For any input, exactly one Authentication-Results field with our name is stored, and it is ours for any reader."""

from __future__ import annotations

import asyncio
import email
import re
from email.header import decode_header, make_header

import authres
from hypothesis import example, given, settings
from hypothesis import strategies as st

from inbox.authentication.results import parse
from inbox.flow.edits import edited, set_apart
from inbox.mail.content import MemoryContent
from inbox.mail.headers import Headers
from inbox.plugin.api.testing import PluginTest

OURS = "mx.demo.test"
_TEST = PluginTest("authentication_results")

ids = st.sampled_from(
    [OURS, OURS.upper(), "Mx.demo.test", f'"{OURS}"', f"{OURS}.", f"=?utf-8?q?{OURS}?=", "other.test", ""]
)
marks = [" ", "\t", "\r\n ", "(x)", "(", ")", "((", '"', "\\", ";", "(a;b=c)", "(\\))", "1", "/", "\u00e9", ","]
noise = st.lists(st.sampled_from(marks), max_size=5).map("".join)
rests = st.sampled_from(
    ["; spf=pass", "; none", " 1; dkim=pass header.d=x", ";", "", f"; spf=pass smtp.mailfrom={OURS}"]
)
forged = st.builds(lambda a, b, c, d: f"{a}{b}{c}{d}", noise, ids, noise, rests)
ours = "Authentication-Results"
#: Characters that readers trim from a name or skip before it.
TRIMMED = " \t\v\f\r\0\x1c\x1f\x7f\x85\xa0\u2003\ufeff"
odd = st.text(st.sampled_from(TRIMMED), max_size=3)
names = st.one_of(
    st.sampled_from([ours, ours.lower(), f"{ours.upper()} ", "Subject", f"X-{ours}"]),
    st.builds(lambda front, name, behind: f"{front.lstrip()}{name}{behind}", odd, st.sampled_from([ours, "To"]), odd),
)
fields = st.lists(st.tuples(names, forged), max_size=8)


def message(headers: list[tuple[str, str]]) -> bytes:
    return "".join(f"{name}: {value}\r\n" for name, value in headers).encode() + b"\r\nbody\r\n"


def after_edits(content: MemoryContent | bytes) -> bytes:
    before = set_apart(MemoryContent(content) if isinstance(content, bytes) else content)
    found = asyncio.run(_TEST.data(before.read(0, before.size)))
    after = edited(before, found.edits)
    return after.read(0, after.size)


def by_grammar(value: bytes) -> str:
    found = parse(value)
    return found.authserv_id if found else ""


def by_authres(value: bytes) -> str:
    text = re.sub(r"\s+", " ", value.decode("utf-8", "replace"))
    try:
        return str(authres.AuthenticationResultsHeader.parse(f"Authentication-Results: {text}").authserv_id)
    except (authres.AuthResError, ValueError, IndexError):
        return ""


def by_expression(value: bytes) -> str:
    """A mail client's add-on: comments away, then the first word."""
    text = re.sub(r"\([^()]*\)", "", value.decode("utf-8", "replace"))
    found = re.match(r'[\s"]*([^\s";/]+)', text)
    return found[1] if found else ""


def by_first_semicolon(value: bytes) -> str:
    return value.decode("utf-8", "replace").partition(";")[0].strip()


def by_standard_library(value: bytes) -> str:
    try:
        text = str(make_header(decode_header(value.decode("utf-8", "replace"))))
    except (ValueError, LookupError, email.errors.HeaderParseError):
        return ""
    return text.partition(";")[0].strip()


READERS = (by_grammar, by_authres, by_expression, by_first_semicolon, by_standard_library)


@settings(max_examples=400)
@given(fields)
@example([("Authentication-Results", f"(;=) {OURS}; spf=pass")])
@example([("Authentication-Results", f'"\\{OURS}"; spf=pass')])
def test_one_field_with_our_name_is_left_and_it_is_ours(headers: list[tuple[str, str]]) -> None:
    after = after_edits(message(headers))
    assert after.startswith(b"Authentication-Results: mx.demo.test; none\r\n")
    values = Headers.parse(after).raw_all("Authentication-Results")
    for reader in READERS:
        taken = [value for value in values if reader(value).lower().rstrip(".").strip('"') == OURS]
        assert taken == values[:1], reader


def trimmed_by(text: str) -> list[str]:
    """The names of the fields for a reader that trims the text before the colon, as many scripts do."""
    lines = re.sub(r"\n[ \t]+", " ", text.partition("\n\r\n")[0]).split("\n")
    return [line.partition(":")[0].strip(TRIMMED) for line in lines]


@settings(max_examples=300)
@given(st.lists(st.tuples(names, st.just(f"{OURS}; spf=pass")), max_size=8))
@example([("Authentication-Results\v", f"{OURS}; spf=pass")])
@example([("\xa0Authentication-Results", f"{OURS}; spf=pass")])
def test_a_reader_that_trims_names_finds_only_our_field(headers: list[tuple[str, str]]) -> None:
    after = after_edits(message(headers))
    for text in (after.decode("utf-8", "replace"), after.decode("latin-1")):
        assert [name.lower() for name in trimmed_by(text)].count(ours.lower()) == 1


@settings(max_examples=200)
@given(fields)
def test_nothing_else_is_touched(headers: list[tuple[str, str]]) -> None:
    before, after = message(headers), after_edits(message(headers))
    assert after.endswith(b"\r\n\r\nbody\r\n")

    def others(text: bytes) -> list[tuple[str, bytes]]:
        return [
            (field.name, field.value)
            for field in Headers.parse(text).fields()
            if field.name.lower() != "authentication-results"
        ]

    assert others(after) == others(before)


@given(st.binary(max_size=200))
def test_any_octets_at_all(content: bytes) -> None:
    after = after_edits(content)
    assert after.startswith(b"Authentication-Results: mx.demo.test; none\r\n")
