"""The limits of submission: quotas of the user's domain, and the largest attachment."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from inbox.base.errors import StorageFull
from inbox.base.limits import SUBMITTED_ATTACHMENT_OCTETS, SUBMITTED_MESSAGE_OCTETS
from inbox.flow.submission import limits
from inbox.mail.tenancy import DomainOverrides
from inbox.store.ports.queue import QueueCount
from tests.support.flow import World, world
from tests.unit.flow.submission.test_submission import BOB, EVE, FAR, words

FAR2 = "y@elsewhere.test"


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        yield made


async def quota(here: World, **fields: int) -> None:
    tenants = here.installation.database.tenants
    await tenants.set_domain_overrides(await here.tenant("acme"), "acme.test", DomainOverrides(**fields))  # type: ignore[arg-type]
    here.parts.directory.forget()


async def test_recipients_of_one_message(here: World) -> None:
    await quota(here, quota_max_recipients_per_message=2)
    replies = words(await here.submit([BOB, FAR, EVE]))
    assert replies == ["452 4.5.3 acme.test may send a message to at most 2 recipients", "250 2.0.0 OK"]
    assert await here.mailbox(EVE) == []


@pytest.mark.parametrize(("field", "name"), [("quota_hourly_send_limit", "hour"), ("quota_daily_send_limit", "day")])
async def test_recipients_in_a_time(here: World, field: str, name: str) -> None:
    await quota(here, **{field: 3})
    over = f"450 4.7.1 acme.test may send to at most 3 recipients per {name}, try again later"
    assert words(await here.submit([FAR, BOB])) == ["250 2.0.0 OK"]
    assert words(await here.submit([FAR, BOB])) == [over]
    assert words(await here.submit([FAR])) == ["250 2.0.0 OK"], "what was refused did not count"
    assert words(await here.submit([FAR])) == [over]
    assert len(await here.jobs()) == 2


async def test_another_domain_has_a_quota_of_its_own(here: World) -> None:
    await quota(here, quota_hourly_send_limit=1)
    message = b"From: eve@umbra.test\r\n\r\nbody\r\n"
    assert words(await here.submit([FAR])) == ["250 2.0.0 OK"]
    assert words(await here.submit([FAR, BOB], message, user=EVE, sender=EVE)) == ["250 2.0.0 OK"]


async def test_messages_that_wait_for_delivery(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await quota(here, quota_max_queued_jobs=1)

    async def all_jobs(_: str | None) -> list[QueueCount]:
        raise AssertionError("a submission must not read the whole queue")

    monkeypatch.setattr(here.installation.database.queue, "count", all_jobs)
    assert words(await here.submit([FAR])) == ["250 2.0.0 OK"]
    assert words(await here.submit([FAR2])) == [
        "452 4.3.1 1 messages of acme wait for delivery, the limit of acme.test is 1, try again later"
    ]
    assert words(await here.submit([BOB])) == ["250 2.0.0 OK"], "local mail does not wait in the queue"


def attachment(octets: int, kind: str = "application/octet-stream", *, disposition: bool = True) -> bytes:
    body = base64.encodebytes(bytes(octets)).replace(b"\n", b"\r\n")
    lines = ["From: ann@acme.test", f"Content-Type: {kind}", "Content-Transfer-Encoding: base64"]
    lines += ["Content-Disposition: attachment; filename=x.bin"] if disposition else []
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@pytest.mark.parametrize(
    ("octets", "kind", "disposition", "accepted"),
    [
        (1000, "application/octet-stream", True, True),
        (1001, "application/octet-stream", True, False),
        (1001, "text/plain", True, False),
        (1001, "image/png", False, False),  # shown in the text, and a payload nevertheless
        (1001, "text/plain", False, True),  # a long text is no attachment
    ],
)
async def test_the_largest_attachment(
    here: World, monkeypatch: pytest.MonkeyPatch, octets: int, kind: str, disposition: bool, accepted: bool
) -> None:
    monkeypatch.setattr(limits, "SUBMITTED_ATTACHMENT_OCTETS", 1000)
    replies = await here.submit([FAR], attachment(octets, kind, disposition=disposition))
    if accepted:
        assert words(replies) == ["250 2.0.0 OK"]
    else:
        (reply,) = replies
        assert (reply.code, reply.enhanced) == (552, "5.3.4")
        assert await here.jobs() == []


def test_the_limits_are_those_of_the_order() -> None:
    assert SUBMITTED_ATTACHMENT_OCTETS == 18 * 1024 * 1024
    assert SUBMITTED_MESSAGE_OCTETS == 26_214_400


async def test_a_message_that_is_not_stored_uses_up_no_quota(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    await quota(here, quota_hourly_send_limit=2, quota_daily_send_limit=2)

    async def full(*_: object) -> None:
        raise StorageFull("the disk is full")

    with monkeypatch.context() as away:
        away.setattr(here.parts.acceptance, "_ingest", SimpleNamespace(accept=full))
        for _ in range(3):
            assert words(await here.submit([FAR])) == ["452 4.3.1 Not enough room, try again later"]
    assert words(await here.submit([FAR, BOB])) == ["250 2.0.0 OK"]
    assert words(await here.submit([FAR]))[0].startswith("450 4.7.1 ")


async def test_messages_that_are_counted_at_the_same_moment_are_given_back(here: World) -> None:
    await quota(here, quota_hourly_send_limit=5, quota_daily_send_limit=3)
    answers = await asyncio.gather(*(here.submit([FAR]) for _ in range(9)))
    assert sum(each[-1].positive for each in answers) <= 3
    accepted = len(await here.jobs())
    for _ in range(3 - accepted):
        assert words(await here.submit([FAR])) == ["250 2.0.0 OK"]
