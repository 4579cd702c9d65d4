"""What the dispatch table says about each command."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum, Flag, auto
from typing import Any

from inbox.server.imap.outcome import Done
from inbox.server.imap.session import ImapSession


class State(Flag):
    """The state of a connection (RFC 9051 §3); a command may be allowed in several. The logout state needs no name: the
    connection ends with its response."""

    NOT_AUTHENTICATED = auto()
    AUTHENTICATED = auto()
    SELECTED = auto()


class News(Enum):
    """What a command's response may say of other sessions' doings."""

    NONE = auto()
    #: RFC 3501 §7.4.1: sequence numbers must not change during FETCH, STORE and SEARCH.
    NO_EXPUNGES = auto()
    ALL = auto()
    #: The database is asked even if nobody reported a change: NOOP and CHECK are there for that.
    ASK = auto()


@dataclass(frozen=True, slots=True)
class Rule:
    """``run`` gets the session and the command's arguments (a class of ``inbox.wire.imap.commands``).

    It may raise ``No``, ``BadCommand``, ``InboxError`` (answered with NO), ``Farewell`` and ``Disconnected``.
    """

    states: State
    run: Callable[[ImapSession, Any], Awaitable[Done]]
    news: News = News.ALL
