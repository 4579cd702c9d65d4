"""Webhooks in SurrealDB."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from inbox.store.surreal import rows
from inbox.store.surreal.gateway import Gateway, in_pages
from inbox.store.surreal.values import LAST, Keys, RecordId
from inbox.store.texts import clean
from inbox.store.webhook_rows import NO_TRIES, events_of, full, text_to_tries, with_try

#: Webhooks that one query asks for due messages.
_AT_ONCE: Final = 100
#: Two additions at once write the tenant's row, so one of them is retried and both are counted.
_ADD: Final = """
LET $owner = (UPDATE $organization SET webhooks = (webhooks ?? 0) + 1 WHERE name RETURN VALUE id);
IF array::len($owner) = 0 { THROW 'inbox gone tenant' };
IF array::len((SELECT VALUE id FROM $all)) >= $most { RETURN 'full' };
CREATE $id CONTENT $row RETURN NONE;
RETURN true"""
_ENABLE: Final = (
    "RETURN (UPDATE $id SET is_enabled = $is_enabled, reason = $reason WHERE webhook_id RETURN VALUE webhook_id)"
)
_ROTATE: Final = """
RETURN (UPDATE $id SET old_secret = secret, old_until = $old_until, secret = $secret
    WHERE webhook_id RETURN VALUE webhook_id)"""
_CLAIM: Final = """
RETURN (UPDATE $ids SET due_at = $until, fence += 1 WHERE due_at > 0.0 AND due_at <= $now RETURN AFTER)"""
_FINISH: Final = """
RETURN (UPDATE $id SET state = $state, due_at = $due_at, attempts = $attempts, tries = $tries
    WHERE fence = $fence RETURN VALUE fence)"""
_REPLAY: Final = """
RETURN array::len((UPDATE $ids SET state = 'waiting', due_at = $now, attempts = 0, fence += 1
    WHERE hook RETURN VALUE fence))"""
_REMOVE: Final = """
LET $page = ({found} LIMIT $page);
DELETE $page RETURN NONE;
RETURN array::len($page)"""
_REMOVE_ALL: Final = _REMOVE.format(found="SELECT VALUE id FROM $all")
_REMOVE_OLD: Final = _REMOVE.format(found="SELECT VALUE id FROM webhook_message WHERE created_at < $before")


class SurrealWebhooks:
    """``Webhooks`` of ``inbox.store.ports.webhooks``."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def add(self, new: Webhook) -> None:
        try:
            done = await self._gateway.write(
                _ADD,
                organization=rows.organization_id(new.tenant),
                all=_all("webhook", new.tenant),
                most=WEBHOOKS,
                id=_webhook_id(new.tenant, new.id),
                row=_webhook_row(new),
            )
        except AlreadyExists as error:
            raise AlreadyExists(f"webhook {new.id} exists") from error
        if done == "full":
            raise full()

    async def get(self, tenant: str, webhook: str) -> Webhook | None:
        (found,) = await self._gateway.query("SELECT * FROM ONLY $id WHERE url", id=_webhook_id(tenant, webhook))
        return _webhook(found) if found else None

    async def all(self, tenant: str) -> Sequence[Webhook]:
        (found,) = await self._gateway.query("SELECT * FROM $all", all=_all("webhook", tenant))
        return sorted(map(_webhook, found), key=lambda one: (one.created_at, one.id))

    async def enabled(self) -> Sequence[Webhook]:
        (found,) = await self._gateway.query("SELECT * FROM webhook WHERE is_enabled")
        webhooks = [_webhook(row) for row in found]
        if not webhooks:
            return []
        owners = [rows.organization_id(tenant) for tenant in sorted({one.tenant for one in webhooks})]
        (active,) = await self._gateway.query("SELECT VALUE record::id(id) FROM $owners WHERE is_active", owners=owners)
        return [one for one in webhooks if one.tenant in set(active)]

    async def set_enabled(self, tenant: str, webhook: str, enabled: bool, reason: str = "") -> None:
        values = {"is_enabled": enabled, "reason": clean(reason)}
        if not await self._gateway.write(_ENABLE, id=_webhook_id(tenant, webhook), **values):
            raise NotFound(f"no webhook {webhook}")

    async def rotate(self, tenant: str, webhook: str, secret: str, old_until: float) -> None:
        values = {"secret": secret, "old_until": float(old_until)}
        if not await self._gateway.write(_ROTATE, id=_webhook_id(tenant, webhook), **values):
            raise NotFound(f"no webhook {webhook}")

    async def remove(self, tenant: str, webhook: str) -> None:
        if not await self._gateway.write("RETURN (DELETE $id RETURN BEFORE)", id=_webhook_id(tenant, webhook)):
            raise NotFound(f"no webhook {webhook}")
        await in_pages(self._gateway, _REMOVE_ALL, all=_all("webhook_message", tenant, clean(webhook)))

    async def put(self, messages: Sequence[WebhookMessage]) -> None:
        checked(messages)
        if messages:
            new = [_message_row(one) for one in messages]
            await self._gateway.write("INSERT IGNORE INTO webhook_message $new RETURN NONE; RETURN true", new=new)

    async def claim(
        self, webhooks: Sequence[Webhook], each: int, most: int, now: float, until: float
    ) -> list[WebhookMessage]:
        claimed: list[WebhookMessage] = []
        for start in range(0, len(webhooks), _AT_ONCE):
            hooks = {f"h{n}": _hook(one.tenant, one.id) for n, one in enumerate(webhooks[start : start + _AT_ONCE])}
            sql = ";".join(
                f"SELECT id, due_at FROM webhook_message WHERE hook = ${name} AND due_at >= 0.000001 "
                "AND due_at <= $now ORDER BY due_at LIMIT $each"
                for name in hooks
            )
            found = await self._gateway.query(sql, now=float(now), each=each, **hooks)
            if ids := [row["id"] for page in found for row in page][: max(0, most - len(claimed))]:
                values = {"ids": ids, "now": float(now), "until": float(until)}
                claimed += map(_message, await self._gateway.write(_CLAIM, **values))
        return claimed

    async def finish(self, message: WebhookMessage, made: Try, state: MessageState, due_at: float) -> bool:
        return bool(
            await self._gateway.write(
                _FINISH,
                id=_message_id(message.tenant, message.webhook, message.id),
                fence=message.fence,
                state=state,
                due_at=float(due_at) if state == "waiting" else 0.0,
                attempts=message.attempts + 1,
                tries=with_try(message.tries, made),
            )
        )

    async def message(self, tenant: str, webhook: str, message: str) -> WebhookMessage | None:
        values = {"id": _message_id(tenant, webhook, message)}
        (found,) = await self._gateway.query("SELECT * FROM ONLY $id WHERE hook", **values)
        return _message(found) if found else None

    async def messages(self, tenant: str, webhook: str, limit: int) -> Sequence[WebhookMessage]:
        sql = "SELECT * FROM webhook_message WHERE hook = $hook ORDER BY created_at DESC, id DESC LIMIT $limit"
        values = {"hook": _hook(tenant, webhook), "limit": min(limit, MOST_MESSAGES)}
        (found,) = await self._gateway.query(sql, **values)
        return [_message(row) for row in found]

    async def waiting(self, tenant: str, webhook: str, most: int) -> int:
        sql = (
            "RETURN array::len((SELECT VALUE due_at FROM webhook_message WHERE hook = $hook AND due_at >= 0.000001 "
            "LIMIT $most))"
        )
        (count,) = await self._gateway.query(sql, hook=_hook(tenant, webhook), most=most)
        return int(count)

    async def replay(self, tenant: str, webhook: str, messages: Sequence[str], now: float) -> int:
        checked(messages)
        ids = list({_message_id(tenant, webhook, one) for one in messages})
        return int(await self._gateway.write(_REPLAY, ids=ids, now=float(now)))

    async def failed(self, tenant: str, webhook: str, since: float, limit: int) -> Sequence[str]:
        sql = (
            "SELECT id, created_at FROM webhook_message WHERE hook = $hook AND created_at >= $since "
            "AND state = 'failed' ORDER BY created_at, id LIMIT $limit"
        )
        values = {"hook": _hook(tenant, webhook), "since": float(since), "limit": min(limit, MOST_MESSAGES)}
        (found,) = await self._gateway.query(sql, **values)
        return [row["id"].key[2] for row in found]

    async def forget(self, tenant: str) -> int:
        count = await self._gateway.write(_REMOVE_ALL, all=_all("webhook", tenant), page=STEP)
        return int(count + await self._gateway.write(_REMOVE_ALL, all=_all("webhook_message", tenant), page=STEP))

    async def prune(self, before: float, now: float) -> int:
        sql = "UPDATE webhook_message SET due_at = $now WHERE due_at > $last RETURN NONE; RETURN true"
        await self._gateway.write(sql, now=float(now), last=float(now + LONGEST_WAIT))
        return await in_pages(self._gateway, _REMOVE_OLD, before=float(before))


