"""Idempotency keys: a submission that a client repeats is stored once, and gets the answer of the first time.

The key is written in the transaction that stores the message, so of two submissions with one key only one is stored,
in whichever processes they run. A message that was refused leaves no key: it may be submitted again.
"""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final, Protocol
from weakref import WeakValueDictionary

from inbox.base.limits import SUBMITTED_MESSAGE_OCTETS
from inbox.flow.envelope import Envelope
from inbox.mail.content import Content
from inbox.mail.headers import Headers
from inbox.mail.message import Message
from inbox.mail.reply import Reply
from inbox.plugin.api.context import Identity
from inbox.store.ports import IdempotencyKey
from inbox.store.ports.idempotency import KEY_OCTETS

#: The header field with the key; it is removed from the message.
FIELD: Final = "Idempotency-Key"
_KEY = re.compile(rf"[!-~]{{1,{KEY_OCTETS}}}\Z")
_SEVERAL: Final = Reply(550, "5.6.0", f"The message has more than one {FIELD} field")
_INVALID: Final = Reply(
    550, "5.6.0", f"An idempotency key has 1 to {KEY_OCTETS} visible ASCII characters and no spaces"
)
_OTHER: Final = Reply(
    550, "5.6.0", "This idempotency key was used for another message, choose a new key for each message"
)
#: Fields that differ each time that a program makes the same message. Content-Type counts with each part.
_CHANGING: Final = frozenset({"date", "message-id", "content-type", "received", FIELD.lower()})
#: A message up to this size is hashed by the event loop.
_AT_ONCE: Final = 16 * 1024


class Keys(Protocol):
    """The part of the store that finds keys."""

    async def get(self, tenant: str, key: str) -> IdempotencyKey | None: ...


class Idempotency:
    """Reads the keys of submissions, and recognises messages that were accepted before."""

    def __init__(self, keys: Keys) -> None:
        self._keys = keys
        #: One lock for each key that is in use in this process.
        self._turns: WeakValueDictionary[tuple[str, str], asyncio.Lock] = WeakValueDictionary()

    def is_busy(self, tenant: str, key: str) -> bool:
        """Whether this process works on a submission with this key."""
        lock = self._turns.get((tenant, key))
        return lock is not None and lock.locked()

    @asynccontextmanager
    async def turn(self, tenant: str, key: str) -> AsyncIterator[None]:
        """Lets a submission wait while this process works on another one with its key. Submissions in two processes do
        not wait: the one that is stored later is not stored."""
        lock = self._turns.get((tenant, key))
        if lock is None:
            lock = self._turns[tenant, key] = asyncio.Lock()
        async with lock:
            yield

    async def accepted_before(self, made: IdempotencyKey) -> str | Reply | None:
        """The id of the transaction that accepted this message before; None: no message has its key.

        A reply refuses the message: another one has its key. Raises StoreUnavailable.
        """
        found = await self._keys.get(made.tenant, made.key)
        if found is None:
            return None
        return found.transaction if found.fingerprint == made.fingerprint else _OTHER


def key_in(headers: Headers) -> str | None:
    """The value of the field Idempotency-Key; None without one."""
    values = headers.raw_all(FIELD)
    return values[0].strip().decode("ascii", "replace") if values else None


def is_key(text: str) -> bool:
    """Whether a client may use this text as a key."""
    return _KEY.match(text) is not None


def refusal_of_key(headers: Headers, key: str) -> Reply | None:
    """The refusal of a key that is not valid."""
    if headers.count(FIELD) > 1:
        return _SEVERAL
    return None if is_key(key) else _INVALID


async def named(identity: Identity, envelope: Envelope, content: Content, headers: Headers, key: str) -> IdempotencyKey:
    """The key of a submission as it is written with the message."""
    tx = envelope.transaction
    to = sorted(each.recipient.address.key for each in envelope.recipients)
    people = [identity.account, str(tx.sender or ""), *to]
    if content.size <= _AT_ONCE:
        fingerprint = _fingerprint(people, content, headers)
    else:
        fingerprint = await asyncio.to_thread(_fingerprint, people, content, headers)
    return IdempotencyKey(identity.tenant, key, fingerprint, tx.id, tx.started_at)


def _fingerprint(people: list[str], content: Content, headers: Headers) -> str:
    """A hash of what the author wrote: a program that makes a message again gives it another Date, Message-ID and
    other boundaries between its parts."""
    made = hashlib.sha256()
    for person in people:
        _add(made, person.encode("utf-8", "surrogatepass"))
    for field in headers.fields():
        if field.name.lower() not in _CHANGING:
            _add(made, field.name.lower().encode("utf-8", "surrogatepass"), field.value.strip())
    message = Message(content)
    if not message.examined_completely:
        _add(made, content.read(0, content.size))
        return made.hexdigest()
    for part in message.parts:
        about = "\0".join((part.path, part.content_type, part.charset, part.disposition, *part.file_names))
        _add(made, about.encode("utf-8", "surrogatepass"), part.decoded(SUBMITTED_MESSAGE_OCTETS))
    return made.hexdigest()


def _add(made: hashlib._Hash, *values: bytes) -> None:
    for value in values:
        made.update(len(value).to_bytes(8, "big"))
        made.update(value)
