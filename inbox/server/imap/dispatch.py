"""Command table: the states in which each command is allowed (RFC 3501 §6), its handler, and the news in its
response."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from inbox.server.imap import fetch, listing, login, mailboxes, messages, search, select
from inbox.server.imap.rules import News, Rule, State

_ANY: Final = State.NOT_AUTHENTICATED | State.AUTHENTICATED | State.SELECTED
_AUTHENTICATED: Final = State.AUTHENTICATED | State.SELECTED
_NOT_AUTHENTICATED, _SELECTED = State.NOT_AUTHENTICATED, State.SELECTED

COMMANDS: Final[Mapping[str, Rule]] = {
    # Any state
    "CAPABILITY": Rule(_ANY, login.capability),
    "NOOP": Rule(_ANY, login.noop, News.ASK),
    "LOGOUT": Rule(_ANY, login.logout, News.NONE),
    "ID": Rule(_ANY, login.client_id),
    # Not authenticated
    "STARTTLS": Rule(_NOT_AUTHENTICATED, login.starttls, News.NONE),
    "LOGIN": Rule(_NOT_AUTHENTICATED, login.login, News.NONE),
    "AUTHENTICATE": Rule(_NOT_AUTHENTICATED, login.authenticate, News.NONE),
    # Authenticated
    "APPEND": Rule(_AUTHENTICATED, select.append_without_message),
    "CREATE": Rule(_AUTHENTICATED, mailboxes.create),
    "DELETE": Rule(_AUTHENTICATED, mailboxes.delete),
    "ENABLE": Rule(_AUTHENTICATED, login.enable),
    "EXAMINE": Rule(_AUTHENTICATED, select.examine, News.NONE),
    "IDLE": Rule(_AUTHENTICATED, select.idle),
    "LIST": Rule(_AUTHENTICATED, listing.list_),
    "LSUB": Rule(_AUTHENTICATED, listing.lsub),
    "NAMESPACE": Rule(_AUTHENTICATED, mailboxes.namespace),
    "RENAME": Rule(_AUTHENTICATED, mailboxes.rename),
    "SELECT": Rule(_AUTHENTICATED, select.select, News.NONE),
    "STATUS": Rule(_AUTHENTICATED, mailboxes.status),
    "SUBSCRIBE": Rule(_AUTHENTICATED, mailboxes.subscribe),
    "UNSUBSCRIBE": Rule(_AUTHENTICATED, mailboxes.unsubscribe),
    # Selected
    "CHECK": Rule(_SELECTED, login.noop, News.ASK),
    "CLOSE": Rule(_SELECTED, select.close, News.NONE),
    "UNSELECT": Rule(_SELECTED, select.unselect, News.NONE),
    "EXPUNGE": Rule(_SELECTED, messages.expunge),
    "UID EXPUNGE": Rule(_SELECTED, messages.expunge),
    "COPY": Rule(_SELECTED, messages.copy),
    "UID COPY": Rule(_SELECTED, messages.copy),
    "MOVE": Rule(_SELECTED, messages.move),
    "UID MOVE": Rule(_SELECTED, messages.move),
    # RFC 3501 §7.4.1: no EXPUNGE here, but in the UID forms, which do not use sequence numbers.
    "FETCH": Rule(_SELECTED, fetch.fetch, News.NO_EXPUNGES),
    "UID FETCH": Rule(_SELECTED, fetch.fetch),
    "STORE": Rule(_SELECTED, messages.store, News.NO_EXPUNGES),
    "UID STORE": Rule(_SELECTED, messages.store),
    "SEARCH": Rule(_SELECTED, search.search, News.NO_EXPUNGES),
    "UID SEARCH": Rule(_SELECTED, search.search),
}
