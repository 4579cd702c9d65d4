"""The MIME tree as offsets."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from inbox.base.limits import HEADER_BLOCK_OCTETS, MIME_DEPTH, MIME_PART_FIELDS, MIME_PARTS
from inbox.mail import mime
from inbox.mail.content import FileContent, MemoryContent
from inbox.mail.index import index
from inbox.mail.mime import Part, scan

MIXED = b'Content-Type: multipart/mixed; boundary="b"\r\n\r\n'


def outline(part: Part, data: bytes) -> object:
    """A leaf is its body, a node the list of its parts."""
    if part.is_multipart or part.is_message:
        return [outline(child, data) for child in part.children]
    return data[part.body : part.end]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"--b\r\n\r\none\r\n--b\r\n\r\ntwo\r\n--b--\r\n", [b"one", b"two"]),
        (b"preamble\r\n--b\r\n\r\none\r\n--b--\r\nepilogue\r\n", [b"one"]),
        (b"--b\r\n\r\none", [b"one"]),
        (b"--b\r\n\r\none\r\n", [b"one\r\n"]),
        (b"--b\r\n\r\n\r\n--b--", [b""]),
        (b"--b\r\n\r\none\r\n--b  \r\n\r\ntwo\r\n--b--", [b"one", b"two"]),
        (b"--b\r\n--b\r\n\r\nx\r\n--b--", [b"", b"x"]),
        (b"--b\r\nA: c\r\n--b--", [b""]),
        (b"--b--\r\n", []),
        (b"--b", []),
        (b"", []),
        (b"no boundary at all\r\n", []),
        (b"--b\r\n\r\none\r\n--b--\r\n--b\r\n\r\nnot a part\r\n", [b"one"]),
        (b"--b\n\none\n--b--\n", [b"one"]),
        (b"--b\r\n\r\nx --b\r\n--c\r\n--b--", [b"x --b\r\n--c"]),
    ],
)
def test_parts_of_a_multipart(body: bytes, expected: list[bytes]) -> None:
    data = MIXED + body
    assert outline(scan(data), data) == expected


def nested(inner: bytes, body: bytes) -> bytes:
    return b"--b\r\nContent-Type: multipart/mixed; boundary=" + inner + b"\r\n\r\n" + body


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (nested(b"c", b"--c\r\n\r\none\r\n--c--\r\n--b\r\n\r\ntwo\r\n--b--"), [[b"one"], b"two"]),
        (nested(b"c", b"--c\r\n\r\none\r\n--b\r\n\r\ntwo\r\n--b--"), [[b"one"], b"two"]),
        (nested(b"b", b"--b\r\n\r\none\r\n--b--\r\n--b\r\n\r\ntwo\r\n--b--"), [[b"one"], b"two"]),
        (nested(b"b-2", b"--b-2\r\n\r\none\r\n--b-2--\r\n--b\r\n\r\ntwo\r\n--b--"), [[b"one"], b"two"]),
        (nested(b"c", b"--b\r\n\r\ntwo\r\n--b--"), [[], b"two"]),
        (nested(b"c", b"text\r\n--b\r\n\r\ntwo\r\n--b--"), [[], b"two"]),
    ],
)
def test_nested_multiparts(body: bytes, expected: list[object]) -> None:
    data = MIXED + body
    assert outline(scan(data), data) == expected


def test_a_delimiter_within_a_header_ends_it() -> None:
    data = MIXED + b"--b\r\nContent-Type: text/html\r\nX: y\r\n--b\r\n\r\ntwo\r\n--b--"
    first, second = scan(data).children
    assert data[first.start : first.body] == b"Content-Type: text/html\r\nX: y"
    assert first.subtype == b"html"
    assert data[second.body : second.end] == b"two"


def test_messages_in_messages() -> None:
    data = b"Content-Type: message/rfc822\r\n\r\nSubject: inner\r\n\r\ntext\r\n"
    root = scan(data)
    assert root.is_message
    (inner,) = root.children
    assert inner.fields[b"subject"] == b"inner"
    assert data[inner.body : inner.end] == b"text\r\n"
    assert root.lines(data) == 3


def test_digest_parts_are_messages() -> None:
    data = b"Content-Type: multipart/digest; boundary=b\r\n\r\n--b\r\n\r\nSubject: x\r\n\r\ntext\r\n--b--\r\n"
    (part,) = scan(data).children
    assert part.is_message
    assert part.children[0].fields[b"subject"] == b"x"


def test_without_mime_fields_content_fields_mean_nothing() -> None:
    assert not scan(b"Content-Transfer-Encoding: base64\r\n\r\nx").is_mime
    assert scan(b"MIME-Version: 1.0\r\nContent-Transfer-Encoding: base64\r\n\r\nx").is_mime


def test_repeated_address_fields_are_all_read() -> None:
    root = scan(b"To: a@b\r\nTo: c@d\r\nSubject: one\r\nSubject: two\r\n\r\n")
    assert root.repeated == {b"to": [b"c@d"]}
    assert root.fields[b"subject"] == b"one"


def test_the_number_of_parts_is_bounded() -> None:
    data = MIXED + b"--b\r\n\r\nx\r\n" * (3 * MIME_PARTS)
    parts = scan(data).children
    assert len(parts) == MIME_PARTS - 1
    assert parts[-1].end == len(data)


def test_depth_is_bounded() -> None:
    data = b"".join(b"Content-Type: multipart/mixed; boundary=%d.\r\n\r\n--%d.\r\n" % (n, n) for n in range(90))
    part, depth = scan(data), 1
    while part.children:
        (part,) = part.children
        depth += 1
    assert depth == MIME_DEPTH
    assert part.kind == (b"application", b"octet-stream")


def test_messages_within_messages_are_bounded() -> None:
    part, depth = scan(b"Content-Type: message/rfc822\r\n\r\n" * 90), 1
    while part.children:
        (part,) = part.children
        depth += 1
    assert depth == MIME_DEPTH


def test_fields_of_a_part_are_bounded() -> None:
    fields = b"".join(b"X-%d: y\r\n" % n for n in range(5000))
    (part,) = scan(MIXED + b"--b\r\n" + fields + b"\r\n").children
    assert len(part.fields) == MIME_PART_FIELDS


def test_a_header_without_end_is_cut() -> None:
    data = b"X: " + b"y" * (3 * HEADER_BLOCK_OCTETS)
    assert scan(data).body == HEADER_BLOCK_OCTETS


def test_a_file_is_read_like_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mime, "_WINDOW", 7)  # Delimiters lie across the edges of windows.
    monkeypatch.setattr("inbox.mail.content.SPOOL_OCTETS", 10)
    data = MIXED + nested(b"c", b"--c\r\n\r\none\n\r\n--c--\r\n--b\r\n\r\ntwo\r\n--b--\r\nend")
    path = tmp_path / "message"
    path.write_bytes(data)
    content = FileContent(path)
    assert not isinstance(content.buffer(), bytes)
    assert index(content) == index(MemoryContent(data))


def calls(action: Callable[[], object]) -> int:
    """The number of function calls, ours and built-in ones."""
    count = 0

    def hook(frame: object, event: str, arg: object) -> None:
        nonlocal count
        count += event in {"call", "c_call"}

    sys.setprofile(hook)
    try:
        action()
    finally:
        sys.setprofile(None)
    return count


@pytest.mark.parametrize(
    "make",
    [
        lambda n: MIXED + b"--b\r\n\r\nx\r\n" * n,
        lambda n: b"".join(b"Content-Type: multipart/mixed; boundary=%d.\r\n\r\n--%d.\r\n" % (k, k) for k in range(n)),
        lambda n: b"Content-Type: text/plain" + b";\r\n a=b" * n + b"\r\n\r\n",
        lambda n: b"To: " + b'"a" <b@c>, ' * n + b"\r\n\r\n",
        lambda n: b"To: " + b"(" * n + b"\r\n\r\n",
        lambda n: b"To: " + b"a@[," * n + b"\r\n\r\n",
        lambda n: b"To: " + b'"a,' * n + b"\r\n\r\n",
        lambda n: b"From: " + b"<@a:" * n + b"\r\n\r\n",
        lambda n: b"Subject: " + b"=?utf-8?q?a?= " * n + b"\r\n\r\n",
        lambda n: b"X-Y: z\r\n" * n + b"\r\n",
        lambda n: b"References: " + b"<a@b> " * n + b"\r\n\r\n",
        lambda n: MIXED + b"".join(b"--b\r\nContent-Type: multipart/mixed; boundary=%d.\r\n\r\n" % k for k in range(n)),
    ],
)
def test_work_grows_no_faster_than_the_message(make: Callable[[int], bytes]) -> None:
    small, large = (calls(partial(index, MemoryContent(make(n)))) for n in (200, 800))
    assert large <= 4.5 * small


@pytest.mark.parametrize(
    "data",
    [
        b"Subject: " + b" " * 260_000 + b"x\r\n\r\n",
        b"Subject: " + b"=?" * 130_000 + b"\r\n\r\n",
        b"From: a" + b" " * 260_000 + b"\r\n\r\n",
        b"From: " + b"a." * 130_000 + b"\r\n\r\n",
        b"To: " + b"a@[" * 80_000 + b"\r\n\r\n",
        b'To: "' + b"\\" * 260_000 + b"\r\n\r\n",
        b"Content-Type: a/b; c=" + b'"\\' * 130_000 + b"\r\n\r\n",
        b"Content-Type: a/b" + b" ;" * 130_000 + b"\r\n\r\n",
        b"Content-Type: a/b" + b"(" * 260_000 + b"\r\n\r\n",
        b"Content-Type: a/b; " + b"a*0*=" * 50_000 + b"\r\n\r\n",
        b"Content-Language: " + b"a," * 130_000 + b"\r\nMIME-Version: 1.0\r\n\r\n",
        b"Message-ID: " + b"<" * 260_000 + b"\r\n\r\n",
        b"References: " + b"<a" * 130_000 + b"\r\n\r\n",
        b"Date: " + b" " * 260_000 + b"\r\n\r\n",
        b"X" * 260_000,
        b"\r\n" * 2_000_000,
        MIXED + b"\r\n--" * 1_000_000,
        MIXED + b"--b\r\n" * 500_000,
        b"\r\n" + b" " * 4_000_000,
        b"Content-Type: text/html\r\n\r\n" + b"<" * 4_000_000,
        b"Content-Type: text/html\r\n\r\n" + b"<!--" * 1_000_000,
    ],
)  # fmt: skip
def test_work_beyond_linear_would_never_end(data: bytes) -> None:
    # At these sizes a quadratic step takes minutes and trips the test's time-out; a linear one does not show.
    assert index(MemoryContent(data)).header_block == data[: scan(data).body]
