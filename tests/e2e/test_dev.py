"""``inbox dev``, as a newcomer starts it: beside another one, in a checkout, with and without a virus scanner."""

from __future__ import annotations

import os
import re
import shutil
import signal
import smtplib
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.ports import free_ports
from tests.support.server import NO_SENDING
from tests.support.waiting import until

pytestmark = pytest.mark.real
COMMAND = "from inbox.cli.main import main; main()"
EICAR = b"X5O!P%@AP[4\\PZX54(P^)7CC)7}$" + b"EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*"


@dataclass(frozen=True)
class Demo:
    folder: Path
    said: str

    @property
    def port(self) -> int:
        found = re.search(r"SMTP   127\.0\.0\.1:(\d+)", self.said)
        assert found is not None, self.said
        return int(found[1])

    def send(self, body: bytes) -> tuple[int, str]:
        with smtplib.SMTP("127.0.0.1", self.port, timeout=60) as client:
            client.ehlo("client.test")
            client.mail("bob@example.org")
            client.rcpt("ann@demo.test")
            code, text = client.data(b"Subject: hello\r\n\r\n" + body + b"\r\n")
        return code, text.decode()

    def inbox(self, *words: str) -> str:
        """The output of a command in a shell with the exports that the demo suggests."""
        exports = re.search(r"export (INBOX_DATA_DIR=\S+) (INBOX_POLICY_DIR=\S+)", self.said)
        assert exports is not None, self.said
        environ = {**os.environ, **dict(pair.split("=", 1) for pair in exports.groups())}
        done = subprocess.run(
            [sys.executable, "-P", "-c", COMMAND, *words],
            cwd=self.folder, env=environ, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout


@contextmanager
def demo(folder: Path, **environ: str) -> Iterator[Demo]:
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-P", "-c", COMMAND, "dev"],
            cwd=folder, env={**os.environ, **environ}, stdout=subprocess.PIPE, stderr=log, text=True,
        )  # fmt: skip
    assert process.stdout is not None
    try:
        said = ""
        for line in process.stdout:
            said += line
            if "decisions list" in line:
                break
        else:
            raise AssertionError((folder / "log").read_text())
        yield Demo(folder, said)
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(60)
        process.stdout.close()


def test_a_port_that_is_off_is_not_shown(tmp_path: Path) -> None:
    ports = {"SMTP_TRANSFER_PORT": "0", "LMTP_PORT": "0", "IMAP_PORT": "0", **NO_SENDING}
    with demo(tmp_path, **ports, IMAPS_PORT=str(free_ports(1)[0])) as running:
        assert re.findall(r"^  (\w+)   127\.0\.0\.1:\d+(?:  \((\w+)\))?$", running.said, re.MULTILINE) == [
            ("IMAP", "TLS")
        ]
        assert "swaks" not in running.said
        assert "curl -k -u 'ann@demo.test:" in running.said


def test_two_demos_do_not_share_a_scanner(tmp_path: Path) -> None:
    if shutil.which("clamd", path=f"{os.environ['PATH']}:/usr/sbin") is None:
        pytest.skip("clamd is not installed")
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    with demo(tmp_path / "b") as second:
        with demo(tmp_path / "a") as first:
            assert first.send(EICAR)[0] == second.send(EICAR)[0] == 550
        code, text = second.send(EICAR)
        assert code == 550 and "malware" in text
    assert "clamd of this demo" in second.said


def test_without_a_scanner_mail_is_accepted_and_the_demo_reports_it(tmp_path: Path) -> None:
    with demo(tmp_path, INBOX_DATA_DIR="deep/" * 12 + "data") as one:
        assert "accepted unscanned: the path" in one.said
        code, text = one.send(b"harmless")
        assert code == 250
        identity = re.search(r"id (\w+)", text)
        assert identity is not None
        explained = one.inbox("explain", identity[1])
        assert "clamav" in explained and "ClamdUnavailable" in explained


def test_nothing_but_the_data_folder_is_written(tmp_path: Path) -> None:
    policies = tmp_path / "policies"
    policies.mkdir()
    with demo(tmp_path) as one:
        one.inbox("plugins", "enable", "bimi", "--tenant", "demo")
        assert "bimi" in (tmp_path / "data" / "policies" / "tenants" / "demo.yaml").read_text()
    assert list(policies.iterdir()) == []
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "log", "policies"]


def test_mail_to_another_server_is_shown_and_explained(tmp_path: Path) -> None:
    with demo(tmp_path) as one:
        found = re.search(r"Submission   127\.0\.0\.1:(\d+)  \(STARTTLS\)", one.said)
        password = re.search(r"password (\S+)", one.said)
        assert found is not None, one.said
        assert password is not None, one.said
        with smtplib.SMTP("127.0.0.1", int(found[1]), timeout=60) as client:
            client.starttls()
            client.login("ann@demo.test", password[1])
            client.mail("ann@demo.test")
            client.rcpt("bob@elsewhere.test")
            code, text = client.data(b"From: ann@demo.test\r\nSubject: hello\r\n\r\nHello Bob.\r\n")
        assert code == 250, text
        transaction = text.decode().rpartition("id ")[2].strip(" )")
        left = tmp_path / "data" / "left" / "1.eml"
        until(lambda: left.exists() and b"Hello Bob." in left.read_bytes(), "the message is at the demo's own server")
        until(lambda: "delivered" in one.inbox("explain", transaction), "explain knows the end")
        life = one.inbox("explain", transaction)
        assert "bob@elsewhere.test" in life
        assert "127.0.0.1" in life
