"""From destinations to deliveries: a :class:`Copy` for each mailbox, by the version of the message that it shares."""

from __future__ import annotations

from dataclasses import dataclass, field

from inbox.flow.destinations import IntoMailbox, IntoQuarantine, Relay
from inbox.flow.shares import TenantShare
from inbox.flow.trace import trace
from inbox.mail.content import Content
from inbox.plugin.api.context import Recipient, Transaction
from inbox.store.records import Copy


@dataclass(slots=True)
class Version:
    """One content of a tenant, the copies that share it, and the recipients to whom it is relayed."""

    content: Content
    copies: list[Copy] = field(default_factory=list)
    relays: list[tuple[Recipient, Relay]] = field(default_factory=list)


def versions(tx: Transaction, share: TenantShare, server_name: str, received: float | None) -> list[Version]:
    """What is to be stored of a share, in the order of its recipients. ``tx`` is the transaction as the server has it.

    Args:
        received: seconds since the epoch, for the trace fields of each copy; None: copies get none.
    """
    found: dict[int, Version] = {}
    for disposition in share.dispositions:
        # LMTP: whom the client is answered "no" or "later" has no copy, though its destinations may be known.
        if disposition.refusal is not None:
            continue
        recipient = disposition.recipient
        prepended = b"" if received is None else trace(tx, recipient.address, server_name, received)
        for destination in disposition.destinations:
            content = share.content
            if isinstance(destination, IntoMailbox) and destination.content is not None:
                content = destination.content
            match destination:
                case IntoMailbox(_, _, flags, keywords, mailbox_id):
                    copy = Copy(mailbox_id, int(flags), keywords, prepended)
                    _version(found, content).copies.append(copy)
                case IntoQuarantine(reason, mailbox_id):
                    copy = Copy(
                        mailbox_id,
                        prepended=prepended,
                        recipient=str(recipient.effective),
                        reason=reason,
                        status="spam",
                    )
                    _version(found, content).copies.append(copy)
                case Relay():
                    _version(found, content).relays.append((recipient, destination))
    return list(found.values())


def _version(found: dict[int, Version], content: Content) -> Version:
    return found.setdefault(id(content), Version(content))
