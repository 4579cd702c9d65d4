"""Checks of the opinions that hooks return: their types, the types allowed at the stage, and harmful values."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from ipaddress import ip_address
from typing import Any, Final, get_args

from inbox.base.errors import ProtocolError
from inbox.base.limits import FIELD_OCTETS, HOOK_FLAGS, HOOK_OPINIONS
from inbox.mail.address import Address
from inbox.mail.mailbox_name import complaint
from inbox.policy.stages import Stage
from inbox.policy.verdicts import (
    Accept,
    AddFlags,
    AddHeader,
    AddRecipient,
    Category,
    ChangeHeader,
    Classify,
    Defer,
    DeleteHeader,
    Discard,
    DropDsn,
    DropRecipient,
    Edit,
    FileInto,
    InsertHeader,
    Opinion,
    Quarantine,
    Redirect,
    Reject,
    ReplaceBody,
    Score,
    Shadow,
    Suppress,
    Transform,
    Via,
    WriteDsn,
)

_REFUSALS: Final = (Accept, Reject, Defer)
#: The opinions that hooks may return at each stage, as in the hook specifications.
ALLOWED: Final[Mapping[Stage, frozenset[type]]] = {
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
    # A header field for outgoing mail: a signature. The copy in a mailbox is complete by then.
    # Via chooses the way of one outbound attempt.
    Stage.DELIVER: frozenset({*_REFUSALS, AddHeader, DropRecipient, Via}),
    Stage.BOUNCE: frozenset({Accept, Classify, Suppress, DropDsn}),
    Stage.NOTIFY: frozenset({Accept, DropDsn, WriteDsn}),
}  # fmt: skip
#: RFC 5322 §2.2: printable US-ASCII without the colon.
_FIELD_NAME: Final = re.compile(r"[!-9;-~]{1,76}\Z")
_CATEGORIES: Final = get_args(Category)
_TLS: Final = ("", "required", "opportunistic")
_ENHANCED: Final = re.compile(r"[45]\.[0-9]{1,3}\.[0-9]{1,3}\Z")
#: Characters of a text for people in a notification.
_NOTE: Final = 5000
_BREAKS: Final = re.compile(r"[\r\n\x00]")


class InvalidAnswer(Exception):
    """A hook returned an invalid result. ``str(error)`` gives the reason to the operator."""


def opinions_of(result: Any, stage: Stage) -> tuple[Opinion, ...]:
    """The opinions in a hook's result.

    Raises:
        InvalidAnswer: it is not an opinion, is not allowed at this stage, or has a harmful value.
    """
    if result is None:
        return ()
    given = tuple(result) if type(result) in {list, tuple} else (result,)
    if len(given) > HOOK_OPINIONS:
        raise InvalidAnswer(f"returned {len(given)} opinions; at most {HOOK_OPINIONS} are allowed")
    allowed = ALLOWED[stage]
    header_octets = 0
    for opinion in given:
        inner = opinion.opinion if type(opinion) is Shadow else opinion
        if type(inner) not in allowed:
            known = ", ".join(sorted(kind.__name__ for kind in allowed))
            raise InvalidAnswer(f"returned {type(inner).__name__} at {stage}, where it may return {known}")
        _check(inner)
        if isinstance(inner, AddHeader | InsertHeader | ChangeHeader):
            header_octets += len(inner.name) + len(inner.value)
    if header_octets > FIELD_OCTETS:
        raise InvalidAnswer(f"returned header fields of {header_octets} characters; at most {FIELD_OCTETS} are allowed")
    return given


def edits_of(result: Any) -> tuple[Opinion, ...]:
    """The edits in the result of a plugin's ``at_least``. Raises InvalidAnswer if it has anything else."""
    given = opinions_of(result, Stage.DATA)
    for opinion in given:
        if not isinstance(opinion, Edit):
            raise InvalidAnswer(f"returned {type(opinion).__name__}, where it may only return edits")
    return given


