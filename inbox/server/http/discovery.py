"""Routes that mail programs and other servers look for: settings of programs, and the MTA-STS policy of a domain."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

from lxml import etree
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute, Route

from inbox.base.errors import StoreError
from inbox.hosting.clients import MailPorts, apple, outlook, thunderbird
from inbox.mail.address import Address, AddressError
from inbox.server.http.application import problem

#: Octets of a request of Outlook's; real ones have some hundred.
_REQUEST_OCTETS: Final = 16 * 1024
_STS: Final = "mta-sts."
_ADDRESS: Final = "EMailAddress"
_XML: Final = "text/xml; charset=utf-8"
_PROFILE: Final = "application/x-apple-aspen-config"


@dataclass(frozen=True, slots=True)
class Discovery:
    """The inputs of these routes.

    Attributes:
        is_hosted: whether a canonical domain name is hosted here and active; raises StoreError.
        policy: the text of the MTA-STS policy (RFC 8461 §3.2).
    """

    is_hosted: Callable[[str], Awaitable[bool]]
    ports: MailPorts
    policy: str


class _NotFound(Exception):
    """There is no document for this request. The text does not depend on what else is hosted."""


def discovery_routes(discovery: Discovery) -> list[BaseRoute]:
    """The routes. Outlook's programs do not agree on the case of their path."""
    made = _Discovery(discovery)
    autodiscover = made.answering(made.autodiscover)
    autoconfig = made.answering(made.autoconfig)
    return [
        Route("/.well-known/mta-sts.txt", made.answering(made.mta_sts)),
        Route("/mail/config-v1.1.xml", autoconfig),
        Route("/.well-known/autoconfig/mail/config-v1.1.xml", autoconfig),
        Route("/autodiscover/autodiscover.xml", autodiscover, methods=["POST"]),
        Route("/Autodiscover/Autodiscover.xml", autodiscover, methods=["POST"]),
        Route("/AutoDiscover/AutoDiscover.xml", autodiscover, methods=["POST"]),
        Route("/.mobileconfig", made.answering(made.mobileconfig)),
    ]


class _Discovery:
    def __init__(self, discovery: Discovery) -> None:
        self._discovery = discovery

    def answering(self, handler: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
        """The handler, whose errors become problem documents."""

        async def answer(request: Request) -> Response:
            try:
                return await handler(request)
            except _NotFound as error:
                return problem(404, str(error), request.state.request_id)
            except StoreError:
                return problem(503, "The server has a local problem, try again later", request.state.request_id)

        return answer

    async def mta_sts(self, request: Request) -> Response:
        """RFC 8461 §3.3: the policy is at the host ``mta-sts.`` in front of the domain."""
        host = _host(request)
        if not host.startswith(_STS):
            raise _NotFound("The policy of a domain is at https://mta-sts.DOMAIN/.well-known/mta-sts.txt")
        await self._check_hosted(host.removeprefix(_STS))
        return Response(self._discovery.policy, media_type="text/plain")

    async def autoconfig(self, request: Request) -> Response:
        """Thunderbird asks with the address; other programs name the domain in the host only."""
        given = request.query_params.get("emailaddress", "")
        domain = _address(given).domain if given else _host(request).removeprefix("autoconfig.")
        await self._check_hosted(domain)
        return _answer(thunderbird(self._discovery.ports, domain), _XML)

    async def autodiscover(self, request: Request) -> Response:
        """Outlook posts a document with the address."""
        body, size = [], 0
        async for piece in request.stream():
            size += len(piece)
            if size > _REQUEST_OCTETS:
                return problem(413, f"The request exceeds the limit of {_REQUEST_OCTETS} octets", "")
            body.append(piece)
        address = _address(_requested(b"".join(body)))
        await self._check_hosted(address.domain)
        return _answer(outlook(self._discovery.ports, str(address)), _XML)

    async def mobileconfig(self, request: Request) -> Response:
        """A profile for ``?emailaddress=``; the device shows it before it is installed."""
        address = _address(request.query_params.get("emailaddress", ""))
        await self._check_hosted(address.domain)
        name = f'attachment; filename="{address.domain}.mobileconfig"'
        profile = apple(self._discovery.ports, str(address), address.domain)
        return _answer(profile, _PROFILE, {"Content-Disposition": name})

    async def _check_hosted(self, domain: str) -> None:
        if not await self._discovery.is_hosted(domain):
            raise _NotFound(f"{domain[:255]} is not hosted here")


def _answer(document: bytes, media_type: str, headers: Mapping[str, str] | None = None) -> Response:
    return Response(document, media_type=media_type, headers=dict(headers or {}))


def _host(request: Request) -> str:
    return request.headers.get("host", "").partition(":")[0].rstrip(".").lower()


def _address(text: str) -> Address:
    """Raises _NotFound."""
    try:
        return Address.parse(text.strip())
    except AddressError:
        raise _NotFound("The request names no valid address") from None


def _requested(document: bytes) -> str:
    """The address in Outlook's request. Raises _NotFound."""
    if b"<!" in document:  # no DOCTYPE, and so no entities
        raise _NotFound("The request is not an Autodiscover request")
    parser = etree.XMLParser(resolve_entities=False, no_network=True, huge_tree=False)
    try:
        root = etree.fromstring(document, parser)
    except etree.XMLSyntaxError:
        raise _NotFound("The request is not an Autodiscover request") from None
    for element in root.iter():
        if isinstance(element.tag, str) and etree.QName(element).localname == _ADDRESS:
            return element.text or ""
    raise _NotFound("The request names no address: this server answers Outlook's schema of 2006 only")
