"""Effects of hostile clients on others: floods of empty lines, slow clients in every slot, refusals that fill the disk.

Every peer runs in a process of its own and is bounded by the time of its part. All addresses are loopback: 127.x.y.z
sources stand for networks.

    python -m benchmarks flood
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import selectors
import smtplib
import socket
import ssl
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks.ours import Ours, serving
from benchmarks.support import Failed, Result

FLOOD_SECONDS = 10.0
LINES = b"\r\n" * 20_000
TEXT = b"\r\n.\r" * 9999
TRANSACTIONS = 60
OTHER_TRANSACTIONS = 30
SLOW_CLIENTS = 500
SLOW_NETWORKS = 10
SLOW_BYTE_SECONDS = 5.0
PROBES = 100
PROBE_SECONDS = 0.2
BANNER_SECONDS = 2.0
REFUSALS = 10_000
MB = 1e6
MESSAGE = b"Subject: flood\r\n\r\nHello.\r\n"
#: Refuses every connection but the first of a window, so that each one is a decision.
REFUSING = "plugins:\n  recipients: {}\n  rate_limit: {enabled: true}\n"


def run() -> list[Result]:
    """The figures of all parts."""
    results: list[Result] = []
    with tempfile.TemporaryDirectory(prefix="inbox-flood-") as folder:
        for number, (name, policy, part) in enumerate(
            (
                ("flood", "", _floods),
                ("others", "", _other_floods),
                ("slow", "", _slow_clients),
                ("refusals", REFUSING, _refusals),
            )
        ):
            here = Path(folder) / f"{number}-{name}"
            here.mkdir()
            options = {"policy": policy} if policy else {}
            extra = {"SMTP_RATE_LIMIT_ENABLED": "true", "SMTP_RATE_LIMIT_TRANSFER_CONNECTIONS_PER_WINDOW": "1"}
            with serving(here, ["ann"], extra=extra if policy else None, **options) as ours:  # type: ignore[arg-type]
                results += part(ours)
    return results


# -- a flood of empty lines over IMAP, and transactions of another client


def _floods(ours: Ours) -> list[Result]:
    results = []
    for connections in (0, 1, 4):
        peers = [lambda stop: _empty_lines(ours.imap_port, stop)] * connections
        with _running(peers):
            times = sorted(_transactions(ours))
        median, worst = statistics.median(times) * 1e3, times[-1] * 1e3
        claim = f"SMTP transaction while {connections} IMAP connections send empty lines"
        target = "median < 100 ms, max < 500 ms"
        met = median < 100 and worst < 500
        results.append(Result(claim, f"median {median:.0f} ms, max {worst:.0f} ms", target=target, met=met))
    return results


def _empty_lines(port: int, stop: Callable[[], bool]) -> None:
    """Sends empty lines as fast as the server reads them, and reconnects whenever the server disconnects it."""
    _sending(port, b"", LINES, stop)


def _sending(port: int, first: bytes, again: bytes, stop: Callable[[], bool]) -> None:
    """Sends ``first``, then ``again`` for ever, and reconnects whenever the server disconnects it."""
    while not stop():
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 5) as peer:
            reader = threading.Thread(target=_read_all, args=(peer,), daemon=True)
            reader.start()
            peer.sendall(first)
            while not stop():
                peer.sendall(again)


# -- other floods: each is something that a peer can repeat without a pause


def _other_floods(ours: Ours) -> list[Result]:
    envelope = f"EHLO x.test\r\nMAIL FROM:<a@x.test>\r\nRCPT TO:<{ours.address('ann')}>\r\n".encode()
    smtp, imap = ours.smtp_port, ours.imap_port
    login = f"a LOGIN {ours.address('ann')} wrong\r\n".encode()
    floods: dict[str, Callable[[Callable[[], bool]], None]] = {
        "SMTP NOOP": lambda stop: _sending(smtp, b"EHLO x.test\r\n", b"NOOP\r\n" * 5000, stop),
        "SMTP RSET": lambda stop: _sending(smtp, b"EHLO x.test\r\n", b"RSET\r\n" * 5000, stop),
        "SMTP unknown recipients": lambda stop: _sending(
            smtp, b"EHLO x.test\r\nMAIL FROM:<>\r\n", f"RCPT TO:<{ours.address('nobody')}>\r\n".encode() * 1000, stop
        ),
        "SMTP BDAT 0": lambda stop: _sending(smtp, envelope, b"BDAT 0\r\n" * 5000, stop),
        "SMTP text without end": lambda stop: _sending(
            smtp, envelope + b"DATA\r\n", b"x" * 70 + b"\r\n.\r" * 9999, stop
        ),
        "IMAP commands before login": lambda stop: _sending(imap, b"", b"a CAPABILITY\r\n" * 5000, stop),
        "IMAP literals": lambda stop: _sending(imap, b"a LOGIN ", b"{0+}\r\n" * 5000, stop),
        "IMAP login in the clear": lambda stop: _sending(imap, b"", login * 500, stop),
        "SMTP connections": lambda stop: _connecting(smtp, stop),
        "IMAP connections": lambda stop: _connecting(imap, stop),
        "TLS handshakes": lambda stop: _shaking_hands(ours.imaps_port, stop),
    }
    results = []
    for name, flood in floods.items():
        with _running([flood] * 4):
            times = sorted(_transactions(ours, OTHER_TRANSACTIONS))
        median, worst = statistics.median(times) * 1e3, times[-1] * 1e3
        results.append(
            Result(f"SMTP transaction beside four floods: {name}", f"median {median:.0f} ms, max {worst:.0f} ms")
        )
    return results


def _connecting(port: int, stop: Callable[[], bool]) -> None:
    """Opens and closes connections."""
    while not stop():
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 5):
            pass


def _shaking_hands(port: int, stop: Callable[[], bool]) -> None:
    """Opens TLS connections, and drops each after its handshake."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    while not stop():
        with (
            contextlib.suppress(OSError),
            socket.create_connection(("127.0.0.1", port), 5) as peer,
            context.wrap_socket(peer),
        ):
            pass


