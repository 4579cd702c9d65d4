"""Making a message durable: the blob first, then one database transaction with everything else.

A crash between the two leaves a blob that no mail refers to; the sweeper removes it later. Only when
:meth:`Filer.file` has returned may a peer be told that its message was accepted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from inbox.base.clock import Clock
from inbox.base.ids import Ids
from inbox.mail.content import Content, sha256
from inbox.mail.index import MessageIndex, index
from inbox.plugin.services import RunBlocking
from inbox.store.ports import Blobs, Messages
from inbox.store.records import Arrival, Copy, DecisionRecord, EmailRecord, Filing, Placed

#: Messages up to this size are indexed and hashed on the event loop: cheaper than a change of threads.
INLINE_OCTETS = 128 * 1024


@dataclass(frozen=True, slots=True)
class Bundle:
    """One content and the copies that share it, of one tenant. Trace fields are with the copies."""

    tenant: str
    content: Content
    copies: tuple[Copy, ...]
    internal_date: float
    spf: str | None = None
    dkim: str | None = None
    dmarc: str | None = None
    recognise: bool = True


class Filer:
    """Writes bundles: blobs, then one transaction."""

    def __init__(self, blobs: Blobs, messages: Messages, ids: Ids, clock: Clock, run_blocking: RunBlocking) -> None:
        self._blobs = blobs
        self._messages = messages
        self._ids = ids
        self._clock = clock
        self._run_blocking = run_blocking

    async def _hash(self, content: Content) -> str:
        if content.size <= INLINE_OCTETS:
            return sha256(content)
        return await self._run_blocking("index", sha256, content)

    async def file(self, bundles: Sequence[Bundle], decisions: Sequence[DecisionRecord]) -> list[list[Placed]]:
        """Writes all bundles and decision records, or nothing that anybody will see.

        Raises:
            StorageFull, StoreUnavailable, StoreError, NotFound: nothing was filed.
        """
        if len(bundles) == 1:
            filings = [await self._prepare(bundles[0])]
        else:
            filings = list(await asyncio.gather(*(self._prepare(bundle) for bundle in bundles)))
        return await self._messages.accept(Arrival(tuple(filings), tuple(decisions)))

    async def _prepare(self, bundle: Bundle) -> Filing:
        email_id = self._ids.new()
        path = f"msg/{bundle.tenant}/{bundle.copies[0].mailbox}/{email_id}.eml"
        # The disk syncs while we parse.
        putting = asyncio.ensure_future(self._blobs.put(path, bundle.content))
        try:
            found = await self._index(bundle.content)
            content_hash = await self._hash(bundle.content)
        except BaseException:
            putting.cancel()
            raise
        await putting
        # Without a Message-ID two equal messages may well be two: a copy too many is better than one too few.
        recognise = bundle.recognise and found.message_id is not None
        return Filing(self._record(bundle, email_id, path, content_hash, found), bundle.copies, recognise)

    async def _index(self, content: Content) -> MessageIndex:
        if content.size <= INLINE_OCTETS:
            return index(content)
        return await self._run_blocking("index", index, content)

    def _record(self, bundle: Bundle, email_id: str, path: str, content_hash: str, found: MessageIndex) -> EmailRecord:
        return EmailRecord(
            id=email_id,
            tenant=bundle.tenant,
            message_id=found.message_id,
            content_hash=content_hash,
            size=bundle.content.size,
            blob_path=path,
            blob_sha=content_hash,
            internal_date=bundle.internal_date,
            created_at=self._clock.now(),
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
            spf=bundle.spf,
            dkim=bundle.dkim,
            dmarc=bundle.dmarc,
            envelope=found.envelope,
            body=found.body,
            bodystructure=found.bodystructure,
            sections=found.sections,
            header_block=found.header_block,
        )
