"""Clients for measuring both sides: Debian's smtp-source, and a small IMAP client."""

from __future__ import annotations

import contextlib
import imaplib
import ssl
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.support import Failed, program

#: No measured run may take longer.
LIMIT_SECONDS = 180.0
#: The client's name in HELO, and the domain of its sender.
SENDER = "client.test"


def smtp_source(
    port: int,
    recipient: str,
    *,
    messages: int,
    octets: int = 0,
    content: Path | None = None,
    sender: str = SENDER,
    sessions: int,
    reuse: bool,
) -> float:
    """Sends that many mails; returns the seconds from the start until each had its 250.

    Args:
        octets: their size, if smtp-source is to make them up.
        content: one to be sent as it is, lines ending in LF.
        reuse: True: each session sends all of its mails over one connection; False: a connection for each mail.

    Raises:
        Failed: a mail was refused or the time was up.
    """
    command = [
        *(program("smtp-source", "postfix"), "-s", str(sessions), "-m", str(messages)),
        *(["-l", str(octets)] if content is None else ["-F", str(content)]),
        *("-f", f"sender@{sender}", "-t", recipient, "-M", sender),
        *(["-d"] if reuse else []),
        f"inet:127.0.0.1:{port}",
    ]
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True)
    try:
        said, _ = process.communicate(timeout=LIMIT_SECONDS)
    except subprocess.TimeoutExpired:
        raise Failed(f"smtp-source was not done within {LIMIT_SECONDS:.0f} s") from None
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    took = time.perf_counter() - began
    # It warns of refused mails and goes on; its exit code alone does not tell.
    if process.returncode or said.strip():
        raise Failed(f"smtp-source: {said.decode(errors='replace').strip()[:300] or process.returncode}")
    return took


@contextlib.contextmanager
def imap_session(port: int, user: str, password: str, *, starttls: bool, tls: bool = False) -> Iterator[imaplib.IMAP4]:
    """A session that is logged in. It does not check certificates, because it uses loopback only."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    session: imaplib.IMAP4
    if tls:
        session = imaplib.IMAP4_SSL("127.0.0.1", port, ssl_context=context, timeout=60)
    else:
        session = imaplib.IMAP4("127.0.0.1", port, timeout=60)
    try:
        if starttls:
            session.starttls(context)
        session.login(user, password)
        yield session
    finally:
        with contextlib.suppress(imaplib.IMAP4.error, OSError):
            session.logout()


def messages_in_inbox(session: imaplib.IMAP4) -> int:
    """The answer to STATUS (RFC 9051 §6.3.11)."""
    kind, data = session.status("INBOX", "(MESSAGES)")
    if kind != "OK" or not data or not isinstance(data[0], bytes):
        raise Failed(f"STATUS INBOX: {kind} {data!r}")
    return int(data[0].rpartition(b"MESSAGES ")[2].rstrip(b")"))
