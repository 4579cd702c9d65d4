"""Pairing of a database with a blob store: check that they belong together, and pair new ones.

Both hold the same :class:`~inbox.store.ports.installation.Identity`. A server with an empty or different database would
treat the blobs as orphans; one whose folder is not mounted, or is not the folder of the other instances, would
acknowledge mail that cannot be read. So a server starts only with a pair, and checks again while it runs.

The first start pairs the two if both are empty; the first start after an upgrade from a version without identities
pairs them if the blobs of the database's messages exist. Every other case needs an operator.

The order makes this safe against crashes and races: the database's id is written first, then the blob store's copy with
its own id (only if there is none), then the database stores that id. After a crash in between, the next start
continues; of two folders that are set up for one database at the same moment, one loses.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

import msgspec
import structlog

from inbox.base.errors import NotFound, StoreUnavailable
from inbox.base.ids import Ids
from inbox.mail.content import MemoryContent
from inbox.store.blobs.keys import IDENTITY, ORPHANS
from inbox.store.ports import Blobs, Database
from inbox.store.ports.installation import Identity

#: Prefixes of blobs of mail. A bucket may hold other programs' objects, too.
PREFIXES: Final = ("msg/", "att/", "part/", ORPHANS)
#: The number of messages or blobs that are checked to decide whether the two belong together.
SAMPLE: Final = 40
#: Octets of the identity file that are read; the file is smaller.
_OCTETS: Final = 4096


class WrongStore(StoreUnavailable):
    """The database and the blob store do not belong together, so mail cannot be accepted."""


class State(StrEnum):
    """The relation of a database to a blob store. The first three are good."""

    PAIR = "pair"
    NEW = "new"
    RECOGNISED = "recognised"
    OTHER_INSTALLATION = "other installation"
    OTHER_STORE = "other blob store"
    NEW_DATABASE = "database without an id"
    STORE_EMPTY = "blob store is empty"
    STORE_LOST_ID = "blob store without an id"
    STORE_UNKNOWN = "blob store of other mail"
    DATABASE_EMPTY = "database without messages"
    DAMAGED = "identity file is damaged"


GOOD: Final = frozenset({State.PAIR, State.NEW, State.RECOGNISED})


@dataclass(frozen=True, slots=True)
class Places:
    """Names of the database and the blob store for error texts, without passwords."""

    database: str
    blobs: str


@dataclass(frozen=True, slots=True)
class Examined:
    """The result of an examination.

    Attributes:
        database, store: the two copies of the identity; None if there is none.
        damaged: the blob store's copy cannot be read.
        has_blobs: the blob store holds blobs of mail. Like the next four, not examined if the two copies agree.
        messages, present: messages of the database that were checked, and how many of them have their blob here.
        blobs, known: blobs that were checked, and how many of them belong to tenants of the database.
    """

    database: Identity | None
    store: Identity | None
    damaged: bool = False
    has_blobs: bool = False
    messages: int = 0
    present: int = 0
    blobs: int = 0
    known: int = 0

    @property
    def state(self) -> State:
        """The conclusion from these facts."""
        ours, theirs = self.database, self.store
        if self.damaged:
            return State.DAMAGED
        if theirs is not None:
            if ours is None:
                return State.NEW_DATABASE
            if ours.installation != theirs.installation:
                return State.OTHER_INSTALLATION
            return State.PAIR if ours.store in ("", theirs.store) else State.OTHER_STORE
        if ours is not None and ours.store:
            return State.STORE_LOST_ID if self.has_blobs else State.STORE_EMPTY
        if self.messages:
            # A few blobs of an installation may be missing; a foreign store has none of them.
            if 2 * self.present >= self.messages:
                return State.RECOGNISED
            return State.STORE_UNKNOWN if self.has_blobs else State.STORE_EMPTY
        if not self.has_blobs:
            return State.NEW
        return State.RECOGNISED if 0 < self.blobs == self.known else State.DATABASE_EMPTY


async def examine(database: Database, blobs: Blobs, *, deep: bool = False) -> Examined:
    """Examines both; changes nothing.

    Args:
        deep: check messages and blobs even if the identities agree.

    Raises:
        StoreUnavailable, StoreError: one of the two does not answer.
    """
    store, damaged = None, False
    try:
        store = await _stored(blobs)
    except WrongStore:
        damaged = True
    found = Examined(await database.installation.identity(), store, damaged)
    if found.state is State.PAIR and not deep:
        return found
    paths = await database.installation.sample(SAMPLE)
    present = sum(await asyncio.gather(*(exists(blobs, path) for path in paths)))
    keys = await _first_keys(blobs)
    tenants = {tenant.id for tenant in await database.tenants.all()}
    known = sum(_tenant_of(key) in tenants for key in keys)
    return Examined(found.database, store, damaged, bool(keys), len(paths), present, len(keys), known)


async def establish(database: Database, blobs: Blobs, ids: Ids, places: Places) -> Identity:
    """Returns the identity of the pair; pairs the two where that is safe.

    Raises:
        WrongStore: the two do not belong together. The text names both and the remedy.
        StoreUnavailable, StoreError: one of the two does not answer.
    """
    found = await _admitted(database, blobs, places)
    if found.store is not None and found.store == found.database:
        return found.store
    identity = await _make(database, blobs, ids, places)
    structlog.get_logger("inbox.store").info(
        "stores_paired", installation=identity.installation, store=identity.store, found=found.state.value,
        database=places.database, blobs=places.blobs,
    )  # fmt: skip
    return identity


async def admit(database: Database, blobs: Blobs, places: Places) -> Identity:
    """Returns if a server would start with the two. Changes nothing: only a server pairs them, because a command may
    run with other settings. The ids are empty if there is no pair yet.

    Raises:
        WrongStore, StoreUnavailable, StoreError: see :func:`establish`.
    """
    found = await _admitted(database, blobs, places)
    return found.store or Identity("")


async def verify(database: Database, blobs: Blobs, places: Places) -> Identity:
    """Returns if both copies of the identity agree right now. Changes nothing.

    Raises:
        WrongStore: they differ, or one is missing.
        StoreUnavailable, StoreError: one of the two does not answer, so the result is unknown.
    """
    found = await examine(database, blobs)
    if found.state is not State.PAIR:
        raise WrongStore(explain(found, places))
    if found.store is None or found.store != found.database:
        raise WrongStore(f"{places.database} and {places.blobs} are being paired by another process at this moment")
    return found.store


async def adopt(database: Database, blobs: Blobs, ids: Ids, places: Places) -> Identity:
    """Pairs the two with new ids, whatever their state, because an operator has confirmed it.

    From now on, other databases that used this blob store and other blob stores of this database are rejected.

    Raises:
        StoreUnavailable, StoreError: one of the two does not answer; the call can be repeated.
    """
    await database.installation.replace(ids.new())
    await blobs.delete(IDENTITY)
    return await _make(database, blobs, ids, places)


async def exists(blobs: Blobs, key: str) -> bool:
    """Whether a blob exists, at its key or aside among the orphans."""
    for one in (key, ORPHANS + key):
        try:
            await blobs.read(one, 0, 0)
        except NotFound:
            continue
        return True
    return False


async def _admitted(database: Database, blobs: Blobs, places: Places) -> Examined:
    found = await examine(database, blobs)
    if found.state not in GOOD:
        raise WrongStore(explain(found, places))
    return found


async def _make(database: Database, blobs: Blobs, ids: Ids, places: Places) -> Identity:
    ours = await database.installation.claim(ids.new())
    text = {"installation": ours.installation, "store": ids.new()}
    await blobs.create(IDENTITY, MemoryContent(msgspec.json.encode(text) + b"\n"))
    # Another process may have been first, and some S3 servers let more than one succeed: the stored content counts.
    stored = await _stored(blobs)
    if stored is not None and stored.installation == ours.installation:
        ours = await database.installation.pair(stored.store)
        if ours == stored:
            return ours
    raise WrongStore(explain(await examine(database, blobs), places))


async def _stored(blobs: Blobs) -> Identity | None:
    """Returns the blob store's copy. Raises WrongStore if it cannot be read."""
    try:
        text = await blobs.read(IDENTITY, 0, _OCTETS)
    except NotFound:
        return None
    try:
        values = msgspec.json.decode(text, type=dict[str, str])
        return Identity(values["installation"], values["store"])
    except (msgspec.DecodeError, KeyError) as error:
        raise WrongStore(f"{IDENTITY} of the blob store cannot be read: {error}") from error


