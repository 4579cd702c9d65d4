"""Check the URLs of webhooks, so that no tenant can make the server send requests into its own network.

A URL is checked when it is added, and again for each request: the policy may have changed, and a name can get another
address at any time. The request goes to an address that was checked, not to the name (DNS rebinding).
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Final
from urllib.parse import urlsplit

import idna

from inbox.base.errors import InboxError
from inbox.dns.answers import Resolver
from inbox.flow.outbound.mx import addresses, is_public
from inbox.policy.model import WebhookSettings

IpAddress = IPv4Address | IPv6Address
MOST_URL: Final = 2000


class UrlRefused(InboxError):
    """A URL that no request may go to."""


@dataclass(frozen=True, slots=True)
class Target:
    """A checked URL. ``host``: an A-label name, or an address; ``path`` begins with a slash and has the query."""

    scheme: str
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        """The Host field of requests."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == {"https": 443, "http": 80}[self.scheme] else f"{host}:{self.port}"


def parse(url: str, settings: WebhookSettings, tenant: str) -> Target:
    """Checks a URL.

    Args:
        tenant: the name of the tenant.

    Raises:
        UrlRefused: the URL is not valid, or not allowed.
    """
    if len(url) > MOST_URL:
        raise UrlRefused(f"the URL has {len(url)} characters; at most {MOST_URL} are allowed")
    if any(not character.isprintable() or character.isspace() or character == "\\" for character in url):
        raise UrlRefused("the URL contains a space, a backslash or a control character")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise UrlRefused(f"the URL is not valid: {error}") from error
    _check_scheme(parts.scheme, settings, tenant)
    if "@" in parts.netloc:
        raise UrlRefused("the URL contains credentials: requests are signed, so they need none")
    if parts.fragment or "#" in url:
        raise UrlRefused("the URL has a fragment, which no server receives")
    if port is None:
        port = 443 if parts.scheme == "https" else 80
    if port not in settings.ports and not (parts.scheme == "http" and port != 0):
        allowed = ", ".join(map(str, settings.ports))
        raise UrlRefused(f"port {port} is not allowed; server.webhooks.ports of default.yaml has {allowed}")
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not path.isascii():
        raise UrlRefused("the path contains a character that is not ASCII: percent-encode it")
    target = Target(parts.scheme, _host(parts.hostname or ""), port, path)
    with contextlib.suppress(ValueError):
        _check(ip_address(target.host), target, settings)
    return target


async def resolve(target: Target, resolver: Resolver, settings: WebhookSettings) -> list[IpAddress]:
    """The addresses to which a request may go, in the order in which they are tried.

    Raises:
        DnsError: the name could not be looked up.
        UrlRefused: it has no address, or one that is not allowed. If one of several is not allowed, none is used: such
            a name tries to reach it.
    """
    found = await addresses(resolver, target.host)
    if not found:
        raise UrlRefused(f"{target.host} has no address")
    for address in found:
        _check(address, target, settings)
    return found


def is_allowed(address: IpAddress, settings: WebhookSettings) -> bool:
    """Whether requests may go to an address: a public one, or one in a network that the policy lists."""
    plain = _unmapped(address)
    if any(plain.version == network.version and plain in network for network in settings.networks):
        return True
    return is_public(plain)


def _check(address: IpAddress, target: Target, settings: WebhookSettings) -> None:
    if not is_allowed(address, settings):
        raise UrlRefused(
            f"the address of {target.host} is {address}, which is neither public nor in server.webhooks.networks of "
            "default.yaml"
        )


def _unmapped(address: IpAddress) -> IpAddress:
    return address.ipv4_mapped or address if isinstance(address, IPv6Address) else address


def _check_scheme(scheme: str, settings: WebhookSettings, tenant: str) -> None:
    if scheme == "http" and tenant in settings.http:
        return
    if scheme == "http":
        raise UrlRefused(
            "the URL is not https (server.webhooks.http of default.yaml allows http to the tenants that it names)"
        )
    if scheme != "https":
        raise UrlRefused("the URL does not begin with https://")


def _host(text: str) -> str:
    try:
        return str(ip_address(text))
    except ValueError:
        pass
    try:
        host = idna.encode(text.rstrip("."), uts46=True).decode().lower()
    except (idna.IDNAError, UnicodeError) as error:
        raise UrlRefused(f"{text or 'an empty name'} is not a valid host name: {error}") from error
    labels: Sequence[str] = host.split(".")
    # 127.1, 0x7f000001 and 2130706433 are addresses for some programs.
    if len(labels) < 2 or labels[-1].isdigit() or labels[-1].startswith("0x"):
        raise UrlRefused(f"{text} is not a full host name, such as hooks.example.com")
    return host
