"""The ports of the database and, from :mod:`inbox.store.blobport`, of the blob store: all that the rest of the program
knows of storage.

Every method that touches a tenant's data takes the tenant (organization id) and answers only about it; an id
that belongs to another tenant is as if it did not exist. Every method may raise ``StoreUnavailable``; methods
that write raise ``StorageFull`` when the disk is full. A write has happened, durably, when the call returns. A
call that is cancelled while it waits may or may not have written.

Both database backends pass the same contract suite (``tests/contract``).
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, Protocol

from inbox.mail.tenancy import Account, Alias, DomainOverrides, HostedDomain, Mailbox, Organization
from inbox.store.blobport import Blobs as Blobs  # noqa: PLC0414 - handed on: users import all ports from here
from inbox.store.bus import Changes
from inbox.store.hosting import Hosting
from inbox.store.identity import InstallationRecords
from inbox.store.listing import Listing
from inbox.store.origins import DkimKeys, DmarcReports
from inbox.store.rates import LastingRates
from inbox.store.records import (
    Arrival,
    Column,
    DecisionFilter,
    DecisionRecord,
    Entry,
    MailboxChanges,
    MailboxStatus,
    Placed,
    StoredMessage,
    StoreMode,
    StoreStep,
)


class Tenants(Protocol):
    """Organizations and the domains that they host."""

    async def add_organization(self, name: str) -> Organization:
        """Raises AlreadyExists."""
        ...

    async def organization(self, name: str) -> Organization | None: ...

    async def organizations(self) -> list[Organization]:
        """All, by name."""
        ...

    async def add_domain(self, tenant: str, fqdn: str, overrides: DomainOverrides | None = None) -> HostedDomain:
        """Raises AlreadyExists if any tenant hosts it, NotFound if there is no such tenant."""
        ...

    async def set_domain_overrides(self, tenant: str, fqdn: str, overrides: DomainOverrides) -> None:
        """Replaces all override fields. Raises NotFound."""
        ...

    async def domain(self, fqdn: str) -> HostedDomain | None:
        """The active hosting of ``fqdn`` (canonical), whoever's it is."""
        ...

    async def hosted(self, fqdn: str) -> HostedDomain | None:
        """The hosting of ``fqdn`` (canonical), whoever's it is, active or not."""
        ...

    async def domains(self, tenant: str | None = None) -> list[HostedDomain]:
        """All of one tenant, or of all tenants (for the operator), by name."""
        ...


class Accounts(Protocol):
    """Who may log in, and which addresses lead to them. Addresses are ``Address.key`` texts."""

    async def add(self, tenant: str, address: str, password_hash: str) -> Account:
        """Creates the account, its address and its mailboxes (INBOX and the special-use ones).

        Raises AlreadyExists if the address is taken, NotFound if the tenant does not host its domain.
        """
        ...

    async def by_address(self, address: str) -> Account | None:
        """For a login, before the tenant is known."""
        ...

    async def all(self, tenant: str | None = None) -> list[Account]:
        """All of one tenant, or (for the operator) of all tenants, by address."""
        ...

    async def first(self, tenant: str) -> Account | None:
        """The tenant's oldest active account; of several that were created at once, the first by address."""
        ...

    async def set_password(self, tenant: str, address: str, password_hash: str) -> None:
        """Raises NotFound."""
        ...

    async def add_alias(self, tenant: str, address: str, target: str) -> Alias:
        """``target`` must be an account's address or an alias of the same tenant.

        An address may have several targets. Raises AlreadyExists if this pair is there or the address is an
        account's, NotFound if the tenant does not host the domain or has no such target.
        """
        ...

    async def aliases(self, tenant: str | None = None) -> list[Alias]: ...

    async def targets(self, tenant: str, address: str, *, active: bool = True) -> list[Account]:
        """The active accounts (or those that are disabled) that ``address`` leads to, through aliases (at most 8 deep,
        loops cut); each once. ``@domain`` is an address like any other here: the alias that is the domain's catch-all.
        """
        ...


