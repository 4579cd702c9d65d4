"""Syntax of a blob's key, common to every store."""

from __future__ import annotations

import re
from typing import Final

from inbox.base.errors import StoreError

#: The maximum octets of one component of a key, which must be a file name on every Unix file system.
COMPONENT_OCTETS: Final = 255
#: The maximum octets of a key: S3's limit, and well below PATH_MAX.
KEY_OCTETS: Final = 1024
#: The folder of unfinished files; no key may begin with it.
UNFINISHED: Final = ".unfinished"
#: The key of the blob store's copy of the installation's identity (:mod:`inbox.store.pairing`).
IDENTITY: Final = "installation.json"
#: The folder into which the sweeper moves blobs that no message refers to, under their old keys.
ORPHANS: Final = "orphan/"
#: Keys of messages, the most frequent ones, which need no further check.
_OURS: Final = re.compile(r"msg/[0-9A-Za-z]{1,64}/[0-9A-Za-z]{1,64}/[0-9A-Za-z]{1,64}\.eml")


class BadKey(StoreError):
    """A key that no store accepts. Keys are made of our own ids, so this is a bug."""


def components(key: str) -> list[str]:
    """Returns the parts of ``key`` between its slashes.

    Raises:
        BadKey: the key is empty, too long or absolute, has an empty component, ``.`` or ``..``, has a NUL or another
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
        raise BadKey(f"invalid blob key: {key[:80]!r}")
    return parts
