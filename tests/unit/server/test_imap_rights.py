"""Replies of IMAP to a user with fewer rights (RFC 4314 §4, §5.2; RFC 5530 NOPERM)."""

from __future__ import annotations

from pathlib import Path

import pytest

from inbox.flow.mailboxes import ALL_RIGHTS, Rights
from inbox.mail.content import MemoryContent
from inbox.plugin.api.context import Identity
from tests.support.imap_world import Client, World, world
from tests.support.rights import Granting

MESSAGE = b"Subject: x\r\n\r\nabc\r\n"
READER = Rights.LOOKUP | Rights.READ
NOPERM = b"NO [NOPERM] Permission denied for this mailbox"


async def shared(w: World, rights: Rights) -> None:
    """A mailbox of another account, with one message, in which the user has these rights."""
    bob = await w.database.accounts.add(w.organization.id, "bob@demo.test", "-")
    inbox = await w.database.mailboxes.by_name(w.organization.id, bob.id, "INBOX")
    assert inbox is not None
    await w.appending.file(inbox, MemoryContent(MESSAGE))
    w.resolver.other = Identity(bob.address, bob.id, w.organization.id, "demo")
    w.resolver.granted["Shared/"] = rights


async def last(client: Client, command: bytes) -> bytes:
    """The tagged response without its tag."""
    return (await client.command(command))[-1].partition(b" ")[2]


async def test_a_shared_mailbox_is_listed_under_the_users_name_for_it(tmp_path: Path) -> None:
    async with world(tmp_path, resolver=Granting) as w:
        await shared(w, READER)
        async with w.user(None) as client:
            assert b'* LIST (\\HasNoChildren) "/" "Shared/INBOX"' in await client.ok(b'LIST "" *')
            assert await client.ok(b"STATUS Shared/INBOX (MESSAGES)") == [b'* STATUS "Shared/INBOX" (MESSAGES 1)']
            w.resolver.granted["Shared/"] = Rights.LOOKUP
            listed = await client.ok(b'LIST "" Shared/INBOX RETURN (STATUS (MESSAGES))')
            assert listed == [b'* LIST (\\HasNoChildren) "/" "Shared/INBOX"']
            assert await last(client, b"STATUS Shared/INBOX (MESSAGES)") == NOPERM
            w.resolver.granted["Shared/"] = ALL_RIGHTS & ~Rights.LOOKUP
            assert not [line for line in await client.ok(b'LIST "" *') if b"Shared" in line]
            assert await last(client, b"SELECT Shared/INBOX") == b"NO [NONEXISTENT] No such mailbox"
            assert await last(client, b"STATUS Shared/INBOX (MESSAGES)") == b"NO [NONEXISTENT] No such mailbox"


async def test_a_reader_selects_read_only_and_changes_nothing(tmp_path: Path) -> None:
    async with world(tmp_path, resolver=Granting) as w:
        await shared(w, READER)
        async with w.user(None) as client:
            opened = await client.command(b"SELECT Shared/INBOX")
            assert opened[-1].partition(b" ")[2] == b"OK [READ-ONLY] Selected"
            assert b"* OK [PERMANENTFLAGS ()] Permanent flags" in opened
            assert await client.ok(b"FETCH 1 (BODY[TEXT])") == [b"* 1 FETCH (BODY[TEXT] {5}\r\nabc\r\n)"]
            assert await last(client, b"STORE 1 +FLAGS (\\Seen)") == b"NO [READ-ONLY] Mailbox is read-only"
            assert await last(client, b"MOVE 1 INBOX") == b"NO [READ-ONLY] Mailbox is read-only"
            assert b"COPYUID" in await last(client, b"COPY 1 INBOX")
            assert await last(client, b"CLOSE") == b"OK Closed"
            assert await last(client, b"APPEND Shared/INBOX {3}") == NOPERM
            assert await last(client, b"DELETE Shared/INBOX") == NOPERM
            assert await last(client, b"RENAME Shared/INBOX Shared/Old") == NOPERM
            assert await last(client, b"CREATE Shared/INBOX/New") == NOPERM
        status = await w.database.mailboxes.status(w.organization.id, (await shared_inbox(w)))
        assert (status.messages, status.unseen) == (1, 1)


async def shared_inbox(w: World) -> str:
    found = await w.resolver.named(Identity("", w.account.id, w.organization.id, ""), "Shared/INBOX")
    return str(found.mailbox.id)


