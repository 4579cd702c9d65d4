"""Users submit mail to a server process on 587 and 465, with real clients."""

from __future__ import annotations

import asyncio
import base64
import json
import os
import shutil
import smtplib
import ssl
import subprocess
from collections.abc import Iterator
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path

import pytest

from inbox.app.config.loading import load
from inbox.app.wiring.installation import opened
from inbox.store.ports.queue import QueuedJob
from tests.support.server import PASSWORD, ROOT, RunningServer

pytestmark = pytest.mark.real
ANN = "ann@demo.test"


BOB = "bob@elsewhere.test"
NODE = ROOT / "tests" / "support" / "nodemailer"
NAMES = ("smtp", "submission", "submissions", "imaps")
#: The jobs stay in the queue, where the tests look at them.
NOT_SENT = {"SMTP_OUTBOUND_QUEUE_ENABLED": "false"}
PORTS = pytest.mark.parametrize("port", ["submission", "submissions"])


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A server for all clients that end well."""
    server = RunningServer(tmp_path_factory.mktemp("server"), NAMES, environment=dict(NOT_SENT))
    server.populate()
    server.start()
    yield server
    server.close()


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    server = RunningServer(tmp_path, NAMES, environment=dict(NOT_SENT))
    server.populate()
    server.start()
    yield server
    server.close()


def tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def run(*command: str | Path, stdin: str = "", home: Path | None = None) -> str:
    """Runs a client, which must succeed; returns what it prints."""
    environment = {**os.environ, "HOME": str(home)} if home is not None else None
    done = subprocess.run(
        command, input=stdin, capture_output=True, text=True, timeout=60, check=False, env=environment
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def trusting(server: RunningServer) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=str(server.certificate))
    context.check_hostname = False
    return context


def connected(server: RunningServer, port: str) -> smtplib.SMTP:
    """A client of smtplib that is logged in."""
    context = trusting(server)
    client: smtplib.SMTP
    if port == "submissions":
        client = smtplib.SMTP_SSL("127.0.0.1", server.port(port), context=context, timeout=30)
    else:
        client = smtplib.SMTP("127.0.0.1", server.port(port), timeout=30)
        client.starttls(context=context)
    client.login(ANN, PASSWORD)
    return client


def queued(server: RunningServer) -> list[tuple[QueuedJob, bytes]]:
    """All jobs of the server's database with their messages, oldest first."""

    async def read() -> list[tuple[QueuedJob, bytes]]:
        async with opened(load(server.env)) as installation:
            jobs = await installation.database.queue.jobs(None)
            return [
                (job, job.job.prepended + b"".join((await installation.blobs.get(job.blob_path)).chunks()))
                for job in jobs
            ]

    return asyncio.run(read())


def latest(server: RunningServer, count: int = 1) -> list[tuple[QueuedJob, bytes]]:
    """The newest jobs."""
    return sorted(queued(server), key=lambda each: each[0].job.created_at)[-count:]


def letter(to: str = "bob@elsewhere.test") -> EmailMessage:
    message = EmailMessage()
    message["Subject"], message["To"], message["From"] = "hello", to, ANN
    message.set_content("Hello Bob.\n")
    return message


@PORTS
def test_a_submitted_message_is_queued_before_the_reply(server: RunningServer, port: str) -> None:
    with connected(server, port) as client:
        assert client.esmtp_features["size"] == "26214400"
        assert client.send_message(letter()) == {}
        server.kill()  # no time to write anything after the reply
    ((job, _),) = queued(server)
    assert (job.status, job.job.domain, job.job.sender) == ("queued", "elsewhere.test", ANN)


def test_port_25_offers_no_login_and_relays_nothing(server: RunningServer) -> None:
    with smtplib.SMTP("127.0.0.1", server.port("smtp"), timeout=30) as client:
        client.starttls(context=trusting(server))
        client.ehlo()
        assert not client.has_extn("auth")
        assert client.docmd("AUTH", "PLAIN")[0] == 502
        client.mail(ANN)
        assert client.rcpt("bob@elsewhere.test")[0] == 550


@PORTS
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_swaks(shared: RunningServer, port: str, mechanism: str) -> None:
    tls = ["--tls"] if port == "submission" else ["--tls-on-connect"]
    login = ["--auth", mechanism, "--auth-user", ANN, "--auth-password", PASSWORD]
    envelope = ["--from", ANN, "--to", BOB, "--header", f"Subject: swaks {port} {mechanism}"]
    said = run(tool("swaks"), "--server", "127.0.0.1", "--port", str(shared.port(port)), *tls, *login, *envelope)
    assert "235 2.7.0 Authentication succeeded" in said
    ((job, message),) = latest(shared)
    assert (job.job.sender, job.job.domain) == (ANN, "elsewhere.test")
    assert f"Subject: swaks {port} {mechanism}".encode() in message


@PORTS
@pytest.mark.parametrize("mechanism", ["plain", "login"])
def test_msmtp(shared: RunningServer, port: str, mechanism: str, tmp_path: Path) -> None:
    (tmp_path / "password").write_text(PASSWORD)
    options = [
        "--host=127.0.0.1", f"--port={shared.port(port)}", "--tls=on", f"--auth={mechanism}", f"--user={ANN}",
        f"--passwordeval=cat {tmp_path / 'password'}", f"--tls-starttls={'on' if port == 'submission' else 'off'}",
        f"--from={ANN}", "--tls-trust-file=", "--tls-certcheck=off",
    ]  # fmt: skip
    text = f"From: {ANN}\nTo: {BOB}\nBcc: hidden@far.test\nSubject: msmtp {mechanism}\n\nHello.\n"
    # msmtp itself does not remove Bcc with this option.
    run(tool("msmtp"), *options, "--remove-bcc-headers=off", "--read-recipients", stdin=text, home=tmp_path)
    both = latest(shared, 2)
    assert {job.job.domain for job, _ in both} == {"elsewhere.test", "far.test"}
    for _, message in both:
        assert f"Subject: msmtp {mechanism}".encode() in message
        assert b"hidden" not in message
        assert b"\r\nMessage-ID: <" in message


@PORTS
def test_mutt(shared: RunningServer, port: str, tmp_path: Path) -> None:
    scheme = "smtp" if port == "submission" else "smtps"
    (tmp_path / "rc").write_text(
        f'set smtp_url="{scheme}://ann%40demo.test@127.0.0.1:{shared.port(port)}/"\n'
        f'set smtp_pass="{PASSWORD}"\nset from="{ANN}"\nset use_from=yes\nset envelope_from_address="{ANN}"\n'
        "set use_envelope_from=yes\nset copy=no\nset ssl_force_tls=yes\nset ssl_starttls=yes\n"
        f'set certificate_file="{shared.certificate}"\nset ssl_verify_host=no\n'
        "set ssl_use_system_certs=no\nset smtp_authenticators=plain:login\nset folder=/nonexistent\n"
    )
    command = [tool("mutt"), "-n", "-F", str(tmp_path / "rc"), "-s", f"mutt {port}", "-b", "hidden@far.test", "--", BOB]
    run(*command, stdin="Hello from mutt.\n", home=tmp_path)
    both = latest(shared, 2)
    assert {job.job.domain for job, _ in both} == {"elsewhere.test", "far.test"}
    for _, message in both:
        assert f"Subject: mutt {port}".encode() in message
        assert b"hidden" not in message


@PORTS
def test_nodemailer(shared: RunningServer, port: str) -> None:
    node = tool("node")
    if not (NODE / "node_modules" / "nodemailer").exists():
        pytest.skip("nodemailer is not installed (npm ci in tests/support/nodemailer)")
    tls = "implicit" if port == "submissions" else "starttls"
    where = [str(shared.port(port)), tls, ANN, PASSWORD, str(shared.certificate)]
    said = run(node, NODE / "send.mjs", *where, ANN, BOB, "hidden@far.test", stdin="Hello from Node.\n")
    assert BOB in said
    both = latest(shared, 2)
    assert {job.job.domain for job, _ in both} == {"elsewhere.test", "far.test"}
    for job, message in both:
        assert b"Subject: from nodemailer" in message
        assert b"hidden" not in message
        assert (job.job.ret, job.job.envid) == ("HDRS", "e1")


@PORTS
def test_smtplib_sends_to_hosted_and_other_domains_at_once(shared: RunningServer, port: str) -> None:
    message = letter(f"{BOB}, {ANN}")
    with connected(shared, port) as client:
        assert client.send_message(message) == {}
    ((job, octets),) = latest(shared)
    assert job.job.domain == "elsewhere.test"
    assert b"\r\nMessage-ID: <" in octets


def test_a_wrong_password_and_a_foreign_sender_are_refused(shared: RunningServer) -> None:
    with smtplib.SMTP("127.0.0.1", shared.port("submission"), timeout=30) as client:
        client.starttls(context=trusting(shared))
        with pytest.raises(smtplib.SMTPAuthenticationError) as caught:
            client.login(ANN, "wrong")
        assert caught.value.smtp_code == 535
    with connected(shared, "submission") as client, pytest.raises(smtplib.SMTPSenderRefused) as refused:
        client.sendmail("boss@bank.test", [BOB], b"From: boss@bank.test\r\n\r\nPay.\r\n")
    assert refused.value.smtp_code == 553


def test_a_message_of_25_megabytes(shared: RunningServer) -> None:
    """SIZE is refused at MAIL, and a message larger than its SIZE at the end of DATA."""
    with connected(shared, "submission") as client:
        assert client.mail(ANN, ["SIZE=26214401"])[0] == 552
        assert client.mail(ANN, ["SIZE=26214400"])[0] == 250
        client.rcpt(BOB)
        head = f"From: {ANN}\r\n\r\n".encode()
        lines = (26_214_401 - len(head)) // 72 + 1
        code, text = client.data(head + b"x" * 70 + b"\r\n" + (b"x" * 70 + b"\r\n") * (lines - 1))
        assert (code, text[:5]) == (552, b"5.3.4")


def test_a_large_attachment_is_refused(shared: RunningServer) -> None:
    message = letter()
    message.add_attachment(bytes(18 * 1024 * 1024 + 1), maintype="application", subtype="zip", filename="a.zip")
    with connected(shared, "submissions") as client, pytest.raises(smtplib.SMTPDataError) as caught:
        client.send_message(message)
    assert caught.value.smtp_code == 552
    assert b"5.3.4 An attachment exceeds the limit of 18874368 octets" in caught.value.smtp_error
    assert "smtp.policy.attachment_reject" in shared.log.read_text()


def test_scram_and_app_passwords(server: RunningServer, tmp_path: Path) -> None:
    """The first login with PLAIN stores the verifier that SCRAM needs; an app password is good for its protocols."""
    connected(server, "submission").quit()
    (tmp_path / "password").write_text(PASSWORD)
    options = [
        "--host=127.0.0.1", f"--port={server.port('submission')}", "--tls=on", "--auth=scram-sha-256", f"--user={ANN}",
        f"--passwordeval=cat {tmp_path / 'password'}", f"--from={ANN}", "--tls-trust-file=", "--tls-certcheck=off",
    ]  # fmt: skip
    if "SCRAM-SHA-256" not in run(tool("msmtp"), "--version").upper():
        pytest.skip("msmtp is not installed with SCRAM-SHA-256")
    run(tool("msmtp"), *options, BOB, stdin="Subject: scram\n\nHello.\n", home=tmp_path)
    ((_, message),) = queued(server)
    assert b"Subject: scram" in message
    accepted = []
    for protocol in ("smtp", "imap"):
        made = server.cli("account", "app-password", "add", ANN, "--name", protocol, "--protocol", protocol, "--json")
        assert made.returncode == 0, made.stderr
        with smtplib.SMTP_SSL("127.0.0.1", server.port("submissions"), context=trusting(server), timeout=30) as client:
            client.ehlo()
            credentials = f"\0{ANN}\0{json.loads(made.stdout)['password']}"
            code, _ = client.docmd("AUTH", f"PLAIN {base64.b64encode(credentials.encode()).decode()}")
            accepted.append(code)
    assert accepted == [235, 535]


def test_a_message_that_is_submitted_twice_with_one_key_is_queued_once(server: RunningServer) -> None:
    """On two connections; smtplib makes another Message-ID and boundary each time."""
    answers = []
    for _ in range(2):
        message = letter()
        message["Idempotency-Key"] = "order-1"
        message.add_attachment(b"%PDF", maintype="application", subtype="pdf", filename="a.pdf")
        with connected(server, "submission") as client:
            assert client.mail(ANN)[0] == 250
            assert client.rcpt(BOB)[0] == 250
            answers.append(client.data(message.as_bytes(policy=SMTP)))
    assert answers[0][0] == 250
    assert answers[0] == answers[1], "the first answer, with the id of the first transaction"
    ((job, octets),) = queued(server)
    assert job.job.transaction.encode() in answers[0][1]
    assert b"Idempotency-Key" not in octets


@PORTS
def test_requiretls_and_priority_are_kept_with_the_job(server: RunningServer, port: str) -> None:
    with connected(server, port) as client:
        client.ehlo()
        assert client.has_extn("requiretls")
        assert client.has_extn("mt-priority")
        client.sendmail(ANN, [BOB], letter().as_bytes(policy=SMTP), mail_options=["REQUIRETLS", "MT-PRIORITY=4"])
    ((job, _),) = queued(server)
    assert (job.job.require_tls, job.job.priority) == (True, 4)
