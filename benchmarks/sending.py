"""Sending: submission, DKIM RSA-2048, a durable queue, delivery to a sink; Postfix, Haraka and Exim beside it.

Twenty users' programs log in over STARTTLS, keep their connections, and submit mails of 4 KB. A run is timed from the
first MAIL until the sink has everything. Each run has a new installation, so that no backlog of one run weighs on the
next; before it is measured, it sends mails to warm up, and their signatures are verified. The shapes: smtp-sink takes
everything; every tenth recipient is refused with 450, and the run ends when all others are delivered and each of those
was tried; the sink answers the final dot after 50 ms (one round, fewer mails). Peers that are far from the fastest one
are measured once. For ours alone: the rate at which a backlog is delivered.

    python -m benchmarks sending
"""

from __future__ import annotations

import base64
import datetime
import os
import statistics
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import dkim
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import NameOID

from benchmarks import ours
from benchmarks.delivery import folder_for
from benchmarks.mtas import smtp_sink
from benchmarks.senders import CONNECTIONS, DOMAIN, PASSWORD, PEERS, REMOTE, SELECTOR, SIGNED, USER, Keys, Sender
from benchmarks.sink import Sink, sink
from benchmarks.submitting import LATER_EVERY, LIMIT_SECONDS, OCTETS, Submission, submit
from benchmarks.support import (
    Failed,
    Result,
    Skipped,
    answers,
    cpu_seconds,
    has_ended,
    machine,
    median_ratio,
    program,
    set_apart,
    until,
)
from tests.support.ports import free_port

#: More messages take longer in proportion; fewer favour peers that have nothing to warm up.
MESSAGES = int(os.environ.get("BENCH_SENDING_MESSAGES", "5000"))
#: The messages of the shape whose sink is slow, and that has no target.
SLOW_MESSAGES = min(MESSAGES, 1000)
BACKLOGS = (5000, int(os.environ.get("BENCH_SENDING_BACKLOG", "20000")))
WARM = 200
ROUNDS = 3
TARGET = 2.0
#: A peer with less than this part of the fastest peer's rate in the first round is not measured again.
NEAR = 0.75
#: The rate from the large backlog to that from the small one.
STEADY = 0.9
SHAPES = {"plain": "4 KB", "later": "4 KB, 10 % answered with 450", "slow": "4 KB, the sink answers after 50 ms"}
TARGETS = {"plain": TARGET, "later": TARGET, "slow": None}
SLOW_SECONDS = 0.05

POLICY = """\
plugins:
  recipients: {{}}
  dkim: {{}}
outbound:
  connections: {connections}
  messages_per_connection: 1000
  tls: opportunistic
  smarthost: {{host: 127.0.0.1, port: {sink}}}
"""


@dataclass(frozen=True, slots=True)
class Run:
    """One measured run: messages a second until the last 250, and until the sink had all; CPU time of the side."""

    accepted: float
    sent: float
    cpu_ms: float


@dataclass(slots=True)
class Side:
    """A measured program: how to run it with an empty queue, and its runs by shape."""

    name: str
    started: Callable[[Path, Keys, int], AbstractContextManager[Sender]]
    is_ours: bool
    runs: dict[str, list[Run]] = field(default_factory=lambda: {shape: [] for shape in SHAPES})

    def median(self, shape: str, what: str) -> float:
        return float(statistics.median(getattr(run, what) for run in self.runs[shape]))


def run() -> list[Result]:
    """Each side in turn, round by round; returns the ratios to the fastest peer, and the rates of the backlogs.

    Raises:
        Skipped: smtp-sink is not installed.
        Failed: a side lost or refused a message, did not sign it, or did not start.
    """
    program("smtp-sink", "postfix")
    print(f"  {machine()}")
    sides, notes = available()
    with ExitStack() as stack:
        parent = folder_for(stack, None)
        set_apart(parent)
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        keys = made_keys(parent, key)
        for number in range(ROUNDS):
            for shape, text in SHAPES.items():
                for side in sides:
                    if number and not contends(side, sides, shape):
                        continue
                    made = measure(side, shape, parent, keys, key)
                    side.runs[shape].append(made)
                    print(f"  round {number + 1}, {text:38} {side.name:22} {shown(made)}", flush=True)
        lines = results(sides, notes)
        rates = {size: delivered_backlog(size, parent, keys) for size in BACKLOGS}
    return [*lines, steadiness(rates)]


def contends(side: Side, sides: list[Side], shape: str) -> bool:
    """Whether a side is measured again after the first round: not a peer that is far from the fastest one, and not in a
    shape without a target."""
    if TARGETS[shape] is None:
        return False
    if side.is_ours:
        return True
    fastest = max(each.runs[shape][0].sent for each in sides if not each.is_ours)
    return side.runs[shape][0].sent >= NEAR * fastest


