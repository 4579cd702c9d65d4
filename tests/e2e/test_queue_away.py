"""A server that accepts and sends mail while its database is gone, and back again.

A SQLite file is moved, replaced or locked; a SurrealDB server is killed or suspended.
"""

from __future__ import annotations

import smtplib
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path

import pytest

from tests.e2e.test_sending import POLICY, QUICK, jobs
from tests.e2e.test_submission import ANN, connected
from tests.support.counting_sink import CountingSink
from tests.support.server import RunningServer
from tests.support.surreal_server import SurrealServer
from tests.support.surreal_server import server as start_engine
from tests.support.waiting import until

pytestmark = [pytest.mark.real, pytest.mark.slow]

#: Messages whose final dot has no reply yet when the fault begins.
HELD = 3
#: Seconds in which a client has its answer: a write waits for 10 (docs/failures.md).
BOUNDED = 25.0


@contextmanager
def moved(file: Path) -> Iterator[None]:
    away = file.with_name("away.db")
    file.rename(away)
    yield
    away.rename(file)


@contextmanager
def replaced(file: Path) -> Iterator[None]:
    """By an empty file."""
    with moved(file):
        file.touch()
        yield
        assert file.stat().st_size == 0, "the server does not make a database of it"
        file.unlink()


@contextmanager
def locked(file: Path) -> Iterator[None]:
    """By another program that writes."""
    with closing(sqlite3.connect(file, isolation_level=None, timeout=30)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("ROLLBACK")


@contextmanager
def killed(engine: SurrealServer) -> Iterator[None]:
    engine.kill()
    yield
    engine.start()


@contextmanager
def suspended(engine: SurrealServer) -> Iterator[None]:
    engine.pause()
    yield
    engine.resume()


def started(folder: Path, sink: CountingSink, environment: dict[str, str]) -> RunningServer:
    made = RunningServer(folder, ("smtp", "submission", "submissions", "imaps"), environment={**QUICK, **environment})
    made.populate()
    made.policy("default.yaml", POLICY.format(port=sink.port))
    return made.start()


@pytest.fixture
def server(tmp_path: Path, sink: CountingSink) -> Iterator[RunningServer]:
    made = started(tmp_path, sink, {})
    yield made
    made.close()


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[SurrealServer]:
    made = start_engine(tmp_path / "engine")
    yield made
    made.kill()


@pytest.fixture
def surreal(tmp_path: Path, sink: CountingSink, engine: SurrealServer) -> Iterator[RunningServer]:
    folder = tmp_path / "installation"
    folder.mkdir()
    made = started(folder, sink, engine.environment("away"))
    yield made
    made.close()


def submit(client: smtplib.SMTP, to: str, sender: str = ANN) -> tuple[int, str]:
    """Sends a message; returns the last reply."""
    try:
        client.sendmail(sender, [to], f"From: {sender}\r\nTo: {to}\r\nSubject: {to}\r\n\r\nHello.\r\n")
    except smtplib.SMTPResponseException as error:
        return error.smtp_code, bytes(error.smtp_error).decode() if isinstance(error.smtp_error, bytes) else ""
    except smtplib.SMTPRecipientsRefused as error:
        ((code, text),) = error.recipients.values()
        return code, text.decode()
    return 250, ""


@pytest.mark.parametrize("fault", [moved, replaced, locked])
def test_the_file_is_away_while_mail_is_submitted_and_sent(
    server: RunningServer, sink: CountingSink, fault: Callable[[Path], AbstractContextManager[None]]
) -> None:
    is_away_while_mail_is_submitted_and_sent(server, sink, fault(server.data / "inbox.db"))


@pytest.mark.parametrize("fault", [killed, suspended])
def test_surrealdb_is_away_while_mail_is_submitted_and_sent(
    surreal: RunningServer,
    engine: SurrealServer,
    sink: CountingSink,
    fault: Callable[[SurrealServer], AbstractContextManager[None]],
) -> None:
    is_away_while_mail_is_submitted_and_sent(surreal, sink, fault(engine))


def is_away_while_mail_is_submitted_and_sent(
    server: RunningServer, sink: CountingSink, fault: AbstractContextManager[None]
) -> None:
    sink.hold()
    with connected(server, "submission") as client:
        for number in range(HELD):
            assert submit(client, f"{number}@elsewhere.test")[0] == 250
        until(lambda: len(sink.dots) == HELD, "the messages are being sent")

        with fault:
            sink.release()
            begin = time.monotonic()
            code, text = submit(client, f"{HELD}@elsewhere.test")
            assert time.monotonic() - begin < BOUNDED
            assert (code, text[:5]) == (451, "4.3.0")

        until(lambda: submit(client, f"{HELD + 1}@elsewhere.test")[0] == 250, "mail is accepted again")
    until(lambda: len(sink.counts()) == HELD + 1 and jobs(server) == [], "the queue is empty")
    copies = sink.counts()
    print(f"{sum(number > 1 for number in copies.values())} copies more than one")
    assert copies == {f"{number}@elsewhere.test": 1 for number in (*range(HELD), HELD + 1)}