class Mailboxes(Protocol):
    """The mailboxes of an account, or (``account=None``) those that belong to the tenant itself.

    Names are Unicode with ``/`` as the hierarchy separator; ``INBOX`` is in capitals.
    """

    async def all(self, tenant: str, account: str | None) -> list[Mailbox]:
        """By name."""
        ...

    async def by_name(self, tenant: str, account: str | None, name: str) -> Mailbox | None: ...

    async def get(self, tenant: str, mailbox: str) -> Mailbox | None: ...

    async def create(
        self,
        tenant: str,
        account: str | None,
        name: str,
        special_use: str | None = None,
        *,
        subscribed: bool = False,
    ) -> Mailbox:
        """Creates missing parents, too. UIDVALIDITY never repeats in the installation. ``subscribed`` also subscribes
        the account to the name, not to the parents. Raises AlreadyExists."""
        ...

    async def delete(self, tenant: str, mailbox: str) -> None:
        """With all its entries; children and the subscription stay (RFC 3501 §6.3.9). In steps: if the process ends
        before the last one, the mailbox is gone, or it is there with fewer messages.

        Raises NotFound.
        """
        ...

    async def rename(self, tenant: str, mailbox: str, name: str) -> None:
        """With its children; all keep their UIDVALIDITY, which no other mailbox ever had, so that clients need not
        download them again. Subscriptions stay as they are. Renaming INBOX moves its messages into a new mailbox in
        steps (RFC 9051 §6.3.6); its children stay.

        Raises AlreadyExists, NotFound.
        """
        ...

    async def renumber(self) -> int:
        """Gives every mailbox of the installation a UIDVALIDITY that none ever had, in steps, after the database was
        restored: uids are given out for a second time then. Returns how many mailboxes there are."""
        ...

    async def subscribe(self, tenant: str, account: str, name: str, subscribed: bool) -> None:
        """Subscribes to a name, or unsubscribes from it, whether or not a mailbox has it.

        Raises:
            NotFound: the tenant has no such account.
            LimitReached: the account is subscribed to ``limits.SUBSCRIPTIONS`` names.
        """
        ...

    async def subscriptions(self, tenant: str, account: str) -> set[str]:
        """The names that the account is subscribed to."""
        ...

    async def status(self, tenant: str, mailbox: str) -> MailboxStatus:
        """Raises NotFound."""
        ...


class Messages(Protocol):
    """Mails and their entries in mailboxes.

    Every method that is given a mailbox raises NotFound if the tenant has none with this id. NUL is dropped from
    all texts.
    """

    async def accept(self, arrival: Arrival) -> list[list[Placed]]:
        """Writes all of it in one transaction, or nothing; concurrent calls share a commit.

        UIDs of a mailbox are distinct, gapless and never reused. The result has one list for each filing, one
        ``Placed`` for each copy. A mail that is known already (same tenant, content hash and Message-ID) keeps its id
        and its blob: new copies refer to those, and the blob that the caller has written is left to the sweeper. A
        copy that is recognised as a retry (``inbox.store.retries``) is not written again: its ``Placed`` and the
        decision record of its tenant say what it was recognised by. A quarantined copy is recognised for its own
        recipient only.

        Raises NotFound if a mailbox is gone or is not the tenant's.
        """
        ...

    async def entries(self, tenant: str, mailbox: str) -> list[Entry]:
        """All, by uid: for administration."""
        ...

    async def listing(self, tenant: str, mailbox: str) -> Listing:
        """All, packed: what SELECT needs. 50,000 of them must come in well under a tenth of a second."""
        ...

    async def changes(self, tenant: str, mailbox: str, since: int) -> MailboxChanges:
        """What happened after the modseq ``since``."""
        ...

    async def claim_recent(self, tenant: str, mailbox: str) -> int:
        """The first uid that no session was told of as recent; later calls return later ones (RFC 3501 §2.3.2)."""
        ...

    def fetch(
        self, tenant: str, mailbox: str, uids: Sequence[int], *, texts: bool = True
    ) -> AsyncIterator[StoredMessage]:
        """The messages with these uids that exist, by uid, read in pages. Without ``texts``, ``header_block``,
        ``envelope``, ``body``, ``bodystructure`` and ``sections`` are empty."""
        ...

    def columns(
        self, tenant: str, mailbox: str, uids: Sequence[int], names: Sequence[Column]
    ) -> AsyncIterator[list[tuple[Any, ...]]]:
        """Some columns of the messages with these uids that exist, by uid, in pages: what FETCH and SEARCH need of very
        many messages. Each row has the uid, then a value for each of ``names`` in their order."""
        ...

    async def store(
        self,
        tenant: str,
        mailbox: str,
        uids: Sequence[int],
        mode: StoreMode,
        flags: int,
        keywords: tuple[str, ...] = (),
        *,
        unchanged_since: int | None = None,
    ) -> tuple[list[Entry], list[int]]:
        """Changes flags, in steps with a new modseq each; entries whose flags stay the same keep theirs.

        Returns the entries as they are now (all uids that exist), and the uids that were changed after
        ``unchanged_since`` and so were left alone (RFC 7162).
        """
        ...

    def storing(
        self,
        tenant: str,
        mailbox: str,
        uids: Sequence[int],
        mode: StoreMode,
        flags: int,
        keywords: tuple[str, ...] = (),
        *,
        unchanged_since: int | None = None,
    ) -> AsyncIterator[StoreStep]:
        """Does what :meth:`store` does, and yields each step once it is durable; without a next, it stops."""
        ...

    async def expunge(self, tenant: str, mailbox: str, uids: Sequence[int] | None = None) -> list[int]:
        """Removes the entries with ``\\Deleted`` (of these uids, or of all), in steps; returns their uids.

        The mail goes with its last entry; its blob is left to the sweeper.
        """
        ...

    async def copy(
        self, tenant: str, source: str, uids: Sequence[int], target: str, *, move: bool = False
    ) -> list[tuple[int, int]]:
        """Copies or moves entries with their flags. Returns (old uid, new uid), by old uid.

        A copy is all or nothing (RFC 9051 §6.4.7), but not at one moment: a large one is made in steps, which others
        see, and is removed again if it fails, or by ``Database.tidy`` if the process ends. A move is in steps, each of
        which moves its messages whole (RFC 6851 §3.3); if it fails, what was moved stays moved.

        Raises NotFound if a mailbox is gone.
        """
        ...

    async def release(self, tenant: str, quarantine: str, uid: int, target: str) -> Placed:
        """Moves a quarantined copy into the mailbox ``target``, with new received time. Raises NotFound."""
        ...

    async def remove(self, tenant: str, mailbox: str, uids: Sequence[int]) -> list[int]:
        """Removes entries whatever their flags (quarantine, administration), in steps; returns the uids that were
        there."""
        ...

    async def blob_in_use(self, blob_paths: Sequence[str]) -> set[str]:
        """Which of these blobs a mail refers to: what the sweeper asks before it removes an orphan."""
        ...


