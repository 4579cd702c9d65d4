"""DKIM: what is signed verifies, what was changed does not, and no octets of a stranger raise or pass."""

from __future__ import annotations

import asyncio
import re
from itertools import pairwise

from dkim.canonicalization import Relaxed, Simple
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from inbox.authentication.dkim.canonical import Form, body_hashes, canonical_body, canonical_field, without_signature
from inbox.authentication.dkim.keys import KeyInvalid, parse_key
from inbox.authentication.dkim.section import HeaderSection
from inbox.authentication.dkim.sign import CannotBeSigned, sign
from inbox.authentication.dkim.verify import verify
from inbox.mail.content import MemoryContent
from inbox.mail.edits import render_field
from inbox.plugin.api.facts import DkimFact, Result
from inbox.plugin.api.standins import MemoryResolver
from tests.support.dkim import ED25519_KEY, MAIL, NOW, RSA_KEY, key_record, record_name, signed, signing_key

THEIRS = {Form.SIMPLE: Simple, Form.RELAXED: Relaxed}
KEYS = [signing_key(RSA_KEY), signing_key(ED25519_KEY)]
#: Characters that matter to canonicalisation, and others.
bodies = st.lists(
    st.sampled_from([b"a", b" ", b"\t", b"\r\n", b"\r", b"\n", b"  ", b" \r\n", b"\r\n\r\n", b"b c", b" " * 9, b"\xff"])
).map(b"".join)
lines = st.text("ab:;= \t", max_size=20).map(str.encode)
values = st.lists(lines, min_size=1, max_size=4).map(b"\r\n ".join)
names = st.sampled_from([b"To", b"Subject", b"X-A", b"x-a", b"Cc", b"Content-Type", b"DKIM-Signature"])
headers = st.lists(st.tuples(names, st.sampled_from([b":", b" :", b": "]), values), max_size=6)


def resolver(record: bytes | None = None) -> MemoryResolver:
    dns = MemoryResolver()
    for key in KEYS:
        dns.txt_records[record_name(key)] = [record if record is not None else key_record(key.private)]
    return dns


def check(message: bytes, dns: MemoryResolver | None = None) -> DkimFact:
    return asyncio.run(verify(MemoryContent(message), dns or resolver(), now=NOW))


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    edges = [0, *sorted(at % (len(data) + 1) for at in cuts), len(data)]
    return [data[a:b] for a, b in pairwise(edges)]


@given(body=bodies, form=st.sampled_from(Form), cuts=st.lists(st.integers(0, 500), max_size=5))
def test_bodies_are_as_dkimpy_has_them_however_they_are_cut(body: bytes, form: Form, cuts: list[int]) -> None:
    assert b"".join(canonical_body(cut(body, cuts), form)) == THEIRS[form].canonicalize_body(body)


@given(name=st.sampled_from([b"A", b"Subject", b"a-B "]), value=values, form=st.sampled_from(Form))
def test_fields_are_as_dkimpy_has_them(name: bytes, value: bytes, form: Form) -> None:
    ((theirs, text),) = THEIRS[form].canonicalize_headers([(name, value + b"\r\n")])
    assert canonical_field(name + b":" + value + b"\r\n", form) == theirs + b":" + text


@given(body=bodies, form=st.sampled_from(Form), length=st.integers(0, 60))
def test_a_part_of_the_body(body: bytes, form: Form, length: int) -> None:
    whole = b"".join(canonical_body([body], form))
    found = body_hashes(MemoryContent(body), 0, form, [length, None])
    assert (length in found) == (length <= len(whole))
    if length <= len(whole):
        assert found[length] == body_hashes(MemoryContent(whole[:length] + b"\0"), 0, Form.SIMPLE, [length])[length]


