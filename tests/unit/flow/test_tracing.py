"""The spans of a message, from its acceptance to its outcome."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from inbox.base.spans import Span, trace_ids
from inbox.flow.tracing import Tracer, _names
from inbox.plugin.api.context import Door
from tests.support.flow import SCRIPTED, World, scripted, world
from tests.support.outbound import DEAD, LATER, NOBODY, OK, OutboundWorld


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        await made.plugin("scripted", SCRIPTED)
        yield made


def traced(here: World, ratio: float = 1.0) -> list[Span]:
    spans: list[Span] = []
    here.parts.acceptance._recorder._tracer = Tracer(spans.append, ratio)
    return spans


def outgoing(world: OutboundWorld) -> list[Span]:
    spans: list[Span] = []
    world.worker.tracer = Tracer(spans.append, 1.0)
    return spans


async def test_an_accepted_message(here: World) -> None:
    spans = traced(here)
    await here.receive(["ann@acme.test", "eve@umbra.test"])
    (span,) = spans
    (record, *_) = await here.decisions()
    ids = trace_ids(record.id)
    assert (span.name, span.trace, span.id, span.parent, span.kind) == ("accept", ids.trace, ids.root, 0, "server")
    assert span.began <= span.ended
    assert span.failure == ""
    assert span.values == {
        "inbox.transaction": record.id,
        "inbox.door": "smtp",
        "inbox.tenant": "acme/umbra",
        "inbox.outcome": "accept",
        "inbox.plugin": "none",
        "inbox.recipients": 2,
        "inbox.reply.code": 250,
        "inbox.reply.enhanced": "2.0.0",
        "inbox.size": 24,
    }


@pytest.mark.parametrize(
    ("verdict", "outcome", "code", "failure"),
    [
        ("Quarantine('odd')", "quarantine", 250, ""),
        ("Reject(550, '5.7.1', 'ann@acme.test is busy')", "reject", 550, "reject"),
        ("Defer(451, '4.7.1', 'later')", "defer", 451, "defer"),
    ],
)
async def test_the_plugin_that_decided_is_named(
    here: World, verdict: str, outcome: str, code: int, failure: str
) -> None:
    spans = traced(here)
    await scripted(here, "acme", data=verdict)
    await here.receive(["ann@acme.test"])
    (span,) = spans
    named = [span.values[f"inbox.{name}"] for name in ("plugin", "outcome", "reply.code")]
    assert (*named, span.failure) == ("scripted", outcome, code, failure)
    assert "ann" not in str(span), "neither addresses nor texts of replies"


async def test_every_door_is_traced(here: World) -> None:
    spans = traced(here)
    await here.receive(["ann@acme.test"], door=Door.LMTP)
    await here.submit(["bob@acme.test"])
    assert [span.values["inbox.door"] for span in spans] == ["lmtp", "submission"]
    assert len({span.trace for span in spans}) == 2


async def test_a_share_of_messages_is_traced(here: World) -> None:
    spans = traced(here, 0.0)
    await here.receive(["ann@acme.test"])
    assert spans == []


async def test_the_job_of_a_submitted_message_is_in_its_trace(here: World) -> None:
    spans = traced(here)
    await here.submit(["x@elsewhere.test"])
    (job,) = await here.jobs()
    assert trace_ids(job.job.transaction).trace == spans[0].trace


async def test_a_delivery_at_the_first_attempt() -> None:
    world = OutboundWorld(lambda mail, way: OK)
    spans = outgoing(world)
    queued = world.job(transaction="t7", created_at=world.clock.now() - 4, attempts=0)
    await world.turn()
    ids = trace_ids("t7")
    assert [span.name for span in spans] == ["queue", "attempt", "outcome"]
    assert {(span.trace, span.parent) for span in spans} == {(ids.trace, ids.root)}
    assert len({span.id for span in spans} | {ids.root}) == 4
    queue, attempt, outcome = spans
    assert (queue.began, queue.ended) == (queued.job.created_at, attempt.began)
    assert attempt.ended == attempt.began + 0.1
    assert outcome.began == queued.job.created_at
    assert attempt.kind == "client"
    assert attempt.values == {
        "inbox.transaction": "t7",
        "inbox.job": "j1",
        "inbox.tenant": "demo",
        "inbox.class": "transactional",
        "inbox.domain": "remote.test",
        "inbox.attempt": 1,
        "inbox.outcome": "success",
        "inbox.stage": "dot",
        "inbox.reply.code": 250,
        "inbox.reply.enhanced": "2.0.0",
        "inbox.recipients": 1,
        "server.address": "mx.remote.test",
        "tls.protocol.version": "TLSv1.3",
        "tls.cipher": "",
    }
    assert (outcome.values["inbox.outcome"], outcome.values["inbox.delivered"], outcome.failure) == ("success", 1, "")
    assert not [span for span in spans if "@" in str(span)]


async def test_a_retry_continues_the_trace_in_another_process() -> None:
    """The second worker knows nothing but the job."""
    world = OutboundWorld(lambda mail, way: LATER)
    first = outgoing(world)
    world.job(transaction="t7")
    await world.turn()
    assert [(span.name, span.failure) for span in first] == [("queue", ""), ("attempt", "rcpt 451")]

    later = OutboundWorld(lambda mail, way: OK, queue=world.queue)
    second = outgoing(later)
    later.clock.advance(3600)
    await later.turn()
    assert [span.name for span in second] == ["queue", "attempt", "outcome"]
    assert {(span.trace, span.parent) for span in first + second} == {(trace_ids("t7").trace, trace_ids("t7").root)}
    assert [span.values["inbox.attempt"] for span in second] == [2, 2, 2]
    assert second[0].began == first[1].ended, "the wait begins with the end of the last attempt"


async def test_a_dead_letter() -> None:
    world = OutboundWorld(lambda mail, way: NOBODY)
    spans = outgoing(world)
    world.job()
    await world.turn()
    ended = spans[-1]
    assert (ended.name, ended.failure) == ("outcome", "delivery failed")
    assert (ended.values["inbox.outcome"], ended.values["inbox.failed"]) == ("dead_letter", 1)
    assert "no such user" not in str(spans)


async def test_a_job_that_expired_has_an_outcome_and_no_attempt() -> None:
    world = OutboundWorld(lambda mail, way: DEAD)
    spans = outgoing(world)
    world.job(expires_at=world.clock.now() - 1)
    await world.turn()
    assert [span.name for span in spans] == ["outcome"]


async def test_a_job_without_a_transaction_has_no_trace() -> None:
    world = OutboundWorld(lambda mail, way: OK)
    spans = outgoing(world)
    world.job(transaction="")
    await world.turn()
    assert spans == []


async def test_a_wait_for_a_release_is_not_a_wait_in_the_queue() -> None:
    world = OutboundWorld(lambda mail, way: OK)
    spans = outgoing(world)
    now = world.clock.now()
    world.job(created_at=now - 5000, not_before=now - 1)
    await world.turn()
    assert spans[0].began == now - 1


def test_most_tenants_of_a_span_are_five() -> None:
    assert _names(["b", "a", "", "b"]) == "a/b"
    assert _names(str(number) for number in range(9)) == "0/1/2/3/4"
