"""Canonicalisation, with the examples of RFC 6376 §3.4.5 and the places where a body may be cut."""

import hashlib
from pathlib import Path

import pytest

from inbox.authentication.dkim.canonical import (
    BodyHashes,
    Form,
    body_hash,
    body_hashes,
    canonical_body,
    canonical_field,
    without_signature,
)
from inbox.base.limits import BODY_CHANGES
from inbox.mail.content import Content, FileContent, MemoryContent

SIMPLE, RELAXED = Form.SIMPLE, Form.RELAXED


def body(data: bytes, form: Form, size: int = 1 << 20) -> bytes:
    return b"".join(canonical_body([data[i : i + size] for i in range(0, len(data), size)], form))


def test_the_examples_of_the_rfc() -> None:
    assert canonical_field(b"A: X\r\n", RELAXED) == b"a:X\r\n"
    assert canonical_field(b"B : Y\t\r\n\tZ  \r\n", RELAXED) == b"b:Y Z\r\n"
    assert canonical_field(b"B : Y\t\r\n\tZ  \r\n", SIMPLE) == b"B : Y\t\r\n\tZ  \r\n"
    text = b" C \r\nD \t E\r\n\r\n\r\n"
    assert body(text, RELAXED) == b" C\r\nD E\r\n"
    assert body(text, SIMPLE) == b" C \r\nD \t E\r\n"


@pytest.mark.parametrize(
    ("raw", "canonical"),
    [
        (b"A:  b\t c \r\n", b"a:b c\r\n"),
        (b"A:\r\n\r\n", b"a:\r\n"),
        (b"A: b\n\tc\n", b"a:b c\r\n"),
        (b"A: b\x0b \x0cc\x0b\r\n", b"a:b\x0b \x0cc\x0b\r\n"),
        (b"A: b\rc \r \r\n", b"a:b\rc \r\r\n"),
        (b"A: b", b"a:b\r\n"),
        (b"A : \xa0b\xff\r\n", b"a:\xa0b\xff\r\n"),
    ],
)
def test_only_space_tab_and_folding_are_white_space(raw: bytes, canonical: bytes) -> None:
    assert canonical_field(raw, RELAXED) == canonical


def test_the_empty_body() -> None:
    for data in (b"", b"\r\n", b"\r\n\r\n\r\n"):
        assert body(data, SIMPLE) == b"\r\n"
        assert body(data, RELAXED) == b""
    # RFC 6376 §3.4.3 and §3.4.4 name these.
    none = MemoryContent(b"")
    assert (
        body_hash(none, 0, SIMPLE).hex().startswith("7eb70257593da06f682a3ddda54a9d260d4fc514f645237f5ca74b08f8da61a6")
    )
    assert body_hash(none, 0, RELAXED) == hashlib.sha256().digest()


BODIES = [
    b"a", b"a\r\n", b"a\r\nb", b"a \t\r\n\r\n \r\n\r\n", b" " * 70 + b"\r\n", b"\ta  b\r", b"a\r\r\n\r\n",
    b"a\n\n\r\n\r\n", b"\r", b"\n", b"\r\r\n", b"\n\r\n", b" \r \r\n \r\n", b"a \r\n \t \r\n\r\n\r\nb  \r\n\r\n",
    b"\r\n\r\na\r\n\r\n", b" ", b" \r",
]  # fmt: skip


@pytest.mark.parametrize("data", BODIES)
@pytest.mark.parametrize("form", list(Form))
def test_the_chunks_of_a_body_make_no_difference(data: bytes, form: Form) -> None:
    whole = body(data, form)
    for size in range(1, len(data) + 1):
        assert body(data, form, size) == whole


@pytest.mark.parametrize("width", [1, 2, 3, 7, 8, 9, 63, 64, 65, 129, 5000])
def test_runs_of_any_length_become_one_space(width: int) -> None:
    assert body(b"a" + b" \t" * width + b"b" + b"\t" * width + b"\r\n", RELAXED, 64) == b"a b\r\n"


