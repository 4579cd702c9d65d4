"""Webhooks in SQLite."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from typing import Any, Final

from inbox.base.errors import AlreadyExists, NotFound
from inbox.store.ports.hosting import STEP
from inbox.store.ports.webhooks import (
    LONGEST_WAIT,
    MOST_MESSAGES,
    WEBHOOKS,
    MessageState,
    Try,
    Webhook,
    WebhookMessage,
    checked,
)
from inbox.store.sqlite.gateway import Gateway
from inbox.store.sqlite.rows import text_to_words, words_to_text
from inbox.store.sqlite.steps import remove_in_steps
from inbox.store.texts import clean
from inbox.store.webhook_rows import NO_TRIES, events_of, full, text_to_tries, with_try

_WEBHOOK: Final = "org_id, id, url, events, secret, old_secret, old_until, is_enabled, reason, created_at"
_MESSAGE: Final = "org_id, webhook, id, event, payload, created_at, state, due_at, attempts, fence, tries"
_OF_WEBHOOK: Final = "org_id = ? AND webhook = ?"
_DUE: Final = f"{_OF_WEBHOOK} AND due_at > 0 AND due_at <= ? ORDER BY due_at LIMIT ?"
_CLAIM: Final = f"""
    UPDATE webhook_message SET due_at = ?, fence = fence + 1
    WHERE rowid IN (SELECT rowid FROM webhook_message WHERE {_DUE}) RETURNING {_MESSAGE}"""
_REPLAY: Final = f"""
    UPDATE webhook_message SET state = 'waiting', due_at = ?, attempts = 0, fence = fence + 1
    WHERE {_OF_WEBHOOK} AND id IN (SELECT value FROM json_each(?))"""


class SqliteWebhooks:
    """``Webhooks`` of ``inbox.store.ports.webhooks``."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def add(self, new: Webhook) -> None:
        def work(db: sqlite3.Connection) -> None:
            if db.execute("SELECT 1 FROM organization WHERE id = ?", (new.tenant,)).fetchone() is None:
                raise NotFound(f"no tenant {new.tenant}")
            (count,) = db.execute("SELECT count(*) FROM webhook WHERE org_id = ?", (new.tenant,)).fetchone()
            if count >= WEBHOOKS:
                raise full()
            sql = f"INSERT INTO webhook ({_WEBHOOK}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
            if not db.execute(sql, _webhook_values(new)).rowcount:
                raise AlreadyExists(f"webhook {new.id} exists")

        await self._gateway.write(work, tenant=new.tenant)

    async def get(self, tenant: str, webhook: str) -> Webhook | None:
        found = await self._webhooks("webhook WHERE org_id = ? AND id = ?", tenant, clean(webhook))
        return found[0] if found else None

    async def all(self, tenant: str) -> Sequence[Webhook]:
        return await self._webhooks("webhook WHERE org_id = ? ORDER BY created_at, id", tenant)

    async def enabled(self) -> Sequence[Webhook]:
        return await self._webhooks(
            "webhook WHERE is_enabled AND EXISTS "
            "(SELECT 1 FROM organization WHERE organization.id = org_id AND organization.is_active)"
        )

    async def set_enabled(self, tenant: str, webhook: str, enabled: bool, reason: str = "") -> None:
        sql = "UPDATE webhook SET is_enabled = ?, reason = ? WHERE org_id = ? AND id = ?"
        await self._change(sql, (int(enabled), clean(reason), tenant, clean(webhook)), webhook)

    async def rotate(self, tenant: str, webhook: str, secret: str, old_until: float) -> None:
        sql = "UPDATE webhook SET old_secret = secret, old_until = ?, secret = ? WHERE org_id = ? AND id = ?"
        await self._change(sql, (old_until, secret, tenant, clean(webhook)), webhook)

    async def remove(self, tenant: str, webhook: str) -> None:
        key = (tenant, clean(webhook))
        await self._change("DELETE FROM webhook WHERE org_id = ? AND id = ?", key, webhook)
        await self._remove(_OF_WEBHOOK, key, tenant)

    async def put(self, messages: Sequence[WebhookMessage]) -> None:
        checked(messages)
        rows = [_message_values(one) for one in messages]
        sql = (
            f"INSERT INTO webhook_message ({_MESSAGE}) VALUES (?, ?, ?, ?, ?, ?, 'waiting', ?, 0, 0, '{NO_TRIES}') "
            "ON CONFLICT DO NOTHING"
        )
        if rows:
            await self._gateway.write(lambda db: db.executemany(sql, rows), tenant=messages[0].tenant)

    async def claim(
        self, webhooks: Sequence[Webhook], each: int, most: int, now: float, until: float
    ) -> list[WebhookMessage]:
        due_sql = f"SELECT 1 FROM webhook_message WHERE {_DUE}"
        # Most webhooks have nothing to send: reading does not use the one writer.
        due = await self._gateway.read(
            lambda db: [one for one in webhooks if db.execute(due_sql, (one.tenant, one.id, now, 1)).fetchone()]
        )
        if not due or most <= 0:
            return []

        def work(db: sqlite3.Connection) -> list[WebhookMessage]:
            claimed: list[WebhookMessage] = []
            for one in due:
                count = min(each, most - len(claimed))
                claimed += map(_message, db.execute(_CLAIM, (until, one.tenant, one.id, now, count)).fetchall())
            return claimed

        return await self._gateway.write(work)

    async def finish(self, message: WebhookMessage, made: Try, state: MessageState, due_at: float) -> bool:
        sql = (
            "UPDATE webhook_message SET state = ?, due_at = ?, attempts = ?, tries = ? "
            f"WHERE {_OF_WEBHOOK} AND id = ? AND fence = ?"
        )
        values = (
            state, due_at if state == "waiting" else 0.0, message.attempts + 1, with_try(message.tries, made),
            message.tenant, message.webhook, message.id, message.fence,
        )  # fmt: skip
        return bool(await self._gateway.write(lambda db: db.execute(sql, values).rowcount, tenant=message.tenant))

    async def message(self, tenant: str, webhook: str, message: str) -> WebhookMessage | None:
        found = await self._messages(f"{_OF_WEBHOOK} AND id = ?", tenant, clean(webhook), clean(message))
        return found[0] if found else None

    async def messages(self, tenant: str, webhook: str, limit: int) -> Sequence[WebhookMessage]:
        where = f"{_OF_WEBHOOK} ORDER BY created_at DESC, id DESC LIMIT ?"
        return await self._messages(where, tenant, clean(webhook), min(limit, MOST_MESSAGES))

    async def waiting(self, tenant: str, webhook: str, most: int) -> int:
        sql = f"SELECT count(*) FROM (SELECT 1 FROM webhook_message WHERE {_OF_WEBHOOK} AND due_at > 0 LIMIT ?)"
        values = (tenant, clean(webhook), most)
        return await self._gateway.read(lambda db: int(db.execute(sql, values).fetchone()[0]))

    async def replay(self, tenant: str, webhook: str, messages: Sequence[str], now: float) -> int:
        checked(messages)
        values = (now, tenant, clean(webhook), words_to_text([clean(one) for one in messages]))
        return await self._gateway.write(lambda db: db.execute(_REPLAY, values).rowcount, tenant=tenant)

    async def failed(self, tenant: str, webhook: str, since: float, limit: int) -> Sequence[str]:
        sql = (
            f"SELECT id FROM webhook_message WHERE {_OF_WEBHOOK} AND created_at >= ? AND state = 'failed' "
            "ORDER BY created_at, id LIMIT ?"
        )
        values = (tenant, clean(webhook), since, min(limit, MOST_MESSAGES))
        return await self._gateway.read(lambda db: [row[0] for row in db.execute(sql, values)])

    async def forget(self, tenant: str) -> int:
        def work(db: sqlite3.Connection) -> int:
            count = db.execute("DELETE FROM webhook WHERE org_id = ?", (tenant,)).rowcount
            return count + db.execute(_remove_sql("org_id = ?"), (tenant, STEP)).rowcount

        return await self._gateway.step(work)

    async def prune(self, before: float, now: float) -> int:
        sql = "UPDATE webhook_message SET due_at = ? WHERE due_at > ?"
        await self._gateway.step(lambda db: db.execute(sql, (now, now + LONGEST_WAIT)))
        return await self._remove("created_at < ?", (before,), "")

    async def _remove(self, where: str, values: tuple[Any, ...], tenant: str) -> int:
        sql = _remove_sql(where)
        return await remove_in_steps(
            self._gateway, tenant, lambda db, count: db.execute(sql, (*values, count)).rowcount
        )

    async def _change(self, sql: str, values: tuple[Any, ...], webhook: str) -> None:
        if not await self._gateway.write(lambda db: db.execute(sql, values).rowcount):
            raise NotFound(f"no webhook {webhook}")

    async def _webhooks(self, source: str, *values: str) -> list[Webhook]:
        sql = f"SELECT {_WEBHOOK} FROM {source}"
        return await self._gateway.read(lambda db: [_webhook(row) for row in db.execute(sql, values)])

    async def _messages(self, where: str, *values: Any) -> list[WebhookMessage]:
        sql = f"SELECT {_MESSAGE} FROM webhook_message WHERE {where}"
        return await self._gateway.read(lambda db: [_message(row) for row in db.execute(sql, values)])


