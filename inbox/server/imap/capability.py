"""What the server announces (RFC 3501 §6.1.1); nothing stands here that does not work."""

from __future__ import annotations

from typing import Final

from inbox.plugin.context import Session
from inbox.server.imap.config import ImapConfig

_ALWAYS: Final = ("IMAP4rev1", "LITERAL+", "SASL-IR", "ID", "ENABLE")
_KNOWN: Final = (
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


def capabilities(config: ImapConfig, session: Session) -> str:
    """The words of CAPABILITY at this point of the connection."""
    words = list(_ALWAYS)
    if session.identity is not None:
        words += _KNOWN
        words.append(f"APPENDLIMIT={config.max_message_octets}")  # RFC 7889
    elif session.tls is not None:
        words.append("AUTH=PLAIN")
    else:
        # RFC 3501 §6.2.3: who sees LOGINDISABLED must not send a password.
        words += ["STARTTLS", "LOGINDISABLED"] if config.tls is not None else ["LOGINDISABLED"]
    return " ".join(words)
