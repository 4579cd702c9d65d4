"""The state of a message, for the program or the user that sent it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from inbox.flow.sending.callers import Caller
from inbox.flow.sending.errors import Kind, RequestRefused
from inbox.flow.sending.status import MessageStatus, SentMessages
from inbox.identity.api_keys import PresentedKey
from inbox.store.ports.queue import Finished, RecipientState
from tests.support.api import new_key, new_session, send, services_of
from tests.support.flow import World, world

FAR, ANN, BOB, EVE = "x@elsewhere.test", "ann@acme.test", "bob@acme.test", "eve@umbra.test"


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        yield made


@pytest.fixture
def messages(here: World) -> SentMessages:
    return services_of(here).messages


async def caller(here: World, key: PresentedKey) -> Caller:
    return await here.parts.callers.by_key(new_session(here), key.shown)


async def unknown(here: World, key: PresentedKey, message: str) -> bool:
    with pytest.raises(RequestRefused) as refused:
        await services_of(here).messages.get(await caller(here, key), message)
    return refused.value.kind is Kind.NOT_FOUND


def states(status: MessageStatus) -> dict[str, str]:
    return {each.address: each.status for each in status.recipients}


async def test_every_recipient_has_a_state(here: World, messages: SentMessages) -> None:
    key = await new_key(here)
    sent = await send(here, key, to=[FAR, BOB, EVE])
    status = await messages.get(await caller(here, key), sent.id)
    assert (status.id, status.sender) == (sent.id, "shop@acme.test")
    assert states(status) == {FAR: "queued", BOB: "delivered", EVE: "accepted"}


async def test_a_message_that_another_tenant_gets_is_known_to_its_sender(here: World, messages: SentMessages) -> None:
    key = await new_key(here)
    sent = await send(here, key, to=[EVE])
    assert states(await messages.get(await caller(here, key), sent.id)) == {EVE: "accepted"}
    (own,) = await here.decisions("acme")
    assert (own.id, own.outcome, own.recipients) == (sent.id, "accept", [EVE])
    assert own.stages == [] or all(stage.stage != "data" for stage in own.stages), "nothing of the other tenant's hooks"


async def test_the_last_reply_is_shown(here: World, messages: SentMessages) -> None:
    key = await new_key(here)
    sent = await send(here, key, to=[FAR])
    queue = here.installation.database.queue
    (leased,) = await queue.lease("w", 1, 60.0)
    refused = RecipientState("failed", 550, "5.1.1", "No such user", at=7.0, reported=True)
    assert await queue.finish([Finished(leased, (refused,), error="550 5.1.1 No such user")])
    (found,) = (await messages.get(await caller(here, key), sent.id)).recipients
    assert (found.status, found.code, found.enhanced, found.reply, found.at) == (
        "failed",
        550,
        "5.1.1",
        "No such user",
        7.0,
    )
    assert found.attempts == 1


async def test_a_delivered_message_stays_known(here: World, messages: SentMessages) -> None:
    key = await new_key(here)
    sent = await send(here, key, to=[FAR])
    queue = here.installation.database.queue
    (leased,) = await queue.lease("w", 1, 60.0)
    done = RecipientState("delivered", 250, "2.0.0", "OK", at=7.0, reported=True)
    assert await queue.finish([Finished(leased, (done,))])
    assert states(await messages.get(await caller(here, key), sent.id)) == {FAR: "delivered"}


async def test_a_scheduled_message_is_shown_as_such(here: World, messages: SentMessages) -> None:
    key = await new_key(here)
    at = datetime.fromtimestamp(here.installation.clock.now() + 3600, UTC).isoformat()
    sent = await send(here, key, sendAt=at)
    assert states(await messages.get(await caller(here, key), sent.id)) == {FAR: "scheduled"}


async def test_nobody_sees_what_others_sent(here: World) -> None:
    key = await new_key(here)
    sent = await send(here, key, to=[FAR, EVE])
    assert await unknown(here, await new_key(here, "umbra"), sent.id), "another tenant, which got the message"
    assert await unknown(here, await new_key(here, senders=("other@acme.test",)), sent.id), "a key for other senders"
    for text in ("", "x", "0" * 20, sent.id.upper(), sent.id + "x", "\0" * 20):
        assert await unknown(here, key, text)
    with pytest.raises(RequestRefused) as refused:
        await services_of(here).messages.get(await caller(here, await new_key(here, operations=("send",))), sent.id)
    assert refused.value.kind is Kind.FORBIDDEN


async def test_received_and_refused_messages_are_not_sent_ones(here: World) -> None:
    key = await new_key(here)
    await here.receive([BOB])
    with pytest.raises(RequestRefused):
        await send(here, key, to=["nobody@acme.test"])
    for record in await here.decisions("acme"):
        assert await unknown(here, key, record.id)


async def test_a_user_sees_the_messages_of_the_account(here: World, messages: SentMessages) -> None:
    key = await new_key(here)
    own, other = await send(here, key, actorAccount=ANN, **{"from": ANN}), await send(here, key)
    ann = await here.identity(ANN)
    user = Caller(ann.tenant, "acme", "account ann@acme.test", user=ann)
    assert states(await messages.get(user, own.id)) == {FAR: "queued"}
    with pytest.raises(RequestRefused):
        await messages.get(user, other.id)
    bob = await here.identity(BOB)
    with pytest.raises(RequestRefused):
        await messages.get(replace(user, user=bob), own.id)
