"""Parsed commands, as values for their handlers (RFC 3501 §6)."""

from __future__ import annotations

from dataclasses import dataclass, field

from inbox.wire.imap.fetch import Item
from inbox.wire.imap.search import Search
from inbox.wire.imap.sequence import SequenceSet


@dataclass(frozen=True, slots=True)
class Nothing:
    """The command has no arguments."""


@dataclass(frozen=True, slots=True)
class Login:
    user: str
    password: str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Authenticate:
    """``initial`` is the client's initial response in base64 (RFC 4959), or None."""

    mechanism: str
    initial: bytes | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Enable:
    extensions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class ClientId:
    """RFC 2971; empty for NIL."""

    fields: dict[str, str]


@dataclass(frozen=True, slots=True)
class OneMailbox:
    """SELECT, EXAMINE, DELETE, SUBSCRIBE, UNSUBSCRIBE."""

    name: str


@dataclass(frozen=True, slots=True)
class Create:
    """``special_use`` is the attribute that USE names (RFC 6154 §3)."""

    name: str
    special_use: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Rename:
    source: str
    target: str


@dataclass(frozen=True, slots=True)
class List:
    """LIST with RFC 5258 and RFC 5819, or LSUB. Names are as the client wrote them; options are in capitals.

    ``status`` are the items of RETURN (STATUS (…)); ``extended`` is False for the syntax of RFC 3501.
    """

    reference: bytes
    patterns: tuple[bytes, ...]
    selecting: frozenset[str] = frozenset()
    returning: frozenset[str] = frozenset()
    status: tuple[str, ...] = ()
    extended: bool = False


@dataclass(frozen=True, slots=True)
class Status:
    name: str
    items: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Append:
    """APPEND up to its literal; ``size`` octets follow. ``internal_date`` is in seconds since the epoch."""

    name: str
    flags: int
    keywords: tuple[str, ...]
    internal_date: float | None
    size: int


@dataclass(frozen=True, slots=True)
class Fetch:
    numbers: SequenceSet
    items: tuple[Item, ...]
    uid: bool


@dataclass(frozen=True, slots=True)
class Store:
    """``mode`` is set, add or remove (FLAGS, +FLAGS, -FLAGS)."""

    numbers: SequenceSet
    mode: str
    silent: bool
    flags: int
    keywords: tuple[str, ...]
    uid: bool


@dataclass(frozen=True, slots=True)
class Find:
    """SEARCH."""

    search: Search
    uid: bool


@dataclass(frozen=True, slots=True)
class Transfer:
    """COPY and MOVE."""

    numbers: SequenceSet
    name: str
    uid: bool


@dataclass(frozen=True, slots=True)
class Expunge:
    """``numbers`` is None for EXPUNGE, and the UIDs of UID EXPUNGE otherwise."""

    numbers: SequenceSet | None = None


Arguments = (
    Nothing
    | Login
    | Authenticate
    | Enable
    | ClientId
    | OneMailbox
    | Create
    | Rename
    | List
    | Status
    | Append
    | Fetch
    | Store
    | Find
    | Transfer
    | Expunge
)


@dataclass(frozen=True, slots=True)
class Command:
    """``name`` is in capitals; ``UID FETCH`` and the other UID commands have their own names."""

    tag: str
    name: str
    arguments: Arguments
