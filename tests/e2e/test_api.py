"""Programs send over HTTP to a server process, with real clients: the message leaves, and its life can be explained."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.e2e.test_sending import jobs, towards
from tests.e2e.test_submission import tool
from tests.support.counting_sink import counting_sink
from tests.support.remote_servers import smtp_sink, transactions
from tests.support.server import RunningServer
from tests.support.waiting import until

pytestmark = pytest.mark.real

NAMES = ("smtp", "http")
NOT_SENT = {"SMTP_OUTBOUND_QUEUE_ENABLED": "false"}
MESSAGE: dict[str, Any] = {
    "from": "Shop <shop@demo.test>", "to": ["bob@elsewhere.test"], "subject": "Your order",
    "textBody": "It is on its way.",
}  # fmt: skip
ORDERED = """mutation Send {
  sendEmail(
    from: "sender@demo.test"
    to: ["user@example.net"]
    subject: "Hello"
    textBody: "Hi from Inbox"
    htmlBody: "<p>Hi from Inbox</p>"
    idempotencyKey: "send-2026-02-10-001"
  )
}"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    server = RunningServer(tmp_path, NAMES)
    server.populate()
    yield server
    server.close()


def new_key(server: RunningServer) -> str:
    made = server.cli("apikey", "create", "--tenant", "demo", "--name", "shop", "--json")
    assert made.returncode == 0, made.stderr
    return str(json.loads(made.stdout)["key"])


def url(server: RunningServer, path: str) -> str:
    return f"http://127.0.0.1:{server.port('http')}{path}"


