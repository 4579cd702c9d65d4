"""What a hook answered, checked: its type, what may be said at its stage, and values that would do harm."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any, Final

from inbox.base.errors import ProtocolError
from inbox.base.limits import HOOK_OPINIONS
from inbox.mail.address import Address
from inbox.policy.stages import Stage
from inbox.policy.verdicts import (
    Accept,
    AddFlags,
    AddHeader,
    AddRecipient,
    ChangeHeader,
    Defer,
    DeleteHeader,
    Discard,
    DropRecipient,
    FileInto,
    InsertHeader,
    Opinion,
    Quarantine,
    Redirect,
    Reject,
    ReplaceBody,
    Score,
    Shadow,
    Transform,
)

_REFUSALS: Final = (Accept, Reject, Defer)
#: What may be said at each stage, in the words of the hook specifications.
SPOKEN: Final[Mapping[Stage, frozenset[type]]] = {
    Stage.CONNECT: frozenset(_REFUSALS),
    Stage.HELO: frozenset(_REFUSALS),
    Stage.AUTH: frozenset(_REFUSALS),
    Stage.MAIL: frozenset(_REFUSALS),
    Stage.RCPT: frozenset({*_REFUSALS, Redirect}),
    Stage.DATA: frozenset({
        *_REFUSALS, Redirect, Quarantine, Discard, Score, AddHeader, InsertHeader, ChangeHeader, DeleteHeader,
        ReplaceBody, AddRecipient, DropRecipient,
    }),
    Stage.STORE: frozenset({*_REFUSALS, Transform, FileInto, AddFlags}),
    Stage.DELIVER: frozenset(_REFUSALS),
    Stage.BOUNCE: frozenset({Accept}),
}  # fmt: skip
#: RFC 5322 §2.2: printable US-ASCII without the colon.
_FIELD_NAME: Final = re.compile(r"[!-9;-~]{1,76}\Z")
_BREAKS: Final = re.compile(r"[\r\n\x00]")


class Nonsense(Exception):
    """An answer that is none. ``str(error)`` says why, for the operator."""


def opinions_of(result: Any, stage: Stage) -> tuple[Opinion, ...]:
    """The opinions in what a hook returned.

    Raises:
        Nonsense: it is not an opinion, may not be said at this stage, or has a value that would do harm.
    """
    if result is None:
        return ()
    given = tuple(result) if type(result) in {list, tuple} else (result,)
    if len(given) > HOOK_OPINIONS:
        raise Nonsense(f"gave {len(given)} opinions; {HOOK_OPINIONS} are the most")
    spoken = SPOKEN[stage]
    for opinion in given:
        said = opinion.opinion if type(opinion) is Shadow else opinion
        if type(said) not in spoken:
            known = ", ".join(sorted(kind.__name__ for kind in spoken))
            raise Nonsense(f"answered {type(said).__name__} at {stage}, where it may say {known}")
        _check(said)
    return given


def _check(opinion: Any) -> None:
    match opinion:
        case Score(symbol, points):
            _check_score(symbol, points)
        case AddHeader(name, value) | InsertHeader(_, name, value) | ChangeHeader(name, value):
            _check_header(name, value)
        case DeleteHeader(name):
            _check_header(name, "")
        case Redirect(address) | AddRecipient(address) | DropRecipient(address):
            _check_address(address)
        case Defer(_, _, text) | Reject(_, _, text):
            _check_text(text)
        case ReplaceBody(content) | Transform(content):
            if not isinstance(content, bytes):
                raise Nonsense(f"{type(opinion).__name__} takes bytes, not {type(content).__name__}")
        case FileInto(mailbox):
            _check_text(mailbox)
        case AddFlags(flags):
            if not isinstance(flags, tuple) or not all(isinstance(flag, str) for flag in flags):
                raise Nonsense("AddFlags takes a tuple of texts")


def _check_score(symbol: Any, points: Any) -> None:
    if not isinstance(symbol, str) or not symbol or not symbol.isprintable():
        raise Nonsense(f"a score's symbol must be a name, not {symbol!r:.60}")
    if isinstance(points, bool) or not isinstance(points, int | float) or not math.isfinite(points):
        raise Nonsense(f"{symbol}: points must be a finite number, not {points!r:.60}")


def _check_header(name: Any, value: Any) -> None:
    if not isinstance(name, str) or not _FIELD_NAME.match(name):
        raise Nonsense(f"not the name of a header field: {name!r:.60}")
    if not isinstance(value, str) or _BREAKS.search(value):
        # A line break would let whoever wrote part of the value begin a field of his own.
        raise Nonsense(f"{name}: the value must be one line of text; folding is not the plugin's work")


def _check_address(address: Any) -> None:
    try:
        Address.parse(address)
    except (ProtocolError, TypeError) as error:
        raise Nonsense(f"not an address: {address!r:.80}") from error


def _check_text(text: Any) -> None:
    if not isinstance(text, str) or not text or _BREAKS.search(text):
        raise Nonsense(f"must be one line of text: {text!r:.80}")
