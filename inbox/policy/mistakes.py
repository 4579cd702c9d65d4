"""Mistakes in policies, collected so that one check shows all of them, each with its place in a file."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches

from inbox.base.errors import PolicyError
from inbox.base.limits import POLICY_MISTAKES


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """A place in a file; ``line`` and ``column`` count from 1. Line 0: not in a file's text."""

    file: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}" if self.line else self.file


@dataclass(frozen=True, slots=True, order=True)
class Mistake:
    """One mistake: its place and one line of text that says what is wrong and how to fix it."""

    place: Place
    text: str

    def __str__(self) -> str:
        return f"{self.place}: {self.text}"


class PolicyMistakes(PolicyError):
    """The mistakes that a check found; ``str(error)`` has one line for each, in the order of the files.

    ``mistakes`` are the first POLICY_MISTAKES of them; ``str(error)`` ends with the number of further ones.
    """

    def __init__(self, mistakes: Iterable[Mistake]) -> None:
        found = sorted(set(mistakes))
        self.mistakes = tuple(found[:POLICY_MISTAKES])
        lines = [str(mistake) for mistake in self.mistakes]
        if len(found) > POLICY_MISTAKES:
            lines.append(f"and {len(found) - POLICY_MISTAKES} more")
        super().__init__("\n".join(lines))


class TenantSuspended(PolicyMistakes):
    """A tenant's policy is invalid and there is no earlier one: no mail can be checked for this tenant."""


class Mistakes:
    """Collects mistakes during a check."""

    def __init__(self) -> None:
        self._found: list[Mistake] = []

    def add(self, place: Place, text: str) -> None:
        """Adds a mistake; ``text`` is reduced to one line."""
        self._found.append(Mistake(place, " ".join(text.split())))

    def take(self, error: PolicyMistakes) -> None:
        """Adds the mistakes that another check found."""
        self._found.extend(error.mistakes)

    def __len__(self) -> int:
        return len(self._found)

    def check(self) -> None:
        """Raises PolicyMistakes if there are any."""
        if self._found:
            raise PolicyMistakes(self._found)


def unknown(what: str, word: str, known: Iterable[str]) -> str:
    """``unknown WHAT 'word'``, with the nearest known name, or all names if none is near.

    >>> unknown("key", "treshold", ["thresholds", "mode"])
    "unknown key 'treshold'; did you mean 'thresholds'?"
    """
    names = sorted(str(name) for name in known)  # The names, or the values of an enumeration.
    near = get_close_matches(word, names, n=1, cutoff=0.6)
    if near:
        return f"unknown {what} {word!r}; did you mean {near[0]!r}?"
    if not names:
        return f"unknown {what} {word!r}; there are none here"
    return f"unknown {what} {word!r}; known here: {', '.join(names)}"