def _read_all(peer: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while peer.recv(1 << 16):
            pass


def _transactions(ours: Ours, most: int = TRANSACTIONS) -> Iterator[float]:
    """Seconds of each whole transaction of a client in another network, from the connection to QUIT."""
    until = time.monotonic() + FLOOD_SECONDS
    done = 0
    while done < most and time.monotonic() < until:
        began = time.perf_counter()
        with smtplib.SMTP("127.0.0.1", ours.smtp_port, timeout=60, source_address=("127.99.1.1", 0)) as client:
            client.sendmail("bob@elsewhere.test", [ours.address("ann")], MESSAGE)
        yield time.perf_counter() - began
        done += 1
        time.sleep(0.05)


# -- slow clients in every slot


def _slow_clients(ours: Ours) -> list[Result]:
    with _running([lambda stop: _slow(ours.smtp_port, stop)]):
        time.sleep(SLOW_BYTE_SECONDS)
        greeted = sum(_banner(ours.smtp_port, f"127.99.1.{number + 1}") for number in range(PROBES))
    claim = f"banners for {PROBES} probes beside {SLOW_CLIENTS} slow clients of {SLOW_NETWORKS} networks"
    return [Result(claim, f"{greeted}", target=">= 99", met=greeted >= 99)]


def _slow(port: int, stop: Callable[[], bool]) -> None:
    """Keeps ``SLOW_CLIENTS`` connections, each with an octet from time to time; a closed one is replaced."""
    selector = selectors.DefaultSelector()

    def connect(number: int) -> None:
        source = f"127.{10 + number % SLOW_NETWORKS}.1.{1 + number // SLOW_NETWORKS}"
        peer = socket.socket()
        peer.bind((source, 0))
        peer.setblocking(False)
        peer.connect_ex(("127.0.0.1", port))
        selector.register(peer, selectors.EVENT_READ, number)

    for number in range(SLOW_CLIENTS):
        connect(number)
    due = time.monotonic()
    while not stop():
        again = []
        for key, _ in selector.select(0.2):
            peer: socket.socket = key.fileobj  # type: ignore[assignment]
            try:
                closed = not peer.recv(4096)
            except OSError:
                closed = True
            if closed:
                selector.unregister(peer)
                peer.close()
                again.append(key.data)
        for number in again:
            connect(number)
        if time.monotonic() >= due:
            due += SLOW_BYTE_SECONDS
            for key in list(selector.get_map().values()):
                with contextlib.suppress(OSError):
                    key.fileobj.send(b"N")  # type: ignore[union-attr]


def _banner(port: int, source: str) -> bool:
    """Whether a client of that address is greeted in time."""
    time.sleep(PROBE_SECONDS)
    try:
        with socket.create_connection(("127.0.0.1", port), BANNER_SECONDS, source_address=(source, 0)) as peer:
            return peer.recv(100).startswith(b"220")
    except OSError:
        return False


# -- refusals, and what they write


def _refusals(ours: Ours) -> list[Result]:
    _refused(ours.smtp_port)
    before = _octets(ours.folder)
    began = time.monotonic()
    for _ in range(REFUSALS):
        _refused(ours.smtp_port)
    took = time.monotonic() - began
    time.sleep(1)
    grown = (_octets(ours.folder) - before) / MB
    claim = f"disk after {REFUSALS} refused connections"
    return [Result(claim, f"{grown:.2f} MB in {took:.0f} s", target="< 1 MB", met=grown < 1)]


def _refused(port: int) -> None:
    with socket.create_connection(("127.0.0.1", port), 10) as peer:
        if not peer.recv(200):
            raise Failed("a connection was closed without a reply")


def _octets(folder: Path) -> int:
    """Octets that the files of the database and the log take on the disk."""
    return sum(path.stat().st_blocks * 512 for path in folder.rglob("*") if path.is_file())


# -- processes


@contextlib.contextmanager
def _running(peers: list[Callable[[Callable[[], bool]], None]]) -> Iterator[None]:
    """Runs each peer in a process of its own until the block ends."""
    context = multiprocessing.get_context("fork")
    stopping = context.Event()
    processes = [context.Process(target=_peer, args=(peer, stopping.is_set), daemon=True) for peer in peers]
    for process in processes:
        process.start()
    try:
        yield
    finally:
        stopping.set()
        for process in processes:
            process.join(5)
            if process.is_alive():
                process.kill()
                process.join()


def _peer(peer: Callable[[Callable[[], bool]], None], stop: Callable[[], bool]) -> None:
    peer(stop)
    os._exit(0)
