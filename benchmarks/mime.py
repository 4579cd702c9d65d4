"""Microseconds per message: our index, text and URLs beside the standard library's parser, in one run.

python -m benchmarks mime
"""

from __future__ import annotations

import base64
import tempfile
import time
from collections.abc import Callable
from email import policy
from email.parser import BytesParser
from functools import partial
from pathlib import Path

from benchmarks.support import Result
from inbox.mail.content import FileContent, MemoryContent
from inbox.mail.index import index
from inbox.mail.message import Message

HEAD = (
    b"Return-Path: <bounce-42@lists.example.org>\r\n"
    b"Received: from mx.example.org (mx.example.org [192.0.2.7])\r\n"
    b"\tby mail.example.com (inbox) with ESMTPS id 1234567890\r\n"
    b"\tfor <ann@example.com>; Mon, 06 Jan 2025 10:20:31 +0000\r\n"
    b"Received: from app.example.org (localhost [127.0.0.1])\r\n"
    b"\tby mx.example.org (Postfix) with ESMTP id ABCDEF\r\n"
    b"\tfor <ann@example.com>; Mon, 06 Jan 2025 10:20:30 +0000\r\n"
    b"DKIM-Signature: v=1; a=rsa-sha256; c=relaxed/relaxed; d=example.org;\r\n"
    b"\ts=key1; h=from:to:subject:date:message-id;\r\n"
    b"\tbh=47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=;\r\n\tb=" + b"A1b2" * 43 + b"\r\n"
    b"From: Bob Example <bob@example.org>\r\n"
    b"To: Ann <ann@example.com>\r\n"
    b"Cc: Carol <carol@example.com>, dave@example.net\r\n"
    b"Subject: Re: [team] The plan for the second quarter\r\n"
    b"Date: Mon, 06 Jan 2025 11:20:29 +0100\r\n"
    b"Message-ID: <20250106102029.1234@example.org>\r\n"
    b"In-Reply-To: <20250105090000.99@example.com>\r\n"
    b"References: <20250104080000.98@example.com> <20250105090000.99@example.com>\r\n"
    b"User-Agent: Example/1.0\r\n"
    b"X-Spam-Status: No, score=-1.2 required=5.0\r\n"
    b"List-Unsubscribe: <https://lists.example.org/u/42>\r\n"
    b"MIME-Version: 1.0\r\n"
)
LINE = b"The quick brown fox jumps over the lazy dog, see https://example.org/a/b?c=d now.\r\n"