def test_many_empty_lines_are_kept_if_something_follows() -> None:
    lines = b"\r\n" * 100_000
    assert body(b"a" + lines + b"b", SIMPLE, 4096) == b"a" + lines + b"b\r\n"
    assert body(b"a" + lines, SIMPLE, 4096) == b"a\r\n"


def test_a_large_body_in_a_file(tmp_path: Path) -> None:
    text = b"Subject: x\r\n\r\n" + b"Some words,  and more. \r\n" * 20_000
    (tmp_path / "m").write_bytes(text)
    contents: list[Content] = [FileContent(tmp_path / "m"), MemoryContent(text)]
    for form in Form:
        expected = hashlib.sha256(body(text[14:], form)).digest()
        assert {body_hash(content, 14, form) for content in contents} == {expected}


def test_lengths() -> None:
    content = MemoryContent(b"a  b\r\nc\r\n\r\n")
    found = body_hashes(content, 0, RELAXED, [0, 3, 8, 9, None, 10**76])
    canonical = b"a b\r\nc\r\n"
    expected: dict[int | None, bytes] = {length: hashlib.sha256(canonical[:length]).digest() for length in (0, 3, 8)}
    expected[None] = hashlib.sha256(canonical).digest()
    assert found == expected


def test_a_body_that_is_made_to_cost_time() -> None:
    content = MemoryContent(b"a  " * (BODY_CHANGES + 1))
    assert body_hashes(content, 0, RELAXED, [5, None]) == {}
    assert body_hash(content, 0, RELAXED) == b""
    assert len(body_hash(content, 0, SIMPLE)) == 32
    honest = MemoryContent((b"    two  spaces and a tab \t\r\n" + b"x" * 70 + b"\r\n") * 50_000)
    assert len(body_hash(honest, 0, RELAXED)) == 32


@pytest.mark.parametrize(
    ("raw", "without"),
    [
        (b"DKIM-Signature: v=1; b=abc; bh=def\r\n", b"DKIM-Signature: v=1; b=; bh=def\r\n"),
        (b"DKIM-Signature: b=abc\r\n def\r\n", b"DKIM-Signature: b="),
        (b"D: bh=b=x;\r\n\tb\r\n = a b =\r\n =; s=b\r\n", b"D: bh=b=x;\r\n\tb\r\n =; s=b\r\n"),
        (b"D: v=1\r\n", b"D: v=1\r\n"),
        (b"b=x: v=1; b=y\r\n", b"b=x: v=1; b="),
    ],
)
def test_the_value_of_b_is_taken_out(raw: bytes, without: bytes) -> None:
    assert without_signature(raw) == without


class Counted(MemoryContent):
    """Counts how often its octets at 0 are read."""

    passes = 0

    def read(self, offset: int, length: int) -> bytes:
        self.passes += offset == 0
        return super().read(offset, length)


def test_those_who_check_one_message_share_one_pass_for_each_form() -> None:
    content, hashes = Counted(b"a  b\r\n" * 10), BodyHashes()
    assert hashes.of(content, 0, RELAXED, [3, 10**6])[3] == hashlib.sha256(b"a b").digest()
    # Known, and known to be beyond the end.
    assert hashes.of(content, 0, RELAXED)[None] == body_hash(MemoryContent(b"a  b\r\n" * 10), 0, RELAXED)
    assert 10**6 not in hashes.of(content, 0, RELAXED, [10**6])
    assert content.passes == 1
    assert hashes.of(content, 0, SIMPLE)[None] != hashes.of(content, 0, RELAXED)[None]
    assert content.passes == 2
    # Who wants more costs another pass, and takes nothing away.
    assert hashes.of(content, 0, RELAXED, [4]).keys() == {3, 4, None}
    assert content.passes == 3


def test_a_body_that_cost_too_much_is_not_tried_again() -> None:
    content, hashes = Counted(b"a  " * (BODY_CHANGES + 1)), BodyHashes()
    assert hashes.of(content, 0, RELAXED, [5]) == {}
    assert hashes.of(content, 0, RELAXED) == {}
    assert content.passes == 1
