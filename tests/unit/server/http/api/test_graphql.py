"""GraphQL over HTTP, over the routes of the API."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from graphql import get_introspection_query

from inbox.server.http.api.schema import SCHEMA
from tests.support.api import MESSAGE, client, new_key
from tests.support.flow import World, world

ORDERED = """
mutation Send {
  sendEmail(
    from: "sender@acme.test"
    to: ["user@example.net"]
    subject: "Hello"
    textBody: "Hi from Inbox"
    htmlBody: "<p>Hi from Inbox</p>"
    idempotencyKey: "send-2026-02-10-001"
  )
}
"""
SEND = "mutation Send($input: SendInput!) { send(input: $input) { id recipients explainId } }"
RESPONSE = "application/graphql-response+json"


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        yield made


@pytest.fixture
async def http(here: World) -> AsyncIterator[httpx2.AsyncClient]:
    async with client(here, await new_key(here)) as made:
        yield made


async def post(http: httpx2.AsyncClient, query: str, accept: str = RESPONSE, **more: Any) -> httpx2.Response:
    return await http.post("/graphql", json={"query": query, **more}, headers={"Accept": accept})


def messages(answer: httpx2.Response) -> list[str]:
    return [each["message"] for each in answer.json()["errors"]]


async def test_the_ordered_mutation_sends_once(here: World, http: httpx2.AsyncClient) -> None:
    for _ in range(2):
        answer = await post(http, ORDERED)
        assert (answer.status_code, answer.json()) == (200, {"data": {"sendEmail": True}})
        assert answer.headers["content-type"] == f"{RESPONSE}; charset=utf-8"
    (job,) = await here.jobs()
    assert [each.address for each in job.job.recipients] == ["user@example.net"]
    relayed = await here.relayed(job)
    assert b"multipart/alternative" in relayed
    assert b"From: sender@acme.test\r\n" in relayed


def test_the_ordered_signature() -> None:
    """Clients depend on these names and types; what is added is optional."""
    field = next(line for line in SCHEMA.as_str().splitlines() if line.strip().startswith("sendEmail("))
    expected = (
        "sendEmail(from: String!, to: [String!]!, subject: String!, textBody: String = null, htmlBody: String = null, "
        "idempotencyKey: String = null, actorAccount: String = null, sharedInbox: String = null, "
    )
    assert field.strip().startswith(expected)
    assert field.rstrip().endswith("): Boolean!")


async def test_all_fields_of_a_message(here: World, http: httpx2.AsyncClient) -> None:
    given = {
        **MESSAGE, "cc": ["bob@acme.test"], "bcc": ["eve@umbra.test"], "replyTo": ["help@acme.test"], "htmlBody": "<p>",
        "headers": [{"name": "X-Order", "value": "7"}], "tags": ["a"], "sendAt": None,
        "attachments": [{"filename": "a.txt", "content": "aGk=", "contentType": "text/plain"}],
    }  # fmt: skip
    answer = await post(http, SEND, variables={"input": given})
    (job,) = await here.jobs()
    sent = job.job.transaction
    assert answer.json() == {
        "data": {
            "send": {
                "id": sent,
                "recipients": ["x@elsewhere.test", "bob@acme.test", "eve@umbra.test"],
                "explainId": sent,
            }
        }
    }
    relayed = await here.relayed(job)
    assert b"X-Order: 7\r\n" in relayed
    assert b'filename="a.txt"' in relayed


async def test_a_refusal_has_its_code_and_fields(here: World, http: httpx2.AsyncClient) -> None:
    answer = await post(http, SEND, variables={"input": {**MESSAGE, "from": "eve@umbra.test"}})
    assert answer.status_code == 200
    (error,) = answer.json()["errors"]
    assert (error["path"], error["extensions"]["code"]) == (["send"], "sender_not_allowed")
    assert error["extensions"]["errors"][0]["field"] == "from"
    refused = await post(http, ORDERED.replace("user@example.net", "nobody@acme.test"))
    (record,) = await here.decisions("acme")
    assert refused.json()["errors"][0]["extensions"]["explainId"] == record.id
    assert refused.json()["data"] is None
    assert await here.jobs() == []


async def test_a_key_without_the_operation_is_refused(here: World) -> None:
    async with client(here, await new_key(here, operations=("messages",))) as http:
        answer = await post(http, ORDERED)
    assert answer.json()["errors"][0]["extensions"]["code"] == "operation_not_allowed"
    assert await here.jobs() == []


async def test_a_stranger_gets_401(here: World) -> None:
    async with client(here, None) as http:
        answer = await post(http, "{ __typename }")
    assert answer.status_code == 401


@pytest.mark.parametrize(
    ("query", "status", "words"),
    [
        ("{", 400, "Syntax Error"),
        ("", 400, "query must be"),
        ("{ nope }", 422, "Cannot query field 'nope'"),
        ("query A { caller { name } } query B { caller { name } }", 400, "operationName"),
        ("query ($x: Int!) { caller { name } }", 422, "never used"),
        (SEND, 400, "non-null type 'SendInput!'"),
    ],
)
async def test_a_request_that_is_not_executed(http: httpx2.AsyncClient, query: str, status: int, words: str) -> None:
    answer = await post(http, query)
    assert answer.status_code == status
    assert words in answer.text
    if "errors" in answer.json() and query:
        assert "data" not in answer.json()
        legacy = await post(http, query, "application/json")
        assert legacy.status_code == 200
        assert legacy.headers["content-type"] == "application/json; charset=utf-8"


@pytest.mark.parametrize(
    "body", [[], {}, {"query": 7}, {"query": ["{a}"]}, {"query": "{caller{name}}", "variables": []},
             {"query": "{caller{name}}", "operationName": 7}, {"query": "{caller{name}}", "extensions": "x"}],
)  # fmt: skip
async def test_malformed_parameters(http: httpx2.AsyncClient, body: Any) -> None:
    answer = await http.post("/graphql", json=body)
    assert answer.status_code == 400


async def test_get_is_for_queries(here: World, http: httpx2.AsyncClient) -> None:
    answer = await http.get("/graphql", params={"query": "query A { caller { tenant } }", "operationName": "A"})
    assert answer.json() == {"data": {"caller": {"tenant": "acme"}}}
    for accept in (RESPONSE, "application/json"):
        refused = await http.get("/graphql", params={"query": ORDERED}, headers={"Accept": accept})
        assert (refused.status_code, refused.headers["allow"]) == (405, "POST")
    assert (await http.get("/graphql", params={"query": "{a}", "variables": "{"})).status_code == 400
    assert (await http.get("/graphql", params={"query": " " * 20_000})).status_code == 400
    assert await here.jobs() == []


@pytest.mark.parametrize(
    ("accept", "status"), [("*/*", 200), ("application/*;q=0.5", 200), ("text/html", 406), ("", 200)]
)
async def test_the_media_type_is_negotiated(http: httpx2.AsyncClient, accept: str, status: int) -> None:
    answer = await post(http, "{ caller { name } }", accept)
    assert answer.status_code == status
    if status == 200:
        assert answer.headers["content-type"] == "application/json; charset=utf-8"
        assert (await post(http, "{ nope }", accept)).status_code == 422, "only who names the type gets 200"


async def test_tools_can_read_the_schema(http: httpx2.AsyncClient) -> None:
    answer = await post(http, get_introspection_query())
    assert "errors" not in answer.json()


async def test_an_unexpected_error_stays_in_the_log(
    here: World, http: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: Any) -> None:
        raise RuntimeError("a secret")

    monkeypatch.setattr(type(here.parts.sending), "send", broken)
    answer = await post(http, ORDERED)
    assert answer.json()["errors"][0]["extensions"] == {"code": "temporarily_unavailable"}
    assert "a secret" not in answer.text
