"""Post one request to a checked address."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import TYPE_CHECKING, Any, Final

from inbox.base.errors import InboxError
from inbox.dns.answers import DnsError, Resolver
from inbox.flow.webhooks import guard
from inbox.policy.model import WebhookSettings

if TYPE_CHECKING:
    import httpx2

#: Seconds for a request, look-up and response included (Standard Webhooks recommends 15 to 30).
REQUEST_SECONDS: Final = 15.0
#: Seconds until the next address of a host is tried, and the maximum number of addresses.
CONNECT_SECONDS: Final = 5.0
MOST_ADDRESSES: Final = 3
#: Octets of the response's body that are read. The rest is not: it is closed.
MOST_BODY: Final = 4096
#: Characters of it that are kept in the log.
MOST_TEXT: Final = 500


@dataclass(frozen=True, slots=True)
class Response:
    """The result of a request. ``status`` 0: there was no response; ``text`` is the error then."""

    status: int
    text: str


class Poster:
    """Posts requests; has no state but the TLS settings. Each request has its own connection: a connection that is
    verified for one name must not carry another tenant's request.

    Args:
        tls: the certificates that are trusted; None: those of the system.
    """

    def __init__(self, resolver: Resolver, tls: ssl.SSLContext | None = None) -> None:
        self._resolver = resolver
        self._tls = tls
        self._transport: httpx2.AsyncHTTPTransport | None = None

    async def post(
        self, url: str, tenant: str, settings: WebhookSettings, fields: Mapping[str, str], body: bytes
    ) -> Response:
        """Posts ``body``. Does not raise because of the receiver. ``tenant`` is the name of the tenant."""
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                target = guard.parse(url, settings, tenant)
                found = await guard.resolve(target, self._resolver, settings)
                return await self._post(target, found[:MOST_ADDRESSES], fields, body)
        except TimeoutError:
            return Response(0, f"no complete response within {REQUEST_SECONDS:.0f} seconds")
        except DnsError as error:
            return Response(0, f"the host could not be looked up: {error}")
        except InboxError as error:
            return Response(0, f"not allowed: {error}")

    async def _post(
        self, target: guard.Target, found: list[IPv4Address | IPv6Address], fields: Mapping[str, str], body: bytes
    ) -> Response:
        # The import takes a tenth of a second, which an installation without webhooks does not need.
        import httpx2

        error = ""
        for address in found:
            try:
                return await self._post_to(target, address, fields, body)
            except (httpx2.ConnectError, httpx2.ConnectTimeout) as failed:
                error = f"connection to {address} port {target.port} failed: {failed or 'timeout'}"
            except httpx2.HTTPError as failed:
                # The receiver may have the message: only the next try sends it again.
                return Response(0, f"{type(failed).__name__} at {address}: {failed}"[:MOST_TEXT])
        return Response(0, error[:MOST_TEXT])

    async def _post_to(
        self, target: guard.Target, address: IPv4Address | IPv6Address, fields: Mapping[str, str], body: bytes
    ) -> Response:
        import httpx2

        host = f"[{address}]" if address.version == 6 else str(address)
        extensions: dict[str, Any] = {"timeout": {"connect": CONNECT_SECONDS, "pool": REQUEST_SECONDS}}
        if target.scheme == "https":
            # TLS verifies the certificate against this name, not against the address.
            extensions["sni_hostname"] = target.host
        headers = {
            "host": target.authority, "content-type": "application/json", "user-agent": "inbox-webhooks",
            "accept-encoding": "identity", "connection": "close", **fields,
        }  # fmt: skip
        url = f"{target.scheme}://{host}:{target.port}{target.path}"
        request = httpx2.Request("POST", url, headers=headers, content=body, extensions=extensions)
        # The transport itself: a client would follow proxies of the environment and log the URL.
        response = await self._make_transport().handle_async_request(request)
        try:
            start = bytearray()
            async for piece in response.stream:  # type: ignore[union-attr]  # the transport's are asynchronous
                start += piece
                if len(start) >= MOST_BODY:
                    break
        finally:
            await response.aclose()
        text = bytes(start[:MOST_BODY]).decode("utf-8", "replace")
        return Response(response.status_code, "".join(c if c.isprintable() else " " for c in text[:MOST_TEXT]))

    def _make_transport(self) -> httpx2.AsyncHTTPTransport:
        if self._transport is None:
            import httpx2

            limits = httpx2.Limits(max_connections=None, max_keepalive_connections=0)
            self._transport = httpx2.AsyncHTTPTransport(verify=self._tls or ssl.create_default_context(), limits=limits)
        return self._transport

    async def close(self) -> None:
        """Closes what is open."""
        if self._transport is not None:
            await self._transport.aclose()
            self._transport = None
