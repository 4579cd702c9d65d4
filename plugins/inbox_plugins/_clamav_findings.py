"""Signatures that clamd reports: the kind of each finding, the action for it, and the reply to the peer."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Annotated, Final, Literal

from pydantic import Field

from inbox.plugin import AddHeader, Discard, Opinion, PluginSettings, Quarantine, Reject, Score, ScoreAction, VirusFact

Kind = Literal["malware", "encrypted", "macros", "phishing", "pua", "broken", "data_loss", "heuristic", "limits"]
#: Kinds whose action ``kinds`` sets. ``infected`` sets that of malware, ``on_unscanned`` that of limits.
OtherKind = Literal["encrypted", "macros", "phishing", "pua", "broken", "data_loss", "heuristic"]
FindingAction = Annotated[
    Literal["reject", "quarantine", "discard", "tag", "ignore"] | ScoreAction, Field(union_mode="left_to_right")
]

#: The names of libclamav 1.4; the first row that matches decides. A signature that matches no row is malware.
_KINDS: Final[tuple[tuple[str, Kind], ...]] = (
    ("heuristics.limits.*", "limits"),
    ("heuristics.xz.dicsizelimit", "limits"),
    ("heuristics.encrypted.*", "encrypted"),
    ("heuristics.ole2.containsmacros*", "macros"),
    ("heuristics.phishing.*", "phishing"),
    ("heuristics.safebrowsing.*phishing*", "phishing"),
    ("*.phishing.*", "phishing"),
    ("phishing.*", "phishing"),
    ("pua.*", "pua"),
    ("heuristics.broken.*", "broken"),
    ("heuristics.structured.*", "data_loss"),
    # Algorithms that recognise one virus, such as Heuristics.W32.Parite.B.
    ("heuristics.w32.*", "malware"),
    ("heuristics.trojan.*", "malware"),
    ("heuristics.worm.*", "malware"),
    ("heuristics.exploit.*", "malware"),
    ("heuristics.safebrowsing.*", "malware"),
    ("heuristics.*", "heuristic"),
)
#: Actions where the policy names none. clamd reports most of these findings only if clamd.conf asks for them.
#: clamd may stop at such a finding before it meets malware in the same file: by default only the last is accepted.
DEFAULTS: Final[Mapping[OtherKind, FindingAction]] = {
    "encrypted": "quarantine",
    "macros": "quarantine",
    "phishing": "quarantine",
    "pua": "quarantine",
    "broken": "quarantine",
    "heuristic": "quarantine",
    "data_loss": "tag",
}
_REPLIES: Final[Mapping[Kind, str]] = {
    "malware": "Message contains malware",
    "encrypted": "Message contains an encrypted file, which cannot be scanned for malware",
    "macros": "Message contains a document with macros",
    "phishing": "Message looks like phishing",
    "pua": "Message contains a potentially unwanted program",
    "broken": "Message contains a malformed file",
    "data_loss": "Message contains card or social security numbers",
    "heuristic": "Message contains a suspicious file",
    "limits": "Message cannot be scanned for malware completely",
}
_UNPRINTABLE: Final = re.compile(r"[^A-Za-z0-9._:/()+-]")
_SIGNATURE_CHARACTERS: Final = 100


class SignatureRule(PluginSettings):
    """One row of ``signatures``."""

    match: str = Field(
        min_length=1,
        max_length=_SIGNATURE_CHARACTERS,
        description="The signature's name, regardless of case and of clamd's `.UNOFFICIAL`; `*` stands for any "
        "characters, `?` for one.",
        examples=["PUA.Win.Tool.*"],
    )
    action: FindingAction = Field(description="Action for a message with such a finding.", examples=["ignore"])


@dataclass(frozen=True, slots=True)
class Finding:
    """One signature that clamd reported, safe to quote in a reply, and its kind."""

    signature: str
    kind: Kind

    @classmethod
    def of(cls, reported: str) -> Finding:
        """The finding for a name as clamd reports it."""
        signature = _UNPRINTABLE.sub("_", reported)[:_SIGNATURE_CHARACTERS]
        name = bare(signature)
        return cls(signature, next((kind for pattern, kind in _KINDS if fnmatchcase(name, pattern)), "malware"))

    @property
    def status(self) -> str:
        """``status`` of the fact: a kind that does not prove malware is never reported as an infection."""
        return {"malware": "infected", "limits": "unscanned"}.get(self.kind, "flagged")


def bare(signature: str) -> str:
    """The name in lower case, without the mark of a signature that ClamAV did not publish."""
    return signature.lower().removesuffix(".unofficial")


def chosen(finding: Finding, rules: Sequence[SignatureRule]) -> FindingAction | None:
    """The action of the first row that matches; None if no row does."""
    name = bare(finding.signature)
    return next((rule.action for rule in rules if fnmatchcase(name, bare(rule.match))), None)


def opinions(finding: Finding, action: FindingAction) -> list[Opinion]:
    """The opinions that carry out ``action`` for one finding."""
    label = "malware" if finding.kind == "malware" else f"virus scanner, {finding.kind}"
    match action:
        case "reject":
            return [Reject(550, "5.7.1", f"{_REPLIES[finding.kind]} ({finding.signature})")]
        case "quarantine":
            return [Quarantine(f"{label}: {finding.signature}")]
        case "discard":
            return [Discard(f"{label}: {finding.signature}")]
        case "tag":
            return [AddHeader("X-Virus-Status", f"{finding.kind} ({finding.signature})")]
        case ScoreAction(score=points):
            return [Score(f"CLAMAV_{finding.kind.upper()}", points, finding.signature, group="clamav")]
    return []


def fact_of(findings: Sequence[Finding]) -> VirusFact:
    """The fact for all findings: the worst one gives status and signature, ``signatures`` has all of them."""
    worst = min(findings, key=lambda finding: ("infected", "unscanned", "flagged").index(finding.status))
    why = "clamd reached one of its limits" if worst.status == "unscanned" else ""
    names = tuple(finding.signature for finding in findings)
    return VirusFact(worst.status, worst.signature, "clamav", why, worst.kind, names)