def _webhook_id(tenant: str, webhook: str) -> RecordId:
    return RecordId("webhook", (tenant, clean(webhook)))


def _message_id(tenant: str, webhook: str, message: str) -> RecordId:
    return RecordId("webhook_message", (tenant, clean(webhook), clean(message)))


def _hook(tenant: str, webhook: str) -> str:
    return f"{tenant} {clean(webhook)}"


def _all(table: str, *key: str) -> Keys:
    return Keys(table, [*key], [*key, LAST])


def _webhook_row(one: Webhook) -> dict[str, Any]:
    return {
        "webhook_id": clean(one.id), "url": clean(one.url), "events": list(one.events), "secret": one.secret,
        "old_secret": one.old_secret, "old_until": float(one.old_until), "is_enabled": one.is_enabled,
        "reason": clean(one.reason), "created_at": float(one.created_at),
    }  # fmt: skip


def _webhook(row: Mapping[str, Any]) -> Webhook:
    tenant, id_ = row["id"].key
    return Webhook(
        tenant, id_, row["url"], events_of(row["events"]), row["secret"], row.get("old_secret"), row["old_until"],
        row["is_enabled"], row["reason"], row["created_at"],
    )  # fmt: skip


def _message_row(one: WebhookMessage) -> dict[str, Any]:
    return {
        "id": _message_id(one.tenant, one.webhook, one.id), "hook": _hook(one.tenant, one.webhook),
        "event": clean(one.event), "payload": clean(one.payload), "created_at": float(one.created_at),
        "state": "waiting", "due_at": float(one.created_at), "attempts": 0, "fence": 0, "tries": NO_TRIES,
    }  # fmt: skip


def _message(row: Mapping[str, Any]) -> WebhookMessage:
    tenant, webhook, id_ = row["id"].key
    return WebhookMessage(
        tenant, webhook, id_, row["event"], row["payload"], row["created_at"], row["state"], row["due_at"],
        row["attempts"], row["fence"], text_to_tries(row["tries"]),
    )  # fmt: skip
