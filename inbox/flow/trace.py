"""Write trace fields, and read those of stored copies: Return-Path, Received, Delivered-To (RFC 5321 §4.4)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from email.utils import formatdate
from functools import lru_cache
from ipaddress import ip_address

from inbox.mail.address import Address, AddressError
from inbox.plugin.api.context import Door, IPAddress, Session, Transaction

#: RFC 5321 §4.4, RFC 3848: the keyword after "with". Key: extended, encrypted, authenticated.
_PROTOCOLS = {
    (False, False, False): "SMTP",
    (True, False, False): "ESMTP",
    (True, True, False): "ESMTPS",
    (True, False, True): "ESMTPA",
    (True, True, True): "ESMTPSA",
}
_UNSAFE = re.compile(r"[^\x21-\x27\x2a-\x5b\x5d-\x7e]")
_STORED = re.compile(
    rb"Delivered-To: (?P<to>[^\r\n]+)\r\nReturn-Path: <(?P<sender>[^\r\n]*)>\r\n"
    rb"Received: from (?P<helo>\S+) \(\[(?:IPv6:)?(?P<peer>[0-9A-Fa-f:.]+)\]\)\r\n"
    rb"\tby (?P<by>\S+) \(inbox\) [^\r\n]*\r\n(?:\t[^\r\n]*\r\n)*"
)
_TRANSACTION = re.compile(
    rb"(?:(?:Delivered-To|Return-Path): [^\r\n]*\r\n)*Received: from [^\r\n]*\r\n"
    rb"\tby \S+ \(inbox\) with \S+ id ([0-9a-z]{20})\r\n"
)
_RECEIVED = re.compile(rb"^received[ \t]*:", re.IGNORECASE | re.MULTILINE)


def with_protocol(session: Session, *, smtputf8: bool = False) -> str:
    """The protocol keyword of RFC 3848 and, for internationalised mail, of RFC 6531 §4.3."""
    authenticated = session.identity is not None
    if session.door is Door.LMTP:
        return "LMTP" + ("S" if session.tls else "") + ("A" if authenticated else "")
    if session.door is Door.API:
        return "HTTPS" if session.tls else "HTTP"
    if smtputf8:
        return "UTF8SMTP" + ("S" if session.tls else "") + ("A" if authenticated else "")
    return _PROTOCOLS.get((session.esmtp, session.tls is not None, authenticated), "ESMTPSA")


#: A name that nobody has, in place of the computer of a user.
_HIDDEN = "Received: from hidden.invalid"


def received_field(
    session: Session,
    transaction: str,
    server_name: str,
    now: float,
    recipient: Address | None,
    *,
    smtputf8: bool,
    hide_client: bool = False,
) -> bytes:
    """The Received field of one recipient's copy, which does not reveal other recipients.

    Args:
        session: the connection.
        transaction: the id of the transaction.
        server_name: this server.
        now: seconds since the epoch.
        recipient: None for a copy that several recipients get: one of them may be hidden from the others.
        smtputf8: the client asked for SMTPUTF8.
        hide_client: a user who submits the message is named neither by address nor by the name of a computer.
    """
    helo = _UNSAFE.sub("?", session.helo or "unknown")[:255]
    literal = f"IPv6:{session.peer}" if session.peer.version == 6 else str(session.peer)
    lines = [_HIDDEN if hide_client else f"Received: from {helo} ([{literal}])"]
    by = f"\tby {server_name} (inbox) with {with_protocol(session, smtputf8=smtputf8)} id {transaction}"
    if session.tls is not None:
        by += f"\r\n\t(version={session.tls.version} cipher={session.tls.cipher})"
    lines += [f"{by};" if recipient is None else f"{by}\r\n\tfor <{recipient}>;", f"\t{_date(int(now))}\r\n"]
    return "\r\n".join(lines).encode()


@lru_cache(maxsize=4)
def _date(second: int) -> str:
    """RFC 5322 §3.3: +0000 means UTC; formatdate's -0000 means that the local time zone is unknown."""
    return formatdate(second).removesuffix("-0000") + "+0000"


def return_path(sender: Address | None) -> bytes:
    """The Return-Path field: the sender, or ``<>``."""
    return f"Return-Path: <{sender or ''}>\r\n".encode()


def delivered_to(recipient: Address) -> bytes:
    """The Delivered-To field of one copy."""
    return f"Delivered-To: {recipient}\r\n".encode()


def trace(tx: Transaction, recipient: Address, server_name: str, now: float, *, hide_client: bool = False) -> bytes:
    """All trace fields in front of one recipient's copy. They are stored with the copy and not in the blob: the same
    mail in another mailbox, or from another transaction, has different ones.
    """
    received = received_field(
        tx.session, tx.id, server_name, now, recipient, smtputf8="SMTPUTF8" in tx.params, hide_client=hide_client
    )
    return delivered_to(recipient) + return_path(tx.sender) + received


@dataclass(frozen=True, slots=True)
class Traced:
    """The envelope of a stored copy, read from its trace fields; ``octets`` is their length."""

    sender: Address | None
    recipient: Address
    peer: IPAddress
    helo: str
    octets: int


def read_trace(stored: bytes, server_name: str) -> Traced | None:
    """The envelope of a message that this server stored; None if its first fields are not those of :func:`trace`."""
    found = _STORED.match(stored)
    if found is None or found["by"].lower() != server_name.lower().encode():
        return None
    try:
        sender = Address.parse(found["sender"].decode()) if found["sender"] else None
        recipient = Address.parse(found["to"].decode())
        return Traced(sender, recipient, ip_address(found["peer"].decode()), found["helo"].decode(), found.end())
    except (AddressError, ValueError):
        return None


def transaction_of(stored: bytes) -> str:
    """The id of a stored copy's transaction, which finds its decision record; empty if its first fields are not trace
    fields."""
    found = _TRANSACTION.match(stored)
    return found[1].decode() if found is not None else ""


def count_received(header_block: bytes) -> int:
    """Number of Received fields in a header section; more than ``limits.MAX_RECEIVED`` are a loop (RFC 5321 §6.3)."""
    return len(_RECEIVED.findall(header_block))