def _remove_sql(where: str) -> str:
    return f"DELETE FROM webhook_message WHERE rowid IN (SELECT rowid FROM webhook_message WHERE {where} LIMIT ?)"


def _webhook_values(one: Webhook) -> tuple[Any, ...]:
    return (
        one.tenant, clean(one.id), clean(one.url), words_to_text(one.events), one.secret, one.old_secret, one.old_until,
        int(one.is_enabled), clean(one.reason), one.created_at,
    )  # fmt: skip


def _webhook(row: Sequence[Any]) -> Webhook:
    tenant, id_, url, events, secret, old_secret, old_until, is_enabled, reason, created_at = row
    return Webhook(
        tenant, id_, url, events_of(text_to_words(events)), secret, old_secret, old_until, bool(is_enabled), reason,
        created_at,
    )  # fmt: skip


def _message_values(one: WebhookMessage) -> tuple[Any, ...]:
    return (
        one.tenant, clean(one.webhook), clean(one.id), clean(one.event), clean(one.payload), one.created_at,
        one.created_at,
    )  # fmt: skip


def _message(row: Sequence[Any]) -> WebhookMessage:
    tenant, webhook, id_, event, payload, created_at, state, due_at, attempts, fence, tries = row
    return WebhookMessage(
        tenant, webhook, id_, event, payload, created_at, state, due_at, attempts, fence, text_to_tries(tries)
    )
