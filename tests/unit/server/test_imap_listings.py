"""Responses to sessions that share a listing: each one's view matches its responses."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from inbox.mail.flags import Flag
from tests.support.imap_world import world

MESSAGE = b"Subject: x\r\n\r\nabc\r\n"


async def test_sequence_numbers_are_those_of_the_moment_of_select(tmp_path: Path) -> None:
    """One session selects while another still has messages that are gone: both count according to their responses."""
    async with world(tmp_path) as w:
        for _ in range(4):
            await w.deliver(MESSAGE)
        async with w.user() as early:
            mailbox = await w.mailbox()
            await w.database.messages.remove(w.organization.id, mailbox.id, [2])
            await w.deliver(MESSAGE)
            async with w.user(None) as late:
                assert b"* 4 EXISTS" in await late.ok(b"SELECT INBOX")
                assert await late.ok(b"FETCH 2:4 (UID)") == [
                    b"* 2 FETCH (UID 3)",
                    b"* 3 FETCH (UID 4)",
                    b"* 4 FETCH (UID 5)",
                ]
            assert (await early.ok(b"FETCH 2:4 (UID)"))[:3] == [
                b"* 2 FETCH (UID 2)",
                b"* 3 FETCH (UID 3)",
                b"* 4 FETCH (UID 4)",
            ]
            assert b"* 2 EXPUNGE" in await early.ok(b"NOOP")
            assert await early.ok(b"FETCH 2:* (UID)") == [
                b"* 2 FETCH (UID 3)",
                b"* 3 FETCH (UID 4)",
                b"* 4 FETCH (UID 5)",
            ]


async def test_many_select_at_once_while_mail_comes(tmp_path: Path) -> None:
    async with world(tmp_path) as w:

        async def selecting() -> None:
            async with w.user(None) as client:
                for _ in range(5):
                    answer = await client.ok(b"EXAMINE INBOX")
                    exists = next(int(line.split()[1]) for line in answer if line.endswith(b"EXISTS"))
                    fetched = await client.ok(b"FETCH 1:* (UID RFC822.SIZE)")
                    rows = [line for line in fetched if b"FETCH" in line]
                    assert rows[:exists] == [
                        b"* %d FETCH (UID %d RFC822.SIZE %d)" % (n, n, len(MESSAGE)) for n in range(1, exists + 1)
                    ]

        async def delivering() -> None:
            for _ in range(20):
                await w.deliver(MESSAGE)

        await asyncio.gather(delivering(), *[selecting() for _ in range(3)])


async def test_a_select_without_recent_messages_writes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with world(tmp_path) as w:
        await w.deliver(MESSAGE)
        async with w.user(None) as client:
            assert b"* 1 RECENT" in await client.ok(b"SELECT INBOX")

            async def unexpected(*_args: Any) -> int:
                raise AssertionError("a claim of what is claimed already")

            monkeypatch.setattr(w.database.messages, "claim_recent", unexpected)
            assert b"* 0 RECENT" in await client.ok(b"SELECT INBOX")


async def test_a_modseq_is_not_newer_than_the_flags_beside_it(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.deliver(MESSAGE)
        async with w.user() as client:
            [known] = await client.ok(b"FETCH 1 (MODSEQ)")
            mailbox = await w.mailbox()
            await w.database.messages.store(w.organization.id, mailbox.id, [1], "add", Flag.FLAGGED)
            assert (await client.ok(b"FETCH 1 (MODSEQ)"))[0] == known
            await client.ok(b"NOOP")
            assert await client.ok(b"FETCH 1 (MODSEQ)") != [known]
