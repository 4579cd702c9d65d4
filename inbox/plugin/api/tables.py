"""Tables: durable state of a plugin for each tenant, in the database.

::

    def __init__(self, settings: Settings, services: Services) -> None:
        self._seen = services.table("seen")

    async def rcpt(self, tx: Transaction, recipient: Recipient) -> Opinion:
        first = await self._seen.of(tx).add(key, now, expires_in=3600)

Entries of different tenants, and of different plugins, are separate. Values are those of JSON, and ``bytes``; tuples
are read back as lists.
"""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

import msgspec

from inbox.base.clock import Clock
from inbox.plugin.api.context import Delivery, Failure, Identity, Recipient, Transaction
from inbox.store.ports.plugin_state import Add, Change, Changes, Delete, Increment, Put, Replace, StateEntry

#: Objects that belong to a tenant, and so select its entries.
Tenanted = Transaction | Recipient | Delivery | Failure | Identity
Value = bool | int | float | str | bytes | Sequence[Any] | Mapping[str, Any]

_NAME: Final = re.compile(r"[a-z][a-z0-9_]{0,31}\Z")
_encode: Any = msgspec.msgpack.encode
_decode: Any = msgspec.msgpack.Decoder().decode
_PLAIN: Final = (bool, int, float, str, bytes, type(None))


class NoTenant(RuntimeError):
    """No tenant is known at this stage (``connect``, ``helo``, ``mail``), so there is no table to use."""


class State(Protocol):
    """The part of ``PluginState`` (``inbox.store.ports.plugin_state``) that tables need."""

    async def get(self, tenant: str, plugin: str, table: str, keys: Sequence[str], now: float) -> dict[str, bytes]: ...

    async def apply(self, changes: Changes) -> list[Any]: ...

    async def count(self, tenant: str, plugin: str, table: str, now: float) -> int: ...

    async def scan(
        self, tenant: str, plugin: str, table: str, now: float, *, prefix: str = "", after: str = "", limit: int = 500
    ) -> list[StateEntry]: ...


@dataclass(frozen=True, slots=True)
class TableEntry:
    """A key with its value and its expiry in seconds since the epoch; None is never."""

    key: str
    value: Any
    expires_at: float | None = None


class TenantTable:
    """One tenant's entries in one table of a plugin.

    A key has at most 1,024 octets, an encoded value at most 4,096. A plugin has at most 100,000 entries for a tenant in
    all of its tables: beyond that, those that expire first are removed for new ones. Each call that writes is one
    transaction, durable when it returns; ``put_many`` and ``increment_many`` write up to 1,000 entries in one.

    Every method may raise StoreUnavailable; those that write also StorageFull, and TableFull if the table is full of
    entries that never expire. A key or a value that is too large raises ValueError, one of another type TypeError.
    An exception that a hook does not catch leads to its ``on_error``.
    """

    __slots__ = ("_clock", "_plugin", "_state", "_table", "_tenant")

    def __init__(self, state: State, clock: Clock, tenant: str, plugin: str, table: str) -> None:
        self._state = state
        self._clock = clock
        self._tenant = tenant
        self._plugin = plugin
        self._table = table

    async def get(self, key: str, default: Any = None) -> Any:
        """The value of ``key``, or ``default``."""
        return (await self.get_many((key,))).get(key, default)

    async def get_many(self, keys: Iterable[str]) -> dict[str, Any]:
        """The values of the keys that exist, in one read of at most 1,000 keys."""
        found = await self._state.get(self._tenant, self._plugin, self._table, list(keys), self._clock.now())
        return {key: _decode(value) for key, value in found.items()}

    async def put(self, key: str, value: Value, *, expires_in: float | None = None) -> None:
        """Writes an entry; ``expires_in`` is in seconds, None is for ever."""
        await self._apply(Put(key, _encoded(value), self._expiry(expires_in)))

    async def put_many(self, values: Mapping[str, Value], *, expires_in: float | None = None) -> None:
        """Writes at most 1,000 entries in one transaction."""
        expiry = self._expiry(expires_in)
        await self._apply(*(Put(key, _encoded(value), expiry) for key, value in values.items()))

    async def add(self, key: str, value: Value, *, expires_in: float | None = None) -> Any:
        """Writes an entry unless the key exists. Returns the existing value, or None if the entry was written.

        If several processes try at once, one of them writes.
        """
        (known,) = await self._apply(Add(key, _encoded(value), self._expiry(expires_in)))
        return None if known is None else _decode(known)

    async def replace(self, key: str, expected: Value | None, value: Value, *, expires_in: float | None = None) -> bool:
        """Writes an entry if its value is ``expected`` (None: if there is none). Returns whether it was."""
        known = None if expected is None else _encoded(expected)
        (done,) = await self._apply(Replace(key, known, _encoded(value), self._expiry(expires_in)))
        return bool(done)

    async def increment(self, key: str, amount: int = 1, *, expires_in: float | None = None) -> int:
        """Adds to a number, which starts at 0, and returns the sum. ``expires_in`` counts from the first call.

        Raises ValueError if the value is not an integer.
        """
        return (await self.increment_many({key: amount}, expires_in=expires_in))[key]

    async def increment_many(self, amounts: Mapping[str, int], *, expires_in: float | None = None) -> dict[str, int]:
        """Adds to at most 1,000 numbers in one transaction, and returns the sums."""
        expiry = self._expiry(expires_in)
        sums = await self._apply(*(Increment(key, amount, expiry) for key, amount in amounts.items()))
        return dict(zip(amounts, sums, strict=True))

    async def delete(self, key: str) -> bool:
        """Removes an entry; returns whether there was one."""
        (done,) = await self._apply(Delete(key))
        return bool(done)

    async def count(self) -> int:
        """The number of entries."""
        return await self._state.count(self._tenant, self._plugin, self._table, self._clock.now())

    async def scan(self, prefix: str = "") -> AsyncIterator[TableEntry]:
        """The entries whose keys begin with ``prefix``, by key, in pages. Other processes may change them meanwhile."""
        after = ""
        while True:
            page = await self._state.scan(
                self._tenant, self._plugin, self._table, self._clock.now(), prefix=prefix, after=after, limit=PAGE
            )
            for entry in page:
                yield TableEntry(entry.key, _decode(entry.value), entry.expires_at)
            if len(page) < PAGE:
                return
            after = page[-1].key

    async def _apply(self, *changes: Change) -> list[Any]:
        if not changes:
            return []
        now = self._clock.now()
        return await self._state.apply(Changes(self._tenant, self._plugin, self._table, changes, now))

    def _expiry(self, seconds: float | None) -> float | None:
        if seconds is None:
            return None
        if not 0 < seconds < _LONGEST:
            raise ValueError(f"expires_in is {seconds}; it must be above 0 and below {_LONGEST} seconds")
        return self._clock.now() + seconds


