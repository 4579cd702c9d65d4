"""Submission while something that it needs is gone, full, wrong, slow or stalled, and after that."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest

from inbox.base.errors import StorageFull, StoreUnavailable
from inbox.dns.answers import DnsTemporary
from inbox.mail.reply import Reply
from inbox.store.pairing import WrongStore
from tests.support.flow import SCRIPTED, World, scripted, world
from tests.support.sources import ROOT
from tests.unit.flow.submission.test_submission import ANN, BOB, EVE, FAR, words

MESSAGE = b"From: ann@acme.test\r\nIdempotency-Key: k\r\nSubject: hello\r\n\r\nbody\r\n"
LATER = "451 4.3.0 Local problem, try again later"
NO_ROOM = "452 4.3.1 Not enough room, try again later"


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        await made.plugin("scripted", SCRIPTED)
        yield made


async def nothing_is_there(here: World) -> None:
    """Neither a copy, nor a job, nor the key."""
    assert await here.mailbox(BOB) == []
    assert await here.mailbox(EVE) == []
    assert await here.jobs() == []
    assert await here.installation.database.idempotency_keys.get(await here.tenant("acme"), "k") is None


@contextmanager
def failing_blobs(here: World, monkeypatch: pytest.MonkeyPatch, error: Exception) -> Iterator[None]:
    """The disk takes no blob."""
    ingest = here.parts.acceptance._ingest
    while not hasattr(ingest, "_blobs"):
        ingest = ingest._ingest  # type: ignore[attr-defined]

    async def put(*_: object) -> None:
        raise error

    with monkeypatch.context() as patched:
        patched.setattr(ingest, "_blobs", SimpleNamespace(put=put))
        yield


@pytest.mark.parametrize(
    ("error", "answer"),
    [
        (StoreUnavailable("the folder is gone"), LATER),
        (StorageFull("the disk is full"), NO_ROOM),
        (WrongStore("the store of another installation"), LATER),
    ],
)
async def test_without_a_blob_store_nothing_is_half_done_and_the_client_can_repeat_it(
    here: World, monkeypatch: pytest.MonkeyPatch, error: Exception, answer: str
) -> None:
    with failing_blobs(here, monkeypatch, error):
        for _ in range(2):
            assert words(await here.submit([BOB, EVE, FAR], MESSAGE)) == [answer]
            await nothing_is_there(here)
    for _ in range(2):
        assert words(await here.submit([BOB, EVE, FAR], MESSAGE)) == ["250 2.0.0 OK"]
    assert (len(await here.mailbox(BOB)), len(await here.mailbox(EVE)), len(await here.jobs())) == (1, 1, 1)


async def test_an_answer_that_got_lost_is_repeated(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The worker process ended after the commit: the outcome is unknown, and the client tries again."""
    ingest = here.parts.acceptance._ingest

    async def accept(accepted: object) -> None:
        await ingest.accept(accepted)  # type: ignore[arg-type]
        raise StoreUnavailable("the worker process ended")

    with monkeypatch.context() as patched:
        patched.setattr(here.parts.acceptance, "_ingest", SimpleNamespace(accept=accept))
        assert words(await here.submit([BOB, FAR], MESSAGE)) == [LATER]
    assert words(await here.submit([BOB, FAR], MESSAGE)) == ["250 2.0.0 OK"]
    assert (len(await here.mailbox(BOB)), len(await here.jobs())) == (1, 1)


async def test_a_database_without_the_key_takes_the_message_as_a_new_one(here: World) -> None:
    """It was restored from an older copy: nobody can know that the message was accepted."""
    await here.submit([FAR], MESSAGE)
    await here.installation.database.idempotency_keys.forget(await here.tenant("acme"))
    assert words(await here.submit([FAR], MESSAGE)) == ["250 2.0.0 OK"]
    assert len(await here.jobs()) == 2


async def test_submission_asks_no_dns(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    async def away(*question: object) -> None:
        asked.append(question)
        raise DnsTemporary("no answer")

    await here.policy("default.yaml", (ROOT / "policies" / "default.yaml").read_text())
    for name in ("a", "aaaa", "mx", "txt", "ptr", "tlsa", "cname"):
        monkeypatch.setattr(here.parts.resolver, name, away)
    assert words(await here.submit([BOB, EVE, FAR], MESSAGE)) == ["250 2.0.0 OK"]
    assert asked == []


async def test_a_plugin_that_fails_defers_by_default(here: World) -> None:
    await scripted(here, "acme", data="1 / 0")
    assert temporary(await here.submit([FAR], MESSAGE))
    await nothing_is_there(here)
    await scripted(here, "acme", data="None")
    assert words(await here.submit([FAR], MESSAGE)) == ["250 2.0.0 OK"]


def temporary(replies: list[Reply]) -> bool:
    return [reply.code // 100 for reply in replies] == [4]


async def test_a_clock_that_jumps_changes_no_answer(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A key that was recorded a day ahead of time is known before and after."""
    clock = here.installation.clock
    real = clock.now
    monkeypatch.setattr(clock, "now", lambda: real() + 86_400)
    first = (await here.submit([FAR], MESSAGE))[0]
    monkeypatch.setattr(clock, "now", lambda: real() - 86_400)
    assert await here.submit([FAR], MESSAGE) == [first]
    assert await here.installation.database.idempotency_keys.prune(clock.now()) == 0
    assert len(await here.jobs()) == 1
    assert words(await here.submit([FAR], MESSAGE.replace(b": k", b": k2"), user=ANN)) == ["250 2.0.0 OK"]
