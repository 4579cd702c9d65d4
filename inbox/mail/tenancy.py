"""Tenants, their domains, accounts and addresses.

Field names are those of the database tables of the same name. Times are seconds since the epoch.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal

EncryptionMode = Literal["standard", "e2ee"]


@dataclass(frozen=True, slots=True)
class Tenant:
    """A tenant. ``name`` is its name in policies and commands; ``id`` is used in keys."""

    id: str
    name: str
    is_active: bool = True
    created_at: float = 0.0


@dataclass(frozen=True, slots=True)
class DomainOverrides:
    """The optional fields of the ``has_domain`` edge: they override the policy for one domain. None: not set."""

    dkim_selector: str | None = None
    dkim_private_key_b64_pkcs8: str | None = field(default=None, repr=False)
    dkim_headers: tuple[str, ...] | None = None
    require_spf_pass: bool | None = None
    require_dkim_pass: bool | None = None
    require_dmarc_pass: bool | None = None
    enc_mode: EncryptionMode | None = None
    enc_sse_c_key_b64: str | None = field(default=None, repr=False)
    enc_wrapped_dek_customer: str | None = field(default=None, repr=False)
    outbound_dnssec_validate: bool | None = None
    quota_max_recipients_per_message: int | None = None
    quota_hourly_send_limit: int | None = None
    quota_daily_send_limit: int | None = None
    quota_max_queued_jobs: int | None = None
    plus_addressing_enabled: bool | None = None
    plus_delimiter: str | None = None
    postmaster: str | None = None


@dataclass(frozen=True, slots=True)
class HostedDomain:
    """A domain that a tenant hosts: the ``has_domain`` edge with both ends."""

    tenant: Tenant
    fqdn: str
    overrides: DomainOverrides = DomainOverrides()
    is_active: bool = True


@dataclass(frozen=True, slots=True)
class Account:
    """A user account. ``address`` is the canonical key of the account's own (master) address.

    ``scram`` is a second verifier of the password (``inbox.identity.scram``), None if there is none yet.
    ``is_shared``: the account belongs to a shared inbox, and nobody can log in to it.
    """

    id: str
    tenant: str
    address: str
    password_hash: str = field(repr=False)
    is_active: bool = True
    created_at: float = 0.0
    scram: str | None = field(default=None, repr=False)
    is_shared: bool = False


@dataclass(frozen=True, slots=True)
class Alias:
    """An address of a hosted domain whose mail goes to ``target``: another address of the same tenant, or one at a
    domain that this installation does not host."""

    tenant: str
    address: str
    target: str


@dataclass(frozen=True, slots=True)
class Mailbox:
    """One IMAP mailbox. ``account`` is None for a mailbox that belongs to the tenant itself (quarantine)."""

    id: str
    tenant: str
    account: str | None
    name: str
    uid_validity: int
    next_uid: int = 1
    modseq: int = 1
    special_use: str | None = None
    parent: str | None = None


#: The name of the tenant's own mailbox for quarantined mail.
QUARANTINE: Final = "Quarantine"
#: Mailboxes of every new account: names and special uses (RFC 6154); all are subscribed.
DEFAULT_MAILBOXES: tuple[tuple[str, str | None], ...] = (
    ("INBOX", None),
    ("Drafts", "\\Drafts"),
    ("Sent", "\\Sent"),
    ("Junk", "\\Junk"),
    ("Trash", "\\Trash"),
    ("Archive", "\\Archive"),
)