def curl(server: RunningServer, path: str, body: Any, *options: str) -> tuple[int, Any]:
    """Status and JSON of a POST with curl."""
    command = [
        tool("curl"), "--silent", "--show-error", "--max-time", "30", "--write-out", "\n%{http_code}",
        "--header", "Content-Type: application/json", "--data", json.dumps(body), *options, url(server, path),
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    text, _, status = done.stdout.rpartition("\n")
    return int(status), json.loads(text)


def explained(server: RunningServer, which: str) -> str:
    done = server.cli("explain", which)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_message_of_curl_leaves_and_is_explained(server: RunningServer, tmp_path: Path) -> None:
    with smtp_sink(kept=tmp_path / "sink") as sink:
        towards(server, sink)
        server.start()
        key = new_key(server)
        bearer = ("--header", f"Authorization: Bearer {key}")
        status, answer = curl(server, "/v1/send", MESSAGE, *bearer, "--header", "Idempotency-Key: order-7")
        assert (status, answer["recipients"]) == (202, ["bob@elsewhere.test"])
        assert curl(server, "/v1/send", MESSAGE, *bearer, "--header", "Idempotency-Key: order-7") == (202, answer)
        (message,) = transactions(sink, 1)
        until(lambda: b"smtp.egress.queue" in server.log.read_bytes(), "the outcome is in the log")
    assert b"Subject: Your order\r\n" in message.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    assert b"It is on its way." in message
    text = explained(server, answer["explainId"])
    assert "api" in text
    assert "shop@demo.test" in text
    assert "bob@elsewhere.test" in text
    assert "delivered" in text
    record = json.loads(server.cli("explain", answer["id"], "--json").stdout)
    assert '"door": "api"' in json.dumps(record)
    assert key.rpartition("_")[2] not in server.log.read_text(), "the log has no secrets"


def test_the_id_of_a_request_is_explained(server: RunningServer) -> None:
    server.environment.update(NOT_SENT)
    server.start()
    headers = {"Authorization": f"Bearer {new_key(server)}"}
    sent = httpx2.post(url(server, "/v1/send"), json=MESSAGE, headers=headers, timeout=30)
    assert sent.json()["id"] == sent.headers["x-request-id"]
    assert "bob@elsewhere.test" in explained(server, sent.headers["x-request-id"])
    two = 'mutation { one: sendEmail(from: "shop@demo.test", to: ["a@elsewhere.test"], subject: "1", textBody: "1") '
    two += 'two: sendEmail(from: "shop@demo.test", to: ["b@elsewhere.test"], subject: "2", textBody: "2") }'
    both = httpx2.post(url(server, "/graphql"), json={"query": two}, headers=headers, timeout=30)
    assert both.json() == {"data": {"one": True, "two": True}}, "each message has an id of its own"
    assert "a@elsewhere.test" in explained(server, both.headers["x-request-id"])


def test_the_ordered_mutation_of_curl_leaves(server: RunningServer, tmp_path: Path) -> None:
    with smtp_sink(kept=tmp_path / "sink") as sink:
        towards(server, sink)
        server.start()
        bearer = ("--header", f"Authorization: Bearer {new_key(server)}")
        for _ in range(2):
            assert curl(server, "/graphql", {"query": ORDERED}, *bearer) == (200, {"data": {"sendEmail": True}})
        (message,) = transactions(sink, 1)
    assert b"user@example.net" in message
    assert b"<p>Hi from Inbox</p>" in message
    assert jobs(server) == []


def test_a_user_sends_with_an_app_password(server: RunningServer) -> None:
    server.environment.update(NOT_SENT)
    server.start()
    made = server.cli(
        "account", "app-password", "add", "ann@demo.test", "--name", "script", "--protocol", "api", "--json"
    )
    assert made.returncode == 0, made.stderr
    password = json.loads(made.stdout)["password"]
    message = {**MESSAGE, "from": "ann@demo.test"}
    status, answer = curl(server, "/v1/send", message, "--user", f"ann@demo.test:{password}")
    assert status == 202, answer
    (job,) = jobs(server)
    assert (job.job.sender, job.job.transaction) == ("ann@demo.test", answer["id"])
    assert curl(server, "/v1/send", MESSAGE, "--user", f"ann@demo.test:{password}")[0] == 403
    assert curl(server, "/v1/send", message, "--user", "ann@demo.test:correct horse")[0] == 401


def test_fifty_identical_requests_on_two_processes_send_one_message(tmp_path: Path) -> None:
    server = RunningServer(tmp_path, NAMES, processes=2)
    server.populate()
    with counting_sink() as sink:
        towards(server, sink)  # type: ignore[arg-type]
        try:
            server.start()
            headers = {"Authorization": f"Bearer {new_key(server)}", "Idempotency-Key": "order-7"}
            answers = asyncio.run(at_once(server, headers, 50))
            until(lambda: sink.counts()["bob@elsewhere.test"] >= 1, "the message arrives")
        finally:
            server.close()
        assert sink.counts() == Counter({"bob@elsewhere.test": 1})
    assert {each.status_code for each in answers} <= {202, 409}
    assert len({each.content for each in answers if each.status_code == 202}) == 1


async def at_once(server: RunningServer, headers: dict[str, str], count: int) -> list[httpx2.Response]:
    """The same request on as many connections."""

    async def one() -> httpx2.Response:
        async with httpx2.AsyncClient(timeout=30) as client:
            return await client.post(url(server, "/v1/send"), json=MESSAGE, headers=headers)

    return await asyncio.gather(*(one() for _ in range(count)))


def test_a_repeated_request_after_kill_9_sends_nothing_twice_and_loses_nothing(server: RunningServer) -> None:
    """The server is killed while requests are in progress, three times; the program repeats all that have no answer."""
    server.environment.update(NOT_SENT)
    server.start()
    headers = {"Authorization": f"Bearer {new_key(server)}"}
    answered: dict[int, str] = {}
    for kill in range(1, 4):
        asyncio.run(until_killed(server, headers, answered, kill * 20))
        server.start()
    asyncio.run(until_killed(server, headers, answered, 0))
    found = Counter(job.job.transaction for job in jobs(server))
    assert len(answered) == 100
    assert found == Counter(answered.values()), "one job for each answer, and no other job"


async def until_killed(server: RunningServer, headers: dict[str, str], answered: dict[int, str], kill: int) -> None:
    """Sends the messages that have no answer, eight at a time; kills the server at the answer number ``kill`` (0:
    never)."""
    slots = asyncio.Semaphore(8)

    async def one(client: httpx2.AsyncClient, number: int) -> None:
        async with slots:
            if server.process is None:
                return
            fields = {**headers, "Idempotency-Key": f"order-{number}"}
            try:
                answer = await client.post(
                    url(server, "/v1/send"), json={**MESSAGE, "subject": str(number)}, headers=fields
                )
            except httpx2.TransportError:
                return
            assert answer.status_code == 202, answer.text
            assert answered.setdefault(number, answer.json()["id"]) == answer.json()["id"]
            if len(answered) == kill and server.process is not None:
                server.kill()

    async with httpx2.AsyncClient(timeout=30) as client:
        await asyncio.gather(*(one(client, number) for number in range(100) if number not in answered))


def test_errors_of_a_real_server_are_told_apart(server: RunningServer) -> None:
    server.environment.update(NOT_SENT)
    server.start()
    bearer = ("--header", f"Authorization: Bearer {new_key(server)}")
    assert curl(server, "/v1/send", MESSAGE)[0] == 401
    assert curl(server, "/v1/send", {**MESSAGE, "from": "x@other.test"}, *bearer)[0] == 403
    status, answer = curl(server, "/v1/send", {**MESSAGE, "to": ["nobody@demo.test"]}, *bearer)
    assert (status, answer["errors"][0]["field"]) == (422, "to[0]")
    assert re.fullmatch("[0-9a-z]{20}", answer["explainId"])
    assert "nobody@demo.test" in explained(server, answer["explainId"])
    assert answer["requestId"]
    assert curl(server, "/graphql", {"query": "{"}, *bearer)[0] == 400
    assert curl(server, "/graphql", {"query": "{ nope }"}, *bearer)[0] == 422
    assert jobs(server) == []
