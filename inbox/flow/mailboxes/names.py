"""Use cases on mailboxes themselves: list, create, delete, rename, subscribe, status."""

from __future__ import annotations

from typing import Final

from inbox.base.errors import LimitReached
from inbox.flow.mailboxes.errors import NameRefused, NoSuchMailbox, SpecialUseTaken
from inbox.flow.mailboxes.resolver import Access, Resolver
from inbox.flow.mailboxes.rights import Rights
from inbox.mail.mailbox_name import complaint, is_too_long
from inbox.plugin.api.context import Identity
from inbox.store.ports import Mailboxes
from inbox.store.ports.mailboxes import MailboxStatus

#: RFC 6154 §2, by lower-case name. \\All and \\Flagged are views of other mailboxes; the server does not have them.
SPECIAL_USES: Final = {use.lower(): use for use in ("\\Archive", "\\Drafts", "\\Junk", "\\Sent", "\\Trash")}


class MailboxNames:
    """Use cases on the mailboxes that a resolver shows to a user.

    Every method may raise ``StoreUnavailable``, and ``NotPermitted`` if the user lacks the right that RFC 4314 §4
    demands. A mailbox without the right ``LOOKUP`` is not found.
    """

    def __init__(self, resolver: Resolver, mailboxes: Mailboxes) -> None:
        self._resolver = resolver
        self._mailboxes = mailboxes

    async def all(self, user: Identity) -> list[Access]:
        """Every mailbox that the user may see."""
        return [access for access in await self._resolver.all(user) if Rights.LOOKUP in access.rights]

    async def named(self, user: Identity, name: str) -> Access:
        """Raises NoSuchMailbox."""
        access = await self._resolver.named(user, name)
        if access is None or Rights.LOOKUP not in access.rights:
            raise NoSuchMailbox(f"account {user.account} sees no mailbox {name!r}")
        return access

    async def by_id(self, user: Identity, mailbox: str) -> Access:
        """Raises NoSuchMailbox."""
        access = await self._resolver.by_id(user, mailbox)
        if access is None or Rights.LOOKUP not in access.rights:
            raise NoSuchMailbox(f"account {user.account} sees no mailbox with the id {mailbox!r}")
        return access

    async def status(self, access: Access) -> MailboxStatus:
        """The counters of a mailbox. Raises NotFound if it no longer exists."""
        access.need(Rights.READ)
        return await self._mailboxes.status(access.mailbox.tenant, access.mailbox.id)

    async def create(self, user: Identity, name: str, special_use: str | None = None) -> None:
        """Creates a mailbox, and missing levels above it. The user is not subscribed to them: the client decides about
        that (RFC 3501 §6.3.6).

        Raises:
            AlreadyExists: a mailbox has the name.
            LimitReached: the name is too long or too deep, or the owner has too many mailboxes.
            NameRefused: not a valid mailbox name.
            SpecialUseTaken: the special use is not supported, or another mailbox has it.
        """
        _check_name(name)
        use = None
        if special_use is not None:
            use = SPECIAL_USES.get(special_use.lower())
            if use is None:
                # RFC 6154 §3
                raise SpecialUseTaken("Unknown special use, expected one of " + " ".join(SPECIAL_USES.values()))
        place = await self._resolver.place(user, name)
        place.need(Rights.CREATE)
        if use is not None:
            others = await self._mailboxes.all(place.tenant, place.account)
            if any(other.special_use == use for other in others):
                raise SpecialUseTaken(f"Another mailbox already has the special use {use}")
        await self._mailboxes.create(place.tenant, place.account, place.name, use)

    async def delete(self, user: Identity, name: str) -> Access:
        """Deletes a mailbox with its messages; mailboxes below it and subscriptions stay. Returns the deleted mailbox.

        Raises:
            NameRefused: it is INBOX.
            NoSuchMailbox: no mailbox has this name.
        """
        access = await self.named(user, name)
        access.need(Rights.DELETE_MAILBOX)
        if access.mailbox.name == "INBOX":
            raise NameRefused("INBOX cannot be deleted")
        await self._mailboxes.delete(access.mailbox.tenant, access.mailbox.id)
        return access

    async def rename(self, user: Identity, source: str, target: str) -> None:
        """Renames a mailbox and those below it. The messages of INBOX move into a new mailbox, and mailboxes below
        INBOX stay (RFC 3501 §6.3.5).

        Raises:
            AlreadyExists: a mailbox has the new name.
            LimitReached: the new name, or that of a mailbox below it, is too long or too deep.
            NameRefused: the new name is invalid, is below the mailbox itself, or belongs to another owner.
            NoSuchMailbox: no mailbox has the old name.
        """
        _check_name(target)
        access = await self.named(user, source)
        access.need(Rights.DELETE_MAILBOX)
        place = await self._resolver.place(user, target)
        place.need(Rights.CREATE)
        mailbox = access.mailbox
        if (place.tenant, place.account) != (mailbox.tenant, mailbox.account):
            raise NameRefused("A mailbox cannot be moved to another owner")
        if mailbox.name != "INBOX":
            if place.name.startswith(mailbox.name + "/"):
                raise NameRefused("A mailbox cannot be moved into itself")
            # Mailboxes below are renamed, too, so their names have to be checked: otherwise they could grow without
            # bound.
            for other in await self._mailboxes.all(place.tenant, place.account):
                if other.name.startswith(mailbox.name + "/"):
                    _check_name(place.name + other.name[len(mailbox.name) :])
        await self._mailboxes.rename(mailbox.tenant, mailbox.id, place.name)

    async def subscriptions(self, user: Identity) -> set[str]:
        """The names to which the user is subscribed, whether or not mailboxes with these names exist."""
        return await self._mailboxes.subscriptions(user.tenant, user.account)

    async def subscribe(self, user: Identity, name: str) -> None:
        """Subscribes to an existing mailbox (RFC 3501 §6.3.6).

        Raises:
            LimitReached: the user is subscribed to too many names.
            NoSuchMailbox: no mailbox has this name.
        """
        await self.named(user, name)
        await self._mailboxes.subscribe(user.tenant, user.account, name, True)

    async def unsubscribe(self, user: Identity, name: str) -> None:
        """Unsubscribes from a name; the mailbox need not exist (RFC 3501 §6.3.7)."""
        await self._mailboxes.subscribe(user.tenant, user.account, name, False)


def _check_name(name: str) -> None:
    trouble = complaint(name)
    if trouble is not None:
        raise LimitReached(trouble) if is_too_long(name) else NameRefused(trouble)
