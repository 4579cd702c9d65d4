"""Resolution of a mailbox name, as a user writes it, to the mailbox and the user's rights to it.

Every use case begins here, so a mailbox that the resolver does not return does not exist for the user: no name, id or
target of COPY resolves to the tenant's quarantine.
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
    """A mailbox as one user accesses it.

    Attributes:
        name: the name under which the user sees it. The owner of a shared mailbox sees another name, ``mailbox.name``.
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
    """The namespace to which a name belongs, whether or not a mailbox has the name.

    Attributes:
        tenant, account: ids of the owner of the namespace.
        name: the name as the owner sees it.
        rights: the user's rights to the level above it.
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
    """Finds the mailboxes of a user. Names are as in :class:`inbox.store.ports.Mailboxes`."""

    async def all(self, user: Identity) -> list[Access]:
        """Every mailbox to which the user has a right."""
        ...

    async def named(self, user: Identity, name: str) -> Access | None:
        """The mailbox of this name; None if this user has none."""
        ...

    async def by_id(self, user: Identity, mailbox: str) -> Access | None:
        """The mailbox with this id; None if this user has none."""
        ...

    async def place(self, user: Identity, name: str) -> Place:
        """The place where a mailbox of this name is, or would be created.

        Raises:
            NameRefused: mailboxes cannot be created in the namespace of this name.
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
