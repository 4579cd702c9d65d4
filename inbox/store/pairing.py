"""Whether a database and a blob store belong together, and how they come to.

Both hold the same :class:`~inbox.store.ports.installation.Identity`. A server with an empty or another database would
take the blobs for orphans; one whose folder is not mounted, or is not the folder of the other instances, would
acknowledge mail that nobody can read. So a server starts only with a pair, and looks again while it runs.

A pair is made by the first start, when both are empty, and by the first start after an upgrade from a version without
identities, when the messages of the database refer to blobs that are there. Whatever else is found needs an operator.

The order makes it safe against crashes and races: the database's id comes first, then the blob store's copy with an id
of its own (written only if there is none), then the database remembers that id. A crash in between is continued by the
next start; of two folders that were set up for one database at the same moment one loses.
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

#: What blobs of mail begin with. A bucket may hold other programs' objects, too.
PREFIXES: Final = ("msg/", "att/", "part/", ORPHANS)
#: Messages, or blobs, that are looked at to see whether the two belong together.
SAMPLE: Final = 40
#: The identity file is smaller than this.
_OCTETS: Final = 4096


class WrongStore(StoreUnavailable):
    """The database and the blob store do not belong together, so no mail can be taken."""


class State(StrEnum):
    """How a database and a blob store stand to each other. The first three are good."""

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
    """What operators call the two, for texts: without passwords."""

    database: str
    blobs: str


@dataclass(frozen=True, slots=True)
class Examined:
    """What was found.

    Attributes:
        database, store: the two copies of the identity; None if there is none.
        damaged: the blob store's copy cannot be read.
        has_blobs: the blob store holds blobs of mail. Like the next two, not looked at if the two copies agree.
        messages, present: messages of the database that were looked at, and how many of them have their blob here.
        blobs, known: blobs that were looked at, and how many of them belong to tenants of the database.
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
        """The conclusion."""
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
            # A few blobs of an installation may be missing; of a foreign one none is there.
            if 2 * self.present >= self.messages:
                return State.RECOGNISED
            return State.STORE_UNKNOWN if self.has_blobs else State.STORE_EMPTY
        if not self.has_blobs:
            return State.NEW
        return State.RECOGNISED if 0 < self.blobs == self.known else State.DATABASE_EMPTY


async def examine(database: Database, blobs: Blobs, *, deep: bool = False) -> Examined:
    """Looks at both; changes nothing.

    Args:
        deep: look at messages and blobs even if the identities agree.

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
    """Returns the identity of the pair; makes it where that is safe.

    Raises:
        WrongStore: the two do not belong together. The text names both and says what to do.
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
    """Returns if a server would start with the two. Changes nothing: only a server makes a pair, because a command may
    have been given other settings. The ids are empty if there is none yet.

    Raises:
        WrongStore, StoreUnavailable, StoreError: see :func:`establish`.
    """
    found = await _admitted(database, blobs, places)
    return found.store or Identity("")


async def verify(database: Database, blobs: Blobs, places: Places) -> Identity:
    """Returns if both copies of the identity agree right now. Changes nothing.

    Raises:
        WrongStore: they do not, or one is missing.
        StoreUnavailable, StoreError: one of the two does not answer; nobody knows.
    """
    found = await examine(database, blobs)
    if found.state is not State.PAIR:
        raise WrongStore(explain(found, places))
    if found.store is None or found.store != found.database:
        raise WrongStore(f"{places.database} and {places.blobs} are being paired by another process at this moment")
    return found.store


async def adopt(database: Database, blobs: Blobs, ids: Ids, places: Places) -> Identity:
    """Makes the two a pair whatever they were, with new ids: an operator has said so.

    Other databases that used this blob store, and other blob stores of this database, are refused from now on.

    Raises:
        StoreUnavailable, StoreError: one of the two does not answer; it can be done again.
    """
    await database.installation.replace(ids.new())
    await blobs.delete(IDENTITY)
    return await _make(database, blobs, ids, places)


