"""Small mails as they came in: whoever files them writes their blobs, reads them and makes their records."""

from __future__ import annotations

from typing import Final, Protocol

import msgspec

from inbox.mail.index import MessageIndex
from inbox.store.records import Copy, DecisionRecord, EmailRecord, Placed

#: Octets of content in one deposit: above it, to copy them to another process costs more than it saves.
DEPOSIT_OCTETS: Final = 64 * 1024


class Origin(msgspec.Struct, frozen=True, array_like=True):
    """What is known of a mail besides its bytes; the names are those of ``EmailRecord``."""

    id: str
    tenant: str
    blob_path: str
    internal_date: float
    created_at: float
    spf: str | None = None
    dkim: str | None = None
    dmarc: str | None = None


class Parcel(msgspec.Struct, frozen=True, array_like=True):
    """One tenant's mail with its copies; ``recognise`` as in ``Filing``, for a mail that has a Message-ID."""

    origin: Origin
    content: bytes
    copies: tuple[Copy, ...]
    recognise: bool = True


class Deposit(msgspec.Struct, frozen=True, array_like=True, tag=True):
    """All that one accepted transaction writes."""

    parcels: tuple[Parcel, ...]
    decisions: tuple[DecisionRecord, ...] = ()


class Deposits(Protocol):
    """Blobs and database in one step, for stores that are on this machine."""

    async def deposit(self, deposit: Deposit) -> list[list[Placed]]:
        """Makes blobs, then everything else, durable: see ``Messages.accept``, which this is for mails in one piece.

        Raises:
            StorageFull, StoreUnavailable, StoreError, NotFound: nothing was filed.
        """
        ...


def record_of(origin: Origin, size: int, content_hash: str, found: MessageIndex) -> EmailRecord:
    """What the database keeps of a mail.

    Args:
        size: of the content, in octets.
        content_hash: its SHA-256 in hexadecimal.
    """
    return EmailRecord(
        id=origin.id,
        tenant=origin.tenant,
        message_id=found.message_id,
        content_hash=content_hash,
        size=size,
        blob_path=origin.blob_path,
        blob_sha=content_hash,
        internal_date=origin.internal_date,
        created_at=origin.created_at,
        date=found.date,
        subject=found.subject,
        subject_normalized=found.subject_normalized,
        references=found.references,
        from_=found.from_,
        sender_address=found.sender_address,
        reply_to=found.reply_to,
        to=found.to,
        cc=found.cc,
        bcc=found.bcc,
        mime_root_ct=found.mime_root_ct,
        snippet=found.snippet,
        spf=origin.spf,
        dkim=origin.dkim,
        dmarc=origin.dmarc,
        envelope=found.envelope,
        body=found.body,
        bodystructure=found.bodystructure,
        sections=found.sections,
        header_block=found.header_block,
    )
