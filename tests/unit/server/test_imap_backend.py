"""Calls of the store by the server, and replies when the store fails or the server stops."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from inbox.base.errors import InboxError, NotFound, StorageFull, StoreUnavailable
from inbox.mail.content import MemoryContent
from inbox.server.listener import bind
from inbox.store.ports.hosting import Scope
from tests.support.imap_world import World, imap_server, world

MESSAGE = b"Subject: x\r\nMessage-ID: <1@demo.test>\r\n\r\nabc\r\n"


class Refused(InboxError):
    code, status, text = 550, "5.7.1", "Not wanted (id 123)"


def counted(monkeypatch: pytest.MonkeyPatch, owner: object, name: str) -> list[tuple[Any, ...]]:
    """The arguments of each call of a method from now on."""
    calls: list[tuple[Any, ...]] = []
    original = getattr(owner, name)

    def method(*args: Any, **kwargs: Any) -> Any:
        calls.append(args)
        return original(*args, **kwargs)

    monkeypatch.setattr(owner, name, method)
    return calls


def failing(monkeypatch: pytest.MonkeyPatch, owner: object, name: str, error: Exception) -> Callable[[], None]:
    """Lets a method fail; the result of this function repairs it."""

    async def method(*_args: Any, **_kwargs: Any) -> Any:
        raise error

    original = getattr(owner, name)
    monkeypatch.setattr(owner, name, method)
    return lambda: monkeypatch.setattr(owner, name, original)


async def deliver(w: World, count: int) -> None:
    for number in range(count):
        await w.deliver(b"Message-ID: <%d@demo.test>\r\n" % number + MESSAGE)


async def test_metadata_never_opens_a_blob(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await deliver(w, 3)
        async with w.user() as client:
            await client.ok(b"FETCH 1:* FULL")
            await client.ok(b"FETCH 1:* (BODYSTRUCTURE BODY.PEEK[HEADER] BODY.PEEK[HEADER.FIELDS (Subject)])")
            await client.ok(b"SEARCH SUBJECT x LARGER 10 SENTSINCE 1-Jan-1970")
        assert w.blobs.reads == []


async def test_flags_come_from_the_view(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with world(tmp_path) as w:
        await deliver(w, 3)
        async with w.user() as client:
            fetches = counted(monkeypatch, w.database.messages, "columns")
            assert len(await client.ok(b"UID FETCH 1:* (FLAGS)")) == 3
            assert await client.ok(b"SEARCH UNSEEN NOT DELETED 2:*") == [b"* SEARCH 2 3"]
            assert fetches == []


async def test_seen_is_written_once_for_a_fetch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with world(tmp_path) as w:
        await deliver(w, 5)
        async with w.user() as client:
            stores = counted(monkeypatch, w.database.messages, "store")
            assert all(b"FLAGS (\\Seen \\Recent)" in line for line in await client.ok(b"FETCH 1:5 (BODY[] BODY[TEXT])"))
            assert not any(b"FLAGS" in line for line in await client.ok(b"FETCH 1:5 (BODY[])"))
            assert [call[2] for call in stores] == [[1, 2, 3, 4, 5]]


async def test_a_body_search_asks_only_for_what_the_flags_left(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await deliver(w, 5)
        async with w.user() as client:
            await client.ok(b"STORE 2 +FLAGS.SILENT (\\Flagged)")
            assert await client.ok(b"SEARCH BODY abc FLAGGED") == [b"* SEARCH 2"]
        assert len(w.blobs.reads) == 1


async def test_a_store_that_fails_ends_one_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with world(tmp_path) as w:
        await deliver(w, 1)
        async with w.user() as client:
            mend = failing(monkeypatch, w.database._main, "step", StoreUnavailable("secret"))
            said = await client.command(b"STORE 1 +FLAGS (\\Seen)")
            assert said == [b"t3 NO [UNAVAILABLE] Local problem, try again later"]
            mend()
            mend = failing(monkeypatch, w.database.messages, "copy", ZeroDivisionError("secret"))
            assert await client.command(b"COPY 1 Archive") == [b"t4 NO [SERVERBUG] Internal error"]
            mend()
            mend = failing(monkeypatch, w.database.messages, "changes", StoreUnavailable("secret"))
            assert await client.command(b"NOOP") == [b"t5 OK Done"]
            mend()
            await deliver(w, 1)
            assert await client.command(b"NOOP") == [b"* 2 EXISTS", b"* 2 RECENT", b"t6 OK Done"]
            assert w.log.errors == ["imap_command_failed"] * 3


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (Refused("x"), b"NO [CANNOT] Not wanted (id 123)"),
        (StorageFull("x"), b"NO [OVERQUOTA] Not enough room, try again later"),
        (NotFound("x"), b"NO [NONEXISTENT] Not found"),
    ],
)
async def test_an_append_that_is_refused_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception, said: bytes
) -> None:
    async with world(tmp_path) as w, w.user() as client:
        failing(monkeypatch, w.appending, "append", error)
        assert await client.command(b"APPEND INBOX {3+}\r\nabc") == [b"t3 " + said]
        failing(monkeypatch, w.database.mailboxes, "by_name", error)
        assert await client.command(b"APPEND INBOX {3+}\r\nabc") == [b"t4 " + said]


async def test_a_message_whose_blob_is_gone_spoils_no_other(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await deliver(w, 2)
        w.blobs.data.pop(next(iter(w.blobs.data)))
        async with w.user() as client:
            other, tagged = await client.command(b"FETCH 1:2 (UID BODY.PEEK[])")
            assert other.startswith(b"* 2 FETCH (UID 2 BODY[] {")
            assert tagged == b"t3 NO [SERVERBUG] Some of these messages cannot be read"
            assert await client.command(b"NOOP") == [b"t4 OK Done"]
        assert w.log.errors == ["imap_message_unreadable"]


async def test_a_message_that_cannot_be_read_is_seen_all_the_same(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await deliver(w, 1)
        w.blobs.data.clear()
        async with w.user() as client:
            assert await client.command(b"FETCH 1 (BODY[])") == [
                b"* 1 FETCH (UID 1 FLAGS (\\Seen \\Recent))",
                b"t3 NO [SERVERBUG] Some of these messages cannot be read",
            ]


async def test_a_blob_that_ends_in_the_middle_of_a_literal_ends_the_connection(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.deliver(MESSAGE + b"x" * 1_000_000)
        [key] = w.blobs.data
        w.blobs.data[key] = w.blobs.data[key][:600_000]
        async with w.user() as client:
            client.send(b"a FETCH 1 BODY.PEEK[]\r\n")
            assert (await client.rest()).startswith(b"* 1 FETCH (BODY[] {10000")
        assert any("is shorter" in str(fields.get("reason")) for _, _, fields in w.log.events)


async def test_stopping_finishes_the_command_and_says_goodbye(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with world(tmp_path) as w:
        started, go_on = asyncio.Event(), asyncio.Event()
        original = w.appending.append

        async def slow(*args: Any) -> Any:
            started.set()
            await go_on.wait()
            return await original(*args)

        monkeypatch.setattr(w.appending, "append", slow)
        async with w.user() as waiting, w.user() as idling, w.user() as busy, w.connect() as fresh:
            idling.send(b"a IDLE\r\n")
            assert await idling.response() == b"+ Idling"
            busy.send(b"a APPEND INBOX {3+}\r\nabc\r\n")
            await started.wait()
            stopping = asyncio.create_task(w.stop())
            goodbye = b"* BYE [UNAVAILABLE] Server is shutting down\r\n"
            for client in (waiting, idling, fresh):
                assert (await client.rest()).endswith(goodbye)
            go_on.set()
            said = await busy.rest()
            assert b"a OK [APPENDUID" in said and said.endswith(goodbye)
            await stopping
        with pytest.raises(OSError):
            await asyncio.open_connection("127.0.0.1", w.plain_port)
        assert not w.log.errors


async def test_sessions_of_a_disabled_account_end(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await w.server.dismiss()
        async with w.user() as idling, w.user(None) as waiting, w.connect() as fresh:
            idling.send(b"a IDLE\r\n")
            assert await idling.response() == b"+ Idling"
            await w.server.dismiss()
            await waiting.ok(b"NOOP")
            await w.database.hosting.set_active(Scope(w.organization.id, account=w.account.address), False)
            await w.server.dismiss()
            for client in (idling, waiting):
                assert (await client.rest()).endswith(b"* BYE This account is disabled\r\n")
            # Who has not logged in is nobody's.
            await fresh.ok(b"NOOP")
        ended = [fields for _, event, fields in w.log.events if event == "session_ended"]
        assert [(one["address"], one["tenant"]) for one in ended] == [(w.account.address, "demo")] * 2


async def test_a_command_that_does_not_end_is_cut_off_when_the_server_stops(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with world(tmp_path, stop_timeout=0.1) as w:
        started = asyncio.Event()

        async def never(*_args: Any) -> Any:
            started.set()
            await asyncio.Event().wait()

        monkeypatch.setattr(w.appending, "append", never)
        async with w.user() as busy:
            busy.send(b"a APPEND INBOX {3+}\r\nabc\r\n")
            await started.wait()
            await asyncio.wait_for(w.stop(), 20)
            assert w.server.connections == 0


async def test_tls_without_a_certificate_is_a_mistake_of_the_caller(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        config = type(w.config)("x", tmp_path)
        server = imap_server(config, w.database, w.blobs, w.server._backend.login, w.appending, w.log)
        for tls in ("implicit", "starttls"):
            refused = bind("127.0.0.1", 0, "imap", tls)
            with pytest.raises(ValueError, match="imap: TLS needs a certificate"):
                await server.start([refused])
            refused.socket.close()
        plain = bind("127.0.0.1", 0, tls="none")
        await server.start([plain])
        reader, writer = await asyncio.open_connection("127.0.0.1", plain.port)
        assert b"STARTTLS" not in await reader.readline()
        writer.write(b"a STARTTLS\r\n")
        assert await reader.readline() == b"a BAD TLS is not available\r\n"
        writer.close()
        await server.stop()


async def test_expunged_by_another_session_between_select_and_fetch(tmp_path: Path) -> None:
    async with world(tmp_path) as w:
        await deliver(w, 3)
        mailbox = await w.mailbox()
        async with w.user() as client:
            await w.database.messages.remove(w.organization.id, mailbox.id, [2])
            assert await client.command(b"FETCH 2 (BODY.PEEK[])") == [
                b"t3 NO [EXPUNGEISSUED] Another session expunged some of these messages"
            ]
            assert await client.command(b"STORE 2 +FLAGS (\\Seen)") == [
                b"t4 NO [EXPUNGEISSUED] Another session expunged some of these messages"
            ]
            assert (await client.command(b"COPY 2 Archive"))[0] == b"* 2 EXPUNGE"
            assert await client.command(b"SEARCH UID 3") == [b"* SEARCH 2", b"t6 OK Searched"]


async def test_the_same_octets_come_back_whatever_they_are(tmp_path: Path) -> None:
    odd = b"X: \xff\x00\r\n\r\n\x00\r\n.\r\n\n\r" + bytes(range(256)) * 1000
    async with world(tmp_path) as w:
        await w.appending.file(await w.mailbox(), MemoryContent(odd), prepended=b"Delivered-To: ann@demo.test\r\n")
        async with w.user() as client:
            [fetched] = await client.ok(b"FETCH 1 BODY.PEEK[]")
            whole = b"Delivered-To: ann@demo.test\r\n" + odd
            assert fetched == b"* 1 FETCH (BODY[] {%d}\r\n%b)" % (len(whole), whole)
            [pieces] = await client.ok(b"FETCH 1 (BODY.PEEK[]<0.40> BODY.PEEK[]<40.1000000>)")
            assert whole[:40] in pieces and pieces.endswith(whole[40:] + b")")


async def test_a_client_that_does_not_read_does_not_hold_up_the_stop(tmp_path: Path) -> None:
    async with world(tmp_path, stop_timeout=0.1) as w:
        await w.deliver(MESSAGE + b"x" * 25_000_000)
        async with w.user() as lazy:
            lazy.reader._transport.pause_reading()  # type: ignore[attr-defined]  # a client that stops reading
            lazy.send(b"a FETCH 1 BODY.PEEK[]\r\n")
            await asyncio.wait_for(_filled(w), 20)
            await asyncio.wait_for(w.stop(), 20)
            assert w.server.connections == 0


async def _filled(w: World) -> None:
    """Returns when the server waits for its client."""
    [session] = w.server._sessions.values()
    while not session.channel._full:
        await asyncio.sleep(0)
