"""Our side of the process that files what arrives (:mod:`inbox.store.sqlite.filer`)."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from inbox.base.errors import StoreError, StoreUnavailable
from inbox.store.blobs.files import Files
from inbox.store.bus import Bus
from inbox.store.records import Arrival, Copy, DecisionRecord, Placed
from inbox.store.room import Room
from inbox.store.sqlite import filer
from inbox.store.sqlite.filing import file_arrival
from inbox.store.sqlite.gateway import Gateway
from inbox.store.texts import clean, clean_or_none
from inbox.store.worker.client import Door, Helper
from inbox.store.worker.deposits import Deposit


class Clerk:
    """Has arrivals filed by a process of its own: what comes while it is busy goes into the next transaction.

    A writing thread would need the interpreter's lock after each step of each statement, and wait for it as long as
    the event loop is busy.

    Args:
        gateway: of the same file.
        door: the way to the process.
        blobs: the directory of the blobs, if they are files.
        room: of the database's folder; mail is refused before the disk is full.
    """

    def __init__(self, gateway: Gateway, bus: Bus, door: Door, blobs: Path | None, room: Room) -> None:
        self._gateway = gateway
        self._room = room
        self._bus = bus
        self._door = door
        self._blobs = blobs
        self._files = Files(str(blobs.absolute())) if blobs is not None else None
        self._blobs_room = Room(blobs) if blobs is not None else None
        self._helper: Helper | None = None
        self._decode: Any = msgspec.msgpack.Decoder(filer.Answer).decode

    @property
    def helper(self) -> Helper | None:
        """The process; None before :meth:`open`."""
        return self._helper

    async def open(self) -> None:
        """Connects; after the gateway was opened. Raises StoreUnavailable."""
        await self.remember_store()
        self._helper = Helper(self._door, self._opening, "the process that files mail")
        await self._helper.start()

    async def remember_store(self) -> None:
        """``Deposits`` of ``inbox.store.worker.deposits``: a process that sees another store writes nothing."""
        if self._files is not None:
            await asyncio.get_running_loop().run_in_executor(None, self._files.remember_root)

    def _opening(self) -> bytes:
        blobs = None if self._blobs is None else str(self._blobs.absolute())
        store = b"" if self._files is None else self._files.identity
        opening = filer.Opening(str(self._gateway.path.absolute()), self._gateway.identity, blobs, store)
        return msgspec.msgpack.encode(opening)

    async def close(self) -> None:
        """Waits for what was asked."""
        helper, self._helper = self._helper, None
        if helper is not None:
            await helper.close()

    async def deposit(self, deposit: Deposit) -> list[list[Placed]]:
        """``Deposits`` of ``inbox.store.worker.deposits``; if the process ended meanwhile, nobody knows what was filed,
        and a mail that comes again is recognised.
        """
        self._room.check(sum(len(parcel.content) for parcel in deposit.parcels))
        if self._blobs_room is not None:
            self._blobs_room.check(sum(len(parcel.content) for parcel in deposit.parcels))
        try:
            packed = msgspec.msgpack.encode(deposit)
        except UnicodeEncodeError:  # Half a surrogate pair, which no message between processes may have.
            packed = msgspec.msgpack.encode(_whole(deposit))
        placed = await self._ask(packed)
        self._bus.publish([place.mailbox for places in placed for place in places])
        return placed

    async def file(self, arrival: Arrival) -> list[list[Placed]]:
        """Writes an arrival whose blobs are durable.

        Raises:
            StorageFull, StoreUnavailable, StoreError, NotFound: see :meth:`deposit`.
        """
        try:
            packed = msgspec.msgpack.encode(filer.Ready(arrival))
        except UnicodeEncodeError:
            return await self._gateway.write(lambda db: file_arrival(db, arrival))
        return await self._ask(packed)

    async def _ask(self, packed: bytes) -> list[list[Placed]]:
        if self._helper is None:
            raise StoreUnavailable(f"{self._gateway.path} is not open")
        try:
            answer: filer.Answer = self._decode(await self._helper.ask(packed))
        except msgspec.DecodeError as error:
            raise StoreUnavailable(f"the process that files mail gave no answer that we know: {error}") from error
        if isinstance(answer, filer.Done):
            return answer.placed
        raise filer.KINDS.get(answer.kind, StoreError)(answer.text)


def _whole(deposit: Deposit) -> Deposit:
    """With what the database would make of half a surrogate pair."""
    parcels = [
        msgspec.structs.replace(parcel, copies=tuple(_clean_copy(copy) for copy in parcel.copies))
        for parcel in deposit.parcels
    ]
    return Deposit(tuple(parcels), tuple(_clean_decision(decision) for decision in deposit.decisions))


def _clean_copy(copy: Copy) -> Copy:
    keywords = tuple(clean(word) for word in copy.keywords)
    return replace(copy, keywords=keywords, recipient=clean_or_none(copy.recipient), reason=clean_or_none(copy.reason))


def _clean_decision(decision: DecisionRecord) -> DecisionRecord:
    recipients = tuple(clean(recipient) for recipient in decision.recipients)
    return replace(decision, sender=clean(decision.sender), recipients=recipients)
