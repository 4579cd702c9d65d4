"""Writes accepted messages into SurrealDB, many accepted transactions in one database transaction.

Most messages are new. So the first attempt assumes that and reads nothing: it is one round trip, in which a message
that exists already, or a mailbox that does not exist, fails the transaction. Only then are the messages looked up
(retries are recognised) and, if necessary, written one by one, so that an invalid one fails alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import replace
from typing import Any, Final

import structlog

from inbox.base.errors import AlreadyExists, KeyTaken, NotFound, StoreError, StoreUnavailable
from inbox.base.limits import RETRY_COPIES
from inbox.mail.flags import Flag
from inbox.store import retries
from inbox.store.bus import Bus
from inbox.store.ports.ingest import Indexed
from inbox.store.ports.messages import Placed
from inbox.store.surreal import rows
from inbox.store.surreal.batch import Batcher
from inbox.store.surreal.decisions import ADD_DECISIONS, packed
from inbox.store.surreal.entries import PLACE
from inbox.store.surreal.gateway import Gateway, Stale
from inbox.store.surreal.idempotency import ADD_KEYS, find, key_id
from inbox.store.surreal.job_counts import Shards
from inbox.store.surreal.jobs import ADD_JOBS
from inbox.store.surreal.plan import Answer, Known, Owner, Plan, Shown
from inbox.store.surreal.shared import ADD_EVENTS
from inbox.store.surreal.values import NOW, RecordId
from inbox.store.texts import clean_or_none

#: The maximum number of accepted transactions in one database transaction.
TOGETHER: Final = 200
#: The maximum number of mailboxes whose tenant and owner are cached (neither ever changes); a full cache is cleared.
REMEMBERED: Final = 100_000

_ACCEPT: Final = f"""
{ADD_KEYS};
INSERT INTO email_content $contents RETURN NONE;
INSERT INTO email $emails RETURN NONE;
INSERT INTO email_text $texts RETURN NONE;
FOR $s IN $shared {{
    LET $copies = (UPDATE $s.id SET copies += $s.n WHERE copies > 0 RETURN VALUE copies);
    IF array::len($copies) = 0 {{ THROW 'inbox stale' }}
}};
FOR $m IN $boxes {{{PLACE}}};
FOR $path IN $released {{ UPSERT type::record('released_blob', $path) SET at = time::unix() RETURN NONE }};
{ADD_DECISIONS};
FOR $o IN $queueing {{
    LET $active = (SELECT VALUE is_active FROM ONLY $o);
    IF !$active {{ THROW 'inbox gone tenant' }}
}};
{ADD_JOBS};
{ADD_EVENTS};
RETURN (SELECT VALUE [next_uid, modseq] FROM $boxes.id)"""

#: Reads existing messages, the mailboxes of the owners concerned, and the copies of the messages in them, in one
#: transaction, so that they are consistent. There may be very many copies when an identical message went to all
#: accounts of a tenant: copies for other recipients are left out.
_LOOK_UP: Final = """
BEGIN;
LET $contents = (SELECT id, email, size FROM $keys WHERE email);
LET $emails = $contents.email;
SELECT * FROM $contents;
SELECT id, owner, name, special_use FROM mailbox WHERE owner IN $owners;
SELECT in, out, uid, modseq, flags, recipient, received_at, prepended, out.owner AS owner
    FROM $emails->has_email_delivery
    WHERE received_at >= $earliest AND received_at <= $latest AND (recipient ?? '') IN $recipients
        AND out.owner IN $owners
    LIMIT $limit;
