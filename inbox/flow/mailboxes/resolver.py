"""From a mailbox name, as a user writes it, to the mailbox and the user's rights to it.

Every use case begins here, so a mailbox that a resolver does not return does not exist for its user: no name, no id
and no target of COPY leads to the tenant's quarantine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from inbox.flow.mailboxes.errors import NotPermitted
from inbox.flow.mailboxes.rights import ALL_RIGHTS, Rights
from inbox.mail.tenancy import Mailbox
from inbox.plugin.api.context import Identity
from inbox.store.ports import Mailboxes


@dataclass(frozen=True, slots=True)
class Access:
    """A mailbox as one user reaches it.

    Attributes:
        name: what the user calls it. The owner of a shared mailbox knows it by another name, ``mailbox.name``.
    """

    mailbox: Mailbox
    name: str
    rights: Rights

    def need(self, rights: Rights) -> None:
        """Raises NotPermitted unless the user has all of ``rights``."""
        if rights & self.rights != rights:
            missing = rights & ~self.rights
            raise NotPermitted(f"mailbox {self.mailbox.id}: the user lacks {missing.name}")


@dataclass(frozen=True, slots=True)
class Place:
    """The namespace that a name belongs to, whether or not a mailbox has the name.

    Attributes:
        tenant, account: ids of the owner of the namespace.
        name: what the owner calls it.
        rights: the user's rights to what lies above it.
    """

    tenant: str
    account: str
    name: str
    rights: Rights

    def need(self, rights: Rights) -> None:
        """Raises NotPermitted unless the user has all of ``rights``."""
        if rights & self.rights != rights:
            missing = rights & ~self.rights
            raise NotPermitted(f"account {self.account}: the user lacks {missing.name} above {self.name!r}")


class Resolver(Protocol):
    """Finds the mailboxes that there are for a user. Names are as in :class:`inbox.store.ports.Mailboxes`."""

    async def all(self, user: Identity) -> list[Access]:
        """Every mailbox to which the user has a right."""
        ...

    async def named(self, user: Identity, name: str) -> Access | None:
        """The mailbox of this name; None if there is none for this user."""
        ...

    async def by_id(self, user: Identity, mailbox: str) -> Access | None:
        """The mailbox with this id; None if there is none for this user."""
        ...

    async def place(self, user: Identity, name: str) -> Place:
        """The place where a mailbox of this name is, or would be created.

        Raises:
            NameRefused: the name is in no namespace in which mailboxes can be created.
        """
        ...


class OwnMailboxes:
    """A ``Resolver`` with one namespace: the user's own mailboxes, with all rights."""

    def __init__(self, mailboxes: Mailboxes) -> None:
        self._mailboxes = mailboxes

    async def all(self, user: Identity) -> list[Access]:
        found = await self._mailboxes.all(user.tenant, user.account)
        return [Access(mailbox, mailbox.name, ALL_RIGHTS) for mailbox in found]

    async def named(self, user: Identity, name: str) -> Access | None:
        return self._owned(user, await self._mailboxes.by_name(user.tenant, user.account, name))

    async def by_id(self, user: Identity, mailbox: str) -> Access | None:
        return self._owned(user, await self._mailboxes.get(user.tenant, mailbox))

    async def place(self, user: Identity, name: str) -> Place:
        return Place(user.tenant, user.account, name, ALL_RIGHTS)

    @staticmethod
    def _owned(user: Identity, mailbox: Mailbox | None) -> Access | None:
        if mailbox is None or mailbox.account != user.account:
            return None
        return Access(mailbox, mailbox.name, ALL_RIGHTS)
