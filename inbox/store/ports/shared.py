"""Port of shared inboxes: addresses whose mail several accounts read and answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal, Protocol

Role = Literal["owner", "member"]
EventType = Literal["send_as", "read", "state_change", "assignment_change"]
#: The maximum number of members of one shared inbox.
MEMBERS: Final = 1000


@dataclass(frozen=True, slots=True)
class SharedInbox:
    """A shared inbox.

    Attributes:
        id: the id of the inbox's own account, to which nobody can log in; it owns the mailboxes.
        address: ``Address.key``.
        mailbox: the id of its INBOX.
    """

    id: str
    tenant: str
    address: str
    domain: str
    display_name: str
    mailbox: str
    is_active: bool = True


@dataclass(frozen=True, slots=True)
class Member:
    """A member of a shared inbox: an account (id and address) of the same tenant, and what it may do."""

    account: str
    address: str
    role: Role = "member"
    can_send_as: bool = True
    can_assign: bool = True
    is_active: bool = True


@dataclass(frozen=True, slots=True)
class Membership:
    """A shared inbox, and what one account may do there."""

    inbox: SharedInbox
    role: Role
    can_send_as: bool
    can_assign: bool


@dataclass(frozen=True, slots=True)
class SharedEvent:
    """Something that a member did. ``email`` is the id of the message that was sent; ``actor`` an account's id."""

    shared_inbox: str
    actor: str
    event_type: EventType
    created_at: float
    email: str | None = None
    email_delivery: str | None = None


class SharedInboxes(Protocol):
    """Shared inboxes and their members. Accounts and shared inboxes are ids unless an argument says otherwise."""

    async def add(self, tenant: str, address: str, display_name: str) -> SharedInbox:
        """Creates the inbox with an account that has mailboxes and no password.

        Raises AlreadyExists if the address is taken, NotFound if the tenant does not host its domain.
        """
        ...

    async def by_address(self, tenant: str, address: str) -> SharedInbox | None: ...

    async def all(self, tenant: str | None = None) -> list[SharedInbox]:
        """Returns all shared inboxes of one tenant, or (for the operator) of all tenants, ordered by address."""
        ...

    async def set_member(self, tenant: str, inbox: str, member: Member) -> bool:
        """Adds the account as a member, or changes what it may do; returns whether it is new.

        Raises:
            NotFound: the tenant has no such inbox, or no such account that can log in.
            LimitReached: the inbox has :data:`MEMBERS`.
        """
        ...

    async def remove_member(self, tenant: str, inbox: str, account: str) -> None:
        """Ends a membership. Raises NotFound."""
        ...

    async def members(self, tenant: str, inbox: str) -> list[Member]:
        """Returns the members, ordered by address."""
        ...

    async def memberships(self, tenant: str, account: str) -> list[Membership]:
        """Returns the active inboxes of which the account is an active member, ordered by address."""
        ...

    async def membership(self, tenant: str, inbox: str, account: str) -> Membership | None:
        """Returns the same for one inbox; None if the account is no active member or the inbox is disabled."""
        ...

    async def events(self, tenant: str, inbox: str, limit: int = 100) -> Sequence[SharedEvent]:
        """Returns the newest events, newest first."""
        ...

    async def prune(self, before: float) -> int:
        """Removes the events of all tenants that are older than ``before`` (seconds since the epoch); returns how
        many."""
        ...
