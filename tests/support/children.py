"""Child processes of a process."""

from __future__ import annotations

from pathlib import Path


def runs(pid: int) -> bool:
    """False when it has ended, even if nobody has collected it yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def children(pid: int) -> set[int]:
    """The processes that ``pid`` started and that still run."""
    words = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return {child for child in map(int, words) if runs(child)}


def workers(pid: int) -> set[int]:
    """Those of them that file mail for servers.

    One that is only just starting shows its parent's command.
    """
    return {child for child in children(pid) if _files(child)}


def _files(pid: int) -> bool:
    try:
        return b"inbox.store.worker.process" in Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False
