"""Spans of a trace, and the ids of a message's trace.

A span says when a part of the work on a message began and ended. Its values are plain, so that code that traces needs
no library; ``inbox.app.serve.otlp`` exports them.

The ids of a trace come from the id of the transaction that accepted the message, which every job of it has: any
process finds them, hours later, too, and nothing has to be stored.
"""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Final, Literal, NamedTuple

Value = str | int | float | bool
Kind = Literal["server", "client", "internal"]
_TRACE_OCTETS: Final = 16
_SPAN_OCTETS: Final = 8


class TraceIds(NamedTuple):
    """The trace of a message, and its first span (W3C Trace Context §3.2.2): 16 and 8 octets, not zero."""

    trace: int
    root: int


@dataclass(frozen=True, slots=True)
class Span:
    """One part of the work on a message.

    Attributes:
        parent: the id of the span above it; 0 for the first one.
        began, ended: seconds since the epoch.
        failure: why it failed, without addresses; empty if it did not.
        values: what is known of it, by name. Never an address of a person, a text of a peer, or a secret.
    """

    name: str
    trace: int
    id: int
    parent: int
    began: float
    ended: float
    kind: Kind = "internal"
    failure: str = ""
    values: dict[str, Value] = field(default_factory=dict)


def trace_ids(transaction: str) -> TraceIds:
    """The ids of the message that a transaction accepted."""
    digest = blake2b(transaction.encode(), digest_size=_TRACE_OCTETS + _SPAN_OCTETS, person=b"inbox trace").digest()
    return TraceIds(int.from_bytes(digest[:_TRACE_OCTETS]) or 1, int.from_bytes(digest[_TRACE_OCTETS:]) or 1)


def new_span_id() -> int:
    """A random id."""
    return int.from_bytes(os.urandom(_SPAN_OCTETS)) or 1


def is_sampled(trace: int, ratio: float) -> bool:
    """Whether a trace belongs to the share that is exported.

    Every process, and every other program that samples by the trace id as OpenTelemetry does, decides alike: by the
    lower 8 octets.
    """
    return trace & 0xFFFF_FFFF_FFFF_FFFF < round(ratio * 2**64)
