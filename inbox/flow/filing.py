"""Making a message durable: the blob first, then one database transaction with everything else.

A crash between the two leaves a blob that no mail refers to; the sweeper removes it later. Only when
:meth:`Filer.file` has returned may a peer be told that its message was accepted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from inbox.base.clock import Clock
from inbox.base.ids import Ids
from inbox.mail.content import Content
from inbox.mail.headers import header_block
from inbox.plugin.api.services import RunBlocking
from inbox.store.ports import Blobs, Messages
from inbox.store.records import Arrival, Copy, DecisionRecord, Filing, Placed
from inbox.store.worker.client import CARRIED_OCTETS
from inbox.store.worker.deposits import Deposit, Deposits, Origin, Parcel, filing_of

#: Messages up to this size are indexed and hashed on the event loop: cheaper than a change of threads.
INLINE_OCTETS = 128 * 1024
#: Octets of a header section, and possible parts, up to which that holds. 64 KB of addresses take 50 ms, and so do a
#: thousand parts: neither the event loop nor the process that files for everybody may be held up by them.
CHEAP_HEADER_OCTETS = 16 * 1024
CHEAP_PARTS = 200


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
    """Writes bundles: blobs, then one transaction.

    Args:
        deposits: does it in one step for small contents, where the stores can do that.
    """

    def __init__(
        self,
        blobs: Blobs,
        messages: Messages,
        ids: Ids,
        clock: Clock,
        run_blocking: RunBlocking,
        deposits: Deposits | None = None,
    ) -> None:
        self._blobs = blobs
        self._messages = messages
        self._ids = ids
        self._clock = clock
        self._run_blocking = run_blocking
        self._deposits = deposits

    async def file(self, bundles: Sequence[Bundle], decisions: Sequence[DecisionRecord]) -> list[list[Placed]]:
        """Writes all bundles and decision records, or nothing that anybody will see.

        Raises:
            StorageFull, StoreUnavailable, StoreError, NotFound: nothing was filed.
        """
        small = sum(bundle.content.size for bundle in bundles) <= CARRIED_OCTETS
        if self._deposits is not None and small and all(is_cheap(bundle.content) for bundle in bundles):
            parcels = tuple([self._parcel(bundle) for bundle in bundles])
            return await self._deposits.deposit(Deposit(parcels, tuple(decisions)))
        if len(bundles) == 1:
            filings = [await self._prepare(bundles[0])]
        else:
            filings = list(await asyncio.gather(*(self._prepare(bundle) for bundle in bundles)))
        return await self._messages.accept(Arrival(tuple(filings), tuple(decisions)))

    def _origin(self, bundle: Bundle) -> Origin:
        email_id = self._ids.new()
        path = f"msg/{bundle.tenant}/{bundle.copies[0].mailbox}/{email_id}.eml"
        return Origin(
            email_id,
            bundle.tenant,
            path,
            bundle.internal_date,
            self._clock.now(),
            bundle.spf,
            bundle.dkim,
            bundle.dmarc,
        )

    def _parcel(self, bundle: Bundle) -> Parcel:
        return Parcel(
            self._origin(bundle), bundle.content.read(0, bundle.content.size), bundle.copies, bundle.recognise
        )

    async def _prepare(self, bundle: Bundle) -> Filing:
        origin = self._origin(bundle)
        # The disk syncs while we parse.
        putting = asyncio.ensure_future(self._blobs.put(origin.blob_path, bundle.content))
        try:
            filing = await self._filing(origin, bundle)
        except BaseException:
            putting.cancel()
            raise
        await putting
        return filing

    async def _filing(self, origin: Origin, bundle: Bundle) -> Filing:
        read = partial(filing_of, origin, bundle.content, bundle.copies, recognise=bundle.recognise)
        return read() if is_cheap(bundle.content) else await self._run_blocking("index", read)


def is_cheap(content: Content) -> bool:
    """Whether a message costs little to index."""
    if content.size > INLINE_OCTETS:
        return False
    if content.size <= CHEAP_HEADER_OCTETS // 8:
        return True
    return (
        header_block(content)[1] <= CHEAP_HEADER_OCTETS and content.read(0, content.size).count(b"\n--") <= CHEAP_PARTS
    )
