"""Batches: an answer for each message."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from inbox.flow.sending import batch
from inbox.flow.sending.batch import MOST_MESSAGES, read_batch, send_batch
from inbox.flow.sending.errors import Kind, RequestRefused
from inbox.flow.sending.request import SendRequest
from inbox.flow.sending.sending import Sent
from tests.support.api import MESSAGE, new_key, new_session
from tests.support.flow import World, world


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        yield made


async def sent(here: World, messages: list[Any], key: str | None = None, **limits: Any) -> list[Any]:
    new = await new_key(here, **limits)
    caller = await here.parts.callers.by_key(new_session(here), new.shown)
    requests = read_batch(messages, strict=False, key=key)
    return await send_batch(here.parts.sending, caller, requests, lambda: new_session(here))


async def test_every_message_has_its_own_answer(here: World) -> None:
    messages = [MESSAGE, {**MESSAGE, "to": ["nobody@acme.test"]}, {}, 7, {**MESSAGE, "subject": "Other"}]
    first, refused, empty, other, last = await sent(here, messages)
    assert isinstance(first, Sent)
    assert isinstance(last, Sent)
    assert [each.code_name for each in (refused, empty, other)] == [
        "recipient_refused",
        "invalid_request",
        "invalid_request",
    ]
    assert len(await here.jobs()) == 2


async def test_in_strict_mode_one_mistake_refuses_all() -> None:
    with pytest.raises(RequestRefused) as refused:
        read_batch([MESSAGE, {**MESSAGE, "to": ["x"]}, {}], strict=True)
    fields = [each.field for each in refused.value.fields]
    assert fields == ["messages[1].to[0]", "messages[2].from", "messages[2].to"]
    assert len(read_batch([MESSAGE] * 3, strict=True)) == 3


@pytest.mark.parametrize("messages", [None, [], {}, "x", [MESSAGE] * (MOST_MESSAGES + 1)])
def test_a_batch_is_bounded(messages: Any) -> None:
    with pytest.raises(RequestRefused) as refused:
        read_batch(messages, strict=False)
    assert refused.value.kind is Kind.INVALID


async def test_a_batch_that_is_repeated_sends_nothing_again(here: World) -> None:
    new = await new_key(here)
    caller = await here.parts.callers.by_key(new_session(here), new.shown)
    messages = [{**MESSAGE, "subject": str(number)} for number in range(20)]
    answers = []
    for _ in range(2):
        requests = read_batch(messages, strict=True, key="campaign-7")
        answers.append(await send_batch(here.parts.sending, caller, requests, lambda: new_session(here)))
    first, again = answers
    assert [each.id for each in first if isinstance(each, Sent)] == [
        each.id for each in again if isinstance(each, Sent)
    ]
    assert len({each.id for each in first if isinstance(each, Sent)}) == 20
    assert len(await here.jobs()) == 20


def test_a_message_keeps_its_own_key() -> None:
    own, made = read_batch([{**MESSAGE, "idempotencyKey": "own"}, MESSAGE], strict=True, key="k")
    assert isinstance(own, SendRequest)
    assert isinstance(made, SendRequest)
    assert own.key == "own"
    assert made.key is not None
    assert made.key.endswith("/1")


async def test_a_bounded_part_of_a_batch_is_under_way_and_the_loop_serves_others_meanwhile(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = running = most = 0
    steps: list[int] = []
    go_on = asyncio.Event()

    async def waiting(*_: Any) -> Sent:
        nonlocal begun, running, most
        begun, running = begun + 1, running + 1
        most = max(most, running)
        await go_on.wait()
        running -= 1
        return Sent("m", ())

    async def others() -> None:
        while begun < batch._AT_ONCE:
            steps.append(begun)
            await asyncio.sleep(0)
        go_on.set()

    monkeypatch.setattr(type(here.parts.sending), "send", waiting)
    beside = asyncio.create_task(others())
    assert len(await sent(here, [MESSAGE] * (batch._AT_ONCE + 20))) == batch._AT_ONCE + 20
    await beside
    assert most == batch._AT_ONCE
    between = [later - earlier for earlier, later in itertools.pairwise(steps)]
    assert max(between) <= 2, "a message or two between two turns of others"


async def test_a_caller_without_the_operation_sends_nothing(here: World) -> None:
    with pytest.raises(RequestRefused) as refused:
        await sent(here, [MESSAGE], operations=("messages",))
    assert refused.value.kind is Kind.FORBIDDEN
