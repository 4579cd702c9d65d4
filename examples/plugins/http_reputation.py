"""HTTP reputation: queries your own HTTP service about the sender, and turns the answer into points.

Returns at: data (Score HTTP_REPUTATION).
Gives:      ReputationFact, which rules see as ``facts.reputation.score``.
Asks:       ``POST url`` with ``{"ip": …, "helo": …, "sender": …, "tenant": …}``; the service answers 200 and
            ``{"score": -10 … 10, "reason": "…"}``.
On error:   accept: the service is a convenience, and no mail waits for it. A policy may set ``on_error: defer``.

An example::

    plugins:
      http_reputation: {url: "http://127.0.0.1:8080/reputation", token: "…", weight: 0.5}
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass

import httpx2
from pydantic import BaseModel, Field, HttpUrl, SecretStr

from inbox.plugin import Plugin, PluginSettings, Score, Services, Transaction, hookimpl

__version__ = "1.0.0"

#: Octets of an answer that are read. A compromised service must not be able to exhaust the memory.
_ANSWER_OCTETS = 16 * 1024


@dataclass(frozen=True, slots=True)
class ReputationFact:
    """The service's answer about a sender."""

    score: float
    reason: str


class Answer(BaseModel):
    """The service's answer. An answer of another form is an error."""

    score: float = Field(ge=-10, le=10, allow_inf_nan=False)
    reason: str = Field("", max_length=200)


class Settings(PluginSettings):
    """Address of the service, and weight of its answers."""

    url: HttpUrl = Field(description="Address for queries.", examples=["http://127.0.0.1:8080/reputation"])
    token: SecretStr | None = Field(
        None, description="Sent as ``Authorization: Bearer …``; never shown or logged.", examples=["s3cret"]
    )
    wait: float = Field(2.0, gt=0, le=8, description="Seconds that a query may take.")
    weight: float = Field(1.0, ge=0, le=10, description="Factor for the service's score.")


class HttpReputation(Plugin):
    """One client with a pool of connections, made when the plugin starts and closed when no policy uses it any more."""

    gives = (ReputationFact,)
    on_error = "accept"

    def __init__(self, settings: Settings, services: Services) -> None:
        self.settings = settings
        headers = {"User-Agent": f"inbox on {services.server_name}"}
        if settings.token is not None:
            headers["Authorization"] = f"Bearer {settings.token.get_secret_value()}"
        self.client = httpx2.AsyncClient(
            headers=headers,
            timeout=settings.wait,
            verify=ssl.create_default_context(),
            limits=httpx2.Limits(max_connections=20),
            # No redirects and no proxy from the environment: queries go only to the address in the policy.
            follow_redirects=False,
            trust_env=False,
        )

    async def close(self) -> None:
        """Called by the engine."""
        await self.client.aclose()

    @property
    def dependency(self) -> str:
        """After several failures in a row the engine does not call this service for a while."""
        return str(self.settings.url)

    @hookimpl
    async def data(self, tx: Transaction) -> Score | None:
        """Raises all errors: the engine logs them and applies ``on_error``."""
        # The client's time-out is for each read: a service that sends an octet every second would outlast it. In a
        # separate task, so that cancellations inside the client do not reach the engine.
        answer = await asyncio.wait_for(asyncio.ensure_future(self._ask(tx)), self.settings.wait)
        tx.facts.put(ReputationFact(answer.score, answer.reason))
        if answer.score == 0:
            return None
        return Score("HTTP_REPUTATION", answer.score * self.settings.weight, answer.reason)

    async def _ask(self, tx: Transaction) -> Answer:
        """Sends the query. Raises httpx2.HTTPError or ValueError."""
        question = {
            "ip": str(tx.session.peer),
            "helo": tx.session.helo or "",
            "sender": "" if tx.sender is None else str(tx.sender),
            "tenant": tx.tenant_name,
        }
        async with self.client.stream("POST", str(self.settings.url), json=question) as response:
            response.raise_for_status()
            body = b""
            async for piece in response.aiter_bytes():
                body += piece
                if len(body) > _ANSWER_OCTETS:
                    raise ValueError(f"the answer has more than {_ANSWER_OCTETS} octets")
        return Answer.model_validate_json(body)
