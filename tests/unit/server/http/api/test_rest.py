"""POST /v1/send over the routes of the API."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from inbox.base.errors import StoreUnavailable
from inbox.identity.api_keys import PresentedKey, generate
from inbox.server.http.api.services import BODY_OCTETS
from tests.support.api import MESSAGE, client, new_key
from tests.support.flow import World, world

JSON = {"Content-Type": "application/json"}


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        yield made


@pytest.fixture
async def key(here: World) -> PresentedKey:
    return await new_key(here)


async def test_a_message_is_accepted(here: World, key: PresentedKey) -> None:
    async with client(here, key) as http:
        answer = await http.post("/v1/send", json=MESSAGE)
    (job,) = await here.jobs()
    assert answer.status_code == 202
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "no-store"
    sent = job.job.transaction
    assert answer.json() == {"id": sent, "recipients": ["x@elsewhere.test"], "explainId": sent}


async def test_a_repeated_request_gets_the_same_answer(here: World, key: PresentedKey) -> None:
    async with client(here, key) as http:
        first = await http.post("/v1/send", json=MESSAGE, headers={"Idempotency-Key": "7"})
        again = await http.post("/v1/send", json=MESSAGE, headers={"Idempotency-Key": '"7"'})
        body = await http.post("/v1/send", json={**MESSAGE, "idempotencyKey": "7"})
        other = await http.post("/v1/send", json={**MESSAGE, "subject": "No"}, headers={"Idempotency-Key": "7"})
        two = await http.post("/v1/send", json={**MESSAGE, "idempotencyKey": "8"}, headers={"Idempotency-Key": "7"})
    assert (first.status_code, again.status_code, body.status_code) == (202, 202, 202)
    assert first.content == again.content == body.content
    assert ("idempotent-replayed" in first.headers, again.headers["idempotent-replayed"]) == (False, "true")
    assert (other.status_code, other.json()["code"]) == (422, "idempotency_key_reused")
    assert (two.status_code, two.json()["errors"][0]["field"]) == (422, "idempotencyKey")
    assert len(await here.jobs()) == 1


async def test_fifty_identical_requests_send_one_message(here: World, key: PresentedKey) -> None:
    async with client(here, key) as http:
        requests = [http.post("/v1/send", json=MESSAGE, headers={"Idempotency-Key": "k"}) for _ in range(50)]
        answers = await asyncio.gather(*requests)
    assert {each.status_code for each in answers} <= {202, 409}
    assert len({each.content for each in answers if each.status_code == 202}) == 1
    assert {each.headers["retry-after"] for each in answers if each.status_code == 409} <= {"1"}
    assert len(await here.jobs()) == 1


async def test_mistakes_are_listed_by_field(here: World, key: PresentedKey) -> None:
    async with client(here, key) as http:
        answer = await http.post("/v1/send", json={"from": "x", "to": ["y@elsewhere.test\nz"], "subject": 7})
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert (problem["title"], problem["status"], problem["code"]) == ("Unprocessable Entity", 422, "invalid_request")
    assert [each["field"] for each in problem["errors"]] == ["from", "to[0]", "subject"]


async def test_a_refusal_names_its_decision_record(here: World, key: PresentedKey) -> None:
    async with client(here, key) as http:
        answer = await http.post("/v1/send", json={**MESSAGE, "to": ["nobody@acme.test"]})
    (record,) = await here.decisions("acme")
    assert (answer.status_code, answer.json()["explainId"]) == (422, record.id)


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({}, "not_authenticated"),
        ({"Authorization": "Bearer "}, "not_authenticated"),
        ({"Authorization": "Bearer " + "x" * 5000}, "not_authenticated"),
        ({"Authorization": f"Bearer {generate().shown}"}, "not_authenticated"),
        ({"Authorization": "Basic !!!"}, "not_authenticated"),
        ({"Authorization": "Basic " + base64.b64encode(b"ann@acme.test").decode()}, "not_authenticated"),
        ({"Authorization": "Basic " + base64.b64encode(b"ann@acme.test:x").decode()}, "not_authenticated"),
        ({"Authorization": "Digest x"}, "not_authenticated"),
    ],
)
async def test_a_stranger_is_not_served(
    here: World, headers: dict[str, str], code: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def no_delay(_: float) -> None: ...

    monkeypatch.setattr(here.parts.callers, "_sleep", no_delay)
    async with client(here, None) as http:
        answer = await http.post("/v1/send", json=MESSAGE, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (401, code)
    assert answer.headers["www-authenticate"].startswith("Bearer realm=")
    assert await here.jobs() == []


async def test_who_may_not_send_gets_403(here: World) -> None:
    reader = await new_key(here, operations=("messages",))
    limited = await new_key(here, domains=("other.test",))
    for key, code in ((reader, "operation_not_allowed"), (limited, "sender_not_allowed")):
        async with client(here, key) as http:
            answer = await http.post("/v1/send", json=MESSAGE)
        assert (answer.status_code, answer.json()["code"]) == (403, code)


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (b"{", JSON, 400, "malformed_json"),
        (b"", JSON, 400, "malformed_json"),
        (b"[]", JSON, 400, "malformed_json"),
        (b'"x"', JSON, 400, "malformed_json"),
        (b"\xff\xfe", JSON, 400, "malformed_json"),
        (b'{"from":"\xff"}', JSON, 400, "malformed_json"),
        (b"[" * 100_000, JSON, 400, "malformed_json"),
        (b'{"a":' * 100_000, JSON, 400, "malformed_json"),
        (b"{}", {"Content-Type": "text/plain"}, 415, "unsupported_media_type"),
        (b"a=b", {"Content-Type": "application/x-www-form-urlencoded"}, 415, "unsupported_media_type"),
        (b"{}", {**JSON, "Content-Length": str(BODY_OCTETS + 1)}, 413, "request_too_large"),
        (b"{}", {**JSON, "Content-Length": "9" * 100}, 413, "request_too_large"),
    ],
)
async def test_a_bad_body_is_a_client_error(
    here: World, key: PresentedKey, body: bytes, headers: dict[str, str], status: int, code: str
) -> None:
    async with client(here, key) as http:
        answer = await http.post("/v1/send", content=body, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_a_body_without_a_length_is_bounded(here: World, key: PresentedKey) -> None:
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        while True:
            read += 1
            yield b" " * 1024 * 1024

    async with client(here, key) as http:
        answer = await http.post("/v1/send", content=endless(), headers=JSON)
    assert (answer.status_code, answer.json()["code"]) == (413, "request_too_large")
    assert read == BODY_OCTETS // 1024 // 1024 + 1


async def test_a_stranger_s_body_is_not_read(here: World) -> None:
    async def unread() -> AsyncIterator[bytes]:
        raise AssertionError("the body was read")
        yield b""

    async with client(here, None) as http:
        answer = await http.post("/v1/send", content=unread(), headers=JSON)
    assert answer.status_code == 401


async def test_other_methods_are_not_allowed(here: World, key: PresentedKey) -> None:
    async with client(here, key) as http:
        answer = await http.get("/v1/send")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")


async def test_while_the_database_is_away_the_answer_is_503(
    here: World, key: PresentedKey, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(*_: Any) -> None:
        raise StoreUnavailable("down")

    async with client(here, key) as http:
        monkeypatch.setattr(here.installation.ingest, "accept", away)
        not_stored = await http.post("/v1/send", json=MESSAGE)
        monkeypatch.setattr(here.installation.database.api_keys, "find", away)
        monkeypatch.setattr(here.parts.callers, "_kept", type(here.parts.callers._kept)(here.installation.clock, 5, 5))
        not_found = await http.post("/v1/send", json=MESSAGE)
    for answer in (not_stored, not_found):
        assert (answer.status_code, answer.json()["code"]) == (503, "temporarily_unavailable")
        assert answer.headers["retry-after"] == "10"
    assert await here.jobs() == []
