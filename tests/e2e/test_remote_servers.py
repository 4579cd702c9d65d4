"""The servers that stand for the rest of the world take and refuse mail as they are asked to."""

from __future__ import annotations

import smtplib
import ssl
import subprocess
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from tests.support.children import runs
from tests.support.remote_servers import Remote, exim, postfix, smtp_sink, transactions

pytestmark = pytest.mark.real
ServerOf = Callable[..., AbstractContextManager[Remote]]
BOTH = pytest.mark.parametrize("server_of", [postfix, exim])
MESSAGE = b"Subject: hello\r\nFrom: ann@demo.test\r\n\r\nHello.\r\n"
NOBODY, LATER = "nobody@remote.test", "later@remote.test"


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    file = tmp_path_factory.mktemp("tls") / "both.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=mx.remote.test"]
    subprocess.run([*command, "-keyout", file, "-out", file], check=True, capture_output=True, timeout=60)
    return file


def connected(server: Remote) -> smtplib.SMTP:
    return smtplib.SMTP("127.0.0.1", server.port, "mx.demo.test", timeout=30)


@BOTH
def test_a_server_accepts_mail_and_refuses_recipients_permanently_and_temporarily(server_of: ServerOf) -> None:
    with server_of() as server:
        with connected(server) as client:
            refused = client.sendmail("ann@demo.test", ["bob@remote.test", NOBODY, LATER], MESSAGE)
        (delivered,) = server.messages(1)
    assert {address: code for address, (code, _) in refused.items()} == {NOBODY: 550, LATER: 451}
    assert refused[NOBODY][1].startswith(b"5.1.1 ")
    assert refused[LATER][1].startswith(b"4.3.0 ")
    assert b"\nHello.\n" in delivered


@BOTH
def test_a_server_relays_nothing(server_of: ServerOf) -> None:
    with server_of() as server, connected(server) as client:
        client.ehlo()
        client.mail("ann@demo.test")
        assert client.rcpt("bob@elsewhere.test")[0] // 100 == 5


@BOTH
def test_a_server_with_a_certificate_offers_starttls(server_of: ServerOf, certificate: Path) -> None:
    trusting = ssl.create_default_context(cafile=str(certificate))
    trusting.check_hostname = False
    with server_of(certificate=certificate) as server:
        with connected(server) as client:
            client.starttls(context=trusting)
            client.sendmail("ann@demo.test", "bob@remote.test", MESSAGE)
        assert len(server.messages(1)) == 1


@BOTH
def test_a_server_without_a_certificate_does_not_offer_starttls(server_of: ServerOf) -> None:
    with server_of() as server, connected(server) as client:
        client.ehlo()
        assert not client.has_extn("starttls")


@BOTH
def test_a_server_ends_with_its_fixture(server_of: ServerOf) -> None:
    with server_of() as server:
        assert runs(server.pid)
    assert not runs(server.pid)


def test_the_sink_keeps_what_it_takes(tmp_path: Path) -> None:
    with smtp_sink(kept=tmp_path / "kept") as sink:
        with connected(sink) as client:
            client.sendmail("ann@demo.test", ["bob@remote.test", "eve@remote.test"], MESSAGE)
        (kept,) = transactions(sink, 1)
    assert b"X-Rcpt-Args: <bob@remote.test>" in kept
    assert b"X-Rcpt-Args: <eve@remote.test>" in kept
    assert b"\nHello.\n" in kept


@pytest.mark.parametrize(("option", "code"), [("-f", 500), ("-r", 450)])
def test_the_sink_refuses_a_verb_permanently_or_temporarily(option: str, code: int) -> None:
    with smtp_sink(option, "RCPT") as sink, connected(sink) as client:
        client.ehlo()
        client.mail("ann@demo.test")
        assert client.rcpt("bob@remote.test")[0] == code


def test_the_sink_drops_the_connection_after_the_final_dot() -> None:
    with smtp_sink("-q", ".") as sink, connected(sink) as client, pytest.raises(smtplib.SMTPServerDisconnected):
        client.sendmail("ann@demo.test", "bob@remote.test", MESSAGE)


def test_the_sink_answers_data_late() -> None:
    with smtp_sink("-w", "600") as sink, connected(sink) as client:
        client.ehlo()
        client.mail("ann@demo.test")
        client.rcpt("bob@remote.test")
        assert client.sock is not None
        client.sock.settimeout(0.3)
        with pytest.raises(smtplib.SMTPServerDisconnected, match="timed out"):
            client.data(MESSAGE)
