"""Another revision beside this one: CPU time per accepted and per delivered mail, round by round in one run.

Both revisions run on the packages of this environment, one server each, measured in turn (A B A B …). A refactoring may
cost at most 5 % (median of the rounds' ratios).

    python -m benchmarks.against REVISION
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from benchmarks import delivery, smtp_accept
from benchmarks.delivery import SHAPES, account, folder_for, measure
from benchmarks.ours import ROOT, serving
from benchmarks.smtp_accept import NEW, REUSED
from benchmarks.support import Result, ending_on_signals, machine, median_ratio, set_apart, table
from tests.support.ports import free_port

ROUNDS = 7
#: The highest permitted ratio of CPU times, this revision to the other.
TARGET = 1.05


@contextlib.contextmanager
def tree(revision: str) -> Iterator[Path]:
    """A checkout of ``revision`` that is removed afterwards. Raises CalledProcessError if there is no such revision."""
    with tempfile.TemporaryDirectory(prefix="bench-tree-") as parent:
        path = Path(parent, "tree")
        git = ["git", "-C", str(ROOT), "worktree"]
        subprocess.run([*git, "add", "-q", "--detach", str(path), revision], check=True)
        try:
            yield path
        finally:
            subprocess.run([*git, "remove", "--force", str(path)], check=True)


def python_path(root: Path) -> str:
    """The value of PYTHONPATH with which a process runs the code of ``root``."""
    return os.pathsep.join((str(root), str(root / "plugins")))


def accepting(trees: dict[str, Path]) -> list[Result]:
    """CPU time per accepted mail of 4 KB."""
    with ExitStack() as stack:
        sides = []
        for name, root in trees.items():
            port = free_port()
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-"))
            command = [sys.executable, "-m", "benchmarks.smtp_accept", "inbox", "uvloop", str(port), folder]
            environment = {"PYTHONPATH": python_path(root)}
            sides.append(stack.enter_context(smtp_accept.started(name, command, environment, port, folder=root)))
        for shape in (NEW, REUSED):
            for side in sides:
                side.measure(shape, share=0.3, keep=False)  # warm
            for _ in range(ROUNDS):
                for side in sides:
                    side.measure(shape, share=3.0)  # the kernel counts CPU time in steps of 10 ms
    return [compared(f"CPU, {shape.claim}", sides[0].cpu[shape], sides[1].cpu[shape], "µs") for shape in (NEW, REUSED)]


def delivering(trees: dict[str, Path], processes: int) -> list[Result]:
    """CPU time per durably delivered mail of 4 KB."""
    accounts = ["warm", *(account(reuse, number) for reuse in SHAPES for number in range(ROUNDS))]
    with ExitStack() as stack:
        parent = folder_for(stack, None)
        set_apart(parent)
        sides = []
        for name, root in trees.items():
            extra = {"PYTHONPATH": python_path(root)}
            folder = folder_for(stack, parent)
            server = stack.enter_context(serving(folder, accounts, processes=processes, extra=extra))
            sides.append(delivery.Side(name, server, starttls=True))
        for side in sides:
            measure(side, "warm", messages=200, reuse=False)
        for number in range(ROUNDS):
            for reuse in SHAPES:
                for side in sides:
                    run = measure(side, account(reuse, number), messages=delivery.MESSAGES, reuse=reuse)
                    side.runs[reuse].append(run)
    new, old = sides
    some = "1 process" if processes == 1 else f"{processes} processes"
    return [
        compared(
            f"CPU, delivery, 4 KB, {shape}; {some}",
            [run.cpu_ms for run in new.runs[reuse]],
            [run.cpu_ms for run in old.runs[reuse]],
            "ms",
        )
        for reuse, shape in SHAPES.items()
    ]


def compared(claim: str, new: list[float], old: list[float], unit: str) -> Result:
    """One line: this revision, the other one, the median of the rounds' ratios."""
    ratio = median_ratio(new, old)
    ours, theirs = sorted(new)[len(new) // 2], sorted(old)[len(old) // 2]
    return Result(claim, f"{ours:.2f} {unit}", f"{theirs:.2f} {unit}", ratio, f"<= {TARGET:g}", ratio <= TARGET)


def main(revision: str) -> int:
    """Prints a table; returns 1 if this revision costs too much."""
    results: list[Result] = []
    with ending_on_signals(), tree(revision) as other:
        trees = {"this": ROOT, revision: other}
        results += accepting(trees)
        for processes in (1, 2):
            results += delivering(trees, processes)
    print(f"{table(results)}\n\n{machine()}")
    return int(any(result.met is False for result in results))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    sys.exit(main(sys.argv[1]))