async def test_a_mailbox_without_read_cannot_be_selected(tmp_path: Path) -> None:
    async with world(tmp_path, resolver=Granting) as w:
        await shared(w, ALL_RIGHTS & ~Rights.READ)
        async with w.user(None) as client:
            assert await last(client, b"SELECT Shared/INBOX") == NOPERM
            assert await last(client, b"EXAMINE Shared/INBOX") == NOPERM
            assert await last(client, b"FETCH 1 (UID)") == b"BAD No mailbox selected"


async def test_flags_that_the_user_may_change_are_permanent(tmp_path: Path) -> None:
    async with world(tmp_path, resolver=Granting) as w:
        await shared(w, READER | Rights.SEEN)
        async with w.user(None) as client:
            opened = await client.command(b"SELECT Shared/INBOX")
            assert b"* OK [PERMANENTFLAGS (\\Seen)] Permanent flags" in opened
            assert opened[-1].partition(b" ")[2] == b"OK [READ-WRITE] Selected"
            assert await client.ok(b"STORE 1 +FLAGS (\\Seen \\Deleted)") == [b"* 1 FETCH (FLAGS (\\Seen \\Recent))"]
            assert await last(client, b"STORE 1 +FLAGS (\\Deleted)") == NOPERM
            assert await client.ok(b"STORE 1 FLAGS (\\Flagged)") == [b"* 1 FETCH (FLAGS (\\Recent))"]
            assert await last(client, b"EXPUNGE") == NOPERM
            assert await last(client, b"UID EXPUNGE 1") == NOPERM
            assert await last(client, b"MOVE 1 INBOX") == NOPERM


async def test_close_without_the_right_to_expunge_removes_nothing(tmp_path: Path) -> None:
    async with world(tmp_path, resolver=Granting) as w:
        await shared(w, ALL_RIGHTS & ~Rights.EXPUNGE)
        async with w.user(b"Shared/INBOX") as client:
            await client.ok(b"STORE 1 +FLAGS (\\Deleted)")
            await client.ok(b"CLOSE")
            assert await client.ok(b"STATUS Shared/INBOX (MESSAGES)") == [b'* STATUS "Shared/INBOX" (MESSAGES 1)']


async def test_nothing_gives_access_to_the_quarantine_of_the_tenant(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.database.mailboxes.create(w.organization.id, None, "Quarantine")
        await w.deliver(MESSAGE)
        async with w.user() as client:
            assert not [line for line in await client.ok(b'LIST "" *') if b"Quarantine" in line]
            assert not [line for line in await client.ok(b'LSUB "" *') if b"Quarantine" in line]
            for command in (b"SELECT Quarantine", b"EXAMINE Quarantine", b"STATUS Quarantine (MESSAGES)",
                            b"DELETE Quarantine", b"RENAME Quarantine Mine", b"SUBSCRIBE Quarantine"):  # fmt: skip
                assert await last(client, command) == b"NO [NONEXISTENT] No such mailbox", command
            await client.ok(b"SELECT INBOX")
            for command in (b"COPY 1 Quarantine", b"MOVE 1 Quarantine", b"APPEND Quarantine {3}"):
                assert await last(client, command) == b"NO [TRYCREATE] No such mailbox", command
            await client.ok(b"CREATE Quarantine")  # the name is free: this one is the user's own
            await client.ok(b"COPY 1 Quarantine")
        tenants = await w.database.mailboxes.by_name(w.organization.id, None, "Quarantine")
        assert tenants is not None
        assert (await w.database.mailboxes.status(w.organization.id, tenants.id)).messages == 0


@pytest.mark.parametrize("command", [b"COPY 1 Shared/INBOX", b"MOVE 1 Shared/INBOX", b"APPEND Shared/INBOX {3}"])
async def test_messages_go_into_a_shared_mailbox_with_the_right_to_insert(tmp_path: Path, command: bytes) -> None:
    async with world(tmp_path, resolver=Granting) as w:
        await w.deliver(MESSAGE)
        await shared(w, ALL_RIGHTS & ~Rights.INSERT)
        async with w.user() as client:
            assert await last(client, command) == NOPERM
            w.resolver.granted["Shared/"] = ALL_RIGHTS
            if command.startswith(b"APPEND"):
                client.send(b"x APPEND Shared/INBOX {3+}\r\nabc\r\n")
                assert (await client.until(b"x"))[-1].startswith(b"x OK [APPENDUID ")
            else:
                await client.ok(command)
            assert await client.ok(b"STATUS Shared/INBOX (MESSAGES)") == [b'* STATUS "Shared/INBOX" (MESSAGES 2)']
