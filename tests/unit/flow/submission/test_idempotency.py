"""Submissions that are repeated with the same idempotency key are stored once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

from inbox.base.errors import StoreUnavailable
from inbox.flow.submission.idempotency import Idempotency
from inbox.mail.reply import Reply
from inbox.store.ports import IdempotencyKey
from tests.support.flow import SCRIPTED, World, scripted, world
from tests.unit.flow.submission.test_limits import quota

ANN, BOB, EVE, FAR = "ann@acme.test", "bob@acme.test", "eve@umbra.test", "x@elsewhere.test"
OTHER = "550 5.6.0 This idempotency key was used for another message, choose a new key for each message"


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        await made.plugin("scripted", SCRIPTED)
        yield made


def mail(key: str | None = "order-1", body: str = "body", date: str = "", attach: bytes = b"") -> bytes:
    made = EmailMessage()
    made["From"] = ANN
    made["Subject"] = "hello"
    if date:
        made["Date"] = date
        made["Message-ID"] = f"<{date.replace(' ', '').replace(',', '')}@acme.test>"
    if key is not None:
        made["Idempotency-Key"] = key
    made.set_content(body)
    if attach:
        made.add_attachment(attach, maintype="application", subtype="pdf", filename="a.pdf")
    return made.as_bytes().replace(b"\n", b"\r\n")


def text(replies: list[Reply]) -> str:
    """The last reply as the client sees it."""
    return f"{replies[-1].code} {replies[-1].enhanced} {replies[-1].text}"


async def stored(here: World) -> tuple[int, int]:
    """Copies at bob, jobs."""
    return len(await here.mailbox(BOB)), len(await here.jobs())


async def test_a_repeated_message_gets_the_first_answer_and_is_stored_once(here: World) -> None:
    first = text(await here.submit([BOB, FAR], mail()))
    again = text(await here.submit([BOB, FAR], mail()))

    assert first.startswith("250 2.0.0 OK (id ")
    assert again == first
    assert await stored(here) == (1, 1)
    (job,) = await here.jobs()
    assert job.job.idempotency_key == "order-1"
    assert job.job.transaction in first


async def test_a_message_that_a_program_makes_again_is_the_same(here: World) -> None:
    """It has another Date, Message-ID and boundary."""
    one = mail(date="Tue, 1 Dec 2026 10:00:00 +0000", attach=b"%PDF")
    two = mail(date="Tue, 1 Dec 2026 10:05:00 +0000", attach=b"%PDF")
    assert one != two

    assert text(await here.submit([FAR], one)) == text(await here.submit([FAR], two))
    assert await stored(here) == (0, 1)


@pytest.mark.parametrize(
    ("to", "message", "sender"),
    [
        ([FAR], mail(body="other"), ANN),
        ([FAR], mail(attach=b"%PDF"), ANN),
        ([FAR], mail().replace(b"Subject: hello", b"Subject: bye"), ANN),
        ([FAR, BOB], mail(), ANN),
        ([FAR], mail(), None),
    ],
)
async def test_the_same_key_with_other_content_is_refused(
    here: World, to: list[str], message: bytes, sender: str | None
) -> None:
    await here.submit([FAR], mail())

    assert text(await here.submit(to, message, sender=sender)).startswith(OTHER)
    assert await stored(here) == (0, 1)


async def test_another_attachment_is_another_content(here: World) -> None:
    await here.submit([FAR], mail(attach=b"%PDF" * 50_000))

    assert text(await here.submit([FAR], mail(attach=b"%PDF" * 50_000 + b"!"))).startswith(OTHER)


async def test_a_key_of_another_account_is_not_answered_for_it(here: World) -> None:
    message = b"Subject: hello\r\nIdempotency-Key: k\r\n\r\nbody\r\n"
    await here.submit([FAR], message, sender=None)

    assert text(await here.submit([FAR], message, sender=None, user=BOB)).startswith(OTHER)


async def test_the_keys_of_another_tenant_are_its_own(here: World) -> None:
    message = b"Subject: hello\r\nIdempotency-Key: k\r\n\r\nbody\r\n"
    first = text(await here.submit([FAR], message))
    theirs = text(await here.submit([FAR], message, user=EVE, sender=EVE))

    assert theirs.startswith("250 ")
    assert theirs != first
    assert len(await here.jobs("umbra")) == 1


async def test_the_field_is_removed_from_every_copy(here: World) -> None:
    await here.submit([BOB, EVE, FAR], mail())

    (job,) = await here.jobs()
    (at_bob,), (at_eve,) = await here.mailbox(BOB), await here.mailbox(EVE)
    for octets in (await here.relayed(job), await here.bytes_of(at_bob), await here.bytes_of(at_eve)):
        assert b"Subject: hello" in octets
        assert b"dempotency" not in octets


async def test_a_refused_message_may_be_submitted_again(here: World) -> None:
    await scripted(here, "acme", data="Defer(451, '4.7.1', 'later')")
    assert text(await here.submit([FAR], mail())).startswith("451 4.7.1 later")
    await scripted(here, "acme", data="None")

    assert text(await here.submit([FAR], mail())).startswith("250 ")
    assert await stored(here) == (0, 1)


async def test_a_repeated_message_counts_against_no_quota(here: World) -> None:
    await quota(here, quota_hourly_send_limit=1)
    first = text(await here.submit([FAR], mail()))

    assert text(await here.submit([FAR], mail())) == first
    assert text(await here.submit([FAR], mail("order-2"))).startswith("450 4.7.1 ")


@pytest.mark.parametrize("key", ["", "a b", "x" * 256, "ü", "a\tb"])
async def test_an_invalid_key_is_refused(here: World, key: str) -> None:
    message = b"From: ann@acme.test\r\nIdempotency-Key: " + key.encode() + b"\r\n\r\nbody\r\n"

    assert text(await here.submit([FAR], message)).startswith("550 5.6.0 An idempotency key has 1 to 255 visible ASCII")
    assert await stored(here) == (0, 0)


async def test_two_fields_are_refused(here: World) -> None:
    message = b"From: ann@acme.test\r\nIdempotency-Key: a\r\nIdempotency-Key: a\r\n\r\nbody\r\n"

    assert text(await here.submit([FAR], message)).startswith("550 5.6.0 The message has more than one")


async def test_concurrent_submissions_with_one_key_have_one_answer(here: World) -> None:
    answers = await asyncio.gather(*(here.submit([BOB, FAR], mail()) for _ in range(8)))

    assert len({text(one) for one in answers}) == 1
    assert await stored(here) == (1, 1)


async def test_the_slower_of_two_processes_gets_the_first_answer(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another process stores the message between the look-up and the transaction of this one."""
    first = text(await here.submit([FAR], mail()))
    look_up = Idempotency.accepted_before
    looks: list[Any] = []

    async def too_early(self: Idempotency, made: IdempotencyKey) -> str | Reply | None:
        looks.append(made)
        return None if len(looks) == 1 else await look_up(self, made)

    monkeypatch.setattr(Idempotency, "accepted_before", too_early)

    assert text(await here.submit([FAR], mail())) == first
    assert await stored(here) == (0, 1)
    assert len(looks) == 2


async def test_a_database_that_does_not_answer_defers(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def down(*_: object) -> None:
        raise StoreUnavailable("down")

    monkeypatch.setattr(here.installation.database.idempotency_keys, "get", down)

    assert text(await here.submit([FAR], mail())).startswith("451 4.3.0 ")
    assert await stored(here) == (0, 0)


async def test_the_port_for_other_servers_knows_no_keys(here: World) -> None:
    for _ in range(2):
        replies = await here.receive([BOB], mail().replace(b"body", b"once more"), sender="x@elsewhere.test")
        assert text(replies).startswith("250 ")
    copies = [await here.bytes_of(each) for each in await here.mailbox(BOB)]
    assert len(copies) == 2
    assert all(b"Idempotency-Key: order-1" in each for each in copies)
