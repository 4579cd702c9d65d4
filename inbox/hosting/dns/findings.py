"""Findings about a domain's DNS records, and the base class of the checks."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from inbox.hosting.dns.lookup import Lookup, Shown
from inbox.hosting.dns.records import Needs, WantedRecord


class Outcome(StrEnum):
    """``fail``: mail may be lost, rejected or spoofed. ``warn``: it works, but should be improved."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


class State(StrEnum):
    """A record in the DNS, compared with the wanted one. ``invalid``: it breaks its own rules. ``unknown``: it cannot
    be determined now, or from here."""

    OK = "ok"
    MISSING = "missing"
    DIFFERS = "differs"
    INVALID = "invalid"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Finding:
    """``record``, ``name`` and ``type`` as in :class:`~inbox.hosting.dns.records.WantedRecord`; ``change`` is the
    advised change, or a remark."""

    record: str
    name: str
    type: str
    outcome: Outcome
    state: State
    change: str = ""
    found: tuple[str, ...] = ()
    wanted: str = ""


@dataclass(frozen=True, slots=True)
class Subject:
    """The checked domain, and its look-ups. ``https``: also ask its web server."""

    needs: Needs
    lookup: Lookup
    wanted: tuple[WantedRecord, ...]
    https: bool = False

    def wants(self, record: str) -> list[WantedRecord]:
        """The wanted records of one kind."""
        return [each for each in self.wanted if each.record == record]


@dataclass(frozen=True, slots=True)
class Comparison:
    """One wanted record compared with the DNS: creates findings."""

    wanted: WantedRecord
    shown: Shown

    def finding(self, outcome: Outcome, state: State, change: str = "") -> Finding:
        each = self.wanted
        return Finding(each.record, each.name, each.type, outcome, state, change, self.shown.values, each.value)

    def ok(self, remarks: Iterable[str] = ()) -> Finding:
        """The record is right; remarks make it a warning."""
        reasons = "; ".join(remark.rstrip(".") for remark in remarks)
        return self.finding(Outcome.WARN if reasons else Outcome.OK, State.OK, reasons)

    def invalid(self, why: str) -> Finding:
        return self.finding(Outcome.FAIL, State.INVALID, why)

    def differs(self, why: str = "", outcome: Outcome = Outcome.FAIL) -> Finding:
        return self.finding(outcome, State.DIFFERS, "; ".join(filter(None, (why, f"wanted: {self.wanted.value}"))))

    def missing(self, outcome: Outcome = Outcome.FAIL) -> Finding:
        """There is no record, or no answer: both are failures."""
        if self.shown.failure:
            return self.unknown()
        return self.finding(outcome, State.MISSING, f"add {self.wanted.type} {self.wanted.value}")

    def unknown(self) -> Finding:
        return self.finding(Outcome.FAIL, State.UNKNOWN, f"no answer: {self.shown.failure}")
