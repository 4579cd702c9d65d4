"""Authentication-Results: what is believed, what is recognised, what is written."""

from __future__ import annotations

from typing import Any

import authres  # an oracle
import pytest
from hypothesis import given
from hypothesis import strategies as st

from inbox.authentication.results import AuthenticationResults, MethodResult, believed, may_be, parse, render
from inbox.mail.edits import render_field
from inbox.mail.headers import Headers
from inbox.plugin.api.facts import Result

OURS = "mx.demo.test"


def field(value: str) -> AuthenticationResults:
    found = parse(value)
    assert found is not None, value
    return found


# RFC 8601 appendix B, names changed.
EXAMPLES = [
    ("example.org 1; none", []),
    ("example.com;\r\n spf=pass smtp.mailfrom=example.net", [("spf", "pass", {"smtp.mailfrom": "example.net"})]),
    (
        "example.com;\r\n auth=pass (cram-md5) smtp.auth=sender@example.net;\r\n spf=pass smtp.mailfrom=example.net",
        [("auth", "pass", {"smtp.auth": "sender@example.net"}), ("spf", "pass", {"smtp.mailfrom": "example.net"})],
    ),
    (
        'example.com;\r\n dkim=pass reason="good signature"\r\n header.i=@mail-router.example.net',
        [("dkim", "pass", {"header.i": "@mail-router.example.net"})],
    ),
    (
        "foo.example.net (foobar) 1 (baz);\r\n dkim (Because I like it) / 1 (One yay) = (wait for it) fail\r\n"
        ' policy (A dot can go here) . (like that) expired\r\n (this surprised me) = (as I was not expecting it)'
        " 1362471462",
        [("dkim", "fail", {"policy.expired": "1362471462"})],
    ),
    (
        "a.example; dkim=pass header.d=b.example header.s=s1 header.b=AbC/d+=; dmarc=pass (p=NONE sp=REJECT)"
        " header.from=b.example;",
        [
            ("dkim", "pass", {"header.d": "b.example", "header.s": "s1", "header.b": "AbC/d+="}),
            ("dmarc", "pass", {"header.from": "b.example"}),
        ],
    ),
    ('"a.example"; spf=pass smtp.mailfrom="a b"@c.example', [("spf", "pass", {"smtp.mailfrom": "a b@c.example"})]),
]  # fmt: skip


@pytest.mark.parametrize(("value", "expected"), EXAMPLES)
def test_every_form_of_the_grammar_is_read(value: str, expected: list[tuple[str, str, dict[str, str]]]) -> None:
    found = field(value)
    assert [(each.method, each.result, dict(each.properties)) for each in found.results] == expected


def test_parts_of_a_result() -> None:
    (result,) = field('a; SPF=Pass reason="it \\"is\\" so" SMTP.MailFrom=B.example').results
    assert (result.method, result.known, result.reason) == ("spf", Result.PASS, 'it "is" so')
    assert (result.get("smtp.mailfrom"), result.get("smtp.helo", "-")) == ("B.example", "-")
    assert MethodResult("spf", "hardfail").known is None


@pytest.mark.parametrize(
    "value",
    [
        "", " ", "a", "a;", "; spf=pass", "a; spf", "a; spf=", "a; spf=pass smtp", "a; spf=pass smtp.mailfrom",
        "a; spf=pass smtp.mailfrom=", "a; spf=pass@", "a spf=pass", "a; spf=pass, dkim=pass", "a; none; spf=pass",
        "a 2; spf=pass", "a; (spf=pass", 'a; spf=pass reason="x', "a; spf=pass) x.y=z", "a b; spf=pass", "a; =pass",
        "a; dkim/x=pass", "a; spf=pass;; dkim=pass", "a; none none", "(a; spf=pass",
    ],
)  # fmt: skip
def test_malformed_fields_are_not_read(value: str) -> None:
    assert parse(value) is None


def test_fields_that_are_too_long_are_not_read() -> None:
    assert parse("a; spf=pass (" + "x" * 40_000 + ")") is None
    assert parse("a" + "; spf=pass" * 101) is None
    assert len(field("a" + "; spf=pass" * 100).results) == 100


