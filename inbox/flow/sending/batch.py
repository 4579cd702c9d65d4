"""Many messages in one request: each is sent by itself, and has its own answer."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, Final

from inbox.flow.sending.callers import Caller
from inbox.flow.sending.errors import FieldError, Kind, RequestRefused
from inbox.flow.sending.request import SendRequest, read_request
from inbox.flow.sending.sending import Sending, Sent
from inbox.plugin.api.context import Session

#: Messages of one batch.
MOST_MESSAGES: Final = 500
#: Messages of one batch that are under way at the same time, so that they share the waits for the disk.
_AT_ONCE: Final = 64
_ERRORS: Final = 100
Result = Sent | RequestRefused


def read_batch(messages: Any, *, strict: bool, key: str | None = None) -> list[SendRequest | RequestRefused]:
    """The requests of a batch; in place of an invalid one, its error.

    Args:
        strict: one invalid message refuses the whole batch.
        key: an idempotency key for the batch, from which messages without a key of their own get one.

    Raises:
        RequestRefused: it is not a list, it is empty or too long, or ``strict`` and a message is invalid.
    """
    if not isinstance(messages, list) or not 0 < len(messages) <= MOST_MESSAGES:
        raise _wrong(f"messages: must be a list of 1 to {MOST_MESSAGES} messages")
    found = [_read(each, index, key) for index, each in enumerate(messages)]
    wrong = [
        FieldError(f"messages[{index}].{error.field}", error.code, error.message)
        for index, each in enumerate(found)
        if isinstance(each, RequestRefused)
        for error in each.fields
    ]
    if strict and wrong:
        text = "Nothing was sent, because a message of the batch is invalid"
        raise RequestRefused(Kind.INVALID, "invalid_request", text, wrong[:_ERRORS])
    return found


async def send_batch(
    sending: Sending, caller: Caller, requests: Sequence[SendRequest | RequestRefused], session: Callable[[], Session]
) -> list[Result]:
    """Sends the messages; returns an answer for each, in their order.

    Args:
        session: returns a new session for one message.

    Raises:
        RequestRefused: the caller may not send.
    """
    caller.check("send")
    slots = asyncio.Semaphore(_AT_ONCE)

    async def one(request: SendRequest | RequestRefused) -> Result:
        try:
            return request if isinstance(request, RequestRefused) else await sending.send(caller, request, session())
        except RequestRefused as refused:
            return refused
        finally:
            slots.release()

    tasks = []
    for request in requests:
        await slots.acquire()
        tasks.append(asyncio.create_task(one(request)))
        # The loop serves other clients after each message, not after 64 of them.
        await asyncio.sleep(0)
    return await asyncio.gather(*tasks)


def _read(values: Any, index: int, key: str | None) -> SendRequest | RequestRefused:
    if not isinstance(values, dict):
        return _wrong("must be an object")
    try:
        request = read_request(values)
    except RequestRefused as refused:
        return refused
    if key is None or request.key is not None:
        return request
    return replace(request, key=f"{hashlib.sha256(key.encode()).hexdigest()}/{index}")


def _wrong(text: str) -> RequestRefused:
    return RequestRefused(Kind.INVALID, "invalid_request", text, [FieldError("messages", "invalid", text)])
