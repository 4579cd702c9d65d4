"""Counters of the flow, as servers see them."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from inbox.base.metrics import rendered
from inbox.plugin.api.context import Door
from tests.support.flow import SCRIPTED, World, scripted, world


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        await made.plugin("scripted", SCRIPTED)
        yield made


def counted(here: World) -> list[str]:
    """The lines of counters, without comments and buckets."""
    lines = rendered(here.parts.meters.families()).splitlines()
    return [line for line in lines if not line.startswith("#") and "_seconds" not in line]


async def test_accepted_and_refused_messages(here: World) -> None:
    await here.receive(["ann@acme.test"])
    await here.receive(["ann@acme.test"], b"Subject: two\r\n\r\nbody\r\n")
    await scripted(here, "acme", data="Reject(550, '5.7.1', 'no')")
    await here.receive(["ann@acme.test"])
    await scripted(here, "acme", data="Quarantine('odd')")
    await here.receive(["ann@acme.test"], b"Subject: three\r\n\r\nbody\r\n")
    await scripted(here, "acme", rcpt="Defer(451, '4.7.1', 'later')")
    await here.receive(["ann@acme.test"])
    assert counted(here) == [
        'inbox_messages_accepted_total{door="smtp",outcome="accept"} 2',
        'inbox_messages_accepted_total{door="smtp",outcome="quarantine"} 1',
        'inbox_refusals_total{door="smtp",stage="data",outcome="reject",plugin="scripted"} 1',
        'inbox_refusals_total{door="smtp",stage="rcpt",outcome="defer",plugin="scripted"} 1',
    ]
    text = rendered(here.parts.meters.families())
    assert 'inbox_accept_seconds_count{door="smtp"} 3' in text


async def test_tenants_that_differ_are_mixed(here: World) -> None:
    await scripted(here, "acme", data="Quarantine('odd')")
    await here.receive(["ann@acme.test", "eve@umbra.test"])
    assert counted(here) == ['inbox_messages_accepted_total{door="smtp",outcome="mixed"} 1']


async def test_a_refusal_without_a_plugin_and_a_flood(here: World) -> None:
    for number in range(300):
        await here.receive([f"nobody{number}@elsewhere.test"], door=Door.SMTP)
    (line,) = counted(here)
    assert line.endswith(" 300"), "refusals that share a record are counted one by one"
    assert 'plugin="none"' in line
    assert "elsewhere" not in line