@pytest.mark.parametrize(
    "value",
    [
        "(" * 16_000, "a; spf=pass " + "(" * 5000 + ")" * 5000, '"' * 16_000, "\\" * 16_000, "=" * 16_000,
        "a; spf=pass " + "a-" * 7000, "a; x=" + '"\\' * 7000, "()" * 8000, "a;" + " \r\n" * 5000, ";" * 16_000,
    ],
)  # fmt: skip
@pytest.mark.timeout(20)
def test_hostile_fields_cost_little(value: str) -> None:
    for _ in range(20):  # The time limit is what this test is about: it is too short for anything quadratic.
        parse(value)
        may_be(value.encode(), OURS)


def headers(*values: str) -> Headers:
    return Headers.parse("".join(f"Authentication-Results: {value}\r\n" for value in values).encode() + b"\r\n")


def test_the_topmost_field_with_our_id_is_believed() -> None:
    found = believed(
        headers("other.test; spf=fail", f"{OURS.upper()}; spf=pass; dkim=pass; dkim=fail", f"{OURS}; spf=fail"), OURS
    )
    assert {method: [each.result for each in results] for method, results in found.items()} == {
        "spf": ["pass"],
        "dkim": ["pass", "fail"],
    }


@pytest.mark.parametrize(
    "top", [f"{OURS}; spf", f"({OURS}) {OURS} 2; spf=pass", f"{OURS}, x; spf=fail", f"=?utf-8?q?{OURS}?=; spf=pass"]
)
def test_nothing_is_believed_below_a_malformed_one(top: str) -> None:
    assert believed(headers(top, f"{OURS}; spf=pass"), OURS) == {}


def test_without_a_field_of_ours_nothing_is_believed() -> None:
    assert believed(headers("other.test; spf=pass"), OURS) == {}
    assert believed(Headers.parse(b"Subject: x\r\n\r\n"), OURS) == {}


@pytest.mark.parametrize(
    "value",
    [
        f"{OURS}; spf=pass", f"{OURS.upper()} 1; none", f" (x) {OURS}; a=b", f"(a;b=c) {OURS}; spf=pass",
        f'"{OURS}"; none',
        f"{OURS}.; spf=pass", f"{OURS}/1; spf=pass", f"; {OURS}; spf=pass", f"(({OURS}; spf=pass",
        f"((a=;) {OURS}; spf=pass",
        f"=?utf-8?q?{OURS}?=; spf=pass", f"={OURS}; spf=pass", f"x\r\n {OURS}; spf=pass", f"{OURS}=1; spf=pass", OURS,
        f"<{OURS}>; spf=pass", f"(\\) {OURS}; spf=pass", f'"(" {OURS}; spf=pass (")")',
        r'"mx.d\emo.test"; spf=pass', "mx (a) . demo . test; spf=pass", "mx.de(x)mo.test; spf=pass",
        "mx.demo\r\n .test; spf=pass", '"mx.demo" ".test"; spf=pass', f"i=1; {OURS}; spf=pass", f"{OURS}\0; spf=pass",
        f"'{OURS}'; spf=pass", f"{{{OURS}}}|; spf=pass", f"*{OURS}#!; spf=pass", f".{OURS}--; spf=pass",
    ],
)  # fmt: skip
def test_fields_that_resemble_ours_are_recognised(value: str) -> None:
    assert may_be(value.encode(), OURS)


def test_the_unicode_form_of_our_name_is_recognised() -> None:
    assert may_be("M\u00dcX.demo.test; spf=pass".encode(), "xn--mx-xka.demo.test")
    assert may_be(b"=?utf-8?q?m=C3=BCx=2Edemo=2Etest?=; spf=pass", "xn--mx-xka.demo.test")


@pytest.mark.parametrize(
    "spelling",
    ["\uff4d\uff58.demo.test", "mx\u3002demo\uff61test", "m\u00adx.de\u200bmo.test", "MX.\u24b9emo.test\uff0e"],
)
def test_names_that_idna_maps_to_ours_are_ours(spelling: str) -> None:
    assert spelling.encode("idna").decode().lower().rstrip(".") == OURS
    assert may_be(f"{spelling}; spf=pass".encode(), OURS)
    assert not may_be(f"x{spelling}; spf=pass".encode(), OURS)


