"""Memory of the server while a mail of 25 MB streams in, compared with its idle memory.

Anonymous memory and RSS are sampled from /proc/PID/smaps_rollup (proc(5)) every few milliseconds until the 250; the
kernel's own high-water mark of RSS, reset before each mail, catches what falls between two samples. RSS counts pages
of mapped files, too, which the kernel may take back at any time. The message must be in the mailbox afterwards.

    python -m benchmarks memory
"""

from __future__ import annotations

import base64
import imaplib
import os
import socket
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from benchmarks.clients import imap_session, messages_in_inbox
from benchmarks.ours import Ours, serving
from benchmarks.support import Failed, Result

OCTETS = 25_000_000
LIMIT_MB = 16.0
AT_ONCE = 20
SAMPLE_SECONDS = 0.005
CHUNK = 1 << 16
MB = 1e6
PAUSE_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Memory:
    """Octets, of one moment or the highest of several."""

    rss: int
    anonymous: int

    def rise(self, idle: Memory) -> str:
        """``+1.2 MB anonymous, +3.4 MB RSS`` above ``idle``."""
        return f"+{(self.anonymous - idle.anonymous) / MB:.1f} MB anonymous, +{(self.rss - idle.rss) / MB:.1f} MB RSS"


class Sampler:
    """Samples the memory of a process inside a ``with`` block; ``peak`` is the maximum."""

    def __init__(self, pid: int) -> None:
        self._pid = pid
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self.peak = self.idle = memory(pid)
        self.samples = 0

    def __enter__(self) -> Sampler:
        # 5: set the high-water mark of RSS to what it is now.
        Path(f"/proc/{self._pid}/clear_refs").write_text("5")
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        self.peak = Memory(max(self.peak.rss, high_water(self._pid)), self.peak.anonymous)

    def _watch(self) -> None:
        while not self._stop.wait(SAMPLE_SECONDS):
            now = memory(self._pid)
            self.peak = Memory(max(self.peak.rss, now.rss), max(self.peak.anonymous, now.anonymous))
            self.samples += 1


def memory(pid: int) -> Memory:
    """The memory of the process."""
    fields = {}
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()[1:]:
        name, _, value = line.partition(":")
        fields[name] = int(value.split()[0]) * 1024
    return Memory(fields["Rss"], fields["Anonymous"])


def high_water(pid: int) -> int:
    """The highest RSS since the mark was reset, in octets."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    raise Failed("this kernel has no VmHWM")


def chunks(octets: int) -> Iterator[bytes]:
    """A mail of about ``octets`` octets with one base64 attachment; lines of 76 letters, never a dot in front."""
    yield (
        b"From: <sender@client.test>\r\nTo: <large@ours.test>\r\nSubject: The plan\r\nMIME-Version: 1.0\r\n"
        b'Content-Type: multipart/mixed; boundary="=_memory"\r\n\r\n'
        b"--=_memory\r\nContent-Type: text/plain\r\n\r\nSee the file.\r\n"
        b"--=_memory\r\nContent-Type: application/pdf; name=plan.pdf\r\nContent-Transfer-Encoding: base64\r\n"
        b"Content-Disposition: attachment; filename=plan.pdf\r\n\r\n"
    )
    block = base64.encodebytes(os.urandom(57 * (CHUNK // 78))).replace(b"\n", b"\r\n")
    for _ in range(octets // len(block)):
        yield block
    yield b"--=_memory--\r\n"


def send(port: int, recipient: str, octets: int) -> int:
    """Sends one mail; returns its octets. Raises Failed when it is not accepted."""
    sent = 0
    with socket.create_connection(("127.0.0.1", port), timeout=120) as peer, peer.makefile("rb") as replies:

        def expect(code: bytes, command: bytes = b"") -> None:
            if command:
                peer.sendall(command + b"\r\n")
            while (line := replies.readline())[3:4] == b"-":
                pass
            if not line.startswith(code):
                raise Failed(f"{command.decode() or 'the mail'} was answered {line.decode(errors='replace').strip()}")

        expect(b"220")
        expect(b"250", b"EHLO client.test")
        expect(b"250", b"MAIL FROM:<sender@client.test>")
        expect(b"250", b"RCPT TO:<" + recipient.encode() + b">")
        expect(b"354", b"DATA")
        for chunk in chunks(octets):
            peer.sendall(chunk)
            sent += len(chunk)
        peer.sendall(b".\r\n")
        expect(b"250")
        expect(b"221", b"QUIT")
    return sent


def run() -> list[Result]:
    """One mail, judged by the limit; then 20 at once, for information. Raises Failed when a mail does not arrive."""
    with ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True))
        server = stack.enter_context(serving(Path(folder), ["small", "large", "many"]))
        pid = server.roots[0]
        started = memory(pid)
        # Modules that are imported at the first mail, and the pages of the first login, are not what a mail costs.
        send(server.smtp_port, server.address("small"), 4096)
        check(server, "small", 1, 1)
        print(f"  at start RSS {started.rss / MB:.0f} MB, after a small mail {memory(pid).rss / MB:.0f} MB")
        one = sampled(server, "large", 1)
        many = sampled(server, "many", AT_ONCE)
    risen = (one.peak.rss - one.idle.rss) / MB
    return [
        Result(
            "memory above idle while a mail of 25 MB streams in",
            one.peak.rise(one.idle),
            target=f"< {LIMIT_MB:g} MB",
            met=risen < LIMIT_MB,
        ),
        Result(f"memory above idle while {AT_ONCE} such mails stream in at once", many.peak.rise(many.idle)),
    ]


def sampled(server: Ours, name: str, mails: int) -> Sampler:
    """Sends ``mails`` large mails at once, and returns the samples of that time."""
    # What the mail before left behind is given back or stays; either way it is part of the idle value.
    time.sleep(PAUSE_SECONDS)
    began = time.monotonic()
    with Sampler(server.roots[0]) as sampler, ThreadPoolExecutor(mails) as pool:
        sizes = list(pool.map(lambda _: send(server.smtp_port, server.address(name), OCTETS), range(mails)))
    took = time.monotonic() - began
    check(server, name, mails, min(sizes))
    print(
        f"  {mails:2} x {sizes[0] / MB:.1f} MB in {took:.1f} s: idle RSS {sampler.idle.rss / MB:.1f} MB,"
        f" peak {sampler.peak.rss / MB:.1f} MB ({sampler.peak.rise(sampler.idle)}; {sampler.samples} samples)"
    )
    return sampler


def check(server: Ours, name: str, mails: int, octets: int) -> None:
    """Raises Failed unless that many mails of at least that size are in the mailbox."""
    with imap_session(server.imap_port, server.user(name), server.password, starttls=True) as imap:
        found = messages_in_inbox(imap)
        imap.select("INBOX", readonly=True)
        sizes = [size(imap, number) for number in range(1, found + 1)]
    if found != mails or min(sizes) < octets:
        raise Failed(f"{mails} mails of {octets} octets were acknowledged; in the mailbox: {sizes}")


def size(imap: imaplib.IMAP4, number: int) -> int:
    """RFC822.SIZE of one message."""
    _, data = imap.fetch(str(number), "(RFC822.SIZE)")
    if not data or not isinstance(data[0], bytes):
        raise Failed(f"FETCH {number} RFC822.SIZE: {data!r}")
    return int(data[0].rpartition(b"RFC822.SIZE ")[2].split(b")")[0].split()[0])
