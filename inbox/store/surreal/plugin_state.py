"""Durable state of plugins in SurrealDB.

Concurrent changes share a transaction. It reads the affected entries, computes their new values in Python, and commits
only if none of them has changed in the meantime (``version``); otherwise it starts again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from typing import Any, Final

from inbox.base.errors import AlreadyExists, NotFound
from inbox.base.limits import STATE_ENTRIES
from inbox.store.ports.hosting import STEP
from inbox.store.ports.plugin_state import (
    MAKE_ROOM,
    Changes,
    Entry,
    StateEntry,
    StateSize,
    checked,
    checked_key,
    decide,
    few,
    full,
)
from inbox.store.surreal import rows
from inbox.store.surreal.batch import Batcher
from inbox.store.surreal.gateway import Gateway, Stale
from inbox.store.surreal.values import LAST, Keys, RecordId, micros
from inbox.store.texts import clean

#: The maximum number of calls whose changes one transaction writes.
CALLS: Final = 100
_READ: Final = """
BEGIN;
SELECT VALUE id FROM $tenants WHERE name;
SELECT * FROM $ids;
SELECT * FROM $sizes;
COMMIT"""
_WRITE: Final = """
LET $versions = (SELECT VALUE version FROM $known);
IF $versions != $seen { THROW 'inbox stale' };
DELETE $expiries RETURN NONE;
DELETE $gone RETURN NONE;
FOR $c IN $changed {
    LET $id = $c.id;
    UPDATE $id SET value = $c.value, expires_at = $c.expires_at, version += 1 RETURN NONE
};
INSERT INTO plugin_state $added RETURN NONE;
INSERT INTO plugin_state_expiry $expiring RETURN NONE;
FOR $s IN $sizes {
    LET $id = $s.id;
    UPSERT $id SET entries += $s.n RETURN NONE
};
RETURN true"""

Row = Mapping[str, Any]
#: Tenant and plugin.
Owner = tuple[str, str]
#: Tenant, plugin, table, key.
Place = tuple[str, str, str, str]


@dataclass(slots=True)
class _Plan:
    """The changes of one transaction."""

    tenants: set[str]
    there: dict[Place, Row]
    #: The number of entries by owner.
    sizes: dict[Owner, int]
    written: dict[Place, Entry | None] = field(default_factory=dict)
    results: list[list[Any] | BaseException] = field(default_factory=list)
    #: Rows of entries that are removed to make room.
    victims: list[Row] = field(default_factory=list)

    def add(self, calls: Sequence[Changes], room: Mapping[Owner, int]) -> None:
        """Adds the calls to the plan; an impossible call fails alone. ``room``: how many more entries there may be,
        where there is a limit."""
        self.written.clear()
        self.results = [self._add(changes, room.get((changes.tenant, changes.plugin))) for changes in calls]

    def _add(self, changes: Changes, room: int | None) -> list[Any] | BaseException:
        if changes.tenant not in self.tenants:
            return NotFound(f"no tenant {changes.tenant}")
        try:
            applied = decide(changes, self._found(changes))
        except ValueError as error:
            return error
        owner = changes.tenant, changes.plugin
        written = {(*_of(changes), key): entry for key, entry in applied.written.items()}
        before, after = self._growth(owner, self.written), self._growth(owner, self.written | written)
        if room is not None and after > max(before, room):
            return full(changes)
        self.written |= written
        return applied.results

    def _found(self, changes: Changes) -> dict[str, Entry]:
        """Returns the existing entries, with the changes of earlier calls of this transaction."""
        found: dict[str, Entry] = {}
        for change in changes.changes:
            place = (*_of(changes), change.key)
            row = self.there.get(place)
            entry = self.written[place] if place in self.written else None if row is None else _entry(row)
            if entry is not None:
                found[change.key] = entry
        return found

    def _growth(self, owner: Owner, written: Mapping[Place, Entry | None]) -> int:
        growth = 0
        for place, entry in written.items():
            if place[:2] == owner:
                growth += (entry is not None) - (place in self.there)
        return growth

    def over(self, owner: Owner) -> int:
        """Returns by how many entries the plan exceeds the limit of one owner."""
        return self.sizes[owner] + self._growth(owner, self.written) - STATE_ENTRIES

    def room(self, owner: Owner) -> int:
        """Returns how many more entries there may be once the victims are removed."""
        gone: int = sum(row["id"].key[:2] == owner for row in self.victims)
        return STATE_ENTRIES - self.sizes[owner] + gone

    def values(self) -> dict[str, Any]:
        """Returns the values to bind for _WRITE."""
        known = [self.there[place] for place in self.written if place in self.there] + self.victims
        gone = [_id(place) for place, entry in self.written.items() if entry is None and place in self.there]
        kept = {place: entry for place, entry in self.written.items() if entry is not None}
        sizes = Counter({owner: self._growth(owner, self.written) for owner in self.sizes})
        sizes.subtract(row["id"].key[:2] for row in self.victims)
        return {
            "known": [row["id"] for row in known],
            "seen": [row["version"] for row in known],
            "expiries": [
                _expiry_id(row["id"].key, row["expires_at"]) for row in known if row.get("expires_at") is not None
            ],
            "gone": gone + [row["id"] for row in self.victims],
            "changed": [{"id": _id(place), **asdict(entry)} for place, entry in kept.items() if place in self.there],
            "added": [
                {"id": list(place), **asdict(entry), "version": 1}
                for place, entry in kept.items()
                if place not in self.there
            ],
            "expiring": [
                {"id": list(_expiry_id(place, entry.expires_at).key)}
                for place, entry in kept.items()
                if entry.expires_at is not None
            ],
            "sizes": [{"id": _size_id(owner), "n": growth} for owner, growth in sizes.items() if growth],
        }


class SurrealPluginState:
    """``PluginState`` of ``inbox.store.ports.plugin_state``."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._batcher: Batcher[Changes, list[Any]] = Batcher(self._commit, CALLS)

    async def close(self) -> None:
        """Waits for what is on its way."""
        await self._batcher.close()

    async def get(self, tenant: str, plugin: str, table: str, keys: Sequence[str], now: float) -> dict[str, bytes]:
        wanted = {key: _id((tenant, plugin, table, checked_key(key))) for key in few(keys)}
        (found,) = await self._gateway.query("SELECT * FROM $ids WHERE version", ids=list(set(wanted.values())))
        entries = {row["id"]: _entry(row) for row in found}
        return {key: entries[one].value for key, one in wanted.items() if one in entries and entries[one].lives(now)}

    async def apply(self, changes: Changes) -> list[Any]:
        return await self._batcher.submit(checked(changes))

    async def _commit(self, calls: Sequence[Changes]) -> list[list[Any] | BaseException]:
        async def attempt() -> list[list[Any] | BaseException]:
            plan = await self._read(calls)
            plan.add(calls, {})
            over = {owner: over for owner in plan.sizes if (over := plan.over(owner)) > 0}
            if over:
                for owner, count in over.items():
                    await self._find_victims(plan, owner, max(count, MAKE_ROOM))
                plan.add(calls, {owner: plan.room(owner) for owner in over})
            if plan.written or plan.victims:
                try:
                    await self._gateway.transaction(_WRITE, **plan.values())
                except AlreadyExists as error:
                    raise Stale(str(error)) from error
            return plan.results

        return await self._gateway.retried(attempt)

    async def _read(self, calls: Sequence[Changes]) -> _Plan:
        owners = {(changes.tenant, changes.plugin) for changes in calls}
        ids = {_id((*_of(changes), change.key)) for changes in calls for change in changes.changes}
        _, tenants, found, sizes, _ = await self._gateway.query(
            _READ,
            tenants=[rows.organization_id(tenant) for tenant in {tenant for tenant, _ in owners}],
            ids=list(ids),
            sizes=[_size_id(owner) for owner in owners],
        )
        counted = {row["id"].key: row["entries"] for row in sizes}
        return _Plan(
            {one.key for one in tenants},
            {row["id"].key: row for row in found},
            {owner: counted.get(owner, 0) for owner in owners},
        )

    async def _find_victims(self, plan: _Plan, owner: Owner, count: int) -> None:
        """Finds the entries that expire first, except those that the transaction changes."""
        (found,) = await self._gateway.query(
            "SELECT VALUE id FROM $keys LIMIT $page",
            keys=Keys("plugin_state_expiry", [*owner], [*owner, LAST]),
            page=count + len(plan.there),
        )
        places = [(*owner, *one.key[3:]) for one in found]
        ids = [_id(place) for place in places if place not in plan.there][:count]
        (victims,) = await self._gateway.query("SELECT * FROM $ids WHERE version", ids=ids)
        plan.victims += victims

    async def count(self, tenant: str, plugin: str, table: str, now: float) -> int:
        (found,) = await self._gateway.query(
            "SELECT count() FROM $keys WHERE expires_at IS NONE OR expires_at > $now GROUP ALL",
            keys=_keys(tenant, plugin, table),
            now=now,
        )
        return found[0]["count"] if found else 0

    async def scan(
        self, tenant: str, plugin: str, table: str, now: float, *, prefix: str = "", after: str = "", limit: int = 500
    ) -> list[StateEntry]:
        prefix, place, page = clean(prefix), clean(after), min(limit, STEP)
        first: list[Any] = [tenant, plugin, table, prefix] if place < prefix else [tenant, plugin, table, place, LAST]
        found: list[StateEntry] = []
        while len(found) < page:
            (read,) = await self._gateway.query(
                "SELECT id, value, expires_at FROM $keys LIMIT $page",
                keys=Keys("plugin_state", first, [tenant, plugin, table, LAST]),
                page=page,
            )
            entries = [StateEntry(row["id"].key[3], row["value"], row.get("expires_at")) for row in read]
            mine = [entry for entry in entries if entry.key.startswith(prefix)]
            found += [entry for entry in mine if _entry_of(entry).lives(now)]
            if len(entries) < page or len(mine) < len(entries):
                break
            first = [tenant, plugin, table, entries[-1].key, LAST]
        return found[:page]

    async def sizes(self, tenant: str | None = None, plugin: str | None = None) -> list[StateSize]:
        if tenant is None:
            keys = Keys("plugin_state", [""], [LAST])
        else:
            keys = _keys(tenant, *([] if plugin is None else [plugin]))
        (found,) = await self._gateway.query(
            "SELECT t, p, n, count() AS entries FROM "
            "(SELECT record::id(id)[0] AS t, record::id(id)[1] AS p, record::id(id)[2] AS n FROM $keys) "
            "GROUP BY t, p, n",
            keys=keys,
        )
        sizes = [StateSize(row["t"], row["p"], row["n"], row["entries"]) for row in found]
        kept = [size for size in sizes if plugin is None or size.plugin == plugin]
        return sorted(kept, key=lambda size: (size.tenant, size.plugin, size.table))

    async def forget(self, tenant: str, plugin: str | None = None, table: str | None = None) -> int:
        keys = _keys(*(part for part in (tenant, plugin, table) if part is not None))
        count = await self._gateway.retried(lambda: self._forget(keys, None))
        if not count and plugin is None:
            sizes = Keys("plugin_state_size", [tenant], [tenant, LAST])
            await self._gateway.write("DELETE $sizes RETURN NONE; RETURN true", sizes=sizes)
        return count

    async def prune(self, now: float) -> int:
        total = 0
        owners: list[RecordId] = []
        while True:
            (page,) = await self._gateway.query(
                "SELECT VALUE id FROM $keys LIMIT $page",
                keys=Keys("plugin_state_size", [*owners[-1].key, LAST] if owners else [""], [LAST]),
                page=STEP,
            )
            if not page:
                return total
            owners = page
            for owner in owners:
                keys = Keys("plugin_state_expiry", [*owner.key], [*owner.key, micros(now)])
                while count := await self._gateway.retried(partial(self._forget_expired, keys, now)):
                    total += count

    async def _forget_expired(self, keys: Keys, now: float) -> int:
        (found,) = await self._gateway.query("SELECT VALUE id FROM $keys LIMIT $page", keys=keys, page=STEP)
        ids = [_id((*one.key[:2], *one.key[3:])) for one in found]
        return await self._forget(ids, now) if ids else 0

    async def _forget(self, which: Keys | Sequence[RecordId], before: float | None) -> int:
        """Runs one step of removing entries, or only those that expired before a time."""
        (read,) = await self._gateway.query("SELECT * FROM $which WHERE version LIMIT $page", which=which, page=STEP)
        plan = _Plan(set(), {}, {})
        plan.victims = [row for row in read if before is None or (row.get("expires_at") or before) < before]
        if plan.victims:
            await self._gateway.transaction(_WRITE, **plan.values())
        return len(plan.victims)


def _entry(row: Row) -> Entry:
    return Entry(row["value"], row.get("expires_at"))


def _entry_of(entry: StateEntry) -> Entry:
    return Entry(entry.value, entry.expires_at)


def _of(changes: Changes) -> tuple[str, str, str]:
    return changes.tenant, changes.plugin, changes.table


def _id(place: Place) -> RecordId:
    return RecordId("plugin_state", place)


def _size_id(owner: Owner) -> RecordId:
    return RecordId("plugin_state_size", owner)


def _expiry_id(place: Place, expires_at: float) -> RecordId:
    return RecordId("plugin_state_expiry", (*place[:2], micros(expires_at), *place[2:]))


def _keys(*parts: str) -> Keys:
    return Keys("plugin_state", [*parts], [*parts, LAST])
