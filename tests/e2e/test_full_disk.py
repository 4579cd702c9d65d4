"""A disk without room: mail is refused, and users can delete mail."""

from __future__ import annotations

import imaplib
import smtplib
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.server import PASSWORD, RunningServer
from tests.support.small_disk import MEGABYTES, fill, inside, on_small_disk
from tests.support.waiting import until

pytestmark = pytest.mark.real


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[RunningServer]:
    with on_small_disk(tmp_path) as server:
        yield server


def send(server: RunningServer, number: int, octets: int = 500) -> int:
    filler = b"x" * 70 + b"\r\n"
    message = b"Message-ID: <%d@full.test>\r\nSubject: %d\r\n\r\n%b" % (number, number, filler * (octets // 72))
    with smtplib.SMTP("127.0.0.1", server.port("smtp"), timeout=30) as client:
        client.ehlo("client.test")
        client.mail("bob@elsewhere.test")
        client.rcpt("ann@demo.test")
        return client.data(message)[0]


def login(server: RunningServer) -> imaplib.IMAP4_SSL:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    client = imaplib.IMAP4_SSL("127.0.0.1", server.port("imaps"), ssl_context=context)
    client.login("ann@demo.test", PASSWORD)
    return client


def test_on_a_full_disk_mail_waits_and_users_log_in_set_flags_and_delete(disk: RunningServer) -> None:
    server = disk.start()
    folder = inside(server)
    until((folder / "reserve").exists, "the reserve is made")
    codes = [send(server, number, 1_000_000) for number in range(MEGABYTES)]
    assert set(codes) == {250, 452}
    assert codes == sorted(codes)
    kept = codes.count(250)
    assert (folder / "reserve").exists(), "mail does not use it up"
    small = next(number for number in range(1000) if send(server, 100 + number) == 452)
    for number in range(100):
        assert send(server, 2000 + number) == 452, "refusals leave the room as it is"
    kept += small
    assert (folder / "reserve").exists()

    client = login(server)
    assert client.select()[1] == [b"%d" % kept]
    other = fill(folder)
    assert login(server).logout()[0] == "BYE"
    for _ in range(20):
        assert client.store("1:*", "+FLAGS", "\\Flagged")[0] == "OK"
        assert client.store("1:*", "-FLAGS", "\\Flagged")[0] == "OK"
    assert client.store("1:3", "+FLAGS", "\\Deleted")[0] == "OK"
    assert client.expunge()[0] == "OK"
    assert client.uid("MOVE", "4:*", "Trash")[0] == "OK"
    assert client.select("Trash")[1] == [b"%d" % (kept - 3)]
    assert client.create("New")[0] == "OK"
    assert client.delete("Trash")[0] == "OK"
    assert send(server, 500) == 452
    assert server.process is not None
    assert server.process.poll() is None
    # Changes that fit into the log as it is need no space; new mailboxes need the reserve in the end.
    made = 0
    while (folder / "reserve").exists() and made < 1000:
        assert client.create(f"New/{'x' * 200}/{made}")[0] == "OK"
        made += 1
    client.logout()
    assert not (folder / "reserve").exists()
    until(lambda: "disk_full_reserve_released" in server.log.read_text(), "the log names it")

    other.unlink()
    until(lambda: send(server, 501) == 250, "mail is accepted again")
    client = login(server)
    assert client.select()[1][0] != b"0"
    client.logout()


def test_a_server_starts_on_a_full_disk(disk: RunningServer) -> None:
    script = disk.wrapper[4]
    disk.wrapper = (*disk.wrapper[:4], script.replace("exec", "FILL && exec"), *disk.wrapper[5:])
    folder = disk.environment["INBOX_DATA_DIR"]
    # As the reserve of an earlier run, and another program's file that took the rest.
    filling = f'head -c 2000000 /dev/urandom > "{folder}/reserve" && (cat /dev/zero > "{folder}/other" || true)'
    disk.wrapper = tuple(word.replace("FILL", filling + " 2>/dev/null") for word in disk.wrapper)
    disk.start()
    client = login(disk)
    assert client.select()[0] == "OK"
    client.logout()
    assert send(disk, 1) == 452


def test_logins_continue_when_the_counters_are_gone(tmp_path: Path) -> None:
    server = RunningServer(tmp_path)
    server.populate()
    server.start()
    try:
        login(server).logout()
        counters = server.data / "inbox-rates.db"
        counters.unlink()
        until(lambda: _logs_in(server) and "rate_counters_in_memory" in server.log.read_text(), "the log names it")
        until(lambda: bool(login(server).logout()) and counters.exists(), "the file is made again")
        until(lambda: "rate_counters_back" in server.log.read_text(), "it is counted there")
    finally:
        server.close()


def _logs_in(server: RunningServer) -> bool:
    login(server).logout()
    return True
