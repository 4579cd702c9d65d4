"""A resolver that grants fewer rights, and shows mailboxes of another account of the tenant."""

from __future__ import annotations

from dataclasses import replace

from inbox.flow.mailboxes import ALL_RIGHTS, Access, NameRefused, OwnMailboxes, Place, Rights
from inbox.plugin.api.context import Identity
from inbox.store.ports import Mailboxes

SHARED = "Shared/"


class Granting:
    """``Resolver``: the user's own mailboxes, and those of ``other`` below ``Shared/``.

    ``granted`` has rights by the user's name for a mailbox, or by the beginning of it; else the user has all.
    """

    def __init__(self, mailboxes: Mailboxes, other: Identity | None = None) -> None:
        self._own = OwnMailboxes(mailboxes)
        self.other = other
        self.granted: dict[str, Rights] = {}

    def rights(self, name: str) -> Rights:
        fitting = [begin for begin in self.granted if name.startswith(begin)]
        return self.granted[max(fitting, key=len)] if fitting else ALL_RIGHTS

    async def all(self, user: Identity) -> list[Access]:
        shared = [] if self.other is None else await self._own.all(self.other)
        found = [*await self._own.all(user), *(replace(access, name=SHARED + access.name) for access in shared)]
        return [replace(access, rights=self.rights(access.name)) for access in found]

    async def named(self, user: Identity, name: str) -> Access | None:
        return next((access for access in await self.all(user) if access.name == name), None)

    async def by_id(self, user: Identity, mailbox: str) -> Access | None:
        return next((access for access in await self.all(user) if access.mailbox.id == mailbox), None)

    async def place(self, user: Identity, name: str) -> Place:
        rights = self.rights(name.rpartition("/")[0])
        if not name.startswith(SHARED):
            return Place(user.tenant, user.account, name, rights)
        if self.other is None:
            raise NameRefused("Nobody shares mailboxes here")
        return Place(self.other.tenant, self.other.account, name.removeprefix(SHARED), rights)
