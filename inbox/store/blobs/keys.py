"""What a blob's key may look like, for every store."""

from __future__ import annotations

import re
from typing import Final

from inbox.base.errors import StoreError

#: Octets in one component of a key: a file name of every Unix file system.
COMPONENT_OCTETS: Final = 255
#: Octets in a key: S3's bound, and well below PATH_MAX.
KEY_OCTETS: Final = 1024
#: The folder of unfinished files; no key may begin with it.
UNFINISHED: Final = ".unfinished"
#: The key of the blob store's copy of the installation's identity (:mod:`inbox.store.pairing`).
IDENTITY: Final = "installation.json"
#: Where the sweeper puts blobs that no message refers to, under their old keys.
ORPHANS: Final = "orphan/"
#: Keys of messages; most keys are such, and need no closer look.
_OURS: Final = re.compile(r"msg/[0-9A-Za-z]{1,64}/[0-9A-Za-z]{1,64}/[0-9A-Za-z]{1,64}\.eml")


class BadKey(StoreError):
    """A key that no store takes. Keys are made of our own ids, so this is a mistake of the program."""


def components(key: str) -> list[str]:
    """The parts of ``key`` between its slashes.

    Raises:
        BadKey: it is empty or too long, is absolute, has an empty component, ``.`` or ``..``, a NUL or another
            control character, or begins with the reserved name.
    """
    parts = key.split("/")
    if _OURS.fullmatch(key) is not None:  # the hot path of every delivery
        return parts
    if (
        len(key.encode("utf-8", "surrogatepass")) > KEY_OCTETS
        or not key.isprintable()
        or parts[0] == UNFINISHED
        or any(part in ("", ".", "..") or len(part.encode()) > COMPONENT_OCTETS for part in parts)
    ):
        raise BadKey(f"not a blob's key: {key[:80]!r}")
    return parts
