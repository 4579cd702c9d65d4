"""Helpers of all benchmarks: results and their table, free ports, CPU time and memory of processes, ending them.

Every benchmark module has ``run() -> list[Result]`` and raises :class:`Skipped` when a program that it needs is not
installed. What is started is ended by its process id, on Ctrl-C and SIGTERM, too.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import platform
import shutil
import signal
import socket
import statistics
import struct
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

#: Debian's folders of daemons and their tools; a user's PATH often lacks the last ones.
SBIN = f"{os.environ.get('PATH', os.defpath)}:/usr/local/sbin:/usr/sbin:/sbin"
TICKS = os.sysconf("SC_CLK_TCK")
#: ioctl_iflags(2), for a folder of ext4: what is made in it is spread over the disk.
FS_IOC_GETFLAGS, FS_IOC_SETFLAGS, FS_TOPDIR_FL = 0x80086601, 0x40086602, 0x00020000


class Skipped(Exception):
    """A program that the benchmark needs is not installed; the text names it."""


class Failed(Exception):
    """The measured program failed, so there is no figure."""


@dataclass(frozen=True, slots=True)
class Result:
    """One line of the final table.

    Args:
        claim: what is measured, with size and sessions.
        ours: our figure with its unit.
        peer: the peer's name and figure with its unit; empty where there is none.
        ratio: ours to the peer's, so that more is better for us.
        target: what is promised, in words (``>= 3``, ``< 16 MB``); empty for information only.
        met: whether it is; None for information only and for what was skipped.
        note: one line under the table.
    """

    claim: str
    ours: str
    peer: str = ""
    ratio: float | None = None
    target: str = ""
    met: bool | None = None
    note: str = ""


def median_ratio(above: Sequence[float], below: Sequence[float]) -> float:
    """The median of the rounds' ratios: what slows the machine slows both of a round."""
    return float(statistics.median(one / other for one, other in zip(above, below, strict=True)))


def compared(
    claim: str, ours: Sequence[float], peer_name: str, peer: Sequence[float], unit: str, at_least: float | None
) -> Result:
    """A result of the rates of each round (more is better); ``at_least``: the promised ratio, None for information."""
    ratio = median_ratio(ours, peer)
    return Result(
        claim,
        f"{statistics.median(ours):.0f} {unit}",
        f"{peer_name}: {statistics.median(peer):.0f} {unit}",
        ratio,
        f">= {at_least:g}" if at_least is not None else "",
        ratio >= at_least if at_least is not None else None,
    )


def table(results: Sequence[Result]) -> str:
    """The results as a Markdown table, the notes under it."""
    head = ("claim", "ours", "peer", "ratio", "target", "met?")
    rows = [head, *(_cells(result) for result in results)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(head))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    notes = dict.fromkeys(result.note for result in results if result.note)
    return "\n".join([*lines, *([""] if notes else []), *notes])


def _cells(result: Result) -> tuple[str, ...]:
    met = {True: "yes", False: "NO", None: "-"}[result.met]
    ratio = f"{result.ratio:.2f}" if result.ratio is not None else "-"
    return (result.claim, result.ours, result.peer or "-", ratio, result.target or "-", met)


def machine() -> str:
    """One line: cores, load, Python, and what is under the temporary folder."""
    one, five, _ = os.getloadavg()
    version = platform.python_version()
    return f"{os.cpu_count()} cores, load average {one:.2f} {five:.2f}, Python {version}, {fsync_cost()}"


def fsync_cost() -> str:
    """Measures how long this machine takes to make 4 KB durable: the basis of all durable figures."""
    times = []
    with tempfile.NamedTemporaryFile() as file:
        for _ in range(50):
            file.write(b"x" * 4096)
            file.flush()
            began = time.perf_counter()
            os.fsync(file.fileno())
            times.append(time.perf_counter() - began)
    return f"fsync of 4 KB under {tempfile.gettempdir()}: {statistics.median(times) * 1e3:.2f} ms"


def set_apart(folder: Path) -> None:
    """Lets the file system keep the folders that are made in ``folder`` far from one another, where it can.

    ext4 makes the files of neighbouring folders in one place, and without a journal it skips inodes of files
    that were deleted within the last minute: each file that one side deletes would slow the other side's new ones.
    """
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        # Other file systems know no such flag.
        with contextlib.suppress(OSError):
            (flags,) = struct.unpack("l", fcntl.ioctl(fd, FS_IOC_GETFLAGS, struct.pack("l", 0)))
            fcntl.ioctl(fd, FS_IOC_SETFLAGS, struct.pack("l", flags | FS_TOPDIR_FL))
    finally:
        os.close(fd)


# -- programs and processes -------------------------------------------------------------------------------------------


def program(name: str, package: str) -> str:
    """The path of a program. Raises Skipped, naming Debian's package, if it is not installed."""
    found = shutil.which(name, path=SBIN)
    if found is None:
        raise Skipped(f"{name} is not installed (Debian: {package})")
    return found


def output(*command: str) -> str:
    """The output of a short command, both streams."""
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return (ended.stdout + ended.stderr).strip()


def free_port() -> int:
    """A loopback port that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def ending_on_signals() -> Iterator[None]:
    """SIGTERM ends the run as Ctrl-C does, so that every ``finally`` is reached."""

    def interrupt(number: int, _frame: object) -> None:
        raise KeyboardInterrupt(f"signal {number}")

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def end(process: subprocess.Popen[bytes], seconds: float = 20.0) -> None:
    """Asks the process to end, and kills what is left of its tree after ``seconds``."""
    below = [] if process.poll() is not None else descendants(process.pid)
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    for pid, started in below:
        kill_exactly(pid, started)


def kill_exactly(pid: int, started: str) -> None:
    """Kills the process if it still is the one that was seen to start at ``started`` (process ids are reused)."""
    if _started(pid) == started:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def until(condition: Callable[[], bool], seconds: float, what: str, pause: float = 0.02) -> None:
    """Waits for a condition. Raises Failed, which names ``what``, if it stays false."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise Failed(f"{what}: not within {seconds:.0f} s")
        time.sleep(pause)


def answers(port: int) -> bool:
    """Whether a server accepts connections there and sends something."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=2) as probe:
            return bool(probe.recv(64))
    except OSError:
        return False


def _stat(pid: int) -> list[str] | None:
    """The fields of /proc/PID/stat from the third (state) on, see proc(5); None when the process is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None


def has_ended(pid: int) -> bool:
    """Whether the process has ended (a zombie counts as ended)."""
    fields = _stat(pid)
    return fields is None or fields[0] == "Z"


def _started(pid: int) -> str:
    fields = _stat(pid)
    return fields[19] if fields else ""


def descendants(*roots: int) -> list[tuple[int, str]]:
    """The processes and all below them that live now, each with its time of start."""
    parents: dict[int, tuple[int, str]] = {}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and (fields := _stat(int(entry.name))):
            parents[int(entry.name)] = (int(fields[1]), fields[19])
    found = [pid for pid in roots if pid in parents]
    for pid in found:
        found.extend(child for child, (parent, _) in parents.items() if parent == pid and child not in found)
    return [(pid, parents[pid][1]) for pid in found]


def cpu_seconds(*roots: int) -> float:
    """User and system time of the processes, of all below them, and of those below that have ended."""
    total = 0
    for pid, _ in descendants(*roots):
        if fields := _stat(pid):
            total += sum(int(field) for field in fields[11:15])  # utime, stime, cutime, cstime
    return total / TICKS