def available() -> tuple[list[Side], list[str]]:
    """Ours, the peers that are installed, and a note of each."""
    sides = [Side("ours, 1 process", _ours(1), is_ours=True)]
    notes = []
    for name, (versions, started) in PEERS.items():
        try:
            notes.append(versions())
        except Skipped as reason:
            notes.append(f"{name} skipped: {reason}")
            continue
        finally:
            print(f"  peer: {notes[-1] if notes else name}", flush=True)
        sides.append(Side(name, started, is_ours=False))
    # Not beside each other, so that a busier minute does not hit one side alone.
    sides.insert(2, Side("ours, 2 processes", _ours(2), is_ours=True))
    return sides, notes


def shown(made: Run) -> str:
    return f"accepted {made.accepted:6.0f}/s  sent {made.sent:6.0f}/s  CPU {made.cpu_ms:6.2f} ms/mail"


# -- ours -------------------------------------------------------------------------------------------------------------


def _ours(processes: int) -> Callable[[Path, Keys, int], AbstractContextManager[Sender]]:
    @contextmanager
    def started(folder: Path, keys: Keys, port_of_sink: int) -> Iterator[Sender]:
        port = free_port()
        policy = POLICY.format(connections=CONNECTIONS, sink=port_of_sink)
        extra = settings(keys, port)
        with ours.serving(folder, ["ann"], processes=processes, policy=policy, extra=extra) as server:
            until(lambda: answers(port), 60, "the submission port answers")
            yield Sender(port, server.roots)

    return started


def settings(keys: Keys, port: int) -> dict[str, str]:
    """The environment of our side: the submission port, and the key that signs."""
    pem = keys.dkim.read_text().splitlines()
    assert pem[0] == "-----BEGIN PRIVATE KEY-----"
    return {
        "SMTP_SUBMISSION_PORT": str(port),
        "SMTP_OUTBOUND_TLS_MODE": "opportunistic",
        "SMTP_DKIM_DOMAIN": DOMAIN,
        "SMTP_DKIM_SELECTOR": SELECTOR,
        "SMTP_DKIM_HEADERS": ",".join(SIGNED),
        "SMTP_DKIM_PRIVATE_KEY_B64_PKCS8": "".join(pem[1:-1]),
    }


# -- one run ----------------------------------------------------------------------------------------------------------


def measure(side: Side, shape: str, parent: Path, keys: Keys, key: rsa.RSAPrivateKey) -> Run:
    """One run of a new installation.

    Raises:
        Failed: a message did not arrive, or is not signed.
    """
    with ExitStack() as stack:
        folder = folder_for(stack, parent)
        (folder / "side").mkdir(mode=0o755)
        port = free_port()
        server = stack.enter_context(side.started(folder / "side", keys, port))
        with sink(folder / "warm", port) as warming:
            submit(submission(server, WARM))
            until(lambda: warming.counts()[0] >= WARM, 120, f"{side.name} sends {WARM} mails to warm up")
            verify(side.name, warming, key)
        return _timed(side, shape, folder, port, server)


def _timed(side: Side, shape: str, folder: Path, port: int, server: Sender) -> Run:
    messages = SLOW_MESSAGES if shape == "slow" else MESSAGES
    later = messages // LATER_EVERY
    with ExitStack() as stack:
        if shape == "plain":
            pid = stack.enter_context(smtp_sink(port, "-M", str(messages))).root

            def done() -> bool:
                return has_ended(pid)
        else:
            taking = stack.enter_context(
                sink(folder / "sink", port, refuses=shape == "later", delay=SLOW_SECONDS if shape == "slow" else 0)
            )
            wanted = (messages - later, later) if shape == "later" else (messages, 0)

            def done() -> bool:
                return all(count >= least for count, least in zip(taking.counts(), wanted, strict=True))

        before: list[float] = []
        with ThreadPoolExecutor(1) as beside:
            client = beside.submit(
                submit, submission(server, messages, first=WARM), lambda: before.append(cpu_seconds(*server.roots))
            )
            until(lambda: _failed(client) or done(), LIMIT_SECONDS, f"{side.name} delivers {messages} mails", 0.005)
            ended = time.perf_counter()
            began, took = client.result()
        spent = cpu_seconds(*server.roots) - before[0]
    sent = ended - began
    return Run(messages / took, messages / sent, spent / messages * 1e3)


def _failed(client: Future[tuple[float, float]]) -> bool:
    return client.done() and client.exception() is not None


def submission(server: Sender, messages: int, first: int = 0) -> Submission:
    return Submission(server.port, USER, PASSWORD, USER, REMOTE, messages, CONNECTIONS, first)


