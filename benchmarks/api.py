"""The API: messages accepted a second over REST, GraphQL and in batches, beside SMTP submission in the same server.

Each message is answered when it is durable in the queue. The worker of the queue is off, so that nothing is sent
meanwhile. Twenty clients keep their connections; all sides send mails of 4 KB to another server's users.

    python -m benchmarks api
"""

from __future__ import annotations

import json
import os
import socket
import statistics
import subprocess
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field

from benchmarks import ours
from benchmarks.delivery import folder_for
from benchmarks.posting import Kind, Posting, post
from benchmarks.senders import CONNECTIONS, PASSWORD, REMOTE, USER
from benchmarks.submitting import Submission, submit
from benchmarks.support import Failed, Result, answers, cpu_seconds, free_port, machine, set_apart, until

MESSAGES = int(os.environ.get("BENCH_API_MESSAGES", "2000"))
BATCH = 500
ROUNDS = 3
#: The accepted rate in proportion to that of submission.
TARGETS: Mapping[Kind, float] = {"rest": 0.6, "graphql": 0.4, "batch": 1.5}
CLAIMS: Mapping[Kind, str] = {
    "rest": "API, POST /v1/send, 4 KB",
    "graphql": "API, GraphQL sendEmail, 4 KB",
    "batch": f"API, batches of {BATCH}, 4 KB each",
}
POLICY = "plugins:\n  recipients: {}\n  dkim: {}\n"


@dataclass(slots=True)
class Side:
    """The figures of one way in, one of each round. Latencies are in milliseconds, of a request."""

    rates: list[float] = field(default_factory=list)
    cpu_ms: list[float] = field(default_factory=list)
    median_ms: list[float] = field(default_factory=list)
    most_ms: list[float] = field(default_factory=list)

    def shown(self) -> str:
        text = f"{self.rates[-1]:6.0f}/s  CPU {self.cpu_ms[-1]:5.2f} ms/mail"
        return text + (f"  p50 {self.median_ms[-1]:.1f} ms, p99 {self.most_ms[-1]:.1f} ms" if self.median_ms else "")


def run() -> list[Result]:
    """Measures all ways in, round by round.

    Raises:
        Failed: a message was refused, or the server did not start.
    """
    print(f"  {machine()}")
    smtp, http = free_port(), free_port()
    extra = {"SMTP_SUBMISSION_PORT": str(smtp), "HTTP_PORT": str(http), "SMTP_OUTBOUND_QUEUE_ENABLED": "false"}
    keys: list[str] = []
    with ExitStack() as stack:
        parent = folder_for(stack, None)
        set_apart(parent)
        folder = folder_for(stack, parent)
        making = ours.serving(
            folder, ["ann"], policy=POLICY, extra=extra, prepare=lambda env: keys.append(made_key(env))
        )
        server = stack.enter_context(making)
        until(lambda: answers(smtp) and _listens(http), 60, "both ports answer")
        return measured(smtp, http, keys[0], lambda: cpu_seconds(*server.roots))


def measured(smtp: int, http: int, key: str, cpu: Callable[[], float]) -> list[Result]:
    """All rounds; the first one, which is not counted, warms up."""
    submission = Side()
    sides: dict[Kind, Side] = {kind: Side() for kind in TARGETS}
    for number in range(ROUNDS + 1):
        submission_of_round = _submission(smtp, number, cpu)
        sides_of_round = {kind: _api(http, key, kind, cpu) for kind in TARGETS}
        if not number:
            continue
        _add(submission, submission_of_round)
        print(f"  round {number}, {'submission':30} {submission.shown()}", flush=True)
        for kind, side in sides.items():
            _add(side, sides_of_round[kind])
            print(f"  round {number}, {kind:30} {side.shown()}", flush=True)
    return [_result(kind, side, submission) for kind, side in sides.items()]


def _submission(port: int, number: int, cpu: Callable[[], float]) -> Side:
    before: list[float] = []
    what = Submission(port, USER, PASSWORD, USER, REMOTE, MESSAGES, CONNECTIONS, number * MESSAGES)
    _, took = submit(what, lambda: before.append(cpu()))
    return Side([MESSAGES / took], [(cpu() - before[0]) / MESSAGES * 1e3])


def _api(port: int, key: str, kind: Kind, cpu: Callable[[], float]) -> Side:
    in_each = BATCH if kind == "batch" else 1
    before = cpu()
    # "A batch of 500 in one call": one client, one call after another.
    sessions = 1 if kind == "batch" else CONNECTIONS
    posted = post(Posting(port, key, kind, max(1, MESSAGES // in_each), in_each, sessions))
    count = max(1, MESSAGES // in_each) * in_each
    spent = (cpu() - before) / count * 1e3
    return Side([count / posted.seconds], [spent], [posted.median * 1e3], [posted.most * 1e3])


def _add(side: Side, of_round: Side) -> None:
    side.rates += of_round.rates
    side.cpu_ms += of_round.cpu_ms
    side.median_ms += of_round.median_ms
    side.most_ms += of_round.most_ms


def _result(kind: Kind, side: Side, submission: Side) -> Result:
    ratio = statistics.median(one / other for one, other in zip(side.rates, submission.rates, strict=True))
    return Result(
        CLAIMS[kind],
        f"{statistics.median(side.rates):.0f} mails/s, p50 {statistics.median(side.median_ms):.1f} ms, "
        f"p99 {statistics.median(side.most_ms):.1f} ms, CPU {statistics.median(side.cpu_ms):.2f} ms",
        f"submission: {statistics.median(submission.rates):.0f} mails/s, {statistics.median(submission.cpu_ms):.2f} ms",
        ratio,
        f">= {TARGETS[kind]:g}",
        ratio >= TARGETS[kind],
    )


def made_key(env: Mapping[str, str]) -> str:
    """A new API key of the tenant. Raises Failed."""
    command = [*ours.COMMAND, "apikey", "create", "--tenant", ours.TENANT, "--name", "benchmark", "--json"]
    done = subprocess.run(
        command, env=env, capture_output=True, text=True, timeout=120, check=False, cwd=env["INBOX_POLICY_DIR"]
    )
    if done.returncode:
        raise Failed(f"inbox apikey create: {done.stderr.strip()[-300:]}")
    return str(json.loads(done.stdout)["key"])


def _listens(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), 1):
            return True
    except OSError:
        return False
