"""Port of the durable state of plugins, and the meaning of each change.

An entry belongs to a tenant, a plugin and one of its tables, and has a key, a value (octets; MessagePack if it is a
number to increment) and optionally an expiry time. All backends, including the one for plugin tests, apply changes with
:func:`decide`, so a change means the same everywhere.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, Protocol

import msgspec

from inbox.base.errors import TableFull
from inbox.base.limits import STATE_CHANGES, STATE_ENTRIES, STATE_KEY_OCTETS, STATE_VALUE_OCTETS
from inbox.store.texts import clean

#: The number of entries removed at once when a plugin has reached its limit.
MAKE_ROOM: Final = 1000
_decode: Any = msgspec.msgpack.Decoder().decode
_encode: Any = msgspec.msgpack.encode
_INTEGERS: Final = range(-(1 << 63), 1 << 63)


@dataclass(frozen=True, slots=True)
class Entry:
    """A value and its expiry time in seconds since the epoch; None means never."""

    value: bytes
    expires_at: float | None = None

    def lives(self, now: float) -> bool:
        return self.expires_at is None or self.expires_at > now


@dataclass(frozen=True, slots=True)
class Put:
    """Writes an entry. Its result is None."""

    key: str
    value: bytes
    expires_at: float | None = None


@dataclass(frozen=True, slots=True)
class Add:
    """Writes an entry unless one exists; its result is the existing value, or None."""

    key: str
    value: bytes
    expires_at: float | None = None


@dataclass(frozen=True, slots=True)
class Replace:
    """Writes an entry if the current value is ``expected`` (None: if no entry exists); its result is whether it was
    written."""

    key: str
    expected: bytes | None
    value: bytes
    expires_at: float | None = None


@dataclass(frozen=True, slots=True)
class Increment:
    """Adds to a number, which starts at 0; its result is the sum. ``expires_at`` applies to a new entry only."""

    key: str
    amount: int = 1
    expires_at: float | None = None


@dataclass(frozen=True, slots=True)
class Delete:
    """Removes an entry; its result is whether it existed."""

    key: str


Change = Put | Add | Replace | Increment | Delete


@dataclass(frozen=True, slots=True)
class Changes:
    """Changes to one table of one plugin for one tenant, in one transaction; ``now`` is in seconds since the epoch."""

    tenant: str
    plugin: str
    table: str
    changes: tuple[Change, ...]
    now: float


@dataclass(slots=True)
class Applied:
    """The effect of changes: their results, and the entries to write; None means to remove the entry."""

    results: list[Any] = field(default_factory=list)
    written: dict[str, Entry | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class StateSize:
    """The number of entries that a plugin has in a table for a tenant, expired ones included."""

    tenant: str
    plugin: str
    table: str
    entries: int


@dataclass(frozen=True, slots=True)
class StateEntry:
    """An entry of a table with its key."""

    key: str
    value: bytes
    expires_at: float | None = None


def full(changes: Changes) -> TableFull:
    return TableFull(
        f"the plugin {changes.plugin} has {STATE_ENTRIES} entries for tenant {changes.tenant} that do not expire; "
        f"inbox plugins state clear {changes.plugin} removes them"
    )


def few(keys: Sequence[str]) -> Sequence[str]:
    """Returns ``keys`` if they are few enough for one call. Raises ValueError."""
    if len(keys) > STATE_CHANGES:
        raise ValueError(f"{len(keys)} keys in one call; at most {STATE_CHANGES} are allowed")
    return keys


def checked_key(key: str) -> str:
    """Returns the key in the form that every database accepts. Raises ValueError if it is empty or too long."""
    key = clean(key)
    if not 0 < len(key.encode()) <= STATE_KEY_OCTETS:
        raise ValueError(f"a key must have 1 to {STATE_KEY_OCTETS} octets of UTF-8; this one has {len(key.encode())}")
    return key


def checked(changes: Changes) -> Changes:
    """Returns the changes with their keys in the form that every database accepts.

    Raises:
        ValueError: a key or value has too many octets, or there are more than STATE_CHANGES.
    """
    if len(changes.changes) > STATE_CHANGES:
        raise ValueError(f"{len(changes.changes)} changes in one call; at most {STATE_CHANGES} are allowed")
    for change in changes.changes:
        size = len(getattr(change, "value", b""))
        if size > STATE_VALUE_OCTETS:
            raise ValueError(f"the value of {change.key!r} has {size} octets; at most {STATE_VALUE_OCTETS} are allowed")
    kept = tuple(replace(change, key=checked_key(change.key)) for change in changes.changes)
    return replace(changes, changes=kept)


def decide(changes: Changes, there: Mapping[str, Entry]) -> Applied:
    """Applies the changes one after the other to the existing entries (expired or not).

    Raises:
        ValueError: an entry to increment is not an integer, or the sum does not fit into 64 bits.
    """
    applied = Applied()
    for change in changes.changes:
        known = applied.written[change.key] if change.key in applied.written else there.get(change.key)
        if known is not None and not known.lives(changes.now):
            known = None
        result, entry = _one(change, known)
        applied.results.append(result)
        if entry is not known:
            applied.written[change.key] = entry
    return applied


def _one(change: Change, known: Entry | None) -> tuple[Any, Entry | None]:
    """Returns the result of one change, and the entry after it."""
    value = None if known is None else known.value
    if isinstance(change, Delete):
        return known is not None, None
    if isinstance(change, Increment):
        total = (0 if value is None else _number(change.key, value)) + change.amount
        if total not in _INTEGERS:
            raise ValueError(f"the sum for {change.key!r} does not fit into 64 bits")
        return total, Entry(_encode(total), change.expires_at if known is None else known.expires_at)
    entry = Entry(change.value, change.expires_at)
    if isinstance(change, Put):
        return None, entry
    if isinstance(change, Add):
        return value, entry if known is None else known
    return value == change.expected, entry if value == change.expected else known


def _number(key: str, value: bytes) -> int:
    number = _decode(value)
    if type(number) is not int:
        raise ValueError(f"the value of {key!r} is not an integer, so it cannot be incremented")
    return number


class PluginState(Protocol):
    """Entries of plugins (table ``plugin_state``). A tenant's entries are only read and changed with its id.

    A plugin has at most STATE_ENTRIES entries for each tenant. At that limit, new entries replace those that expire
    first; entries that never expire are not dropped, and if there are too few others, TableFull is raised.
    """

    async def get(self, tenant: str, plugin: str, table: str, keys: Sequence[str], now: float) -> dict[str, bytes]:
        """Returns the values of those keys that exist. Raises ValueError if there are more than STATE_CHANGES keys."""
        ...

    async def apply(self, changes: Changes) -> list[Any]:
        """Applies all changes in one transaction, or none; concurrent calls share a commit. Returns the result of each
        change.

        Raises:
            ValueError: see :func:`checked` and :func:`decide`.
            TableFull: there is no room for new entries.
            NotFound: there is no such tenant.
        """
        ...

    async def count(self, tenant: str, plugin: str, table: str, now: float) -> int:
        """Returns how many entries of a table have not expired."""
        ...

    async def scan(
        self, tenant: str, plugin: str, table: str, now: float, *, prefix: str = "", after: str = "", limit: int = 500
    ) -> list[StateEntry]:
        """Returns a page of the entries whose keys begin with ``prefix``, by key; ``after`` is the last key of the
        previous page."""
        ...

    async def sizes(self, tenant: str | None = None, plugin: str | None = None) -> list[StateSize]:
        """Returns all tables, by tenant, plugin and name, for the operator. Reads an index over all of their
        entries."""
        ...

    async def forget(self, tenant: str, plugin: str | None = None, table: str | None = None) -> int:
        """Runs one step of removing a tenant's entries: all, a plugin's, or those of one of its tables. Returns how
        many."""
        ...

    async def prune(self, now: float) -> int:
        """Removes entries that expired before ``now``, in steps; returns how many."""
        ...
