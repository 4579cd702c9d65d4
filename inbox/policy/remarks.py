"""Remarks about policies: valid settings that may be a mistake, for ``inbox policy check``."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol, runtime_checkable

from inbox.policy.catalogue import Mode
from inbox.policy.merge import Merged
from inbox.policy.mistakes import Mistake
from inbox.policy.snapshot import PolicySet
from inbox.policy.validation import locator


@runtime_checkable
class HasRemarks(Protocol):
    """Settings that can warn about themselves."""

    def remarks(self, given: frozenset[type]) -> Iterable[tuple[tuple[str | int, ...], str]]:
        """A valid setting that may be a mistake: its path, and one line of text.

        Args:
            given: the facts that the enabled plugins of the policy give.
        """
        ...


def remarks(policies: PolicySet) -> list[Mistake]:
    """The remarks of all plugins in all policies, each once, in the order of the files."""
    return sorted({remark for merged in policies.merged() for remark in _of(merged)})


def _of(merged: Merged) -> Iterable[Mistake]:
    entries = [(standing, standing.entry(merged.mode)) for standing in merged.plugins.values()]
    enabled = [
        (standing, entry.mode) for standing, entry in entries if entry is not None and entry.mode is not Mode.OFF
    ]
    for standing, mode in enabled:
        # Only plugins in shadow mode see the facts of a plugin in shadow mode.
        seen = {Mode.ENFORCE, mode}
        given = frozenset(kind for other, its in enabled if its in seen for kind in other.info.gives)
        if not isinstance(standing.settings, HasRemarks):
            continue
        for path, text in standing.settings.remarks(given):
            origin = standing.origins.get(str(path[0])) if path else None
            place = standing.place if origin is None else locator(origin.file, origin.node)(path, False)
            yield Mistake(place, text)
