"""Check that the sender addresses of a submitted message belong to the account that submits it."""

from __future__ import annotations

from typing import Final, Protocol

from inbox.flow.submission.permission import SendAs
from inbox.mail.address import Address, AddressError
from inbox.mail.addresslist import MISSING_DOMAIN, MISSING_MAILBOX, SYNTAX_ERROR, ListedAddress, parse_addresses
from inbox.mail.encoded import decode_plain
from inbox.mail.headers import Headers
from inbox.mail.reply import Reply
from inbox.plugin.api.context import Identity

#: The maximum number of addresses in From that are looked up.
MOST_AUTHORS: Final = 10
_SEVERAL_FIELDS: Final = Reply(550, "5.6.0", "The message has more than one From field")
_NO_ADDRESS: Final = Reply(550, "5.6.0", "The From field has no valid address")
_TOO_MANY: Final = Reply(550, "5.6.0", f"The From field has more than {MOST_AUTHORS} addresses")


class Permission(Protocol):
    """Decides which sender addresses an account may use."""

    async def may_send_as(self, identity: Identity, address: Address) -> SendAs | None:
        """The permission, or None. Raises StoreUnavailable."""
        ...


class Senders:
    """Checks MAIL FROM and the From field."""

    def __init__(self, permission: Permission) -> None:
        self._permission = permission

    async def refusal_of_sender(self, identity: Identity, sender: Address | None) -> Reply | None:
        """The refusal of MAIL FROM; None: the account may use it. The null reverse-path is for notifications that a
        mail program sends. Raises StoreUnavailable."""
        if sender is None or await self._permission.may_send_as(identity, sender) is not None:
            return None
        return _not_yours(sender, identity)

    async def author(self, identity: Identity, headers: Headers, sender: Address | None) -> SendAs | Reply | None:
        """The permission to send the message: that of a shared inbox, if one is in From or is the sender.

        A reply refuses the message: an address in From does not belong to the account. None: it has neither a From
        field nor a sender, so the account sends in its own name. Raises StoreUnavailable.
        """
        given: SendAs | None = None
        fields = headers.raw_all("from")
        if fields:
            checked = await self._authors(identity, fields)
            if isinstance(checked, Reply):
                return checked
            given = checked
        if sender is not None and (given is None or given.shared_inbox is None):
            given = await self._permission.may_send_as(identity, sender) or given
        return given

    async def _authors(self, identity: Identity, fields: list[bytes]) -> SendAs | Reply:
        if len(fields) > 1:
            return _SEVERAL_FIELDS
        authors = dict.fromkeys(_authors(fields[0]))
        if not authors or None in authors:
            return _NO_ADDRESS
        if len(authors) > MOST_AUTHORS:
            return _TOO_MANY
        given: list[SendAs] = []
        for author in authors:
            permission = None if author is None else await self._permission.may_send_as(identity, author)
            if permission is None:
                return _not_yours(author, identity)
            given.append(permission)
        return next((each for each in given if each.shared_inbox is not None), given[0])


def _authors(value: bytes) -> list[Address | None]:
    """The addresses of From; None for one that is not valid."""
    # ENVELOPE's markers of a group's start and end have no host.
    return [_author(each) for each in parse_addresses(value) if each.host is not None]


def _author(listed: ListedAddress) -> Address | None:
    if listed.mailbox is MISSING_MAILBOX or listed.host in (MISSING_DOMAIN, SYNTAX_ERROR):
        return None
    try:
        return Address.parse(f"{decode_plain(listed.mailbox or b'')}@{decode_plain(listed.host or b'')}")
    except AddressError:
        return None


def _not_yours(address: Address | None, identity: Identity) -> Reply:
    return Reply(553, "5.7.1", f"{identity.address} may not send as {address}")
