"""Our side of the process that writes small blobs (:mod:`inbox.store.blobs.scribe`)."""

from __future__ import annotations

import msgspec

from inbox.base.errors import StoreError, StoreUnavailable
from inbox.store.blobs import scribe
from inbox.store.blobs.files import translated
from inbox.store.helper import Helper


class Writer:
    """Writes batches in a process of its own, one batch at a time.

    Args:
        root: the directory of the blobs.
    """

    def __init__(self, root: str) -> None:
        self.helper = Helper(scribe.__name__, root)
        self._decode = msgspec.msgpack.Decoder(scribe.Outcome).decode

    async def write(self, batch: scribe.Batch) -> list[StoreError | None]:
        """Makes a batch durable; what went wrong with each blob.

        Raises:
            StoreUnavailable: the process cannot be started, or ended meanwhile; nobody knows what is durable.
        """
        outcome = self._decode(await self.helper.ask(msgspec.msgpack.encode(batch)))
        return [_error(told, place) for told, (_, place, _) in zip(outcome, batch, strict=True)]


def _error(told: tuple[int, str] | None, place: str) -> StoreError | None:
    if told is None:
        return None
    number, words = told
    if not number:
        return StoreUnavailable(f"blob store at {place}: {words}")
    return translated(OSError(number, words), place, StoreUnavailable)
