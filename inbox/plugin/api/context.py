"""Arguments of hooks: the connection, the transaction, the recipient, the delivery, the failure.

Hooks read these and return the changes that they want. Texts come from strangers unless stated otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address
from typing import Any

from inbox.dns.lookups import Lookups
from inbox.mail.address import Address
from inbox.mail.message import Message
from inbox.plugin.api.facts import Facts

IPAddress = IPv4Address | IPv6Address


class Door(StrEnum):
    """Way in of a message. The same hooks run for each of them."""

    SMTP = "smtp"
    SUBMISSION = "submission"
    LMTP = "lmtp"
    IMAP = "imap"
    API = "api"
    LOCAL = "local"


@dataclass(frozen=True, slots=True)
class Tls:
    """The connection's encryption, e.g. ``TLSv1.3`` and ``TLS_AES_256_GCM_SHA384``."""

    version: str
    cipher: str


@dataclass(frozen=True, slots=True)
class Identity:
    """Authenticated user: the account's address and id, its tenant (organization id and name).

    A program with an API key that names no account sends in the name of its tenant: ``account`` is empty, and
    ``address`` is the sender.

    ``credential`` names what the user logged in with, an app password for example, and is no secret. The session ends
    when it is revoked. Empty: an access token, or a part of the program that needs no login.
    """

    address: str
    account: str
    tenant: str
    tenant_name: str
    credential: str = ""


@dataclass(slots=True)
class Session:
    """One connection. ``peer`` is the client's address; behind a listed proxy, the one that the proxy names.

    ``helo`` is None before EHLO, HELO or LHLO. ``errors`` counts refused commands. ``judgements`` are the outcomes
    of earlier stages; the core keeps them for the decision record. ``early_talker``: the client spoke before
    the banner was sent, which RFC 5321 §3.1 forbids. ``lookups`` is the core's budget of slow DNS look-ups for the
    current transaction. ``login_facts`` are those that ``auth`` hooks gave: only the tenant of ``identity`` sees them.
    """

    id: str
    door: Door
    peer: IPAddress
    peer_port: int = 0
    local_port: int = 0
    helo: str | None = None
    esmtp: bool = False
    tls: Tls | None = None
    identity: Identity | None = None
    started_at: float = 0.0
    errors: int = 0
    judgements: dict[str, Any] = field(default_factory=dict, repr=False)
    early_talker: bool = False
    facts: Facts = field(default_factory=Facts)
    lookups: Lookups | None = field(default=None, repr=False, compare=False)
    login_facts: Facts = field(default_factory=Facts, repr=False)


@dataclass(slots=True)
class Recipient:
    """One recipient of a transaction: the address as the client gave it, and the tenant that hosts its domain.

    ``notify`` and ``orcpt`` are the parameters of RFC 3461; ``redirected`` is the address with which a
    plugin replaced the given one.
    """

    address: Address
    tenant: str = ""
    tenant_name: str = ""
    notify: frozenset[str] = frozenset()
    orcpt: str | None = None
    redirected: Address | None = None
    facts: Facts = field(default_factory=Facts)

    @property
    def effective(self) -> Address:
        """Address of delivery: the redirection if there is one."""
        return self.redirected or self.address


@dataclass(slots=True)
class Transaction:
    """One MAIL … DATA. At ``data``, each tenant's plan gets a transaction of its own, with its own recipients only.

    ``sender`` is None for the null reverse-path ``<>``. ``message`` is None before ``data``. ``tenant`` (id) and
    ``tenant_name`` are empty while no tenant is known (``mail``). ``params`` are the parameters of MAIL, by
    upper-case keyword.
    """

    id: str
    session: Session
    sender: Address | None
    params: dict[str, str] = field(default_factory=dict)
    recipients: list[Recipient] = field(default_factory=list)
    message: Message | None = None
    tenant: str = ""
    tenant_name: str = ""
    started_at: float = 0.0
    facts: Facts = field(default_factory=Facts)
    judgements: dict[str, Any] = field(default_factory=dict, repr=False)


@dataclass(slots=True)
class Delivery:
    """One recipient's copy at ``store`` and ``deliver``.

    ``kind`` is ``local`` (into a mailbox) or ``remote`` (one outbound attempt). ``account`` is the address of
    the account, ``mailbox`` the name of the mailbox that the copy is bound for at this point. ``facts`` includes
    those of the transaction.

    Of an outbound attempt: ``recipient`` is the first of ``transaction.recipients``, all of which are at ``domain``
    (canonical); ``job`` is the id of the job in the queue, ``attempt`` the number of this attempt (1 is the first), and
    ``mx`` has the names of the hosts that would be tried, the most preferred first; it is empty for a smarthost.
    ``signed``: the fields that an earlier attempt added are kept, and AddHeader has no effect. ``job_class`` is
    ``transactional``, ``bulk``, ``dsn`` (a notification) or ``report`` (a DMARC report).
    ``encoded``: the hooks run a second time in this attempt, because the host takes 7-bit text only and the message was
    encoded for it; a hook that counts must not count the attempt again.
    """

    transaction: Transaction
    recipient: Recipient
    kind: str = "local"
    account: str = ""
    mailbox: str = "INBOX"
    facts: Facts = field(default_factory=Facts)
    attempt: int = 0
    job: str = ""
    domain: str = ""
    mx: tuple[str, ...] = ()
    signed: bool = False
    job_class: str = "transactional"
    encoded: bool = False


@dataclass(frozen=True, slots=True)
class Failure:
    """A recipient to whom delivery failed permanently, or who complains, at ``bounce``.

    ``code``, ``enhanced`` and ``text`` are the reply of the host, or ours if none replied. ``host`` is that host, or
    empty. ``tls`` describes its encryption; empty: none. ``stage`` is the part of the attempt that failed: ``dns``,
    ``connect``, ``greeting``, ``ehlo``, ``starttls``, ``auth``, ``mail``, ``rcpt``, ``data``, ``dot``, ``policy`` (a
    ``deliver`` hook refused), or ``expired`` (its time or its attempts ended after temporary failures).
    ``report``: the message was delivered, and a notification (RFC 3464) reports the failure later; its text comes from
    a stranger. ``complaint``: the recipient complains (RFC 5965), and nothing failed; ``code`` is 0, ``enhanced`` is
    empty. ``attempt`` is the number of the last attempt.
    """

    delivery: Delivery
    code: int
    enhanced: str
    text: str
    recipient: Recipient | None = None
    host: str = ""
    tls: str = ""
    stage: str = ""
    attempt: int = 0


@dataclass(frozen=True, slots=True)
class Notification:
    """A notification that the sender of a message to another server is to get, at ``notify``.

    ``kind`` is ``failed``, ``delayed``, ``relayed`` or ``delivered``; ``delivery.transaction.recipients`` are those
    that it is about, and ``categories`` has the category of each one's failure (empty: not classified).
    """

    delivery: Delivery
    kind: str
    categories: tuple[str, ...] = ()