async def exists(blobs: Blobs, key: str) -> bool:
    """Whether a blob is there, aside among the orphans or not."""
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
    # Another process may have been first, and not every S3 server lets only one succeed: what is there counts.
    stored = await _stored(blobs)
    if stored is not None and stored.installation == ours.installation:
        ours = await database.installation.pair(stored.store)
        if ours == stored:
            return ours
    raise WrongStore(explain(await examine(database, blobs), places))


async def _stored(blobs: Blobs) -> Identity | None:
    """The blob store's copy. Raises WrongStore if it cannot be read."""
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


_ADOPT: Final = "If exactly this pair is meant, inbox storage adopt explains what follows and makes it one."
_WHY: Final[Mapping[State, str]] = {
    State.OTHER_INSTALLATION: (
        "{database} belongs to the installation {d.installation}, {blobs} to the installation {s.installation}: one of "
        "the two settings names another installation's data. Set DATABASE_*, S3_* and INBOX_INCOMING_DIR to one "
        "installation's. "
    ),
    State.OTHER_STORE: (
        "{database} (installation {d.installation}) works with the blob store {d.store}, but {blobs} is the blob store "
        "{s.store}: it is a second folder or bucket for the same database, and mail in one cannot be read from the "
        "other. All instances of an installation share one blob store (S3, or one shared folder). "
    ),
    State.NEW_DATABASE: (
        "{blobs} belongs to the installation {s.installation}, but {database} has no id: it is new, or another "
        "database. Its disk may not be mounted, or a name (INBOX_DATA_DIR, DATABASE_*) is wrong. {sample}Put the right "
        "database back and start again. "
    ),
    State.STORE_EMPTY: (
        "{blobs} is empty, but {database} (installation {installation}) {knows}. Its disk may not be mounted, a name "
        "(INBOX_INCOMING_DIR, S3_*) is wrong, or this machine has a folder of its own for a shared database. Put the "
        "right blob store back and start again. "
    ),
    State.STORE_LOST_ID: (
        "{blobs} has no {file}, but {database} (installation {d.installation}) works with the blob store {d.store}: "
        "{blobs} is another one, or its {file} was deleted. {sample}Put the right blob store or the file back. "
    ),
    State.STORE_UNKNOWN: (
        "{blobs} holds other mail than {database}: {sample}Neither has an id yet. Set DATABASE_*, S3_* and "
        "INBOX_INCOMING_DIR to one installation's. "
    ),
    State.DATABASE_EMPTY: (
        "{blobs} holds mail, but {database} has no messages: it is new, or another database. Its disk may not be "
        "mounted, or a name (INBOX_DATA_DIR, DATABASE_*) is wrong. Put the right database back and start again. "
    ),
    State.DAMAGED: (
        "{file} in {blobs} cannot be read; the database {database} belongs to the installation {installation}. Put the "
        "file back from a backup. {sample}"
    ),
    State.NEW: "Neither {database} nor {blobs} has an id, and both are empty: the next start of the server pairs them.",
    State.RECOGNISED: (
        "{blobs} holds the mail of {database}, but they are not paired yet. {sample}The next start of the server pairs "
        "them."
    ),
    State.PAIR: "{database} and {blobs} are the installation {s.installation}.",
}


def explain(found: Examined, places: Places) -> str:
    """What was found, for an operator: names both, says what is wrong and what to do."""
    nothing = Identity("without an id")
    sample = ""
    if found.messages:
        sample = f"Of {found.messages} messages that were looked at {found.present} have their blob there. "
    elif found.blobs:
        sample = f"Of {found.blobs} blobs that were looked at {found.known} belong to tenants of the database. "
    text = _WHY[found.state].format(
        database=places.database,
        blobs=places.blobs,
        d=found.database or nothing,
        s=found.store or nothing,
        installation=(found.database or nothing).installation,
        knows="has messages" if found.messages else "has worked with a blob store before",
        sample=sample,
        file=IDENTITY,
    )
    return text if found.state in GOOD else text + _ADOPT
