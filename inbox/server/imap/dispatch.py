"""Which command is allowed when (RFC 3501 §6), what runs it, and what its response may say of others' doings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from inbox.server.imap import fetch, listing, login, mailboxes, messages, search, select
from inbox.server.imap.rules import News, Rule, State

_ANY: Final = State.FRESH | State.KNOWN | State.SELECTED
_AUTH: Final = State.KNOWN | State.SELECTED
_FRESH, _SELECTED = State.FRESH, State.SELECTED

COMMANDS: Final[Mapping[str, Rule]] = {
    # Any state
    "CAPABILITY": Rule(_ANY, login.capability),
    "NOOP": Rule(_ANY, login.noop, News.ASK),
    "LOGOUT": Rule(_ANY, login.logout, News.NONE),
    "ID": Rule(_ANY, login.client_id),
    # Not authenticated
    "STARTTLS": Rule(_FRESH, login.starttls, News.NONE),
    "LOGIN": Rule(_FRESH, login.login, News.NONE),
    "AUTHENTICATE": Rule(_FRESH, login.authenticate, News.NONE),
    # Authenticated
    "APPEND": Rule(_AUTH, select.append_without_message),
    "CREATE": Rule(_AUTH, mailboxes.create),
    "DELETE": Rule(_AUTH, mailboxes.delete),
    "ENABLE": Rule(_AUTH, login.enable),
    "EXAMINE": Rule(_AUTH, select.examine, News.NONE),
    "IDLE": Rule(_AUTH, select.idle),
    "LIST": Rule(_AUTH, listing.list_),
    "LSUB": Rule(_AUTH, listing.lsub),
    "NAMESPACE": Rule(_AUTH, mailboxes.namespace),
    "RENAME": Rule(_AUTH, mailboxes.rename),
    "SELECT": Rule(_AUTH, select.select, News.NONE),
    "STATUS": Rule(_AUTH, mailboxes.status),
    "SUBSCRIBE": Rule(_AUTH, mailboxes.subscribe),
    "UNSUBSCRIBE": Rule(_AUTH, mailboxes.unsubscribe),
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
    # RFC 3501 §7.4.1: no EXPUNGE here, but behind the UID forms, whose numbers do not shift.
    "FETCH": Rule(_SELECTED, fetch.fetch, News.NO_EXPUNGES),
    "UID FETCH": Rule(_SELECTED, fetch.fetch),
    "STORE": Rule(_SELECTED, messages.store, News.NO_EXPUNGES),
    "UID STORE": Rule(_SELECTED, messages.store),
    "SEARCH": Rule(_SELECTED, search.search, News.NO_EXPUNGES),
    "UID SEARCH": Rule(_SELECTED, search.search),
}
