"""Users submit mail to a server process on 587 and 465, with real clients."""

from __future__ import annotations

import asyncio
import smtplib
import ssl
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path

import pytest

from inbox.app.config.loading import load
from inbox.app.wiring.stores import make_database
from inbox.base.clock import SystemClock
from inbox.base.ids import RandomIds
from inbox.store.ports.queue import QueuedJob
from tests.support.server import PASSWORD, RunningServer

pytestmark = pytest.mark.real
ANN = "ann@demo.test"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    server = RunningServer(tmp_path, ("smtp", "submission", "submissions", "imaps"))
    server.populate()
    server.start()
    yield server
    server.close()


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


def jobs(server: RunningServer) -> list[QueuedJob]:
    """All jobs of the server's database."""

    async def read() -> list[QueuedJob]:
        clock = SystemClock()
        database = make_database(load(server.env), clock, RandomIds(clock.now))
        await database.open()
        try:
            return await database.queue.jobs(None)
        finally:
            await database.close()

    return asyncio.run(read())


def letter(to: str = "bob@elsewhere.test") -> EmailMessage:
    message = EmailMessage()
    message["Subject"], message["To"], message["From"] = "hello", to, ANN
    message.set_content("Hello Bob.\n")
    return message


@pytest.mark.parametrize("port", ["submission", "submissions"])
def test_what_a_user_submits_is_queued_before_the_reply(server: RunningServer, port: str) -> None:
    with connected(server, port) as client:
        assert client.esmtp_features["size"] == "26214400"
        assert client.send_message(letter()) == {}
        server.kill()  # no time to write anything after the reply
    (job,) = jobs(server)
    assert (job.status, job.job.domain, job.job.sender) == ("queued", "elsewhere.test", ANN)


def test_port_25_offers_no_login_and_relays_nothing(server: RunningServer) -> None:
    with smtplib.SMTP("127.0.0.1", server.port("smtp"), timeout=30) as client:
        client.starttls(context=trusting(server))
        client.ehlo()
        assert not client.has_extn("auth")
        assert client.docmd("AUTH", "PLAIN")[0] == 502
        client.mail(ANN)
        assert client.rcpt("bob@elsewhere.test")[0] == 550
