"""Whatever a client sends, and however it is cut: the server answers in whole replies and comes to an end."""

from __future__ import annotations

import asyncio
import base64
import re
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.smtp_world import TIMEOUT_SECONDS, smtp_world

LINES = [
    "EHLO a.test",
    "HELO a.test",
    "MAIL FROM:<a@b.test>",
    "MAIL FROM:<> SIZE=5 BODY=8BITMIME",
    "RCPT TO:<a@b.test>",
]
LINES += [
    "RCPT TO:<unknown@b.test>",
    "DATA",
    "RSET",
    "BDAT 5",
    "BDAT 5 LAST",
    "BDAT 0 LAST",
    "BDAT x",
    "STARTTLS",
    "QUIT",
]
LINES += ["NOOP", ".", "..", "", "text", "\x00", "GET / HTTP/1.1", "VRFY x", "é", "x" * 3000]
sent = st.lists(
    st.sampled_from([line.encode() + b"\r\n" for line in LINES]) | st.sampled_from([b"\r", b"\n", b".\n", b"12345"]),
    max_size=25,
).map(b"".join)
LINE = re.compile(rb"[2-5]\d\d[ -][\x20-\x7e]*\r\n")


async def conversation(
    octets: bytes, cuts: list[int], *, lmtp: bool = False, **settings: Any
) -> tuple[bytes, list[bytes]]:
    """The replies of the server until it closed, and the messages that it accepted."""
    with tempfile.TemporaryDirectory() as folder:
        async with smtp_world(Path(folder), lmtp=lmtp, listen=False, max_message_octets=300, **settings) as world:
            client = world.memory()
            edges = [0, *sorted(min(cut, len(octets)) for cut in cuts), len(octets)]
            for start, end in pairwise(edges):
                client.send(octets[start:end])
                await asyncio.sleep(0)
            if not client.transport.closed:
                client.half_close()
            async with asyncio.timeout(TIMEOUT_SECONDS):
                while not client.transport.closed:
                    await client.transport.changed()
            assert not world.server.limits.connections
            assert not world.log.errors
            return client.transport.take(), [got.content for got in world.receiving.got]


@settings(max_examples=60, deadline=None)
@given(octets=sent, cuts=st.lists(st.integers(0, 500), max_size=6), lmtp=st.booleans())
def test_every_conversation_has_whole_replies_and_an_end(octets: bytes, cuts: list[int], lmtp: bool) -> None:
    octets = b"LHLO a.test\r\n" * lmtp + octets
    said, accepted = asyncio.run(conversation(octets, cuts, lmtp=lmtp))
    for line in said.splitlines(keepends=True):
        assert LINE.fullmatch(line), line
    assert said.startswith(b"220 ")
    for message in accepted:
        assert len(message) <= 300
        assert b"\n" not in message.replace(b"\r\n", b"")
        assert b"\r" not in message.replace(b"\r\n", b"")


@settings(max_examples=60, deadline=None)
@given(octets=sent, cuts=st.lists(st.integers(0, 500), max_size=6))
def test_cuts_never_change_the_conversation(octets: bytes, cuts: list[int]) -> None:
    octets = b"EHLO a.test\r\n" + octets
    assert asyncio.run(conversation(octets, cuts, lmtp=False)) == asyncio.run(conversation(octets, [], lmtp=False))


def b64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


RIGHT = b64("\0ann@demo.test\0secret")
WRONG = b64("\0ann@demo.test\0guess")
AUTH = [
    f"AUTH PLAIN {RIGHT}",
    f"AUTH PLAIN {WRONG}",
    "AUTH PLAIN",
    "AUTH PLAIN =",
    "AUTH PLAIN *",
    "AUTH LOGIN",
    f"AUTH LOGIN {b64('ann@demo.test')}",
    "AUTH SCRAM-SHA-256",
    "AUTH SCRAM-SHA-256 " + b64("n,,n=ann@demo.test,r=abc"),
    "AUTH SCRAM-SHA-256 " + b64("y,a=eve,n=,,=2C=3D,r="),
    "AUTH OAUTHBEARER",
    "AUTH  PLAIN",
    "AUTH",
    "AUTH PLAIN é",
    f"auth plain {RIGHT} x",
    RIGHT,
    WRONG,
    b64("ann@demo.test"),
    b64("secret"),
    b64("\0" * 9),
    "*",
    "=",
    "====",
    "A" * 12284,
    "A" * 20000,
    "MAIL FROM:<ann@demo.test> AUTH=<> MT-PRIORITY=3",
    "MAIL FROM:<ann@demo.test> HOLDFOR=99999999999 REQUIRETLS",
]
submitted = st.lists(
    st.sampled_from([line.encode() + b"\r\n" for line in (*AUTH, *AUTH, *LINES)])
    | st.sampled_from([b"\r", b"\n", b".\n", b"12345", b"\r\n.\r\n", b"\x00", b"\xff\r\n"]),
    max_size=25,
).map(b"".join)
#: The nonce of the server is random.
CHALLENGE = re.compile(rb"334 [^\r]{40,}")


@settings(max_examples=150, deadline=None)
@given(octets=submitted, cuts=st.lists(st.integers(0, 500), max_size=6))
def test_nothing_is_submitted_without_a_login(octets: bytes, cuts: list[int]) -> None:
    octets = b"EHLO a.test\r\n" + octets
    said, accepted = asyncio.run(conversation(octets, cuts, submission=True, login_without_tls=True))
    for line in said.splitlines(keepends=True):
        assert LINE.fullmatch(line), line
    before_login, login, _ = said.partition(b"235 2.7.0 ")
    assert b"250 2.1.0 " not in before_login, "MAIL was accepted"
    assert login or not accepted
    assert b"secret" not in said
    assert b"guess" not in said
    uncut, same = asyncio.run(conversation(octets, [], submission=True, login_without_tls=True))
    assert (CHALLENGE.sub(b"334", said), accepted) == (CHALLENGE.sub(b"334", uncut), same)


@settings(max_examples=60, deadline=None)
@given(octets=submitted)
def test_nobody_logs_in_before_tls(octets: bytes) -> None:
    said, accepted = asyncio.run(conversation(b"EHLO a.test\r\n" + octets, [], submission=True))
    assert accepted == []
    assert b"\r\n235" not in said
    assert b"\r\n334" not in said, "no question for a password"
