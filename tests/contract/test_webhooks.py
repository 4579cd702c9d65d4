"""The port ``Webhooks``."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from inbox.base.errors import AlreadyExists, LimitReached, NotFound
from inbox.store.ports import Database, Webhook, WebhookMessage
from inbox.store.ports.hosting import Scope
from inbox.store.ports.webhooks import LONGEST_WAIT, MOST_MESSAGES, MOST_TRIES, Try
from inbox.store.removal import Removal
from inbox.store.sqlite import webhooks as sqlite_webhooks
from inbox.store.surreal import webhooks as surreal_webhooks
from tests.support.store import Home, Opener


class _NoBlobs:
    async def delete(self, key: str) -> None:
        raise AssertionError(f"blob {key} is deleted")


def _webhook(home: Home, id_: str = "w1") -> Webhook:
    return Webhook(
        home.tenant, id_, "https://hooks.acme.test/mail", ("delivered", "bounced"), "whsec_first", created_at=5.0
    )


def _message(home: Home, id_: str = "m1", at: float = 100.0, webhook: str = "w1") -> WebhookMessage:
    return WebhookMessage(home.tenant, webhook, id_, "delivered", '{"type":"delivered"}', at)


async def test_a_webhook_is_kept_until_it_is_removed(opener: Opener, acme: Home) -> None:
    one = _webhook(acme)
    await acme.db.webhooks.add(one)
    await acme.db.webhooks.add(replace(one, id="w0", created_at=4.0))
    await acme.db.webhooks.put([_message(acme)])
    later = (await opener()).webhooks
    assert await later.get(acme.tenant, "w1") == one
    assert [each.id for each in await later.all(acme.tenant)] == ["w0", "w1"]
    await later.remove(acme.tenant, "w1")
    assert await acme.db.webhooks.get(acme.tenant, "w1") is None
    assert await acme.db.webhooks.messages(acme.tenant, "w1", 10) == []
    with pytest.raises(NotFound):
        await later.remove(acme.tenant, "w1")


async def test_a_webhook_that_does_not_exist(db: Database, acme: Home) -> None:
    with pytest.raises(NotFound):
        await db.webhooks.set_enabled(acme.tenant, "unknown", True)
    with pytest.raises(NotFound):
        await db.webhooks.rotate(acme.tenant, "unknown", "whsec_x", 1.0)
    with pytest.raises(NotFound):
        await db.webhooks.add(replace(_webhook(acme), tenant="unknown"))
    assert await db.webhooks.all(acme.tenant) == []
    assert await db.webhooks.enabled() == []
    assert await db.webhooks.message(acme.tenant, "unknown", "m1") is None


async def test_an_id_is_given_once_in_the_installation(db: Database, acme: Home, other: Home) -> None:
    await db.webhooks.add(_webhook(acme))
    for home in (acme, other):
        with pytest.raises(AlreadyExists):
            await db.webhooks.add(_webhook(home))
    assert await db.webhooks.all(other.tenant) == []


async def test_the_number_of_webhooks_is_bounded(
    db: Database, acme: Home, other: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    for backend in (sqlite_webhooks, surreal_webhooks):
        monkeypatch.setattr(backend, "WEBHOOKS", 3)
    new = [db.webhooks.add(_webhook(acme, f"w{number}")) for number in range(5)]
    done = await asyncio.gather(*new, return_exceptions=True)
    assert sorted(type(one).__name__ for one in done if one is not None) == [LimitReached.__name__] * 2
    assert len(await db.webhooks.all(acme.tenant)) == 3
    await db.webhooks.add(_webhook(other, "theirs"))


async def test_a_rotation_keeps_the_secret_before_for_some_time(db: Database, acme: Home) -> None:
    await db.webhooks.add(_webhook(acme))
    await db.webhooks.rotate(acme.tenant, "w1", "whsec_second", 100.0)
    found = await db.webhooks.get(acme.tenant, "w1")
    assert found is not None
    assert found.secrets(99.0) == ("whsec_second", "whsec_first")
    assert found.secrets(100.0) == ("whsec_second",)


async def test_enabled_webhooks_are_those_of_enabled_tenants(db: Database, acme: Home, other: Home) -> None:
    await db.webhooks.add(_webhook(acme))
    await db.webhooks.add(_webhook(other, "w2"))
    assert {one.id for one in await db.webhooks.enabled()} == {"w1", "w2"}
    await db.webhooks.set_enabled(acme.tenant, "w1", False, "HTTP 410")
    assert await db.webhooks.get(acme.tenant, "w1") == replace(_webhook(acme), is_enabled=False, reason="HTTP 410")
    await db.hosting.set_active(Scope(other.tenant), False)
    assert await db.webhooks.enabled() == []
    await db.webhooks.set_enabled(acme.tenant, "w1", True)
    assert [one.id for one in await db.webhooks.enabled()] == ["w1"]


async def test_a_message_is_written_once(db: Database, acme: Home) -> None:
    await db.webhooks.put([_message(acme)])
    await db.webhooks.put([replace(_message(acme), payload="{}", created_at=200.0), _message(acme, "m2", 150.0)])
    assert await db.webhooks.message(acme.tenant, "w1", "m1") == replace(_message(acme), due_at=100.0)
    assert [one.id for one in await db.webhooks.messages(acme.tenant, "w1", 10)] == ["m2", "m1"]
    with pytest.raises(ValueError, match="at most"):
        await db.webhooks.put([_message(acme)] * (MOST_MESSAGES + 1))


async def test_a_message_is_claimed_by_one_worker(opener: Opener, acme: Home) -> None:
    hooks = [_webhook(acme, "w1"), _webhook(acme, "w2")]
    await acme.db.webhooks.put([_message(acme, f"m{n}", 100.0 + n) for n in range(6)])
    await acme.db.webhooks.put([_message(acme, "late", 900.0), _message(acme, "m9", 100.0, "w2")])
    two = (acme.db.webhooks, (await opener()).webhooks)
    claims = await asyncio.gather(*(one.claim(hooks, 4, 99, 500.0, 560.0) for one in two))
    got = [message.id for claimed in claims for message in claimed]
    assert len(got) == len(set(got))
    rest = await acme.db.webhooks.claim(hooks, 4, 99, 500.0, 560.0)
    assert sorted([*got, *(one.id for one in rest)]) == ["m0", "m1", "m2", "m3", "m4", "m5", "m9"]
    assert await acme.db.webhooks.claim(hooks, 4, 99, 559.0, 620.0) == []
    again = await acme.db.webhooks.claim(hooks, 9, 99, 560.0, 620.0)
    assert len(again) == 7
    assert {message.fence for message in again} == {2}
    assert {message.due_at for message in again} == {620.0}


async def test_a_claim_has_a_bound(db: Database, acme: Home) -> None:
    hooks = [_webhook(acme, f"w{number}") for number in range(3)]
    for hook in hooks:
        await db.webhooks.put([_message(acme, f"m{n}", 100.0, hook.id) for n in range(3)])
    claims = [await db.webhooks.claim(hooks, 2, most, 100.0, 160.0) for most in (0, 5, 99)]
    assert [len(claimed) for claimed in claims] == [0, 5, 4]
    assert [one.webhook for one in claims[1]] == ["w0", "w0", "w1", "w1", "w2"]


async def test_only_the_webhooks_that_are_named_are_claimed(db: Database, acme: Home, other: Home) -> None:
    await db.webhooks.put([_message(acme), _message(other), _message(acme, webhook="w2")])
    claimed = await db.webhooks.claim([_webhook(acme)], 10, 99, 100.0, 160.0)
    assert [(one.tenant, one.webhook) for one in claimed] == [(acme.tenant, "w1")]
    assert await db.webhooks.claim([], 10, 99, 100.0, 160.0) == []


async def test_a_worker_whose_lease_was_taken_changes_nothing(db: Database, acme: Home) -> None:
    hooks = [_webhook(acme)]
    await db.webhooks.put([_message(acme)])
    (old,) = await db.webhooks.claim(hooks, 1, 99, 100.0, 160.0)
    (new,) = await db.webhooks.claim(hooks, 1, 99, 160.0, 220.0)
    assert not await db.webhooks.finish(old, Try(161.0, 1.0, 500), "failed", 0.0)
    assert await db.webhooks.message(acme.tenant, "w1", "m1") == new
    assert await db.webhooks.finish(new, Try(162.0, 0.5, 204), "delivered", 0.0)
    done = replace(new, state="delivered", due_at=0.0, attempts=1, tries=(Try(162.0, 0.5, 204),))
    assert await db.webhooks.message(acme.tenant, "w1", "m1") == done
    assert await db.webhooks.claim(hooks, 1, 99, 9e9, 9e9) == []


async def test_the_last_tries_are_kept(db: Database, acme: Home) -> None:
    hooks = [_webhook(acme)]
    await db.webhooks.put([_message(acme)])
    for number in range(MOST_TRIES + 2):
        (claimed,) = await db.webhooks.claim(hooks, 1, 99, 100.0 + number, 100.5 + number)
        made = Try(float(number), 0.1, 0, "refused \x00")
        assert await db.webhooks.finish(claimed, made, "waiting", 101.0 + number)
    found = await db.webhooks.message(acme.tenant, "w1", "m1")
    assert found is not None
    assert found.attempts == MOST_TRIES + 2
    assert [one.at for one in found.tries] == [float(number) for number in range(2, MOST_TRIES + 2)]
    assert found.tries[-1].text == "refused "
    assert await db.webhooks.waiting(acme.tenant, "w1", 10) == 1


async def test_messages_are_sent_again_in_any_state(db: Database, acme: Home, other: Home) -> None:
    hooks = [_webhook(acme)]
    await db.webhooks.put([_message(acme, "done", 100.0), _message(acme, "failed", 101.0), _message(acme, "w", 102.0)])
    for message in await db.webhooks.claim(hooks, 9, 99, 200.0, 260.0):
        state = {"done": "delivered", "failed": "failed"}.get(message.id, "waiting")
        await db.webhooks.finish(message, Try(200.0, 1.0, 500), state, 9000.0)  # type: ignore[arg-type]
    assert await db.webhooks.failed(acme.tenant, "w1", 0.0, 10) == ["failed"]
    assert await db.webhooks.failed(acme.tenant, "w1", 101.5, 10) == []
    assert await db.webhooks.waiting(acme.tenant, "w1", 10) == 1
    names = ["done", "failed", "w", "unknown"]
    assert await db.webhooks.replay(other.tenant, "w1", names, 300.0) == 0
    assert await db.webhooks.replay(acme.tenant, "w1", names, 300.0) == 3
    claimed = await db.webhooks.claim(hooks, 9, 99, 300.0, 360.0)
    assert sorted((one.id, one.attempts, len(one.tries)) for one in claimed) == [
        ("done", 0, 1), ("failed", 0, 1), ("w", 0, 1)
    ]  # fmt: skip


async def test_old_messages_are_removed(db: Database, acme: Home) -> None:
    await db.webhooks.put([_message(acme, "old", 100.0), _message(acme, "new", 200.0)])
    assert await db.webhooks.prune(200.0, 300.0) == 1
    assert [one.id for one in await db.webhooks.messages(acme.tenant, "w1", 10)] == ["new"]


async def test_a_message_of_a_wrong_clock_becomes_due(db: Database, acme: Home) -> None:
    wrong = 5_000_000.0
    await db.webhooks.put([_message(acme, "wrong", wrong), _message(acme, "soon", 100.0 + LONGEST_WAIT)])
    await db.webhooks.prune(0.0, 100.0)
    assert [one.id for one in await db.webhooks.claim([_webhook(acme)], 9, 99, 100.0, 160.0)] == ["wrong"]


async def test_a_tenants_webhooks_are_removed_with_it(db: Database, acme: Home, other: Home) -> None:
    await db.webhooks.add(_webhook(acme))
    await db.webhooks.add(_webhook(other, "theirs"))
    await db.webhooks.put([_message(acme), _message(other, webhook="theirs")])
    await Removal(db, _NoBlobs()).run(Scope(acme.tenant))
    assert [one.id for one in await db.webhooks.enabled()] == ["theirs"]
    assert await db.webhooks.message(acme.tenant, "w1", "m1") is None
    assert await db.webhooks.message(other.tenant, "theirs", "m1") is not None


async def test_strange_text_is_kept_as_text(db: Database, acme: Home) -> None:
    odd = replace(_webhook(acme), id="w'\" 1", url="https://a.test/?q='; DELETE webhook; --☃")
    await db.webhooks.add(odd)
    await db.webhooks.put([replace(_message(acme, "m'1", webhook=odd.id), payload='{"a":"\ud800☃"}')])
    assert await db.webhooks.get(acme.tenant, odd.id) == odd
    found = await db.webhooks.message(acme.tenant, odd.id, "m'1")
    assert found is not None
    assert found.payload == '{"a":"?☃"}'
