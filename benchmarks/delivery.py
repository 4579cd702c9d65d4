"""Durable delivery: SMTP in, fsync before 250, the message in the mailbox; Postfix + Dovecot LMTP beside it.

A run is timed from the client's start until the last message is in the mailbox. Ours is asked over IMAP at once after
the last 250: what was acknowledged must be there. The peer acknowledges when the message is in Postfix's queue; its
Maildir is looked at until all are delivered, and IMAP confirms the number outside the measured time.

    python -m benchmarks delivery
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import postfix_dovecot
from benchmarks.clients import LIMIT_SECONDS, SENDER, imap_session, messages_in_inbox, smtp_source
from benchmarks.ours import Ours, serving
from benchmarks.postfix_dovecot import Peer
from benchmarks.support import Failed, Result, cpu_seconds, machine, median_ratio, program, set_apart, until

OCTETS = 4096
SESSIONS = 20
MESSAGES = 1000
ROUNDS = 5
TARGET = 3.0
SHAPES = {False: "a connection for each mail", True: "connections reused"}


@dataclass(frozen=True, slots=True)
class Run:
    """One measured run, per second and per message."""

    acknowledged: float
    delivered: float
    cpu_ms: float


@dataclass(slots=True)
class Side:
    """A measured program, and its runs by shape."""

    name: str
    server: Ours | Peer
    starttls: bool
    runs: dict[bool, list[Run]] = field(default_factory=lambda: {False: [], True: []})

    def median(self, reuse: bool, what: str) -> float:
        return float(statistics.median(getattr(run, what) for run in self.runs[reuse]))


def run() -> list[Result]:
    """Each side in turn, round by round; prints every figure, returns the ratios of the medians.

    Raises:
        Skipped: smtp-source is not installed.
        Failed: a side lost or refused a message, or did not start.
    """
    program("smtp-source", "postfix")
    versions, skipped = peers()
    print(f"  {machine()}")
    print(f"  peer: {versions or skipped}")
    with sides(with_peer=bool(versions)) as running:
        # The first mails of a server find cold caches and modules that are not imported yet.
        for side in running:
            measure(side, "warm", messages=200, reuse=False)
        for number in range(ROUNDS):
            for reuse, shape in SHAPES.items():
                for side in running:
                    result = measure(side, account(reuse, number), messages=MESSAGES, reuse=reuse)
                    side.runs[reuse].append(result)
                    print(
                        f"  round {number + 1}, {shape:26} {side.name:34} acknowledged {result.acknowledged:7.0f}/s"
                        f"  delivered {result.delivered:7.0f}/s  CPU {result.cpu_ms:6.2f} ms/mail",
                        flush=True,
                    )
    return results(running, versions, skipped)


def peers() -> tuple[str, str]:
    """The peers' versions, or why they are left out."""
    from benchmarks.support import Skipped

    try:
        return postfix_dovecot.versions(), ""
    except Skipped as reason:
        return "", f"skipped: {reason}"


def account(reuse: bool, number: int) -> str:
    """Creates a mailbox for each run, so that no run pays for the messages of an earlier one."""
    return f"{'reused' if reuse else 'single'}{number}"


@contextmanager
def sides(*, with_peer: bool) -> Iterator[list[Side]]:
    """Starts all sides, each in a folder of its own."""
    accounts = ["warm", *(account(reuse, number) for reuse in SHAPES for number in range(ROUNDS))]
    with ExitStack() as stack:
        parent = folder_for(stack, None)
        set_apart(parent)
        running = []
        for processes in (1, 2):
            server = stack.enter_context(serving(folder_for(stack, parent), accounts, processes=processes))
            running.append(Side(f"ours, {processes} process{'es' if processes > 1 else ''}", server, starttls=True))
        if with_peer:
            peer = stack.enter_context(postfix_dovecot.postfix_dovecot(folder_for(stack, parent)))
            # Between the two of ours: A-B-A, so that a busier minute does not hit one side alone.
            running.insert(1, Side("Postfix + Dovecot", peer, starttls=False))
        yield running


def folder_for(stack: ExitStack, parent: Path | None) -> Path:
    """A folder below ``parent`` that is removed with the stack."""
    made = tempfile.TemporaryDirectory(prefix="bench-", dir=parent, ignore_cleanup_errors=True)
    path = Path(stack.enter_context(made))
    # The peer's daemons drop root and have to pass.
    path.chmod(0o755)
    return path


def measure(
    side: Side, name: str, *, messages: int, reuse: bool, content: Path | None = None, sender: str = SENDER
) -> Run:
    """One run into the empty mailbox ``name``, of mails made up by smtp-source or all of the same ``content``.

    Raises Failed when a message is missing or there twice.
    """
    server = side.server
    # Logging in costs a password hash; it is not what is measured.
    with imap_session(server.imap_port, server.user(name), server.password, starttls=side.starttls) as imap:
        cpu, began = cpu_seconds(*server.roots), time.perf_counter()
        acknowledged = smtp_source(
            server.smtp_port,
            server.address(name),
            messages=messages,
            octets=OCTETS,
            content=content,
            sender=sender,
            sessions=SESSIONS,
            reuse=reuse,
        )
        if isinstance(server, Peer):
            until(lambda: server.count(name) >= messages, LIMIT_SECONDS, f"{side.name} delivers")
            delivered = time.perf_counter() - began
            # While a delivery holds the Maildir's lock, STATUS answers from the index as it was.
            until(lambda: messages_in_inbox(imap) >= messages, 10, f"{side.name} shows all mails", pause=0.1)
            found = messages_in_inbox(imap)
        else:
            found = messages_in_inbox(imap)
            delivered = time.perf_counter() - began
        spent = cpu_seconds(*server.roots) - cpu
    if found != messages:
        raise Failed(f"{side.name}: {messages} mails acknowledged, {found} in the mailbox")
    return Run(messages / acknowledged, messages / delivered, spent / messages * 1e3)


def results(running: list[Side], versions: str, skipped: str) -> list[Result]:
    """The final lines."""
    peer = next((side for side in running if isinstance(side.server, Peer)), None)
    lines = []
    for reuse, shape in SHAPES.items():
        for side in running:
            if side is peer:
                continue
            claim = f"delivery, 4 KB, {shape}; {side.name}"
            speed = f"{side.median(reuse, 'delivered'):.0f} mails/s"
            cpu = f"{side.median(reuse, 'cpu_ms'):.2f} ms"
            if peer is None:
                lines.append(Result(claim, speed, skipped, target=f">= {TARGET:g}"))
                lines.append(Result(f"CPU, {claim}", cpu))
                continue
            theirs = f"{peer.median(reuse, 'delivered'):.0f} mails/s"
            ratio = _ratio(side.runs[reuse], peer.runs[reuse], "delivered")
            note = f"delivery: {SESSIONS} sessions of smtp-source; the peer is {versions}"
            lines.append(Result(claim, speed, theirs, ratio, f">= {TARGET:g}", ratio >= TARGET, note))
            saved = _ratio(peer.runs[reuse], side.runs[reuse], "cpu_ms")
            lines.append(Result(f"CPU, {claim}", cpu, f"{peer.median(reuse, 'cpu_ms'):.2f} ms", saved))
    return lines


def _ratio(above: list[Run], below: list[Run], what: str) -> float:
    return median_ratio([getattr(run, what) for run in above], [getattr(run, what) for run in below])
