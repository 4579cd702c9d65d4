"""Sending for programs, through the whole flow: who gets the message, who may send as whom, and repeated requests."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from inbox.base.errors import StoreUnavailable
from inbox.flow.sending.errors import Kind, RequestRefused
from inbox.flow.sending.request import read_request
from inbox.flow.sending.sending import Sent
from inbox.identity.api_keys import PresentedKey
from inbox.mail.tenancy import DomainOverrides
from inbox.store.ports.shared import Member
from tests.support.api import MESSAGE, new_key, new_session, send
from tests.support.flow import SCRIPTED, World, scripted, world

FAR, ANN, BOB, EVE = "x@elsewhere.test", "ann@acme.test", "bob@acme.test", "eve@umbra.test"


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        await made.plugin("scripted", SCRIPTED)
        yield made


@pytest.fixture
async def key(here: World) -> PresentedKey:
    return await new_key(here)


async def refused(here: World, key: PresentedKey, **changes: Any) -> RequestRefused:
    with pytest.raises(RequestRefused) as error:
        await send(here, key, **changes)
    return error.value


async def test_a_message_is_stored_and_queued_before_the_answer(here: World, key: PresentedKey) -> None:
    sent = await send(here, key, to=[FAR, BOB], bcc=[EVE], tags=["order"])
    assert sent == Sent(sent.id, (FAR, BOB, EVE))
    (job,) = await here.jobs()
    assert (job.job.sender, job.job.transaction, job.job.door) == ("shop@acme.test", sent.id, "api")
    assert job.job.actor_account is None
    relayed = await here.relayed(job)
    (at_bob,) = await here.mailbox(BOB)
    (at_eve,) = await here.mailbox(EVE)
    for octets in (relayed, await here.bytes_of(at_bob), await here.bytes_of(at_eve)):
        assert b"Bcc" not in octets
        assert b"\r\nMessage-ID: <" in octets
        assert b"\r\nDate: " in octets
        assert b" with HTTP id " in octets
    assert b"eve@" not in relayed
    assert (at_bob.email.tags, at_eve.email.tags) == (("order",), ()), "another tenant does not see the author's tags"


async def test_the_decision_record_names_the_door_and_its_tenants_see_their_part(
    here: World, key: PresentedKey
) -> None:
    sent = await send(here, key, to=[FAR, EVE])
    (own,) = await here.decisions("acme")
    (other,) = await here.decisions("umbra")
    assert (own.id, own.door, own.recipients) == (sent.id, "api", [FAR])
    assert other.recipients == [EVE]
    assert other.peer != "192.0.2.7"


async def test_the_hooks_of_submission_run(here: World, key: PresentedKey) -> None:
    await scripted(here, "acme", data="Reject(550, '5.7.1', f'{tx.session.door} {tx.session.identity.address}')")
    error = await refused(here, key)
    assert (error.kind, error.code_name, error.text) == (Kind.INVALID, "refused", "api shop@acme.test")
    (record,) = await here.decisions("acme")
    assert error.explain_id == record.id
    assert await here.jobs() == []


async def test_a_refused_recipient_refuses_the_message_and_is_named(here: World, key: PresentedKey) -> None:
    error = await refused(here, key, to=[FAR, "nobody@acme.test"], cc=["none@umbra.test"])
    assert [(each.field, each.code) for each in error.fields] == [
        ("to[1]", "recipient_refused"),
        ("cc[0]", "recipient_refused"),
    ]
    assert error.explain_id
    assert await here.jobs() == []


async def test_a_key_sends_as_addresses_of_its_tenant_only(here: World, key: PresentedKey) -> None:
    for sender in (EVE, "x@elsewhere.test", "x@xn--acm-8ma.test", "x@sub.acme.test"):
        error = await refused(here, key, **{"from": sender})
        assert (error.kind, error.fields[0].field) == (Kind.FORBIDDEN, "from")
    assert await here.jobs() == []


async def test_a_key_keeps_its_limits(here: World) -> None:
    limited = await new_key(here, senders=("shop+*@acme.test",))
    assert (await refused(here, limited)).fields[0].field == "from"
    assert await send(here, limited, **{"from": "Shop <shop+7@acme.test>"})
    reader = await new_key(here, operations=("messages",))
    assert (await refused(here, reader)).code_name == "operation_not_allowed"


async def test_an_account_may_be_named_as_the_actor(here: World, key: PresentedKey) -> None:
    await send(here, key, actorAccount=ANN, **{"from": ANN})
    (job,) = await here.jobs()
    assert job.job.actor_account == (await here.identity(ANN)).account
    assert (await refused(here, key, actorAccount=ANN, **{"from": BOB})).code_name == "sender_not_allowed"
    for other in (EVE, "nobody@acme.test"):
        assert (await refused(here, key, actorAccount=other)).fields[0].field == "actorAccount"


async def shared_inbox(here: World, *, can_send_as: bool) -> None:
    tenant = await here.tenant("acme")
    inbox = await here.installation.database.shared_inboxes.add(tenant, "team@acme.test", "Team")
    member = Member((await here.identity(ANN)).account, ANN, can_send_as=can_send_as)
    await here.installation.database.shared_inboxes.set_member(tenant, inbox.id, member)


async def test_a_shared_inbox_needs_a_member_who_can_send_as(here: World, key: PresentedKey) -> None:
    await shared_inbox(here, can_send_as=True)
    team = {"from": "team@acme.test", "sharedInbox": "team@acme.test"}
    assert (await refused(here, key, **team)).fields[0].field == "actorAccount"
    assert (await refused(here, key, **{"from": "team@acme.test"})).code_name == "sender_not_allowed"
    assert (await refused(here, key, actorAccount=BOB, **team)).code_name == "sender_not_allowed"
    assert (await refused(here, key, actorAccount=ANN, **{**team, "from": ANN})).fields[0].field == "sharedInbox"
    assert await here.jobs() == []
    await send(here, key, actorAccount=ANN, **team)
    (job,) = await here.jobs()
    assert job.job.shared_inbox is not None
    assert len(await here.mailbox("team@acme.test", "Sent")) == 1
    events = await here.installation.database.shared_inboxes.events(await here.tenant("acme"), job.job.shared_inbox)
    assert [(each.event_type, each.actor) for each in events] == [("send_as", job.job.actor_account)]


async def test_a_message_can_be_scheduled(here: World, key: PresentedKey) -> None:
    at = int(here.installation.clock.now()) + 3600
    await send(here, key, sendAt=datetime.fromtimestamp(at, UTC).isoformat())
    (job,) = await here.jobs()
    assert job.job.not_before == at
    far = await refused(here, key, sendAt="2099-01-01T00:00:00Z")
    assert (far.fields[0].field, far.fields[0].code) == ("sendAt", "too_late")
    local = await refused(here, key, to=[BOB], sendAt=datetime.fromtimestamp(at, UTC).isoformat())
    assert (local.code_name, local.fields[0].field) == ("not_scheduled", "to[0]")


async def test_limits_of_the_domain_are_told_apart(here: World, key: PresentedKey) -> None:
    tenants, tenant = here.installation.database.tenants, await here.tenant("acme")
    await tenants.set_domain_overrides(tenant, "acme.test", DomainOverrides(quota_hourly_send_limit=1))
    here.parts.directory.forget()
    await send(here, key)
    error = await refused(here, key)
    assert (error.kind, error.code_name, error.retry_after) == (Kind.LIMITED, "limit_reached", 60)
    await tenants.set_domain_overrides(tenant, "acme.test", DomainOverrides(quota_max_recipients_per_message=1))
    here.parts.directory.forget()
    error = await refused(here, key, to=[FAR, "y@elsewhere.test"])
    assert (error.kind, error.code_name) == (Kind.INVALID, "too_many_recipients")
    error = await refused(here, key, to=[f"u{number}@elsewhere.test" for number in range(101)])
    assert (error.kind, error.fields[0].code) == (Kind.INVALID, "too_many")


async def test_a_message_that_is_too_large_is_not_sent(here: World, key: PresentedKey) -> None:
    error = await refused(here, key, textBody="x" * 26_214_400)
    assert (error.kind, error.code_name) == (Kind.TOO_LARGE, "message_too_large")


# -- idempotency


async def test_a_repeated_request_gets_the_first_answer(here: World, key: PresentedKey) -> None:
    first = await send(here, key, idempotencyKey="order-7")
    again = await send(here, key, idempotencyKey="order-7")
    assert (again.id, again.recipients, again.repeated) == (first.id, first.recipients, True)
    assert len(await here.jobs()) == 1


@pytest.mark.parametrize(
    "change", [{"subject": "Other"}, {"textBody": "Ho"}, {"to": ["y@elsewhere.test"]}, {"tags": ["x"]}, {"cc": [BOB]}]
)
async def test_a_key_is_for_one_request(here: World, key: PresentedKey, change: dict[str, Any]) -> None:
    await send(here, key, idempotencyKey="order-7")
    error = await refused(here, key, idempotencyKey="order-7", **change)
    assert (error.kind, error.code_name) == (Kind.INVALID, "idempotency_key_reused")
    assert len(await here.jobs()) == 1


async def test_a_refused_request_leaves_no_key(here: World, key: PresentedKey) -> None:
    await refused(here, key, idempotencyKey="order-7", to=["nobody@acme.test"])
    assert not (await send(here, key, idempotencyKey="order-7")).repeated


async def test_keys_belong_to_their_caller(here: World, key: PresentedKey) -> None:
    """Neither another program of the tenant, nor another tenant, nor a user of submission has the same keys."""
    other, foreign = await new_key(here), await new_key(here, "umbra")
    ids = {(await send(here, each, idempotencyKey="k")).id for each in (key, other)}
    ids.add((await send(here, foreign, idempotencyKey="k", **{"from": EVE})).id)
    assert len(ids) == 3
    field = f"Idempotency-Key: key:{key.id} k\r\n".encode()
    (reply,) = await here.submit([FAR], b"From: ann@acme.test\r\n" + field + b"\r\nbody\r\n")
    assert reply.code == 550, "a user cannot write a caller's key"


async def test_requests_at_the_same_time_send_one_message(here: World, key: PresentedKey) -> None:
    """One is carried out; the others learn that it is in progress, or its answer."""
    done = await asyncio.gather(*(send(here, key, idempotencyKey="k") for _ in range(50)), return_exceptions=True)
    sent = [each for each in done if isinstance(each, Sent)]
    busy = [each for each in done if isinstance(each, RequestRefused)]
    assert len({each.id for each in sent}) == 1
    assert {(each.kind, each.retry_after) for each in busy} == {(Kind.CONFLICT, 1)}
    assert len(sent) + len(busy) == 50
    assert len(await here.jobs()) == 1


async def test_the_slower_of_two_processes_gets_the_answer_of_the_faster(
    here: World, key: PresentedKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both look the key up before either has stored its message; the database lets one of them store it."""
    first = await send(here, key, idempotencyKey="k")
    idempotency = here.parts.sending._idempotency
    look_up, looked = idempotency.accepted_before, []

    async def not_yet(made: Any) -> Any:
        looked.append(made)
        return None if len(looked) == 1 else await look_up(made)

    monkeypatch.setattr(idempotency, "accepted_before", not_yet)
    again = await send(here, key, idempotencyKey="k")
    assert (again.id, again.repeated, len(looked)) == (first.id, True, 2)
    assert len(await here.jobs()) == 1


async def test_a_database_that_is_away_is_no_mistake_of_the_client(
    here: World, key: PresentedKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    caller = await here.parts.callers.by_key(new_session(here), key.shown)

    async def away(_: Any) -> None:
        raise StoreUnavailable("down")

    monkeypatch.setattr(here.parts.sending._idempotency, "accepted_before", away)
    with pytest.raises(RequestRefused) as error:
        request = read_request({**MESSAGE, "idempotencyKey": "k"})
        await here.parts.sending.send(caller, request, new_session(here))
    assert (error.value.kind, error.value.retry_after) == (Kind.UNAVAILABLE, 10)
    assert await here.jobs() == []


async def test_a_sender_that_does_not_exist_is_looked_up_once(
    here: World, key: PresentedKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Programs often send as an address that has no mailbox."""
    looked: list[str] = []
    accounts = here.installation.database.accounts
    reach = accounts.reach

    async def counted(tenant: str, address: str) -> Any:
        looked.append(address)
        return await reach(tenant, address)

    monkeypatch.setattr(accounts, "reach", counted)
    await send(here, key)
    assert looked == ["shop@acme.test"]
