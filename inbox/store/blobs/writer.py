"""Our side of the process that writes small blobs (:mod:`inbox.store.blobs.scribe`)."""

from __future__ import annotations

import msgspec

from inbox.base.errors import StoreError, StoreUnavailable
from inbox.store.blobs import scribe
from inbox.store.blobs.files import Files, translated
from inbox.store.worker.client import Helper, OwnDoor


class Writer:
    """Writes blobs in a process of its own; those that wait are one batch.

    Args:
        root: the directory of the blobs.
        files: knows which blob store that is: a new process that sees another one there writes nothing.
    """

    def __init__(self, root: str, files: Files) -> None:
        self.door = OwnDoor(scribe.__name__)
        self.helper = Helper(
            self.door,
            lambda: msgspec.msgpack.encode((root, files.identity)),
            "the process that writes mails to the disk",
        )
        self._decode: msgspec.msgpack.Decoder[scribe.Outcome] = msgspec.msgpack.Decoder(scribe.Outcome)

    async def write(self, folder: str, place: str, data: bytes) -> None:
        """Makes a blob durable.

        Raises:
            StorageFull, StoreUnavailable: it is not there; if the process ended meanwhile, nobody knows.
        """
        outcome = self._decode.decode(await self.helper.ask(msgspec.msgpack.encode((folder, place, data))))
        if outcome is not None:
            raise error_of(outcome, place)


def error_of(told: tuple[int, str], place: str) -> StoreError:
    """The error that :func:`inbox.store.blobs.scribe.told` told."""
    number, words = told
    if not number:
        return StoreUnavailable(f"blob store at {place}: {words}")
    return translated(OSError(number, words), place, StoreUnavailable)