class Decisions(Protocol):
    """Decision records."""

    async def add(self, decisions: Sequence[DecisionRecord]) -> None:
        """For refusals; an accepted mail's records are written by ``Messages.accept``."""
        ...

    async def get(self, decision: str, tenant: str | None = None) -> list[DecisionRecord]:
        """The records with this id: of one tenant, or (for the operator) of all."""
        ...

    async def search(self, wanted: DecisionFilter, limit: int = 50) -> list[DecisionRecord]:
        """The latest records that match, newest first. The body of one that is damaged is no JSON.

        Reads along indexes; senders and recipients are compared in pages of some thousand records.
        """
        ...

    async def prune(self, before: float) -> int:
        """Removes records older than ``before``, in steps; returns how many."""
        ...


class Database(Protocol):
    """One installation's database: its repositories and its life."""

    @property
    def tenants(self) -> Tenants: ...

    @property
    def accounts(self) -> Accounts: ...

    @property
    def hosting(self) -> Hosting: ...

    @property
    def mailboxes(self) -> Mailboxes: ...

    @property
    def messages(self) -> Messages: ...

    @property
    def decisions(self) -> Decisions: ...

    @property
    def rates(self) -> LastingRates: ...

    @property
    def changes(self) -> Changes: ...

    @property
    def dkim_keys(self) -> DkimKeys: ...

    @property
    def dmarc_reports(self) -> DmarcReports: ...

    @property
    def installation(self) -> InstallationRecords: ...

    async def open(self) -> None:
        """Connects, and brings the schema to this program's version.

        Raises StoreUnavailable if it cannot be reached, StoreError if its schema is newer than the program.
        """
        ...

    async def close(self) -> None: ...

    async def tidy(self, before: float) -> int:
        """Ends what processes that ended left half done: undoes copies that made no step since ``before`` (seconds
        since the epoch), and removes what is left of deleted mailboxes. Returns how many there were.

        A copy that was only slow fails at its next step.
        """
        ...

    async def ping(self) -> None:
        """Raises StoreUnavailable if a trivial query fails."""
        ...
