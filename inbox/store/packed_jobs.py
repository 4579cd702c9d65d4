"""Recipients, states and attempts of jobs as both databases store them: JSON, with strings that they accept."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields, replace
from typing import Any, Final, TypeVar

import msgspec

from inbox.store.ports.queue import MOST_TEXT, PENDING, AttemptRecord, Job, JobRecipient, RecipientState
from inbox.store.texts import clean

Item = TypeVar("Item")

_RECIPIENTS: Final = msgspec.json.Decoder(tuple[JobRecipient, ...])
_STATES: Final = msgspec.json.Decoder(tuple[RecipientState, ...])
_HISTORY: Final = msgspec.json.Decoder(tuple[AttemptRecord, ...])
_ENCODER: Final = msgspec.json.Encoder()


def packed(values: Sequence[Any]) -> str:
    """Returns recipients, states or attempts as a database stores them: JSON, with texts that it accepts."""
    return _ENCODER.encode([_texts(value) for value in values]).decode()


def packed_states(states: Sequence[RecipientState]) -> str:
    """Returns the states as a database stores them; empty while nothing was tried."""
    return "" if all(one is PENDING or one == PENDING for one in states) else packed(states)


def unpacked_recipients(text: str) -> tuple[JobRecipient, ...]:
    return _RECIPIENTS.decode(text)


def unpacked_states(text: str, count: int) -> tuple[RecipientState, ...]:
    """Returns the states of ``count`` recipients."""
    return _STATES.decode(text) if text else (PENDING,) * count


def unpacked_history(text: str) -> tuple[AttemptRecord, ...]:
    return _HISTORY.decode(text) if text else ()


def stored_text(text: str) -> str:
    """Returns a string that a stranger chose as a database stores it, at most ``MOST_TEXT`` long."""
    return clean(text[:MOST_TEXT])


def job_texts(job: Job) -> Job:
    """Returns the job with its own strings in the form that every database accepts."""
    return _texts(job)


def _texts(value: Item) -> Item:
    changed: dict[str, Any] = {}
    for one in fields(value):  # type: ignore[arg-type]
        text = getattr(value, one.name)
        if isinstance(text, str) and text != (kept := stored_text(text)):
            changed[one.name] = kept
    return replace(value, **changed) if changed else value  # type: ignore[type-var]
