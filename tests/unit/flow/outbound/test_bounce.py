"""Notifications of senders, through the real flow and a real database."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from inbox.base.clock import SystemClock
from inbox.base.errors import StoreUnavailable
from inbox.base.ids import RandomIds
from inbox.flow.outbound.bounce import BounceSettings, SenderBounces, status_of, visible_groups
from inbox.mail.content import MemoryContent
from inbox.mail.dsn.parse import parse
from inbox.plugin.testing import MemoryLog
from inbox.store.ports.queue import Job, JobRecipient, QueuedJob, RecipientState
from tests.support.flow import SCRIPTED, World, scripted, world

ORIGINAL = b"From: ann@acme.test\r\nTo: b@far.test\r\nCc: C@far.test\r\nMessage-ID: <1@acme.test>\r\n\r\nsecret\r\n"
FAILED = RecipientState("failed", 550, "5.1.1", "no such user", at=1_700_000_050.0)
KEY = "msg/x/queue/original.eml"


class Here:
    def __init__(self, flow: World, tenant: str) -> None:
        self.flow, self.tenant, self.log = flow, tenant, MemoryLog()
        installation, clock = flow.installation, SystemClock()
        self.folder = flow.folder / "data" / "bounces"
        self.settings = BounceSettings("mx.test", self.folder, 86_400.0)
        self.database = installation.database

        async def run_blocking(kind: str, function: Any, *args: Any) -> Any:
            return function(*args)

        self.bounces = SenderBounces(
            installation.blobs, flow.parts.pipeline, flow.parts.directory,
            self.database.ingest(installation.blobs, run_blocking), self.database.queue, clock, RandomIds(clock.now),
            self.settings, self.log,
        )  # fmt: skip

    def job(self, *recipients: JobRecipient, **changes: Any) -> QueuedJob:
        values = {
            "sender": "ann@acme.test", "domain": "far.test", "created_at": 1_700_000_000.0,
            "expires_at": 1_700_086_400.0, "transaction": "t1",
        }  # fmt: skip
        job = Job("job1", recipients=recipients or (JobRecipient("b@far.test"),), **{**values, **changes})
        return QueuedJob(job, self.tenant, "email1", KEY, (FAILED,) * len(job.recipients))

    async def fail(self, job: QueuedJob, kind: Any = "failed") -> None:
        await self.bounces.report(job, job.states, range(len(job.states)), kind)

    async def received(self) -> list[bytes]:
        return [await self.flow.bytes_of(one) for one in await self.flow.mailbox("ann@acme.test")]


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Here]:
    async with world(tmp_path) as flow:
        await flow.installation.blobs.put(KEY, MemoryContent(ORIGINAL))
        yield Here(flow, await flow.tenant("acme"))


async def test_a_local_sender_finds_the_notification_in_the_mailbox(here: Here) -> None:
    await here.fail(here.job(JobRecipient("b@far.test", (), "rfc822;B@far.test"), envid="E1"))
    (octets,) = await here.received()
    assert b"Return-Path: <>" in octets
    report = parse(MemoryContent(octets))
    (one,) = report.recipients
    assert (one.address, one.status, one.code, report.envid) == ("b@far.test", "5.1.1", 550, "E1")
    assert b"Original-Recipient: rfc822; B@far.test" in octets
    assert b"secret" not in octets
    assert (here.folder / "job1.eml").read_bytes() in octets


async def test_ret_full_returns_the_message(here: Here) -> None:
    await here.fail(here.job(ret="FULL"))
    assert b"secret" in (await here.received())[0]


async def test_ret_full_returns_an_8_bit_message_to_a_local_sender_as_it_is(here: Here) -> None:
    await here.flow.installation.blobs.delete(KEY)
    await here.flow.installation.blobs.put(KEY, MemoryContent(ORIGINAL + b"gr\xc3\xbc\xc3\x9fe\r\n"))
    await here.fail(here.job(ret="FULL"))
    (octets,) = await here.received()
    assert b"secret\r\ngr\xc3\xbc\xc3\x9fe\r\n" in octets
    await here.fail(here.job(ret="FULL", sender="peer@elsewhere.test"))
    (queued,) = await here.database.queue.jobs(here.tenant)
    content = await here.flow.installation.blobs.get(queued.blob_path)
    sent = content.read(0, content.size)
    assert (sent.isascii(), b"Content-Type: message/global\r\n" in sent, queued.job.body) == (True, True, "7BIT")


async def test_a_message_that_required_tls_is_not_returned_and_its_notification_requires_tls(here: Here) -> None:
    await here.fail(here.job(ret="FULL", sender="peer@elsewhere.test", require_tls=True))
    (queued,) = await here.database.queue.jobs(here.tenant)
    content = await here.flow.installation.blobs.get(queued.blob_path)
    assert queued.job.require_tls
    assert b"secret" not in content.read(0, content.size)


async def test_a_repeated_report_stores_one_notification(here: Here) -> None:
    for _ in range(2):
        await here.fail(here.job())
    assert len(await here.received()) == 1
    assert len(list(here.folder.iterdir())) == 1


@pytest.mark.parametrize(
    "changes", [{"sender": ""}, {"recipients": (JobRecipient("b@far.test", ("NEVER",)),)}, {"job_class": "dsn"}]
)
async def test_the_null_sender_and_notify_never_get_none(here: Here, changes: dict[str, Any]) -> None:
    await here.fail(here.job(*changes.pop("recipients", ()), **changes))
    assert await here.received() == []
    assert not here.folder.exists()


async def test_a_bcc_recipient_has_a_notification_alone(here: Here) -> None:
    await here.fail(here.job(*(JobRecipient(f"{name}@far.test") for name in ("b", "hidden", "c"))))
    named = [{one.address for one in parse(MemoryContent(octets)).recipients} for octets in await here.received()]
    assert sorted(named, key=len) == [{"hidden@far.test"}, {"b@far.test", "c@far.test"}]
    assert [b"hidden" in octets for octets in await here.received()].count(True) == 1
    assert len(list(here.folder.iterdir())) == 2


async def test_a_sender_elsewhere_gets_a_job_of_its_own_once(here: Here) -> None:
    for _ in range(2):
        await here.fail(here.job(sender="peer@elsewhere.test"))
    (queued,) = await here.database.queue.jobs(here.tenant)
    job = queued.job
    assert (job.sender, job.job_class, job.domain, job.transaction) == ("", "dsn", "elsewhere.test", "t1")
    assert job.recipients == (JobRecipient("peer@elsewhere.test", ("NEVER",)),)
    content = await here.flow.installation.blobs.get(queued.blob_path)
    assert b"To: <peer@elsewhere.test>" in content.read(0, content.size)


async def test_a_notification_that_is_deferred_is_tried_again(here: Here) -> None:
    await here.flow.plugin("scripted", SCRIPTED)
    await scripted(here.flow, "acme", data="Defer(451, '4.3.0', 'later')")
    with pytest.raises(StoreUnavailable, match=r"451 4\.3\.0"):
        await here.fail(here.job())
    assert await here.received() == []


async def test_a_sender_that_is_gone_gets_none_and_the_log_reports_it(here: Here) -> None:
    await here.fail(here.job(sender="gone@acme.test"))
    (event,) = [fields for _, name, fields in here.log.events if name == "notification_dropped"]
    assert event["job"] == "job1" and event["why"].startswith("550")


async def test_a_lost_message_is_still_reported(here: Here) -> None:
    await here.fail(replace(here.job(), blob_path="msg/x/queue/gone.eml"))
    assert len(await here.received()) == 1
    assert [name for _, name, _ in here.log.events if name == "notification_without_message"]


async def test_a_damaged_message_is_not_returned(here: Here) -> None:
    await here.fail(replace(here.job(ret="FULL"), size=len(ORIGINAL) + 1))
    (received,) = await here.received()
    assert b"secret" not in received
    assert [fields["why"] for _, name, fields in here.log.events if name == "notification_without_message"]


async def test_a_folder_that_cannot_be_written_costs_only_the_copy(here: Here) -> None:
    here.folder.write_bytes(b"not a folder")
    await here.fail(here.job())
    assert len(await here.received()) == 1
    assert [name for _, name, _ in here.log.events if name == "notification_file_not_written"]


async def test_old_copies_and_those_beyond_the_limit_are_removed(here: Here) -> None:
    assert await here.bounces.prune() == 0
    here.folder.mkdir()
    now = SystemClock().now()
    for number, age in enumerate((90 * 86_400.0, 30.0, 20.0, 10.0)):
        path = here.folder / f"j{number}.eml"
        path.write_bytes(b"x")
        os.utime(path, (now - age, now - age))
    here.bounces._settings = replace(here.settings, most_files=2)
    assert await here.bounces.prune() == 2
    assert sorted(path.name for path in here.folder.iterdir()) == ["j2.eml", "j3.eml"]


def test_the_status_has_the_class_of_the_action() -> None:
    assert status_of(FAILED, "failed") == "5.1.1"
    assert status_of(replace(FAILED, enhanced="4.4.7"), "failed") == "4.4.7"
    assert status_of(replace(FAILED, enhanced=""), "delayed") == "4.0.0"
    assert status_of(replace(FAILED, enhanced="bad"), "relayed") == "2.0.0"


def test_recipients_in_the_header_section_may_be_named_together() -> None:
    original = MemoryContent(ORIGINAL)
    assert visible_groups(original, ["x@far.test", "B@far.test", "c@far.test"]) == [[1, 2], [0]]
    assert visible_groups(MemoryContent(b""), ["x@far.test"]) == [[0]]