COMMIT"""

_DELETED: Final = int(Flag.DELETED)


class SurrealMessageWriter:
    """``MessageWriter`` of ``inbox.store.ports``."""

    def __init__(self, gateway: Gateway, bus: Bus, shards: Shards) -> None:
        self._gateway = gateway
        self._shards = shards
        self._bus = bus
        self._owners: dict[str, Owner] = {}
        self._log = structlog.get_logger("inbox.store")
        self._batcher: Batcher[Indexed, Answer] = Batcher(self._commit, TOGETHER)

    async def write(self, indexed: Indexed) -> Answer:
        placed = await self._batcher.submit(indexed)
        self._bus.publish_written(indexed.messages, placed)
        return placed

    async def close(self) -> None:
        await self._batcher.close()

    async def _commit(self, batch: Sequence[Indexed]) -> list[Answer | BaseException]:
        """Returns answers or errors, in order. Two copies of one message in the batch, or two messages with one
        idempotency key, are written one after the other."""
        outcomes: list[Answer | BaseException] = [StoreError("not written")] * len(batch)
        records = iter(await packed([record for indexed in batch for record in indexed.decisions]))
        waiting = [
            (number, replace(indexed, decisions=tuple(itertools.islice(records, len(indexed.decisions)))))
            for number, indexed in enumerate(batch)
        ]
        while waiting:
            together: list[tuple[int, Indexed]] = []
            later: list[tuple[int, Indexed]] = []
            keys: set[RecordId] = set()
            for number, indexed in waiting:
                own = {rows.content_key(message.email) for message in indexed.messages}
                own |= {key_id(key.tenant, key.key) for key in (indexed.key,) if key is not None}
                if keys.isdisjoint(own):
                    keys |= own
                    together.append((number, indexed))
                else:
                    later.append((number, indexed))
            written = await self._write([indexed for _, indexed in together])
            for (number, _), outcome in zip(together, written, strict=True):
                outcomes[number] = outcome
            waiting = later
        return outcomes

    async def _write(self, batch: Sequence[Indexed]) -> list[Answer | BaseException]:
        try:
            await self._learn_owners(batch)
            return await self._attempt(batch, {}, frozenset())
        except StoreUnavailable:
            raise
        except StoreError as error:
            self._log.debug("ingest_looked_up", error=str(error))
        return await self._carefully(batch)

    async def _carefully(self, batch: Sequence[Indexed]) -> list[Answer | BaseException]:
        """Writes after looking up existing messages; if that fails too, one by one, so that an invalid one fails
        alone."""

        async def work() -> list[Answer | BaseException]:
            self._forget_owners(batch)
            await self._learn_owners(batch)
            try:
                return await self._attempt(batch, await self._look_up(batch), await self._taken(batch))
            except (AlreadyExists, NotFound) as error:  # It changed between the lookup and the transaction.
                raise Stale(str(error)) from error

        try:
            return await self._gateway.retried(work)
        except StoreUnavailable:
            raise
        except StoreError as error:
            if len(batch) == 1:
                return [error]
        return [outcome for indexed in batch for outcome in await self._carefully([indexed])]

    async def _attempt(
        self, batch: Sequence[Indexed], known: dict[RecordId, Known], taken: Set[RecordId]
    ) -> list[Answer | BaseException]:
        plan = Plan(self._owners, known, taken, *await self._active(batch))
        outcomes: list[Answer | BaseException] = []
        for indexed in batch:
            try:
                plan.add(indexed)
                outcomes.append([])
            except (KeyTaken, NotFound) as error:
                outcomes.append(error)
        counters = [] if plan.empty else await self._gateway.retried(lambda: self._accept(plan))
        answers = iter(plan.answers(counters))
        return [outcome if isinstance(outcome, BaseException) else next(answers) for outcome in outcomes]

    async def _accept(self, plan: Plan) -> list[list[int]]:
        with self._shards.taken() as shard:
            return list(await self._gateway.transaction(_ACCEPT, **plan.values(shard)))

    async def _active(self, batch: Sequence[Indexed]) -> tuple[Set[str], float]:
        """Returns the tenants with jobs that may queue them, and the database's time."""
        tenants = {message.email.tenant for indexed in batch for message in indexed.messages if message.jobs}
        if not tenants:
            return tenants, 0.0
        ids = [rows.organization_id(tenant) for tenant in tenants]
        found, now = await self._gateway.query(f"SELECT VALUE id FROM $ids WHERE is_active; RETURN {NOW}", ids=ids)
        return {organization.key for organization in found}, now

    async def _taken(self, batch: Sequence[Indexed]) -> Set[RecordId]:
        """Returns the idempotency keys of the batch that exist already."""
        ids = [key_id(indexed.key.tenant, indexed.key.key) for indexed in batch if indexed.key is not None]
        return frozenset(await find(self._gateway, ids)) if ids else frozenset()

    async def _learn_owners(self, batch: Iterable[Indexed]) -> None:
        unknown = [name for name in _mailboxes(batch) if name not in self._owners]
        if not unknown:
            return
        if len(self._owners) + len(unknown) > REMEMBERED:
            self._owners.clear()
        (found,) = await self._gateway.query(
            "SELECT id, organization, owner FROM $ids WHERE owner", ids=[rows.mailbox_id(name) for name in unknown]
        )
        for row in found:
            self._owners[row["id"].key] = Owner(row["organization"].key, row["owner"])

    def _forget_owners(self, batch: Iterable[Indexed]) -> None:
        for name in _mailboxes(batch):
            self._owners.pop(name, None)

    async def _look_up(self, batch: Sequence[Indexed]) -> dict[RecordId, Known]:
        messages = [message for indexed in batch for message in indexed.messages]
        if not messages:
            return {}
        windows = [retries.window(message.email.internal_date) for message in messages]
        owners = {self._owners[name].owner for name in _mailboxes(batch) if name in self._owners}
        *_, contents, mailboxes, entries, _ = await self._gateway.query(
            _LOOK_UP,
            keys=list({rows.content_key(message.email) for message in messages}),
            owners=list(owners),
            recipients=list({clean_or_none(copy.recipient) or "" for one in messages for copy in one.copies}),
            earliest=min(earliest for earliest, _ in windows),
            latest=max(latest for _, latest in windows),
            limit=RETRY_COPIES,
        )
        shown: dict[RecordId, list[Shown]] = {}
        names = retries.counting_of_all(
            (row["owner"], row["id"].key, row["name"], row.get("special_use")) for row in mailboxes
        )
        for row in entries:
            name = names.get(row["out"].key)
            if name is not None and not row["flags"] & _DELETED:
                shown.setdefault(row["in"], []).append(_shown(row, name))
        return {row["id"]: Known(row["email"].key, row["size"], tuple(shown.get(row["email"], ()))) for row in contents}


def _shown(row: Mapping[str, Any], mailbox: str) -> Shown:
    uid, prepended, received_at = row["uid"], row.get("prepended") or b"", row["received_at"]
    already = retries.already_filed(mailbox, uid, prepended, received_at)
    place = Placed(row["out"].key, row["in"].key, uid, row["modseq"], already)
    return Shown(row["owner"], row.get("recipient"), retries.envelope_of(prepended), received_at, place)


def _mailboxes(batch: Iterable[Indexed]) -> set[str]:
    return {copy.mailbox for indexed in batch for message in indexed.messages for copy in message.copies}
