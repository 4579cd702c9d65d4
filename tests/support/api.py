"""Callers of the API over a whole flow in this process."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_address
from typing import Any

import httpx2
import structlog
from starlette.applications import Starlette

from inbox.app.wiring.http import make_api
from inbox.flow.sending.request import read_request
from inbox.flow.sending.sending import Sent
from inbox.identity.api_keys import PresentedKey, generate
from inbox.plugin.api.context import Door, Session
from inbox.server.http.api.routes import routes
from inbox.server.http.api.services import ApiServices
from inbox.store.ports.api_keys import ApiKey
from tests.support.flow import World

PEER = "192.0.2.7"
MESSAGE: dict[str, Any] = {
    "from": "shop@acme.test", "to": ["x@elsewhere.test"], "subject": "Hello", "textBody": "Hi",
}  # fmt: skip


async def new_key(here: World, tenant: str = "acme", **fields: Any) -> PresentedKey:
    """A new API key of a tenant."""
    new = generate()
    key = ApiKey(await here.tenant(tenant), new.id, "a program", fields.pop("role", "sender"), new.hashed, **fields)
    await here.installation.database.api_keys.add(key)
    return new


def new_session(here: World, peer: str = PEER) -> Session:
    return Session(here.installation.ids.new(), Door.API, ip_address(peer))


async def send(here: World, key: PresentedKey, **changes: Any) -> Sent:
    """Sends MESSAGE with changes."""
    caller = await here.parts.callers.by_key(new_session(here), key.shown)
    return await here.parts.sending.send(caller, read_request({**MESSAGE, **changes}), new_session(here))


def services_of(here: World) -> ApiServices:
    return make_api(here.installation, here.parts, structlog.get_logger("inbox.api"))


@asynccontextmanager
async def client(here: World, key: PresentedKey | None, peer: str = PEER) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of the routes, without a socket."""
    app = Starlette(routes=routes(services_of(here)))
    headers = {} if key is None else {"Authorization": f"Bearer {key.shown}"}
    transport = httpx2.ASGITransport(app, client=(peer, 50_000))
    async with httpx2.AsyncClient(transport=transport, base_url="http://mx.test", headers=headers) as made:
        yield made