def _check(opinion: Any) -> None:
    match opinion:
        case Score(symbol, points, why, group):
            _check_score(symbol, points)
            _check_words(why)
            _check_words(group)
        case AddHeader(name, value):
            _check_header(name, value)
        case InsertHeader(place, name, value) | ChangeHeader(name, value, place):
            _check_header(name, value)
            _check_place(place)
        case DeleteHeader(name, place):
            _check_header(name, "")
            _check_place(place)
        case DropRecipient(address, why):
            _check_address(address)
            if why:
                _check_text(why)
        case Redirect(address) | AddRecipient(address):
            _check_address(address)
        case Defer(code, enhanced, text) | Reject(code, enhanced, text):
            if type(code) is not int or not isinstance(enhanced, str) or not _ENHANCED.match(enhanced):
                raise InvalidAnswer(f"invalid reply codes: {code!r:.20} {enhanced!r:.40}")
            _check_text(text)
        case Quarantine(reason) | Discard(reason) | DropDsn(reason):
            _check_words(reason)
        case ReplaceBody(content) | Transform(content):
            if not isinstance(content, bytes):
                raise InvalidAnswer(f"{type(opinion).__name__} takes bytes, not {type(content).__name__}")
        case FileInto(mailbox):
            _check_text(mailbox)
            trouble = complaint(mailbox)
            if trouble is not None:
                raise InvalidAnswer(f"invalid mailbox name: {mailbox!r:.80}: {trouble}")
        case Via():
            _check_way(opinion)
        case Classify(category, why):
            if category not in _CATEGORIES:
                raise InvalidAnswer(f"category must be one of {', '.join(_CATEGORIES)}, not {category!r:.40}")
            _check_words(why)
        case WriteDsn():
            _check_dsn(opinion)
        case Suppress(scope, reason, seconds):
            _check_suppression(scope, seconds)
            _check_words(reason)
        case AddFlags(flags):
            if not isinstance(flags, tuple) or not all(isinstance(flag, str) for flag in flags):
                raise InvalidAnswer("AddFlags takes a tuple of strings")
            if len(flags) > HOOK_FLAGS:
                raise InvalidAnswer(f"returned {len(flags)} flags; at most {HOOK_FLAGS} are allowed")


def _check_way(way: Via) -> None:
    _check_text(way.host)
    if type(way.port) is not int or not 1 <= way.port <= 65535:
        raise InvalidAnswer(f"Via: port must be a number from 1 to 65535, not {way.port!r:.20}")
    if way.tls not in _TLS:
        raise InvalidAnswer(f"Via: tls must be 'required', 'opportunistic' or empty, not {way.tls!r:.40}")
    if way.source:
        try:
            ip_address(way.source)
        except ValueError as error:
            raise InvalidAnswer(f"Via: source must be an IP address, not {way.source!r:.60}") from error


def _check_dsn(form: WriteDsn) -> None:
    if not isinstance(form.note, str) or len(form.note) > _NOTE:
        raise InvalidAnswer(f"WriteDsn: note must be a text of at most {_NOTE} characters")
    if type(form.headers_only) is not bool:
        raise InvalidAnswer(f"WriteDsn: headers_only must be True or False, not {form.headers_only!r:.40}")
    if form.copy_to:
        _check_address(form.copy_to)


def _check_suppression(scope: Any, seconds: Any) -> None:
    if scope not in {"address", "domain"}:
        raise InvalidAnswer(f"Suppress: scope must be 'address' or 'domain', not {scope!r:.40}")
    if seconds is not None and (type(seconds) not in {int, float} or not 0 < seconds < math.inf):
        raise InvalidAnswer(f"Suppress: seconds must be a positive number or None, not {seconds!r:.40}")


def _check_score(symbol: Any, points: Any) -> None:
    if not isinstance(symbol, str) or not symbol or not symbol.isprintable():
        raise InvalidAnswer(f"a score's symbol must be a name, not {symbol!r:.60}")
    if isinstance(points, bool) or not isinstance(points, int | float) or not math.isfinite(points):
        raise InvalidAnswer(f"{symbol}: points must be a finite number, not {points!r:.60}")


def _check_header(name: Any, value: Any) -> None:
    if not isinstance(name, str) or not _FIELD_NAME.match(name):
        raise InvalidAnswer(f"invalid header field name: {name!r:.60}")
    if not isinstance(value, str) or _BREAKS.search(value):
        # With a line break, the author of a part of the value could begin another field.
        raise InvalidAnswer(f"{name}: the value must be one line of text; the core folds it")


def _check_place(place: Any) -> None:
    if type(place) is not int:
        raise InvalidAnswer(f"the index of a field must be a number, not {place!r:.60}")


def _check_words(text: Any) -> None:
    """Checks a text that may be empty and have several lines: a reason, a group."""
    if not isinstance(text, str) or len(text) > FIELD_OCTETS:
        raise InvalidAnswer(f"must be text of at most {FIELD_OCTETS} characters: {text!r:.80}")


def _check_address(address: Any) -> None:
    try:
        Address.parse(address)
    except (ProtocolError, TypeError) as error:
        raise InvalidAnswer(f"invalid address: {address!r:.80}") from error


def _check_text(text: Any) -> None:
    if not isinstance(text, str) or not 0 < len(text) <= FIELD_OCTETS or _BREAKS.search(text):
        raise InvalidAnswer(f"must be one line of text: {text!r:.80}")
