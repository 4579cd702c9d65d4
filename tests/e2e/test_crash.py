"""Nothing acknowledged is lost or duplicated by a crash, a full disk, or an unavailable database."""

from __future__ import annotations

import contextlib
import imaplib
import os
import re
import shutil
import signal
import smtplib
import ssl
import subprocess
import threading
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.server import PASSWORD, RunningServer
from tests.support.waiting import until

pytestmark = pytest.mark.real

MESSAGES = 1000
KILLS = 10
SENDERS = 5


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    server = RunningServer(tmp_path)
    server.populate()
    yield server
    server.close()


@pytest.fixture
def two_processes(tmp_path: Path) -> Iterator[RunningServer]:
    server = RunningServer(tmp_path, processes=2)
    server.populate()
    yield server
    server.close()


def mail(number: int, size: int = 500) -> bytes:
    filler = "x" * 70 + "\r\n"
    return f"Message-ID: <{number}@crash.test>\r\nSubject: {number}\r\n\r\n{filler * (size // 72)}".encode()


def send_one(server: RunningServer, message: bytes) -> tuple[int, str]:
    with smtplib.SMTP("127.0.0.1", server.port("smtp"), timeout=30) as client:
        client.ehlo("client.test")
        client.mail("bob@elsewhere.test")
        client.rcpt("ann@demo.test")
        code, text = client.data(message)
        return code, text.decode()


def found_numbers(server: RunningServer) -> Counter[int]:
    """Occurrences of each number in Ann's INBOX; reads every message completely."""
    context = ssl.create_default_context(cafile=str(server.certificate))
    context.check_hostname = False
    client = imaplib.IMAP4_SSL("127.0.0.1", server.port("imaps"), ssl_context=context)
    client.login("ann@demo.test", PASSWORD)
    _, count = client.select(readonly=True)
    numbers: Counter[int] = Counter()
    if int(count[0] or b"0"):
        _, parts = client.fetch("1:*", "(BODY.PEEK[])")
        for part in parts:
            if isinstance(part, tuple):
                subject = re.search(rb"^Subject: (\d+)\r$", part[1], re.MULTILINE)
                assert subject is not None
                numbers[int(subject[1])] += 1
    client.logout()
    return numbers


class Senders:
    """Sends all numbers over several connections; what is not acknowledged is sent again until it is."""

    def __init__(self, server: RunningServer) -> None:
        self.server = server
        self.waiting = list(range(MESSAGES))
        self.acknowledged: set[int] = set()
        self.lock = threading.Lock()
        self.progress = threading.Condition(self.lock)
        self.threads = [threading.Thread(target=self.run) for _ in range(SENDERS)]

    def start(self) -> None:
        for thread in self.threads:
            thread.start()

    def reach(self, kill: int) -> None:
        """Waits until it is time for that one of the ``KILLS``."""
        wanted = kill * MESSAGES // (KILLS + 1)
        with self.lock:
            assert self.progress.wait_for(lambda: len(self.acknowledged) >= wanted, 60)

    def all_is_there_once(self) -> None:
        """Waits until all is acknowledged, and reads it."""
        for thread in self.threads:
            thread.join(120)
        assert len(self.acknowledged) == MESSAGES
        numbers = found_numbers(self.server)
        assert numbers.keys() == set(range(MESSAGES))
        twice = [number for number, times in numbers.items() if times > 1]
        assert not twice, f"delivered more than once: {twice[:10]}"

    def run(self) -> None:
        while True:
            with self.lock:
                if not self.waiting:
                    return
                number = self.waiting.pop()
            code = 0
            # The server may be killed under us: then nothing was promised.
            with contextlib.suppress(smtplib.SMTPException, OSError):
                code, _ = send_one(self.server, mail(number))
            with self.lock:
                if code == 250:
                    self.acknowledged.add(number)
                else:
                    self.waiting.insert(0, number)
                self.progress.notify_all()


@pytest.mark.timeout(400)  # ten starts of a server, on a machine that may have more to do
def test_kill_9_in_the_middle_of_a_thousand_deliveries_ten_times(server: RunningServer) -> None:
    server.start()
    senders = Senders(server)
    senders.start()
    for kill in range(1, KILLS + 1):
        senders.reach(kill)
        server.kill()
        with senders.lock:
            promised = set(senders.acknowledged)
        server.start()
        kept = found_numbers(server)
        assert promised <= kept.keys(), f"lost after kill {kill}: {sorted(promised - kept.keys())[:10]}"
    senders.all_is_there_once()


@pytest.mark.timeout(400)
def test_the_process_that_files_killed_in_the_middle_of_a_thousand_deliveries(two_processes: RunningServer) -> None:
    server = two_processes.start()
    senders = Senders(server)
    senders.start()
    killed: set[int] = set()
    for kill in range(1, KILLS + 1):
        senders.reach(kill)
        (worker,) = until(lambda: server.workers() - killed, "a worker runs")
        killed.add(worker)
        os.kill(worker, signal.SIGKILL)
    senders.all_is_there_once()


def test_a_database_that_is_gone_defers_and_nothing_acknowledged_is_lost(server: RunningServer) -> None:
    server.start()
    assert send_one(server, mail(1))[0] == 250
    database = server.data / "inbox.db"
    away = server.data / "away.db"
    database.rename(away)
    code, text = send_one(server, mail(2))
    assert code in {451, 503}, text  # refused at RCPT, or at the end of the data
    away.rename(database)
    assert send_one(server, mail(3))[0] == 250
    server.stop()
    server.start()
    assert found_numbers(server).keys() >= {1, 3}


def test_a_full_disk_is_reported_and_nothing_acknowledged_is_lost(tmp_path: Path) -> None:
    if shutil.which("unshare") is None:
        pytest.skip("unshare is not installed")
    probe = subprocess.run(
        ["unshare", "-m", "mount", "-t", "tmpfs", "-o", "size=1M", "none", str(tmp_path)],
        capture_output=True,
        check=False,
    )
    if probe.returncode:
        pytest.skip("a small file system cannot be mounted here")
    server = RunningServer(tmp_path)
    disk = tmp_path / "disk"
    disk.mkdir()
    server.wrapper = (
        "unshare", "-m", "sh", "-c",
        f'mount -t tmpfs -o size=24M none "{disk}" && cp -a "{server.data}/." "{disk}" && exec "$@"', "sh",
    )  # fmt: skip
    server.populate()
    server.environment["INBOX_DATA_DIR"] = str(disk)
    try:
        server.start()
        codes: list[int] = []
        for number in range(40):
            code, _ = send_one(server, mail(number, 1_000_000))
            codes.append(code)
        kept = {number for number, code in enumerate(codes) if code == 250}
        assert codes[0] == 250
        assert set(codes) == {250, 452}, codes
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        client = imaplib.IMAP4_SSL("127.0.0.1", server.port("imaps"), ssl_context=context)
        client.login("ann@demo.test", PASSWORD)
        client.select(readonly=True)
        _, parts = client.fetch("1:*", "(BODY.PEEK[HEADER.FIELDS (SUBJECT)] RFC822.SIZE)")
        seen = {int(re.findall(rb"Subject: (\d+)", part[1])[0]) for part in parts if isinstance(part, tuple)}
        client.logout()
        assert seen == kept
    finally:
        server.close()
