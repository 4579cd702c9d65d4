"""Entries of the command table: the legal states of a command, and the news that its response may contain."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum, Flag, auto
from typing import Any

from inbox.server.imap.outcome import Done
from inbox.server.imap.session import ImapSession


class State(Flag):
    """The state of a connection (RFC 9051 §3); a command may be allowed in several. The logout state is not listed: the
    connection ends with the response to LOGOUT."""

    NOT_AUTHENTICATED = auto()
    AUTHENTICATED = auto()
    SELECTED = auto()


class News(Enum):
    """Changes by other sessions that a command's response may contain."""

    NONE = auto()
    #: RFC 3501 §7.4.1: sequence numbers must not change during FETCH, STORE and SEARCH.
    NO_EXPUNGES = auto()
    ALL = auto()
    #: Ask the database even if no change was reported: that is the purpose of NOOP and CHECK.
    ASK = auto()


@dataclass(frozen=True, slots=True)
class Rule:
    """``run`` gets the session and the command's arguments (a class of ``inbox.wire.imap.commands``).

    It may raise ``No``, ``BadCommand``, ``InboxError`` (answered with NO), ``EndConnection`` and ``Disconnected``.
    """

    states: State
    run: Callable[[ImapSession, Any], Awaitable[Done]]
    news: News = News.ALL
