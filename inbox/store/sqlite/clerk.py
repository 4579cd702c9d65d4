"""Our side of the process that files what arrives (:mod:`inbox.store.sqlite.filer`)."""

from __future__ import annotations

import asyncio
from collections import deque

import msgspec

from inbox.base.errors import StoreError, StoreUnavailable
from inbox.store.helper import Helper
from inbox.store.records import Arrival, Placed
from inbox.store.sqlite import filer
from inbox.store.sqlite.filing import file_arrival
from inbox.store.sqlite.gateway import BATCH, Gateway

#: An arrival, packed, and whom to tell.
_Waiting = tuple[msgspec.Raw, "asyncio.Future[list[list[Placed]]]"]


class Clerk:
    """Has arrivals filed by a process of its own: what comes while it is busy goes into the next transaction.

    A writing thread would need the interpreter's lock after each step of each statement, and wait for it as long as
    the event loop is busy.

    Args:
        gateway: of the same file.
    """

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._helper: Helper | None = None
        self._waiting: deque[_Waiting] = deque()
        self._working: asyncio.Task[None] | None = None
        self._decode = msgspec.msgpack.Decoder(filer.Answer).decode

    async def open(self) -> None:
        """Starts the process; after the gateway was opened. Raises StoreUnavailable."""
        self._helper = Helper(filer.__name__, str(self._gateway.path), *map(str, self._gateway.identity))
        await self._helper.start()

    async def close(self) -> None:
        """Finishes what was queued, then ends the process."""
        while self._working is not None:
            await asyncio.wait([self._working])
        if self._helper is not None:
            await self._helper.close()
            self._helper = None

    async def file(self, arrival: Arrival) -> list[list[Placed]]:
        """Writes an arrival.

        Raises:
            StorageFull, StoreUnavailable, StoreError, NotFound: nothing was written; if the process ended meanwhile,
                nobody knows, and a mail that comes again is recognised.
        """
        if self._helper is None:
            raise StoreUnavailable(f"{self._gateway.path} is not open")
        try:
            packed = msgspec.Raw(msgspec.msgpack.encode(arrival))
        except UnicodeEncodeError:  # Half a surrogate pair, which no message between processes may have.
            return await self._gateway.write(lambda db: file_arrival(db, arrival))
        loop = asyncio.get_running_loop()
        done: asyncio.Future[list[list[Placed]]] = loop.create_future()
        self._waiting.append((packed, done))
        if self._working is None:
            self._working = loop.create_task(self._work(self._helper))
        return await done

    async def _work(self, helper: Helper) -> None:
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
            # A caller that has given up before its work began does not need it done.
            batch = [each for each in batch if not each[1].done()]
            try:
                answers = self._decode(await helper.ask(msgspec.msgpack.encode([packed for packed, _ in batch])))
                outcomes = [_outcome(answer) for answer in answers]
                if len(outcomes) != len(batch):
                    raise StoreUnavailable(f"{len(outcomes)} answers to {len(batch)} arrivals")
            except Exception as error:  # noqa: BLE001  # every caller must hear of it, whatever it was
                outcomes = [error] * len(batch)
            for (_, done), outcome in zip(batch, outcomes, strict=True):
                if done.done():
                    continue
                if isinstance(outcome, Exception):
                    done.set_exception(outcome)
                else:
                    done.set_result(outcome)
        self._working = None


def _outcome(answer: filer.Done | filer.Failed) -> list[list[Placed]] | Exception:
    if isinstance(answer, filer.Done):
        return answer.placed
    return filer.KINDS.get(answer.kind, StoreError)(answer.text)
