"""Small mails as they came in: whoever files them writes their blobs, reads them and makes their records."""

from __future__ import annotations

from typing import Protocol

import msgspec

from inbox.mail.content import Content, sha256
from inbox.mail.index import MessageIndex, index
from inbox.store.records import Copy, DecisionRecord, EmailRecord, Filing, Placed


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

    async def remember_store(self) -> None:
        """Learns which blob store is there, when it is known to be the right one; another one gets nothing then."""
        ...


def filing_of(origin: Origin, content: Content, copies: tuple[Copy, ...], *, recognise: bool) -> Filing:
    """What the database is told of a mail: reads and hashes it; ``recognise`` as in :class:`Parcel`."""
    found = index(content)
    # Without a Message-ID two equal messages may well be two: a copy too many is better than one too few.
    return Filing(_record_of(origin, content, found), copies, recognise and found.message_id is not None)


def _record_of(origin: Origin, content: Content, found: MessageIndex) -> EmailRecord:
    content_hash = sha256(content)
    return EmailRecord(
        id=origin.id,
        tenant=origin.tenant,
        message_id=found.message_id,
        content_hash=content_hash,
        size=content.size,
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
