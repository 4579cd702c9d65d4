"""SELECT and FETCH of a mailbox with 50,000 messages: ours beside Dovecot, both over TLS with the same certificate.

Both mailboxes hold the same mails, ours delivered over SMTP, Dovecot's written into its Maildir. Both are warm.

    python -m benchmarks imap
"""

from __future__ import annotations

import contextlib
import os
import pwd
import socket
import ssl
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

from benchmarks.clients import imap_session, messages_in_inbox, smtp_source
from benchmarks.ours import Ours, serving
from benchmarks.postfix_dovecot import Peer, dovecot, dovecot_version
from benchmarks.support import Failed, Result, machine, program

MESSAGES = 50_000
OCTETS = 512
ROUNDS = 5
#: Not measured. The first fills Dovecot's index and cache; it also reads a Maildir that changed a moment ago again and
#: again (some 300 ms instead of 1 ms) until the folder's time of change lies a few seconds behind its last look.
WARM_ROUNDS = 4
SETTLE_SECONDS = 1.0
USER = "large"
SELECT = "SELECT INBOX"
#: Commands that clients send when they open a mailbox.
COMMANDS = (
    SELECT,
    "FETCH 1:* (FLAGS)",
    "FETCH 1:* (UID FLAGS)",
    "FETCH 1:* (UID FLAGS RFC822.SIZE ENVELOPE)",
    "FETCH 1:* (UID BODY.PEEK[HEADER.FIELDS (From Subject Date)])",
)


class RawImap:
    """An IMAP client that parses nothing, so that Python's imaplib is not part of the measurement."""

    def __init__(self, port: int, user: str, password: str) -> None:
        context = ssl.create_default_context()
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        plain = socket.create_connection(("127.0.0.1", port), timeout=120)
        self._socket = context.wrap_socket(plain)
        self._socket.recv(4096)
        self.command(f'LOGIN "{user}" "{password}"')

    def command(self, text: str) -> bytes:
        """Sends a command and returns the whole response. Raises Failed unless it ends with OK."""
        self._socket.sendall(f"A1 {text}\r\n".encode())
        verb = text.partition(" ")[0]
        received = bytearray()
        while part := self._socket.recv(1 << 18):
            received += part
            # The tagged line is the last one, and short.
            last = received[-512:-2].rpartition(b"\n")[2]
            if received.endswith(b"\r\n") and last.startswith(b"A1 "):
                if not last.startswith(b"A1 OK"):
                    raise Failed(f"{verb}: {last.decode(errors='replace')}")
                return bytes(received)
        raise Failed(f"{verb}: the connection ended")

    def close(self) -> None:
        self._socket.close()


def run() -> list[Result]:
    """Each command in turn on both sides. Raises Skipped without Dovecot or smtp-source, Failed on a wrong answer."""
    version = dovecot_version()
    program("smtp-source", "postfix")
    print(f"  {machine()}")
    with ExitStack() as stack:
        folders = [
            Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True)))
            for _ in range(2)
        ]
        folders[1].chmod(0o755)
        ours = stack.enter_context(serving(folders[0], [USER]))
        sample = fill_ours(ours)
        peer = stack.enter_context(dovecot(folders[1], ours.certificate()))
        fill_peer(peer, sample)
        servers: tuple[Ours | Peer, ...] = (ours, peer)
        times: dict[str, tuple[list[float], list[float]]] = {command: ([], []) for command in COMMANDS}
        for _ in range(WARM_ROUNDS):
            for server in servers:
                measured(server)
            time.sleep(SETTLE_SECONDS)
        for _ in range(ROUNDS):
            for index, server in enumerate(servers):
                for command, seconds in measured(server).items():
                    times[command][index].append(seconds)
        for command, both in times.items():
            ours_ms, peer_ms = (" ".join(f"{seconds * 1e3:.1f}" for seconds in each) for each in both)
            print(f"  {command}: ours {ours_ms} ms; Dovecot {peer_ms} ms")
    lines = []
    for command, both in times.items():
        mine, theirs = (statistics.median(each) * 1e3 for each in both)
        claim = f"IMAP, {MESSAGES:,} messages: {command}"
        lines.append(Result(claim, f"{mine:.1f} ms", f"{version}: {theirs:.1f} ms", theirs / mine))
    return lines


def measured(server: Ours | Peer) -> dict[str, float]:
    """Seconds of each command in a fresh session."""
    found = {}
    with raw(server) as session:
        for command in COMMANDS:
            began = time.perf_counter()
            answer = session.command(command)
            found[command] = time.perf_counter() - began
            lines = answer.count(b" FETCH (")
            right = b"* %d EXISTS" % MESSAGES in answer if command == SELECT else lines == MESSAGES
            if not right:
                raise Failed(f"{command}: {lines} FETCH lines, {answer[:200]!r}")
    return found


@contextlib.contextmanager
def raw(server: Ours | Peer) -> Iterator[RawImap]:
    """A session that is logged in."""
    session = RawImap(server.imaps_port, server.user(USER), server.password)
    try:
        yield session
    finally:
        session.close()


def fill_ours(server: Ours) -> bytes:
    """Delivers all messages over SMTP; returns one of them as it is in the mailbox."""
    began = time.monotonic()
    smtp_source(server.smtp_port, server.address(USER), messages=MESSAGES, octets=OCTETS, sessions=50, reuse=True)
    print(f"  {MESSAGES:,} messages delivered in {time.monotonic() - began:.0f} s", flush=True)
    with imap_session(server.imap_port, server.user(USER), server.password, starttls=True) as imap:
        if (found := messages_in_inbox(imap)) != MESSAGES:
            raise Failed(f"{MESSAGES} mails acknowledged, {found} in the mailbox")
        imap.select("INBOX", readonly=True)
        _, data = imap.fetch("1", "(BODY.PEEK[])")
        if not data or not isinstance(data[0], tuple):
            raise Failed(f"FETCH 1 BODY.PEEK[]: {data!r}")
        return bytes(data[0][1])


def fill_peer(peer: Peer, sample: bytes) -> None:
    """Writes as many copies into the Maildir, each with a Message-ID of its own."""
    account = pwd.getpwnam("mail")
    folder = peer.mail / USER
    for path in (folder, *(folder / name for name in ("new", "cur", "tmp"))):
        path.mkdir()
        os.chown(path, account.pw_uid, account.pw_gid)
    head, _, rest = sample.partition(b"\r\n\r\n")
    fields = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"message-id:")]
    for number in range(MESSAGES):
        made = b"\r\n".join([*fields, b"Message-ID: <%d@client.test>" % number, b"", rest])
        path = folder / "cur" / f"{1_700_000_000 + number}.M{number}P1.client,S={len(made)}:2,"
        path.write_bytes(made)
        os.chown(path, account.pw_uid, account.pw_gid)
