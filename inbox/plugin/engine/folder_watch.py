"""Tells a removed policy file from a missing folder, which may be unmounted, renamed or not readable."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from inbox.policy.folder import DEFAULT_FILE, TENANT_FOLDER, tenant_files
from inbox.policy.mistakes import PolicyMistakes

#: Seconds after which a file that is missing counts as removed: editors and deployments replace files.
REMOVED_SECONDS: Final = 1.0


class PolicyFolderWatch:
    """Watches for missing files in a policy folder.

    Args:
        folder: the policy folder.
        now: seconds of a monotonic clock.
    """

    def __init__(self, folder: Path, now: Callable[[], float] = time.monotonic) -> None:
        self._folder = folder
        self._now = now
        self._identity: tuple[int, int] | None = None
        self._missing: dict[str, float] = {}
        self._gone_since: float | None = None

    def remember(self) -> None:
        """Remembers the folder from which the policies in force were read."""
        self._identity = self._identify()

    def gone(self) -> str:
        """The reason why the folder that policies were read from is missing; empty if it exists, or a new one does."""
        why = self._why_gone()
        if not why:
            self._gone_since = None
        elif self._gone_since is None:
            self._gone_since = self._now()
        return why

    @property
    def lasting(self) -> bool:
        """Whether the folder has been gone for longer than it takes to replace it."""
        return self._gone_since is not None and self._now() - self._gone_since >= REMOVED_SECONDS

    def _why_gone(self) -> str:
        if not (self._folder / DEFAULT_FILE).exists():
            return f"{self._folder / DEFAULT_FILE} is gone"
        place = self._folder / TENANT_FOLDER
        if self._identity is None:
            return ""
        if self._identify() is None:
            return f"{place} is gone"
        try:
            files = tenant_files(self._folder)
        except PolicyMistakes as error:
            return str(error)
        if not files and self._identify() != self._identity:
            return f"{place} is another folder, and empty"
        return ""

    def note(self, names: Iterable[str]) -> list[str]:
        """Those of the files that exist; the others count as missing from now on."""
        there = []
        for name in names:
            if (self._folder / name).exists():
                self._missing.pop(name, None)
                there.append(name)
            else:
                self._missing.setdefault(name, self._now())
        return there

    def removed(self) -> list[str]:
        """The files that have been missing for long enough; each is returned once."""
        due = [name for name, since in self._missing.items() if self._now() - since >= REMOVED_SECONDS]
        for name in due:
            del self._missing[name]
        return [name for name in due if not (self._folder / name).exists()]

    def _identify(self) -> tuple[int, int] | None:
        try:
            found = (self._folder / TENANT_FOLDER).stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino
