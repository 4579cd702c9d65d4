"""The story of the README, with real programs: mail comes in, plugins judge it, a mail client reads it."""

from __future__ import annotations

import imaplib
import json
import re
import shutil
import smtplib
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.clamd import EICAR, EICAR_NAME, Clamd, clamd  # noqa: F401  (a fixture)
from tests.support.server import DEMO, PASSWORD, ROOT, RunningServer
from tests.support.waiting import until

pytestmark = pytest.mark.real


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    server = RunningServer(tmp_path)
    server.populate()
    yield server
    server.close()


def tool(name: str) -> str:
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


def send(server: RunningServer, *, to: str = "ann@demo.test", subject: str = "hello", body: str = "") -> str:
    """Sends a mail with swaks; returns the last reply that matters."""
    done = subprocess.run(
        [
            tool("swaks"), "--server", "127.0.0.1", "--port", str(server.port("smtp")), "--from", "bob@elsewhere.test",
            "--to", to, "--header", f"Subject: {subject}", "--body", body or "Hello Ann.\n",
        ],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )  # fmt: skip
    return done.stdout + done.stderr


def answer(server: RunningServer, message: bytes, to: str = "ann@demo.test") -> tuple[int, str]:
    """Sends a message; returns the reply to it."""
    with smtplib.SMTP("127.0.0.1", server.port("smtp"), timeout=30) as client:
        client.ehlo("client.test")
        client.mail("bob@elsewhere.test")
        code, text = client.rcpt(to)
        if code == 250:
            code, text = client.data(message)
        return code, text.decode()


def login(server: RunningServer, user: str = "ann@demo.test") -> imaplib.IMAP4_SSL:
    context = ssl.create_default_context(cafile=str(server.certificate))
    context.check_hostname = False
    client = imaplib.IMAP4_SSL("127.0.0.1", server.port("imaps"), ssl_context=context)
    client.login(user, PASSWORD)
    return client


def messages(server: RunningServer, mailbox: str = "INBOX", user: str = "ann@demo.test") -> list[bytes]:
    client = login(server, user)
    client.select(mailbox, readonly=True)
    _, found = client.search(None, "ALL")
    bodies = []
    for number in found[0].split():
        _, parts = client.fetch(number.decode(), "(BODY.PEEK[])")
        part = parts[0]
        assert isinstance(part, tuple)
        bodies.append(part[1])
    client.logout()
    return bodies


def test_every_client_fetches_the_same_bytes(server: RunningServer, tmp_path: Path) -> None:
    server.start()
    swaks = send(server)
    assert "250 2.0.0 OK (id " in swaks, swaks

    (by_imaplib,) = messages(server)
    assert b"\r\nSubject: hello\r\n" in by_imaplib
    assert by_imaplib.startswith(b"Delivered-To: ann@demo.test\r\nReturn-Path: <bob@elsewhere.test>\r\nReceived: ")

    by_curl = subprocess.run(
        [
            tool("curl"), "--silent", "--insecure", "--user", f"ann@demo.test:{PASSWORD}",
            f"imaps://127.0.0.1:{server.port('imaps')}/INBOX;MAILINDEX=1",
        ],
        capture_output=True,
        timeout=60,
        check=True,
    ).stdout  # fmt: skip
    assert by_curl == by_imaplib

    maildir = tmp_path / "mail"
    maildir.mkdir()
    settings = tmp_path / "mbsyncrc"
    settings.write_text(
        f"""
IMAPAccount demo
Host 127.0.0.1
Port {server.port("imaps")}
SSLType IMAPS
CertificateFile {server.certificate}
User ann@demo.test
Pass "{PASSWORD}"

IMAPStore far
Account demo

MaildirStore near
Path {maildir}/
Inbox {maildir}/INBOX
SubFolders Verbatim

Channel demo
Far :far:
Near :near:
Patterns *
Create Near
SyncState *
"""
    )
    subprocess.run(
        [tool("mbsync"), "-c", str(settings), "-a"], check=True, timeout=60, capture_output=True, cwd=tmp_path
    )
    (synced,) = [
        path for path in (maildir / "INBOX").rglob("*") if path.is_file() and path.parent.name in {"new", "cur"}
    ]
    # Maildirs have LF line ends and mbsync adds a field of its own; the rest is the same.
    lines = [line for line in synced.read_bytes().split(b"\n") if not line.startswith(b"X-TUID:")]
    assert b"\r\n".join(lines) == by_imaplib


def test_malware_is_refused_and_explained(server: RunningServer, clamd: Clamd) -> None:  # noqa: F811
    server.policy("tenants/demo.yaml", f'plugins:\n  clamav: {{address: "{clamd.tcp}"}}\n')
    server.start()
    code, text = answer(server, b"Subject: invoice\r\n\r\n" + EICAR + b"\r\n")
    assert code == 550
    found = re.fullmatch(rf"5\.7\.1 .*{re.escape(EICAR_NAME)}.* \(id ([0-9a-z]{{20}})\)", text)
    assert found, text
    assert messages(server) == []

    explained = server.cli("explain", found[1])
    assert explained.returncode == 0, explained.stderr
    assert "clamav" in explained.stdout
    assert EICAR_NAME in explained.stdout
    record = json.loads(server.cli("explain", found[1], "--json").stdout)
    assert found[1] in json.dumps(record)

    assert answer(server, b"Subject: clean\r\n\r\nNothing here.\r\n")[0] == 250
    assert len(messages(server)) == 1


def test_a_scanner_that_is_gone_defers_and_nothing_is_lost(server: RunningServer) -> None:
    server.policy("tenants/demo.yaml", 'plugins:\n  clamav: {address: "tcp://127.0.0.1:1", on_error: defer}\n')
    server.start()
    code, text = answer(server, b"Subject: hello\r\n\r\nbody\r\n")
    assert code == 451, text
    assert messages(server) == []


def test_a_rule_is_in_force_as_soon_as_it_is_saved_and_a_mistake_changes_nothing(server: RunningServer) -> None:
    server.start()
    policy = """\
plugins:
  spam_rules:
    rules:
      - {name: LOTTERY, when: 'subject.matches("(?i)lottery")', score: 6}
thresholds: {quarantine: 5}
"""
    server.policy("tenants/demo.yaml", policy)
    counter = iter(range(10_000))

    def is_quarantined() -> bool:
        number = next(counter)
        code, _ = answer(server, f"Subject: You won the lottery {number}\r\n\r\nbody\r\n".encode())
        assert code == 250
        listed = json.loads(server.cli("quarantine", "list", "--tenant", "demo", "--json").stdout)
        return any(f"lottery {number}" in json.dumps(each) for each in listed)

    until(is_quarantined, "the rule took effect")

    server.policy("tenants/demo.yaml", policy.replace("score: 6", "scoer: 6"))

    def is_told() -> bool:
        with smtplib.SMTP("127.0.0.1", server.port("smtp"), timeout=30) as client:
            client.noop()
        return "demo.yaml:4:" in server.log.read_text()

    until(is_told, "the mistake was logged")
    checked = server.cli("policy", "check")
    assert checked.returncode == 1
    assert re.search(r"demo\.yaml:4:\d+: .*scoer", checked.stderr + checked.stdout)
    before = len(messages(server))
    assert answer(server, b"Subject: lottery again\r\n\r\nbody\r\n")[0] == 250
    assert len(messages(server)) == before, "the old policy stays in force"


def test_a_plugin_is_copied_in_and_enabled_for_one_tenant(tmp_path: Path) -> None:
    server = RunningServer(tmp_path)
    server.populate({**DEMO, "other": {"other.test": ("eve",)}})
    try:
        server.start()
        shutil.copy(ROOT / "examples" / "plugins" / "hello_world.py", server.folder / "plugins")
        listed = json.loads(server.cli("plugins", "list", "--json").stdout)
        assert "hello_world" in {plugin["name"] for plugin in listed}
        enabled = server.cli("plugins", "enable", "hello_world", "--tenant", "demo")
        assert enabled.returncode == 0, enabled.stderr

        def greets() -> bool:
            answer(server, b"Subject: hi\r\n\r\nbody\r\n")
            return b"X-Hello" in messages(server)[-1]

        until(greets, "the plugin ran")
        answer(server, b"Subject: hi\r\n\r\nbody\r\n", "eve@other.test")
        assert b"X-Hello" not in messages(server, user="eve@other.test")[-1]
    finally:
        server.close()


def test_a_plugin_of_an_installed_package_does_the_same(tmp_path: Path) -> None:
    package = tmp_path / "site"
    info = package / "greeter-1.2.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: greeter\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text("[inbox.plugins]\ngreeter = greeter_plugin\n")
    source = (ROOT / "examples" / "plugins" / "hello_world.py").read_text()
    (package / "greeter_plugin.py").write_text(source.replace('__version__ = "1.0.0"\n', ""))
    server = RunningServer(tmp_path, environment={})
    server.environment["PYTHONPATH"] = f"{ROOT}:{ROOT / 'plugins'}:{package}"
    server.populate()
    server.policy("tenants/demo.yaml", "plugins:\n  greeter: {}\n")
    try:
        server.start()
        assert answer(server, b"Subject: hi\r\n\r\nbody\r\n")[0] == 250
        assert b"X-Hello" in messages(server)[0]
        (listed,) = [
            plugin
            for plugin in json.loads(server.cli("plugins", "list", "--json").stdout)
            if plugin["name"] == "greeter"
        ]
        assert "greeter" in listed["source"]
        assert listed["version"] == "1.2"
    finally:
        server.close()


def test_unknown_users_and_foreign_domains_are_refused_at_rcpt(server: RunningServer) -> None:
    server.start()
    code, text = answer(server, b"", "nobody@demo.test")
    assert (code, text[:5]) == (550, "5.1.1")
    code, text = answer(server, b"", "ann@not-ours.test")
    assert (code, text[:5]) == (550, "5.7.1")
    explained = server.cli("explain", re.findall(r"\(id ([0-9a-z]{20})\)", text)[0])
    assert explained.returncode == 0
