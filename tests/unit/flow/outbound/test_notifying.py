"""The ``notify`` hooks, from the policy to the stored notification."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from inbox.flow.outbound.notifying import Form, NotifyHooks
from inbox.flow.outbound.senders import Senders
from inbox.mail.content import MemoryContent
from inbox.store.ports.queue import JobRecipient
from tests.support.flow import world
from tests.unit.flow.outbound.test_bounce import FAILED, KEY, ORIGINAL, Here

POLICY = """
plugins:
  recipients: {}
  dsn: {headers_only: true, copy_to: COPY, texts: {failed: Hilfe gibt es hier., quota: Postfach voll.}, send: [failed]}
"""


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[Here]:
    async with world(tmp_path) as flow:
        await flow.installation.blobs.put(KEY, MemoryContent(ORIGINAL))
        made = Here(flow, await flow.tenant("acme"))
        senders = Senders(flow.parts.directory, flow.parts.judge)
        made.bounces._hooks = NotifyHooks(senders, flow.parts.judge, made.log)
        yield made


async def policy(here: Here, copy_to: str = "bob@acme.test") -> None:
    await here.flow.policy("tenants/acme.yaml", POLICY.replace("COPY", copy_to))


async def test_the_policy_decides_about_text_content_and_copy(here: Here) -> None:
    await policy(here)
    job = here.job(ret="FULL")
    job = replace(job, states=(replace(FAILED, category="quota"),))
    await here.fail(job)
    (octets,) = await here.received()
    assert b"\r\n\r\nHilfe gibt es hier.\r\n\r\nPostfach voll.\r\n" in octets
    assert b"secret" not in octets
    (copy,) = await here.flow.mailbox("bob@acme.test")
    assert b"Hilfe gibt es hier." in await here.flow.bytes_of(copy)


async def test_a_kind_that_is_off_is_not_sent(here: Here) -> None:
    await policy(here)
    await here.fail(here.job(), "delayed")
    assert await here.received() == []
    assert here.log.named("notification_not_wanted")


async def test_never_goes_before_the_policy(here: Here) -> None:
    await policy(here)
    await here.fail(here.job(JobRecipient("b@far.test", ("NEVER",))))
    assert await here.received() == []
    assert await here.flow.mailbox("bob@acme.test") == []


@pytest.mark.parametrize("address", ["eve@umbra.test", "x@elsewhere.test", "nobody@acme.test"])
async def test_a_copy_stays_in_the_tenant_and_fails_nothing(here: Here, address: str) -> None:
    await policy(here, address)
    await here.fail(here.job())
    assert len(await here.received()) == 1
    assert await here.flow.mailbox("eve@umbra.test") == []


async def test_a_sender_without_a_usable_policy_is_notified(here: Here) -> None:
    job = replace(here.job(), tenant="gone")
    hooks = here.bounces._hooks
    assert hooks is not None
    assert await hooks.form(job, job.states, [0], "failed", MemoryContent(b"")) == Form()
    assert here.log.named("notification_without_policy")