class Table:
    """One table of a plugin. The tenant comes from an argument of a hook."""

    __slots__ = ("_clock", "_name", "_plugin", "_state")

    def __init__(self, state: State, clock: Clock, plugin: str, name: str) -> None:
        self._state = state
        self._clock = clock
        self._plugin = plugin
        self._name = name

    def of(self, context: Tenanted) -> TenantTable:
        """The entries of the tenant of a transaction, a recipient, a delivery, a failure or an identity.

        Raises NoTenant at a stage at which no tenant is known.
        """
        tenant = tenant_of(context)
        if not tenant:
            raise NoTenant(
                f"table {self._name} of {self._plugin}: no tenant is known yet; use it at auth, rcpt, data or later"
            )
        return TenantTable(self._state, self._clock, tenant, self._plugin, self._name)


class Tables:
    """Makes the tables of one plugin: ``services.table``."""

    __slots__ = ("_clock", "_plugin", "_shareable", "_state")

    def __init__(self, state: State, clock: Clock, plugin: str = "", *, shareable: bool = False) -> None:
        self._state = state
        self._clock = clock
        self._plugin = plugin
        self._shareable = shareable

    def of_plugin(self, plugin: str, *, shareable: bool = False) -> Tables:
        """The tables of another plugin; the core calls it when it makes a plugin."""
        return Tables(self._state, self._clock, plugin, shareable=shareable)

    def __call__(self, name: str) -> Table:
        """The table ``name`` of this plugin; it need not be created first.

        Raises:
            ValueError: the name is not made of lower-case letters, digits and ``_`` (at most 32, the first a letter).
            TypeError: the plugin is ``shareable``: tenants share its results, but not its tables.
        """
        if not _NAME.match(name):
            raise ValueError(f"{name!r} is not a valid table name; use lower-case letters, digits and _, at most 32")
        if self._shareable:
            raise TypeError(f"{self._plugin} is shareable, so it has no tables: tenants share its results")
        return Table(self._state, self._clock, self._plugin, name)


#: Entries that one read of :meth:`TenantTable.scan` fetches.
PAGE: Final = 500
#: Ten years.
_LONGEST: Final = 315_360_000


def tenant_of(context: Tenanted) -> str:
    """The id of the tenant, empty if none is known."""
    if isinstance(context, Failure):
        context = context.delivery
    if isinstance(context, Delivery):
        context = context.transaction
    return context.tenant


def _encoded(value: Any) -> bytes:
    if value is None:
        raise TypeError("None is not a value of a table: it means that there is no entry")
    _check(value, 0)
    encoded: bytes = _encode(value)
    return encoded


def _check(value: Any, depth: int) -> None:
    """Raises TypeError unless the value is read back unchanged, apart from tuples, which become lists."""
    if depth > _DEPTH:
        raise TypeError(f"the value is nested more than {_DEPTH} deep")
    if type(value) in _PLAIN:
        return
    if isinstance(value, list | tuple):
        for each in value:
            _check(each, depth + 1)
    elif isinstance(value, dict):
        for key, each in value.items():
            if type(key) is not str:
                raise TypeError(f"a key of a value is a {type(key).__name__}; only str is allowed")
            _check(each, depth + 1)
    else:
        raise TypeError(f"a {type(value).__name__} is not a value of a table; use the types of JSON, or bytes")


_DEPTH: Final = 16
