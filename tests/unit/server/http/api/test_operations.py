"""Messages, batches and suppressions over the routes of the API, in REST and GraphQL."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from inbox.flow.sending.status import RecipientStatus
from inbox.identity.api_keys import PresentedKey
from inbox.server.http.api.views import moment, recipient_view
from tests.support.api import MESSAGE, client, new_key
from tests.support.flow import World, world

ALL = ("send", "messages", "suppressions")


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        yield made


@pytest.fixture
async def key(here: World) -> PresentedKey:
    return await new_key(here, role="admin", operations=ALL)


async def test_a_message_is_shown(here: World, key: PresentedKey) -> None:
    async with client(here, key) as http:
        sent = (await http.post("/v1/send", json={**MESSAGE, "cc": ["bob@acme.test"]})).json()
        answer = await http.get(f"/v1/messages/{sent['id']}")
        query = (
            "query($id: ID!) { message(id: $id) { id from acceptedAt explainId recipients { address status reply } } }"
        )
        found = await http.post("/graphql", json={"query": query, "variables": {"id": sent["id"]}})
    shown = answer.json()
    assert (answer.status_code, shown["id"], shown["from"]) == (200, sent["id"], "shop@acme.test")
    assert [(each["address"], each["status"], each["attempts"], each["reply"]) for each in shown["recipients"]] == [
        ("x@elsewhere.test", "queued", 0, None),
        ("bob@acme.test", "delivered", 0, None),
    ]
    message = found.json()["data"]["message"]
    assert message["recipients"] == [
        {"address": "x@elsewhere.test", "status": "QUEUED", "reply": None},
        {"address": "bob@acme.test", "status": "DELIVERED", "reply": None},
    ]
    assert (message["from"], message["acceptedAt"]) == (shown["from"], shown["acceptedAt"])


async def test_an_unknown_message_is_not_found(here: World, key: PresentedKey) -> None:
    sender = await new_key(here, operations=("send",))
    async with client(here, key) as http, client(here, sender) as limited:
        answer = await http.get("/v1/messages/06h33wqyqnamv606e4np")
        found = await http.post("/graphql", json={"query": '{ message(id: "x") { id } }'})
        forbidden = await limited.get("/v1/messages/06h33wqyqnamv606e4np")
        refused = await limited.post("/graphql", json={"query": '{ message(id: "x") { id } }'})
    assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert found.json() == {"data": {"message": None}}
    assert forbidden.status_code == 403
    assert refused.json()["errors"][0]["extensions"]["code"] == "operation_not_allowed"


async def test_a_batch_in_rest(here: World, key: PresentedKey) -> None:
    messages: list[Any] = [MESSAGE, {**MESSAGE, "from": "x@umbra.test"}, {}]
    async with client(here, key) as http:
        answer = await http.post("/v1/send/batch", json={"messages": messages}, headers={"Idempotency-Key": "c-1"})
        again = await http.post("/v1/send/batch", json={"messages": messages, "idempotencyKey": "c-1"})
        strict = await http.post("/v1/send/batch", json={"messages": messages, "mode": "strict"})
    assert answer.status_code == 200
    first, forbidden, invalid = answer.json()["results"]
    assert (first["status"], first["recipients"]) == (202, ["x@elsewhere.test"])
    assert (forbidden["status"], forbidden["code"]) == (403, "sender_not_allowed")
    assert (invalid["status"], invalid["errors"][0]["field"]) == (422, "from")
    assert again.json() == answer.json()
    assert (strict.status_code, strict.json()["errors"][0]["field"]) == (422, "messages[2].from")
    assert len(await here.jobs()) == 1


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": [{}] * 501}, "messages"),
        ({"messages": [{}], "mode": "half"}, "mode"),
        ({"messages": [{}], "mode": []}, "mode"),
        ({"messages": [{}], "idempotencyKey": 7}, "idempotencyKey"),
        ({"messages": [{}], "nope": 7}, "nope"),
    ],
)
async def test_a_wrong_batch(here: World, key: PresentedKey, body: Any, field: str) -> None:
    async with client(here, key) as http:
        answer = await http.post("/v1/send/batch", json=body)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)


async def test_a_batch_in_graphql(here: World, key: PresentedKey) -> None:
    query = """mutation($messages: [SendInput!]!, $mode: BatchMode!) {
        sendBatch(messages: $messages, mode: $mode) { sent { id recipients } code message explainId } }"""
    messages = [MESSAGE, {**MESSAGE, "to": ["nobody@acme.test"]}]
    async with client(here, key) as http:
        variables = {"messages": messages, "mode": "STRICT"}
        answer = await http.post("/graphql", json={"query": query, "variables": variables})
        none = await http.post("/graphql", json={"query": query, "variables": {"messages": [], "mode": "PERMISSIVE"}})
    first, refused = answer.json()["data"]["sendBatch"]
    assert (first["sent"]["recipients"], first["code"]) == (["x@elsewhere.test"], None)
    assert (refused["sent"], refused["code"]) == (None, "recipient_refused")
    assert refused["explainId"]
    assert none.json()["errors"][0]["extensions"]["code"] == "invalid_request"


async def test_suppressions(here: World, key: PresentedKey) -> None:
    odd = "a/b+c@elsewhere.test"
    async with client(here, key) as http:
        added = await http.post("/v1/suppressions", json={"target": odd, "reason": "asked", "days": 7})
        await http.post("/v1/suppressions", json={"target": "example.org"})
        listed = await http.get("/v1/suppressions")
        page = await http.get("/v1/suppressions", params={"limit": "1", "after": odd})
        removed = await http.delete(f"/v1/suppressions/{quote(odd, safe='')}")
        again = await http.delete(f"/v1/suppressions/{quote(odd, safe='')}")
        wrong = [await http.get("/v1/suppressions", params={"limit": limit}) for limit in ("0", "x", "501", "-1", "²")]
        bad = await http.get("/v1/suppressions", params={"after": "\n"})
    assert (added.status_code, added.json()["target"], added.json()["source"]) == (201, odd, "operator")
    assert [each["target"] for each in listed.json()["suppressions"]] == [odd, "example.org"]
    assert (listed.json()["after"], page.json()["after"]) == (None, "example.org")
    assert (removed.status_code, removed.content, again.status_code) == (204, b"", 404)
    assert {each.status_code for each in (*wrong, bad)} == {422}


async def test_a_sender_s_key_does_not_change_the_list(here: World) -> None:
    async with client(here, await new_key(here)) as http:
        answers = [
            await http.get("/v1/suppressions"),
            await http.post("/v1/suppressions", json={"target": "a.test"}),
            await http.delete("/v1/suppressions/a.test"),
        ]
    assert [each.status_code for each in answers] == [403, 403, 403]


def test_views() -> None:
    assert (moment(None), moment(0.0), moment(1798131600.9)) == (None, None, "2026-12-24T17:00:00Z")
    state = RecipientStatus("x@y.test", "failed", 7.0, 550, "5.1.1", "No such user", 1)
    assert recipient_view(state)["reply"] == "550 5.1.1 No such user"
    assert recipient_view(RecipientStatus("x@y.test", "failed", 7.0, 550, "", "No"))["reply"] == "550 No"
    assert recipient_view(RecipientStatus("x@y.test", "queued", reply="time-out"))["reply"] == "time-out"