@given(raw=st.binary(max_size=40), value=st.text("bc =\r\n\t ;+/", max_size=30).map(str.encode))
def test_taking_out_the_signature_takes_out_nothing_else(raw: bytes, value: bytes) -> None:
    field = b"D: v=1; " + raw.replace(b";", b"") + b"; bh=x; b=" + value.replace(b";", b"") + b"; d=y\r\n"
    bare = without_signature(field)
    assert without_signature(bare) == bare
    assert bare.endswith(b"; d=y\r\n")


@given(fields=headers, body=bodies, key=st.sampled_from(KEYS))
@settings(max_examples=50)
def test_a_signed_message_verifies(fields: list[tuple[bytes, bytes, bytes]], body: bytes, key: object) -> None:
    block = b"From: a@sender.test\r\n" + b"".join(b"%b%b%b\r\n" % field for field in fields)
    message = block + b"\r\n" + body
    fact = check(signed(message, key))  # type: ignore[arg-type]  # of KEYS
    assert fact.signatures[0].result is Result.PASS


SIGNED = signed(MAIL, *KEYS)
SECTION = HeaderSection.of(MemoryContent(SIGNED))
#: Octets that both signatures cover: those of the signed fields and of the body that are no white space.
COVERED = [
    found.start()
    for found in re.finditer(rb"[^ \t\r\n:]", SIGNED)
    if found.start() > SIGNED.index(b"From:") and found.start() < len(SIGNED.rstrip())
]


@given(place=st.sampled_from(COVERED), octet=st.integers(33, 126))
@settings(max_examples=100)
def test_no_signed_octet_can_be_changed(place: int, octet: int) -> None:
    before = SIGNED[place]
    assume(bytes([octet]).lower() != bytes([before]).lower())
    fact = check(SIGNED[:place] + bytes([octet]) + SIGNED[place + 1 :])
    assert fact.passing == ()


junk = st.one_of(
    st.binary(max_size=80),
    st.lists(
        st.one_of(
            st.sampled_from(
                [
                    b"v=1;", b"a=rsa-sha256;", b"a=ed25519-sha256;", b"d=sender.test;", b"s=rsa;", b"s=ed25519;",
                    b"h=from:to;", b"bh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=;", b"c=relaxed/relaxed;", b"l=1;",
                    b"i=x@", b"t=" + b"9" * 5000, b"\r\n ", b";", b"=", b"x=1;", b"d=" + b"a" * 70 + b".test;",
                    b"d=..;", b"s=\xff;", b"q=;", b"i=ann;", b"b=YWJj;",
                ]
            ),
            st.binary(max_size=8),
        ),
        max_size=16,
    ).map(b"".join),
)  # fmt: skip


@given(values=st.lists(junk, min_size=1, max_size=10), first=st.booleans())
def test_no_signature_of_a_stranger_raises_or_passes(values: list[bytes], first: bool) -> None:
    fields = b"".join(b"DKIM-Signature:" + value + b"\r\n" for value in values)
    fact = check(fields + MAIL if first else b" " + fields + MAIL)
    assert fact.passing == ()
    for one in fact.signatures:
        assert (one.reason + one.identity + one.domain + one.algorithm + one.signature).isascii()


@given(message=st.binary(max_size=200))
def test_no_message_raises(message: bytes) -> None:
    for whole in (message, b"DKIM-Signature:" + message, SIGNED[:700] + message, message + SIGNED):
        check(whole)
        try:
            field = sign(MemoryContent(whole), KEYS[1], now=NOW)
        except CannotBeSigned:
            continue
        assert render_field("DKIM-Signature", field).count(b"\r\n") > 3


@given(
    record=st.one_of(
        st.binary(max_size=100),
        st.lists(
            st.sampled_from(
                [b"v=DKIM1;", b"k=rsa;", b"k=ed25519;", b"p=", b"MIGf", b"YWJj", b";", b"t=y:s;", b"h=", b"s=*;"]
            )
        ).map(b"".join),
    )
)
def test_no_key_record_of_a_stranger_raises_or_passes(record: bytes) -> None:
    try:
        parse_key(record)
    except KeyInvalid as error:
        assert str(error).isascii()
    assert check(SIGNED, resolver(record)).passing == ()