def verify(name: str, taking: Sink, key: rsa.RSAPrivateKey) -> None:
    """Raises Failed unless each of the sink's first messages has a valid signature over the fields of SIGNED."""
    public = base64.b64encode(key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    record = b"v=DKIM1; k=rsa; p=" + public
    found = taking.sample()
    if not found:
        raise Failed(f"{name}: the sink kept no message")
    for mail in found:
        checked = dkim.DKIM(mail)
        if not checked.verify(dnsfunc=lambda *_args, **_named: record):
            raise Failed(f"{name}: a message has no valid signature: {mail[:600]!r}")
        missing = {each.lower().encode() for each in SIGNED} - set(checked.include_headers)
        if missing:
            raise Failed(f"{name} does not sign {missing}")


def made_keys(folder: Path, key: rsa.RSAPrivateKey) -> Keys:
    """Writes the DKIM key, and a certificate of its own key for the submission ports."""
    tls = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"mx.{DOMAIN}")])
    now = datetime.datetime.now(datetime.UTC)
    builder = x509.CertificateBuilder(name, name, tls.public_key(), x509.random_serial_number())
    dated = builder.not_valid_before(now - datetime.timedelta(1)).not_valid_after(now + datetime.timedelta(7))
    made = Keys(folder / "dkim.pem", folder / "certificate.pem", folder / "tls.pem")
    made.certificate.write_bytes(dated.sign(tls, hashes.SHA256()).public_bytes(Encoding.PEM))
    for path, each in ((made.dkim, key), (made.tls_key, tls)):
        path.write_bytes(each.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return made


# -- backlogs ---------------------------------------------------------------------------------------------------------


def delivered_backlog(size: int, parent: Path, keys: Keys) -> float:
    """The rate at which the first mails of a backlog are delivered, in one process.

    Mail is submitted to a server that does not work on its queue; the measured one is started over the same data.
    """
    with ExitStack() as stack:
        folder = folder_for(stack, parent)
        port, port_of_sink = free_port(), free_port()
        policy = POLICY.format(connections=CONNECTIONS, sink=port_of_sink)
        extra = settings(keys, port)
        idle = {**extra, "SMTP_OUTBOUND_QUEUE_ENABLED": "false"}
        with ours.serving(folder, ["ann"], policy=policy, extra=idle) as server:
            until(lambda: answers(port), 60, "the submission port answers")
            for first in range(0, size, MESSAGES):
                submit(submission(Sender(port, server.roots), min(MESSAGES, size - first), first))
        ports = {name: free_port() for name in ("smtp", "imap", "imaps")}
        env: Mapping[str, str] = {**ours.environment(folder, ports), **extra}
        measured = min(size, BACKLOGS[0]) * 9 // 10
        taking = stack.enter_context(sink(folder / "sink", port_of_sink))
        stack.enter_context(ours.started(folder, env, ports, 1))
        began, before = time.perf_counter(), taking.counts()[0]
        until(lambda: taking.counts()[0] >= measured, LIMIT_SECONDS, f"{measured} of {size} mails are sent", 0.005)
        rate = (taking.counts()[0] - before) / (time.perf_counter() - began)
    print(f"  backlog of {size:6}: {rate:6.0f} mails/s", flush=True)
    return rate


def steadiness(rates: Mapping[int, float]) -> Result:
    """The final line about the backlogs."""
    small, large = BACKLOGS
    ratio = rates[large] / rates[small]
    return Result(
        f"sending from a backlog of {large}",
        f"{rates[large]:.0f} mails/s",
        f"ours, from {small}: {rates[small]:.0f} mails/s",
        ratio,
        f">= {STEADY:g}",
        ratio >= STEADY,
    )


# -- figures ----------------------------------------------------------------------------------------------------------


def results(sides: list[Side], notes: list[str]) -> list[Result]:
    """The final lines: ours beside the peer that is fastest in this shape."""
    note = f"sending: {CONNECTIONS} sessions, {MESSAGES} mails of {OCTETS} octets; peers: {'; '.join(notes)}"
    peers = [side for side in sides if not side.is_ours]
    lines: list[Result] = []
    for shape, text in SHAPES.items():
        rounds = max((len(each.runs[shape]) for each in peers), default=0)
        contenders = [each for each in peers if len(each.runs[shape]) == rounds]
        peer = max(contenders, key=lambda each: each.median(shape, "sent"), default=None)
        for side in sides:
            if side.is_ours:
                lines += _lines(side, peer, shape, f"sending, {text}; {side.name}", note)
    return lines


def _lines(side: Side, peer: Side | None, shape: str, claim: str, note: str) -> Iterator[Result]:
    speed, cpu = f"{side.median(shape, 'sent'):.0f} mails/s", f"{side.median(shape, 'cpu_ms'):.2f} ms"
    least = TARGETS[shape]
    target = "" if least is None else f">= {least:g}"
    if peer is None:
        yield Result(claim, speed, "no peer is installed", target=target, note=note)
        yield Result(f"CPU, {claim}", cpu)
        return
    ratio = _ratio(side.runs[shape], peer.runs[shape], "sent")
    theirs = f"{peer.name}: {peer.median(shape, 'sent'):.0f} mails/s"
    yield Result(claim, speed, theirs, ratio, target, None if least is None else ratio >= least, note)
    saved = _ratio(peer.runs[shape], side.runs[shape], "cpu_ms")
    yield Result(f"CPU, {claim}", cpu, f"{peer.name}: {peer.median(shape, 'cpu_ms'):.2f} ms", saved)


def _ratio(above: list[Run], below: list[Run], what: str) -> float:
    return median_ratio([getattr(run, what) for run in above], [getattr(run, what) for run in below])
