"""The ARC Sets of a message (RFC 8617 §4.2): collected by instance, and checked as far as possible without keys."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from inbox.authentication.dkim.section import HeaderSection
from inbox.authentication.dkim.tags import TagsInvalid, number, parse_tags
from inbox.base.limits import ARC_RESULTS_OCTETS, ARC_SETS

RESULTS: Final = "arc-authentication-results"
MESSAGE_SIGNATURE: Final = "arc-message-signature"
SEAL: Final = "arc-seal"
#: The order in which a seal covers the fields of a set (§5.1.1).
NAMES: Final = (RESULTS, MESSAGE_SIGNATURE, SEAL)
#: §4.1.1: instance [CFWS] ";", the instance being [CFWS] "i" [CFWS] "=" [CFWS] 1*2DIGIT. Comments are not nested.
_SPACE = rb"(?:[ \t\r\n]|\([^()\\]{0,200}\)){0,50}"
_INSTANCE = re.compile(rb"%b[iI]%b=%b([0-9]{1,2})%b;" % (_SPACE, _SPACE, _SPACE, _SPACE))
_FOLD = re.compile(rb"\r?\n")
_UNPRINTABLE = re.compile(r"[\x00-\x1f\x7f]+")


class Validation(StrEnum):
    """``cv=`` (RFC 8617 §4.4): the state of the chain before the set with this tag."""

    NONE = "none"
    PASS = "pass"  # noqa: S105  a state, not a password
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Hop:
    """One ARC Set: the places of its three fields in the section, the tags of its two signatures, and the content of
    its ARC-Authentication-Results after the instance."""

    instance: int
    places: tuple[int, int, int]
    signature: Mapping[str, str]
    seal: Mapping[str, str]
    results: str


@dataclass(frozen=True, slots=True)
class Chain:
    """The sets in the order of their instances, as far as the structure is sound.

    ``fault`` is the problem of the structure (§5.2 steps 1 to 3), without quoting input; empty if there is none.
    ``highest`` is the highest instance of any field, or 0. ``ended``: according to the set of the highest instance the
    chain failed before; nothing may be added to it (§5.1.2).
    """

    hops: tuple[Hop, ...] = ()
    fault: str = ""
    highest: int = 0
    ended: bool = False


def read_chain(section: HeaderSection) -> Chain:
    """The chain of a message. Never fails: unreadable input is a fault."""
    count = sum(section.count(name) for name in NAMES)
    if not count:
        return Chain()
    if any(section.count(name) > ARC_SETS for name in NAMES):
        return Chain(fault=f"more than {ARC_SETS} sets", highest=ARC_SETS)
    found: dict[str, dict[int, tuple[int, Mapping[str, str]]]] = {name: {} for name in NAMES}
    fault = section.fault
    for name in NAMES:
        for place in section.places(name):
            tags, instance, problem = _field(section.raw[place], name)
            if not problem and instance in found[name]:
                problem = "an instance occurs twice"
            fault = fault or (f"{_label(name)}: {problem}" if problem else "")
            if instance:
                found[name][instance] = (place, tags)
    highest = max((instance for fields in found.values() for instance in fields), default=0)
    seal = found[SEAL].get(highest)
    ended = seal is not None and seal[1].get("cv") == Validation.FAIL
    if ended:
        # §5.2 step 2 comes before the structure: the hop that reports the failure does not cover the earlier sets with
        # its seal.
        return Chain(fault="an earlier hop found the chain broken", highest=highest, ended=True)
    if not fault and any(set(fields) != set(range(1, highest + 1)) for fields in found.values()):
        fault = "a set is missing or incomplete"
    if fault:
        return Chain(fault=fault, highest=highest)
    hops = tuple(_hop(section, instance, found) for instance in range(1, highest + 1))
    return Chain(hops, _validation_fault(hops), highest)


def _field(raw: bytes, name: str) -> tuple[Mapping[str, str], int, str]:
    """The tags and the instance of one field, and its problem; the instance is 0 if it names none."""
    value = raw.partition(b":")[2]
    if name == RESULTS:
        match = _INSTANCE.match(value)
        instance = int(match[1]) if match is not None else 0
        return {}, instance if instance <= ARC_SETS else 0, "" if 0 < instance <= ARC_SETS else "no instance"
    try:
        tags = parse_tags(value)
        # §4.2.1: 1 to 50 in one or two digits.
        instance = number(tags, "i", 2) or 0
    except TagsInvalid as error:
        return {}, 0, str(error)
    if not 0 < instance <= ARC_SETS:
        return {}, 0, "no instance"
    return tags, instance, ""


def _hop(section: HeaderSection, instance: int, found: Mapping[str, dict[int, tuple[int, Mapping[str, str]]]]) -> Hop:
    (results, _), (message, signature), (seal, tags) = (found[name][instance] for name in NAMES)
    return Hop(instance, (results, message, seal), signature, tags, results_text(section.raw[results]))


def results_text(raw: bytes) -> str:
    """The content of an ARC-Authentication-Results field after its instance, on one line.

    Empty if it is longer than ARC_RESULTS_OCTETS: a part might mean something else than the whole.
    """
    value = raw.partition(b":")[2]
    match = _INSTANCE.match(value)
    text = _FOLD.sub(b"", value[match.end() if match is not None else 0 :])
    if len(text) > ARC_RESULTS_OCTETS:
        return ""
    return _UNPRINTABLE.sub(" ", text.decode("utf-8", "replace")).strip()


def _validation_fault(hops: tuple[Hop, ...]) -> str:
    """§5.2 step 3.C: the first set says ``none``, each other one ``pass``."""
    for hop in hops:
        status = hop.seal.get("cv")
        if status == Validation.FAIL:
            return "an earlier hop found the chain broken"
        if status != (Validation.NONE if hop.instance == 1 else Validation.PASS):
            return f"{_label(SEAL)}: cv= is missing or out of place"
    return ""


def _label(name: str) -> str:
    return "-".join(word.capitalize() for word in name.split("-")).replace("Arc-", "ARC-")