def _tenant_of(key: str) -> str:
    return key.removeprefix(ORPHANS).partition("/")[2].partition("/")[0]


async def _first_keys(blobs: Blobs) -> list[str]:
    found: list[str] = []
    for prefix in PREFIXES:
        async for key, _ in blobs.keys(prefix):
            found.append(key)
            if len(found) >= SAMPLE:
                return found
    return found


_ADOPT: Final = "If you want exactly this pair, inbox storage adopt explains the consequences and pairs them."
_WHY: Final[Mapping[State, str]] = {
    State.OTHER_INSTALLATION: (
        "{database} belongs to the installation {d.installation}, {blobs} to the installation {s.installation}: one of "
        "the two settings names another installation's data. Set DATABASE_*, S3_* and INBOX_INCOMING_DIR to one "
        "installation's. "
    ),
    State.OTHER_STORE: (
        "{database} (installation {d.installation}) is paired with the blob store {d.store}, but {blobs} is the blob "
        "store {s.store}: it is a second folder or bucket for the same database, and mail in one cannot be read from "
        "the other. All instances of an installation share one blob store (S3, or one shared folder). "
    ),
    State.NEW_DATABASE: (
        "{blobs} belongs to the installation {s.installation}, but {database} has no id: it is new, or another "
        "database. Its disk may not be mounted, or a name (INBOX_DATA_DIR, DATABASE_*) is wrong. {sample}Restore the "
        "right database and start again. "
    ),
    State.STORE_EMPTY: (
        "{blobs} is empty, but {database} (installation {installation}) {knows}. Its disk may not be mounted, a name "
        "(INBOX_INCOMING_DIR, S3_*) is wrong, or this machine has its own folder for a shared database. Restore the "
        "right blob store and start again. "
    ),
    State.STORE_LOST_ID: (
        "{blobs} has no {file}, but {database} (installation {d.installation}) is paired with the blob store "
        "{d.store}: {blobs} is another one, or its {file} was deleted. {sample}Restore the right blob store or the "
        "file. "
    ),
    State.STORE_UNKNOWN: (
        "{blobs} does not hold the mail of {database}: {sample}Neither has an id yet. Set DATABASE_*, S3_* and "
        "INBOX_INCOMING_DIR to one installation's. "
    ),
    State.DATABASE_EMPTY: (
        "{blobs} holds mail, but {database} has no messages: it is new, or another database. Its disk may not be "
        "mounted, or a name (INBOX_DATA_DIR, DATABASE_*) is wrong. Restore the right database and start again. "
    ),
    State.DAMAGED: (
        "{file} in {blobs} cannot be read; the database {database} belongs to the installation {installation}. "
        "Restore the file from a backup. {sample}"
    ),
    State.NEW: "Neither {database} nor {blobs} has an id, and both are empty: the next start of the server pairs them.",
    State.RECOGNISED: (
        "{blobs} holds the mail of {database}, but they are not paired yet. {sample}The next start of the server pairs "
        "them."
    ),
    State.PAIR: "{database} and {blobs} belong to the installation {s.installation}.",
}


def explain(found: Examined, places: Places) -> str:
    """Describes the result for an operator: names both, the problem and the remedy."""
    nothing = Identity("without an id")
    sample = ""
    if found.messages:
        sample = f"Of {found.messages} checked messages {found.present} have their blob there. "
    elif found.blobs:
        sample = f"Of {found.blobs} checked blobs {found.known} belong to tenants of the database. "
    text = _WHY[found.state].format(
        database=places.database,
        blobs=places.blobs,
        d=found.database or nothing,
        s=found.store or nothing,
        installation=(found.database or nothing).installation,
        knows="has messages" if found.messages else "was paired with a blob store before",
        sample=sample,
        file=IDENTITY,
    )
    return text if found.state in GOOD else text + _ADOPT