def plain(size: int) -> bytes:
    """A text/plain message of about ``size`` octets."""
    head = HEAD + b"Content-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
    return head + LINE * max(1, (size - len(head)) // len(LINE))


def alternative(size: int) -> bytes:
    """multipart/alternative with text and HTML."""
    html_line = b'<p>The quick <b>brown</b> fox, see <a href=3D"https://example.org/x?y=3D1">this</a>.</p>\r\n'
    head = HEAD + b'Content-Type: multipart/alternative; boundary="=_alt_0123456789abcdef"\r\n\r\n'
    room = size - len(head)
    return (
        head
        + b"--=_alt_0123456789abcdef\r\nContent-Type: text/plain; charset=utf-8\r\n\r\n"
        + LINE * (room // 3 // len(LINE))
        + b"\r\n--=_alt_0123456789abcdef\r\nContent-Type: text/html; charset=utf-8\r\n"
        + b"Content-Transfer-Encoding: quoted-printable\r\n\r\n<html><body>\r\n"
        + html_line * (room * 2 // 3 // len(html_line))
        + b"</body></html>\r\n\r\n--=_alt_0123456789abcdef--\r\n"
    )


def attached(size: int) -> bytes:
    """multipart/mixed with one base64 attachment that makes up nearly all of it."""
    data = base64.encodebytes(bytes(range(256)) * (size * 3 // 4 // 256)).replace(b"\n", b"\r\n")
    return (
        HEAD
        + b'Content-Type: multipart/mixed; boundary="=_mix_0123456789abcdef"\r\n\r\n'
        + b"--=_mix_0123456789abcdef\r\nContent-Type: text/plain\r\n\r\nSee the file.\r\n"
        + b"\r\n--=_mix_0123456789abcdef\r\nContent-Type: application/pdf; name=plan.pdf\r\n"
        + b"Content-Transfer-Encoding: base64\r\nContent-Disposition: attachment; filename=plan.pdf\r\n\r\n"
        + data
        + b"\r\n--=_mix_0123456789abcdef--\r\n"
    )


def hostile() -> dict[str, bytes]:
    """Small messages that cost other parsers seconds."""
    nested = b"".join(
        b"Content-Type: multipart/mixed; boundary=%d\r\n\r\n--%d\r\n" % (depth, depth) for depth in range(1700)
    )
    return {
        "8 KB of encoded-word starts": b"Subject: " + b"=?" * 4096 + b"\r\n\r\n",
        "20,000 parts, 200 KB": b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\n\r\nx\r\n" * 20000,
        "nested multiparts, 85 KB": nested,
        "5,000 parameters": b"Content-Type: text/plain" + b";\r\n a=b" * 5000 + b"\r\n\r\n",
        "20 KB of To": b"To: " + b'"a" <b@c>, ' * 1800 + b"\r\n\r\n",
        "20 KB of open comments": b"To: " + b"(" * 20000 + b"\r\n\r\n",
        "20 KB of open quotes": b"To: " + b'"\\' * 10000 + b"\r\n\r\n",
        "256 KB of nested elements": b"Content-Type: text/html\r\n\r\n" + b"<div>" * 52000,
        "256 KB of unknown 8-bit text": b"\r\n" + bytes(range(128, 256)) * 2048,
    }


def _indexed(data: bytes) -> object:
    return index(MemoryContent(data))


def _text(data: bytes) -> object:
    return Message(MemoryContent(data)).text()


def microseconds(action: Callable[[], object], seconds: float = 0.4) -> float:
    """CPU time of one call: the best of several rounds."""
    action()
    best, until = float("inf"), time.process_time() + seconds
    rounds = 1
    while time.process_time() < until:
        start = time.process_time()
        for _ in range(rounds):
            action()
        spent = time.process_time() - start
        best = min(best, spent / rounds)
        if spent < 0.01:
            rounds *= 2
    return best * 1e6


def run() -> list[Result]:
    """Prints the cost of reading a message; returns the ratios to the standard library's parser."""
    results: list[Result] = []
    parser = BytesParser(policy=policy.default)
    samples = {"plain 4 KB": plain(4096), "alternative 10 KB": alternative(10240), "attachment 1 MB": attached(1 << 20)}
    print(f"{'':34}{'µs':>12}{'stdlib µs':>12}{'ratio':>8}")
    for name, data in samples.items():
        ours = microseconds(partial(_indexed, data))
        theirs = microseconds(partial(parser.parsebytes, data))
        print(f"index {name:28}{ours:12.1f}{theirs:12.1f}{theirs / ours:8.1f}")
        results.append(
            Result(f"index a mail: {name}", f"{ours:.0f} µs", f"stdlib email: {theirs:.0f} µs", theirs / ours)
        )
    data = samples["alternative 10 KB"]
    for name, action in {
        "text 10 KB": lambda: Message(MemoryContent(data)).text(),
        "urls 10 KB": lambda: Message(MemoryContent(data)).urls(),
    }.items():
        print(f"Message.{name:26}{microseconds(action):12.1f}")
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "large.eml")
        path.write_bytes(attached(25 << 20))
        large = FileContent(path)
        assert not isinstance(large.buffer(), bytes)
        print(f"index {'attachment 25 MB, file':28}{microseconds(lambda: index(large)):12.1f}")
    for name, data in hostile().items():
        print(f"index {name:28}{microseconds(partial(_indexed, data), 0.1):12.1f}")
        print(f"text  {name:28}{microseconds(partial(_text, data), 0.1):12.1f}")
    return results
