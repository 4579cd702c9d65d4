"""A tenant that is disabled, renamed and removed while a real server runs."""

from __future__ import annotations

import imaplib
import itertools
import json
import smtplib
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.server import PASSWORD, RunningServer
from tests.support.waiting import until

pytestmark = pytest.mark.real
NUMBERS = itertools.count()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    server = RunningServer(tmp_path)
    server.populate({"demo": {"demo.test": ("ann",)}, "other": {"other.test": ("oscar",)}})
    server.start()
    yield server
    server.close()


def answer(server: RunningServer, address: str) -> tuple[int, str]:
    """The reply to a message for the address."""
    with smtplib.SMTP("127.0.0.1", server.port("smtp"), timeout=60) as client:
        client.ehlo("client.test")
        client.mail("bob@elsewhere.test")
        code, text = client.rcpt(address)
        if code == 250:
            # Each is another message: a repeated one is recognised, and its second file is left to the sweeper.
            code, text = client.data(f"Subject: number {next(NUMBERS)} for {address}\r\n\r\nbody\r\n")
        return code, text.decode()


def log_in(server: RunningServer, address: str) -> imaplib.IMAP4_SSL:
    context = ssl.create_default_context(cafile=str(server.certificate))
    context.check_hostname = False
    client = imaplib.IMAP4_SSL("127.0.0.1", server.port("imaps"), ssl_context=context, timeout=60)
    try:
        client.login(address, PASSWORD)
    except imaplib.IMAP4.error:
        client.shutdown()
        raise
    return client


def is_over(client: imaplib.IMAP4_SSL) -> bool:
    try:
        client.noop()
    except (imaplib.IMAP4.error, OSError):
        return True
    return False


def command(server: RunningServer, *arguments: str) -> dict[str, object]:
    done = server.cli(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout))


def test_a_tenant_is_suspended_renamed_and_removed_while_the_server_runs(server: RunningServer) -> None:
    assert answer(server, "ann@demo.test")[0] == 250
    ann, oscar = log_in(server, "ann@demo.test"), log_in(server, "oscar@other.test")

    command(server, "tenant", "disable", "demo", "--yes")
    until(lambda: answer(server, "ann@demo.test")[0] == 451, "the suspension")
    code, text = answer(server, "nobody@demo.test")
    assert code == 451
    shown = server.cli("explain", text.rpartition("(id ")[2].rstrip(")"))
    assert "tenant      demo" in str(shown.stdout)
    until(lambda: is_over(ann), "the end of the session")
    with pytest.raises(imaplib.IMAP4.error):
        log_in(server, "ann@demo.test")
    assert not is_over(oscar)
    assert answer(server, "oscar@other.test")[0] == 250

    command(server, "tenant", "enable", "demo")
    until(lambda: answer(server, "ann@demo.test")[0] == 250, "the end of the suspension")
    command(server, "account", "rename", "ann@demo.test", "anna@demo.test", "--yes")
    client = log_in(server, "anna@demo.test")
    assert client.select("INBOX")[0] == "OK"

    receipt = command(server, "tenant", "rm", "demo", "--recursive", "--yes")
    assert receipt["removed"]["accounts"] == 1  # type: ignore[index]
    until(lambda: answer(server, "anna@demo.test")[0] == 550, "the removal")
    until(lambda: is_over(client), "the end of the session")
    blobs = [path.read_bytes() for path in (server.data / "incoming").rglob("*.eml")]
    assert len(blobs) == 1
    assert b"for oscar@other.test" in blobs[0]
    assert not is_over(oscar)
    assert oscar.select("INBOX")[1] == [b"1"]
    oscar.logout()
    for gone in (ann, client):
        gone.shutdown()