def test_a_long_word_is_no_name() -> None:
    assert not may_be(("\u0327\u0301" * 10_000).encode(), OURS)


@pytest.mark.parametrize(
    "value",
    [
        f"other.test; spf=pass smtp.mailfrom={OURS}", f"other.test; spf=pass (x) smtp.helo={OURS}",
        f"x{OURS}; spf=pass",
        f"{OURS}x; none", f"a.{OURS}; none", f"other.test; spf=pass (a=b {OURS})", "\u00e9\u00e9; none", "",
    ],
)  # fmt: skip
def test_fields_of_others_are_not_ours(value: str) -> None:
    assert not may_be(value.encode(), OURS)


texts = st.text(max_size=300)
names = st.sampled_from(["smtp.mailfrom", "smtp.helo", "header.b", "header.d", "policy.dmarc"])
results = st.builds(
    MethodResult,
    method=st.sampled_from(["spf", "dkim", "dmarc", "arc", "bimi", "auth"]),
    result=st.sampled_from([each.value for each in Result]),
    properties=st.lists(st.tuples(names, texts), max_size=4).map(tuple),
    reason=texts,
    comment=texts,
)


def clean(text: str) -> str:
    return "".join([character if " " <= character <= "~" else "\0" for character in text])


@given(st.lists(results, max_size=5))
def test_a_written_field_can_be_read(written: list[MethodResult]) -> None:
    value = render(OURS, written)
    assert all(" " <= character <= "~" for character in value)
    folded = render_field("Authentication-Results", value).partition(b": ")[2]
    found = parse(folded)
    assert found is not None
    assert found.authserv_id == OURS
    assert [(each.method, each.result) for each in found.results] == [(each.method, each.result) for each in written]
    for read, meant in zip(found.results, written, strict=True):
        assert [name for name, _ in read.properties] == [name for name, _ in meant.properties]
    assert may_be(folded, OURS)


@given(st.text(alphabet='abA1 ();"=./@-_\\\r\n\t,:é', max_size=60))
def test_whatever_comes_is_read_or_not(value: str) -> None:
    found = parse(value)
    if found is not None:
        assert may_be(value.encode(), found.authserv_id) or not found.authserv_id.isascii() or not plain(found)
        # What we read, we can write, and read as the same again (texts are cleaned).
        assert parse(render(found.authserv_id, found.results)) is not None


def plain(found: AuthenticationResults) -> bool:
    return not set(found.authserv_id) & set(' ();"=/@\\,:.\t\r\n')


def oracle(value: str) -> list[tuple[str, str]] | None:
    try:
        read: Any = authres.AuthenticationResultsHeader.parse(f"Authentication-Results: {value}")
    except (authres.AuthResError, ValueError):
        return None
    return [(each.method.lower(), each.result.lower()) for each in read.results]


@pytest.mark.parametrize("value", [value for value, _ in EXAMPLES[:4]])
def test_another_reader_reads_the_same(value: str) -> None:
    value = value.replace("\r\n", "")
    assert oracle(value) == [(each.method, each.result) for each in field(value).results]


def test_another_reader_reads_what_we_write() -> None:
    value = render(
        OURS,
        [
            MethodResult("spf", "fail", (("smtp.mailfrom", "a.example"), ("smtp.helo", "h.example")),
                         comment="a (b) \\"),
            MethodResult("dkim", "pass", (("header.d", "a.example"), ("header.b", "AbC/d+=")), reason='so "it" is'),
            MethodResult("dmarc", "pass", (("header.from", "a.example"), ("policy.dmarc", "reject"))),
        ],
    )  # fmt: skip
    assert value == (
        f"{OURS}; spf=fail (a [b] /) smtp.mailfrom=a.example smtp.helo=h.example; "
        'dkim=pass reason="so \\"it\\" is" header.d=a.example header.b="AbC/d+="; '
        "dmarc=pass header.from=a.example policy.dmarc=reject"
    )
    assert oracle(value) == [("spf", "fail"), ("dkim", "pass"), ("dmarc", "pass")]
    assert render(OURS, []) == f"{OURS}; none"
    assert oracle(render(OURS, [])) in ([], [("none", "none")])
