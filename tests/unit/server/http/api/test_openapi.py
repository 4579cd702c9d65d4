"""The description of the REST API is what the server does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from starlette.routing import Route

from inbox.flow.sending import request
from inbox.server.http.api.openapi import document
from inbox.server.http.api.rest import rest_routes
from tests.support.api import MESSAGE, client, new_key, services_of
from tests.support.flow import World, world


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        yield made


async def test_every_route_is_described_and_every_description_has_a_route(here: World) -> None:
    found = {
        (route.path.replace(":path", ""), method.lower())
        for route in rest_routes(services_of(here))
        if isinstance(route, Route) and route.path != "/v1/openapi.json"
        for method in (route.methods or set()) - {"HEAD"}
    }
    assert found == {(path, method) for path, methods in document()["paths"].items() for method in methods}


def test_every_field_is_described() -> None:
    assert tuple(document()["components"]["schemas"]["Message"]["properties"]) == request.FIELDS


def test_references_lead_somewhere() -> None:
    def walk(value: Any) -> None:
        if isinstance(value, dict):
            if "$ref" in value:
                name = value["$ref"].removeprefix("#/components/schemas/")
                assert name in document()["components"]["schemas"]
            for each in value.values():
                walk(each)
        elif isinstance(value, list):
            for each in value:
                walk(each)

    walk(document())


async def test_everybody_may_read_it(here: World) -> None:
    async with client(here, None) as http:
        answer = await http.get("/v1/openapi.json")
    assert answer.json() == document()
    assert answer.json()["openapi"] == "3.1.0"


async def test_an_answer_is_as_described(here: World) -> None:
    async with client(here, await new_key(here)) as http:
        answer = await http.post("/v1/send", json=MESSAGE)
    described = document()["components"]["schemas"]["Sent"]
    assert set(answer.json()) == set(described["required"]) == set(described["properties"])
