"""The capabilities that the server announces (RFC 3501 §6.1.1): only those that it supports."""

from __future__ import annotations

from typing import Final

from inbox.server.imap.session import ImapSession

_ALWAYS: Final = ("IMAP4rev1", "LITERAL+", "SASL-IR", "ID", "ENABLE")
_AUTHENTICATED: Final = (
    "CHILDREN",
    "CREATE-SPECIAL-USE",
    "ESEARCH",
    "IDLE",
    "LIST-EXTENDED",
    "LIST-STATUS",
    "MOVE",
    "NAMESPACE",
    "SPECIAL-USE",
    "STATUS=SIZE",
    "UIDPLUS",
    "UNSELECT",
)


def capabilities(s: ImapSession) -> str:
    """The capabilities in the current state of the connection."""
    words = list(_ALWAYS)
    if s.session.identity is not None:
        words += _AUTHENTICATED
        words.append(f"APPENDLIMIT={s.config.max_message_octets}")  # RFC 7889
    elif s.session.tls is not None:
        words.append("AUTH=PLAIN")
    else:
        # RFC 3501 §6.2.3: a client that sees LOGINDISABLED must not send a password.
        words += ["STARTTLS", "LOGINDISABLED"] if s.may_start_tls else ["LOGINDISABLED"]
    return " ".join(words)
