"""ARC: what is sealed validates, what was changed does not, and no message is more than a result."""

from __future__ import annotations

import asyncio
import re
from functools import lru_cache

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from inbox.authentication.arc.validate import validate
from inbox.mail.content import MemoryContent
from inbox.plugin.api.facts import ArcFact, Result
from inbox.plugin.api.standins import MemoryResolver
from tests.support.arc import MESSAGE, NOW, Forwarder, passed_on

DNS = MemoryResolver()
LINE = st.binary(max_size=90).map(lambda line: line.replace(b"\r", b"").replace(b"\n", b"") + b"\r\n")
NAME = st.sampled_from([b"From", b"subject", b"TO", b"List-Id", b"X-Odd", b"DKIM-Signature", b"Content-Type"])
FIELD = st.builds(lambda name, value: name + b":" + value, NAME, LINE)
FOLDED = st.builds(
    lambda field, more: field + b"".join(b"\t" + line for line in more), FIELD, st.lists(LINE, max_size=2)
)
MAIL = st.builds(
    lambda fields, body: b"".join(fields) + b"\r\n" + b"".join(body),
    st.lists(FOLDED, min_size=1, max_size=6),
    st.lists(LINE, max_size=6),
)


def judged(message: bytes) -> ArcFact:
    return asyncio.run(validate(MemoryContent(message), DNS, now=NOW))


def sealed(message: bytes, hops: int) -> bytes:
    return asyncio.run(passed_on(message, hops, DNS, keys=2))


@given(MAIL, st.integers(1, 3))
@example(b"From:\r\n\r\n", 1)
@example(b"From: a\r\n \r\n\r\n", 2)
@example(b"From: a\r\nFrom: b\r\n\r\n \t\r\n\r\n\r\n", 1)
@settings(deadline=None, max_examples=40)
def test_a_sealed_message_validates(message: bytes, hops: int) -> None:
    fact = judged(sealed(message, hops))
    assert (fact.result, fact.oldest_pass, fact.reason) == (Result.PASS, 0, "")
    assert fact.sealers == tuple(f"hop{number}.example" for number in range(1, hops + 1))


@lru_cache(maxsize=1)
def chain() -> tuple[bytes, list[int]]:
    """A message that passed two servers, and the places of all octets of which each one is signed.

    Left out are white space, which relaxed canonical forms change themselves; the case of field names, likewise;
    Received, which is not signed; and of the last seal its ``b=``, since the last characters of Base64 may have bits
    that mean nothing.
    """
    message = sealed(MESSAGE, 2)
    left_out = [found.span() for found in re.finditer(rb"Received:[^\n]*\n|\s+|:", message)]
    start = message.index(b" b=")
    left_out.append((start, message.index(b";", start)))
    holes = {place for span in left_out for place in range(*span)}
    return message, [place for place in range(len(message)) if place not in holes]


@given(st.data())
@settings(deadline=None, max_examples=150, suppress_health_check=[HealthCheck.too_slow])
def test_any_octet_that_is_changed_breaks_it(data: st.DataObject) -> None:
    message, places = chain()
    place = data.draw(st.sampled_from(places))
    old = message[place : place + 1]
    new = data.draw(st.integers(33, 255).map(lambda octet: bytes([octet])).filter(lambda it: it.lower() != old.lower()))
    fact = judged(message[:place] + new + message[place + 1 :])
    assert fact.result is not Result.PASS


def test_unsigned_fields_may_be_changed() -> None:
    message, _ = chain()
    assert judged(message.replace(b"from a by b", b"from c by d")).result is Result.PASS


ARC_NAME = st.sampled_from([b"ARC-Seal", b"ARC-Message-Signature", b"ARC-Authentication-Results", b"arc-seal "])
TAG = st.builds(
    lambda name, value: name + b"=" + value,
    st.sampled_from([b"i", b"a", b"b", b"bh", b"c", b"cv", b"d", b"h", b"l", b"s", b"t", b"x", b"v", b" ", b"=", b"1"]),
    st.sampled_from(
        [b"1", b"2", b"50", b"51", b"0", b"-1", b"9" * 5000, b"none", b"pass", b"fail", b"rsa-sha256", b"AA==", b"!",
         b"relaxed/simple", b"hop1.example", b"arc", b"a..b", b"x" * 300 + b".example", b"\xff\xfe",
         b"\xc3\xa4.example",         b"from", b"from:" * 2000, b"arc-seal", b"", b" \r\n\t 1 \r\n ", b"(c) 1"]
    ),
)  # fmt: skip
HOSTILE = st.builds(
    lambda name, tags, end: name + b": " + b";".join(tags) + end,
    ARC_NAME,
    st.one_of(st.lists(TAG, max_size=10), st.lists(st.binary(max_size=40), max_size=4)),
    st.sampled_from([b"\r\n", b"\n", b";\r\n", b"\r\n\t;\r\n", b"", b"\r", b"\0\r\n"]),
)


@given(st.lists(HOSTILE, max_size=12), st.booleans())
@settings(deadline=None, max_examples=200)
def test_no_message_is_more_than_a_result(fields: list[bytes], whole: bool) -> None:
    message, _ = chain()
    fact = judged(b"".join(fields) + (message if whole else MESSAGE))
    assert fact.reason.isascii()
    if fields and not whole:
        assert fact.result is not Result.PASS
    forwarder = Forwarder(DNS, "next.example")
    made = forwarder.set(b"".join(fields) + MESSAGE, fact)
    assert made is None or max(map(len, bytes(made).split(b"\r\n"))) <= 78
