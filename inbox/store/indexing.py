"""Builds the database records of an accepted message."""

from __future__ import annotations

from typing import Final

from inbox.mail.content import Content, sha256
from inbox.mail.headers import header_block
from inbox.mail.index import index, message_id_of
from inbox.store.ports.ingest import AcceptedMessage, IndexedMessage
from inbox.store.ports.messages import EmailRecord

#: Messages up to this size are indexed and hashed on the event loop, which is cheaper than a thread switch.
INLINE_OCTETS: Final = 128 * 1024
#: Octets of a header section, and possible parts, up to which that holds. 64 KB of addresses take 50 ms, as do a
#: thousand parts, which must block neither the event loop nor the worker process.
CHEAP_HEADER_OCTETS: Final = 16 * 1024
CHEAP_PARTS: Final = 200


def is_cheap(content: Content) -> bool:
    """Whether a message is cheap to index."""
    if content.size > INLINE_OCTETS:
        return False
    if content.size <= CHEAP_HEADER_OCTETS // 8:
        return True
    return (
        header_block(content)[1] <= CHEAP_HEADER_OCTETS and content.read(0, content.size).count(b"\n--") <= CHEAP_PARTS
    )


def index_message(message: AcceptedMessage) -> IndexedMessage:
    """Reads and hashes the content of ``message``."""
    found = index(message.content)
    content_hash = sha256(message.content)
    email = EmailRecord(
        id=message.id,
        tenant=message.tenant,
        message_id=found.message_id,
        content_hash=content_hash,
        size=message.content.size,
        blob_path=message.blob_path,
        blob_sha=content_hash,
        internal_date=message.internal_date,
        created_at=message.created_at,
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
        spf=message.spf,
        dkim=message.dkim,
        dmarc=message.dmarc,
        tags=message.tags,
        envelope=found.envelope,
        body=found.body,
        bodystructure=found.bodystructure,
        sections=found.sections,
        header_block=found.header_block,
    )
    # Without a Message-ID two equal messages may be distinct: a duplicate is better than a lost message.
    recognise = message.recognise and found.message_id is not None
    return IndexedMessage(email, message.copies, recognise, message.jobs, message.lease, message.event)


def is_only_queued(message: AcceptedMessage) -> bool:
    """Whether no mailbox gets the message, so that nothing reads its index."""
    return not message.copies and message.event is None


def queued_message(message: AcceptedMessage) -> IndexedMessage:
    """Like :func:`index_message` for a message that is only queued: the record has what identifies the message.

    The database completes the record (:attr:`EmailRecord.envelope` is empty until then) if a mailbox gets the same
    message while it is queued.
    """
    content_hash = sha256(message.content)
    email = EmailRecord(
        id=message.id,
        tenant=message.tenant,
        message_id=message_id_of(message.content),
        content_hash=content_hash,
        size=message.content.size,
        blob_path=message.blob_path,
        blob_sha=content_hash,
        internal_date=message.internal_date,
        created_at=message.created_at,
        spf=message.spf,
        dkim=message.dkim,
        dmarc=message.dmarc,
        tags=message.tags,
    )
    return IndexedMessage(email, (), False, message.jobs, message.lease)
