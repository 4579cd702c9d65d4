"""Every operation and every field of GraphQL, for every kind of caller: who is refused, and what strangers see."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from inbox.server.http.api.openapi import document
from inbox.server.http.api.schema import SCHEMA
from inbox.store.ports.api_keys import API_OPERATIONS, OPERATIONS_OF
from tests.support.api import MESSAGE, client, new_key
from tests.support.flow import World, world

#: Operation of a key that each request needs, and its body.
REST: dict[tuple[str, str], tuple[str, Any]] = {
    ("post", "/v1/send"): ("send", MESSAGE),
    ("post", "/v1/send/batch"): ("send", {"messages": [MESSAGE], "mode": "strict"}),
    ("get", "/v1/messages/{id}"): ("messages", None),
    ("get", "/v1/suppressions"): ("suppressions", None),
    ("post", "/v1/suppressions"): ("suppressions", {"target": "x@elsewhere.test"}),
    ("delete", "/v1/suppressions/{target}"): ("suppressions", None),
}
_INPUT = '{from: "shop@acme.test", to: ["x@elsewhere.test"], textBody: "Hi"}'
#: Operation of a key that each field needs (none: every caller may read it), and a document.
FIELDS: dict[str, tuple[str, str]] = {
    "Query.message": ("messages", '{ message(id: "ID") { id recipients { address } } }'),
    "Query.caller": ("", "{ caller { tenant name } }"),
    "Mutation.sendEmail": (
        "send",
        'mutation { sendEmail(from: "shop@acme.test", to: ["x@elsewhere.test"], subject: "Hi", textBody: "Hi") }',
    ),
    "Mutation.send": ("send", f"mutation {{ send(input: {_INPUT}) {{ id }} }}"),
    "Mutation.sendBatch": ("send", f"mutation {{ sendBatch(messages: [{_INPUT}]) {{ code sent {{ id }} }} }}"),
}


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        yield made


async def asked(http: httpx2.AsyncClient, method: str, path: str, body: Any, which: str = "0" * 20) -> httpx2.Response:
    url = path.replace("{id}", which).replace("{target}", "x@elsewhere.test")
    return await http.request(method.upper(), url, json=body)


def test_all_operations_and_fields_are_tried() -> None:
    assert {(method, path) for path, methods in document()["paths"].items() for method in methods} == REST.keys()
    types = {name: SCHEMA.get_type_by_name(name) for name in ("Query", "Mutation")}
    found = {f"{name}.{field.python_name}" for name, of in types.items() for field in getattr(of, "fields", ())}
    assert {each.replace("_b", "B").replace("_e", "E") for each in found} == FIELDS.keys()


@pytest.mark.parametrize(("method", "path"), REST)
async def test_rest_by_role(here: World, method: str, path: str) -> None:
    needed, body = REST[method, path]
    async with client(here, None) as http:
        assert (await asked(http, method, path, body)).status_code == 401
    for operation in API_OPERATIONS:
        role = "sender" if operation in OPERATIONS_OF["sender"] else "admin"
        async with client(here, await new_key(here, role=role, operations=(operation,))) as http:
            answer = await asked(http, method, path, body)
        assert (answer.status_code == 403) == (operation != needed), (operation, answer.text)
    assert bool(await here.jobs()) == (needed == "send")


@pytest.mark.parametrize("field", FIELDS)
async def test_graphql_by_role(here: World, field: str) -> None:
    needed, query = FIELDS[field]
    async with client(here, None) as http:
        assert (await http.post("/graphql", json={"query": query})).status_code == 401
    for operation in API_OPERATIONS:
        role = "sender" if operation in OPERATIONS_OF["sender"] else "admin"
        async with client(here, await new_key(here, role=role, operations=(operation,))) as http:
            answer = (await http.post("/graphql", json={"query": query})).json()
        codes = [each["extensions"]["code"] for each in answer.get("errors", ())]
        assert codes == (["operation_not_allowed"] if needed not in ("", operation) else []), (operation, answer)
    assert bool(await here.jobs()) == (needed == "send")


async def test_another_tenant_changes_and_sees_nothing(here: World) -> None:
    """Its key may do everything, in its own tenant."""
    own = await new_key(here, role="admin", operations=API_OPERATIONS)
    foreign = await new_key(here, "umbra", role="admin", operations=API_OPERATIONS)
    async with client(here, own) as http:
        sent = (await http.post("/v1/send", json={**MESSAGE, "cc": ["eve@umbra.test"]})).json()["id"]
        await http.post("/v1/suppressions", json={"target": "x@elsewhere.test"})
    jobs = len(await here.jobs())
    async with client(here, foreign) as http:
        answers = {key: await asked(http, *key, body, sent) for key, (_, body) in REST.items()}
        fields = {
            name: (await http.post("/graphql", json={"query": query.replace("ID", sent)})).json()
            for name, (_, query) in FIELDS.items()
        }
    assert answers["post", "/v1/send"].status_code == 403
    assert answers["post", "/v1/send/batch"].json()["results"][0]["status"] == 403
    assert answers["get", "/v1/messages/{id}"].status_code == 404
    assert answers["get", "/v1/suppressions"].json()["suppressions"] == []
    assert fields["Query.message"] == {"data": {"message": None}}
    assert fields["Query.caller"]["data"]["caller"]["tenant"] == "umbra"
    assert fields["Mutation.sendEmail"]["errors"][0]["extensions"]["code"] == "sender_not_allowed"
    assert fields["Mutation.send"]["errors"][0]["extensions"]["code"] == "sender_not_allowed"
    assert fields["Mutation.sendBatch"]["data"]["sendBatch"][0]["code"] == "sender_not_allowed"
    everything = "".join(each.text for each in answers.values())
    assert "acme.test" not in everything.replace("acme.test is not a domain of umbra", "").replace("shop@acme.test", "")
    assert len(await here.jobs()) == jobs
    async with client(here, own) as http:
        assert len((await http.get("/v1/suppressions")).json()["suppressions"]) == 1
