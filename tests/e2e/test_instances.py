"""Two instances of the server on one SurrealDB server and one S3 bucket: what one takes, the other shows."""

from __future__ import annotations

import imaplib
import smtplib
import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.support.ministack import Ministack, ministack  # noqa: F401  (a fixture)
from tests.support.server import PASSWORD, RunningServer
from tests.support.surreal_server import SurrealServer
from tests.support.surreal_server import server as start_engine

pytestmark = pytest.mark.real


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[SurrealServer]:
    engine = start_engine(tmp_path / "engine")
    yield engine
    engine.kill()


@pytest.fixture
def instances(tmp_path: Path, engine: SurrealServer, ministack: Ministack) -> Iterator[list[RunningServer]]:  # noqa: F811
    bucket = ministack.config("instances")
    shared = {
        "DATABASE_URL": engine.url,
        "DATABASE_USERNAME": "root",
        "DATABASE_PASSWORD": "root",
        "S3_ENDPOINT": str(bucket.endpoint),
        "S3_REGION": bucket.region,
        "S3_BUCKET": bucket.bucket,
        "S3_ACCESS_KEY_ID": bucket.access_key_id,
        "S3_SECRET_ACCESS_KEY": bucket.secret_access_key,
        "S3_FORCE_PATH_STYLE": "true",
    }
    with ExitStack() as stack:
        made: list[RunningServer] = []
        for name in ("one", "two"):
            folder = tmp_path / name
            folder.mkdir()
            server = RunningServer(folder, environment=dict(shared))
            stack.callback(server.close)
            if not made:
                server.populate()
            made.append(server.start())
        yield made


def send(server: RunningServer, number: int) -> tuple[int, str]:
    with smtplib.SMTP("127.0.0.1", server.port("smtp"), timeout=60) as client:
        client.ehlo("client.test")
        client.mail("bob@elsewhere.test")
        code, text = client.rcpt("ann@demo.test")
        if code == 250:
            message = f"Message-ID: <{number}@x.test>\r\nSubject: {number}\r\n\r\nbody {number}\r\n"
            code, text = client.data(message.encode())
        return code, text.decode()


def subjects(server: RunningServer) -> list[bytes]:
    context = ssl.create_default_context(cafile=str(server.certificate))
    context.check_hostname = False
    client = imaplib.IMAP4_SSL("127.0.0.1", server.port("imaps"), ssl_context=context)
    client.login("ann@demo.test", PASSWORD)
    client.select(readonly=True)
    _, parts = client.fetch("1:*", "(UID BODY.PEEK[])")
    client.logout()
    return sorted(
        line.removeprefix(b"Subject: ")
        for part in parts
        if isinstance(part, tuple)
        for line in part[1].split(b"\r\n")
        if line.startswith(b"Subject: ")
    )


def test_mail_that_one_instance_accepts_is_shown_by_the_other(
    instances: list[RunningServer], engine: SurrealServer
) -> None:
    for number in range(6):
        code, text = send(instances[number % 2], number)
        assert code == 250, text
    wanted = [str(number).encode() for number in range(6)]
    assert subjects(instances[0]) == subjects(instances[1]) == wanted

    engine.kill()
    code, text = send(instances[0], 6)
    assert code == 451, text
    engine.start()
    code, text = send(instances[0], 6)
    assert code == 250, text
    assert subjects(instances[1]) == [*wanted, b"6"]
