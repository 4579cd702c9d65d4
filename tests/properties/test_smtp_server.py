"""Whatever a client sends, and however it is cut: the server answers in whole replies and comes to an end."""

from __future__ import annotations

import asyncio
import re
import tempfile
from itertools import pairwise
from pathlib import Path

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


async def conversation(octets: bytes, cuts: list[int], *, lmtp: bool) -> tuple[bytes, list[bytes]]:
    """The replies of the server until it closed, and the messages that it accepted."""
    with tempfile.TemporaryDirectory() as folder:
        async with smtp_world(Path(folder), lmtp=lmtp, listen=False, max_message_octets=300) as world:
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
