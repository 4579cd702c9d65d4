"""Port to a service that verifies OAuth 2.0 access tokens, and the SASL messages that carry them.

No verifier is configured by default; without one, servers offer neither OAUTHBEARER (RFC 7628) nor XOAUTH2.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Protocol

#: The longest access token that is passed to a verifier, in octets.
MOST_OCTETS: Final = 16_384


class TokenError(Exception):
    """The client's message is malformed."""


class TokenVerifier(Protocol):
    """Verifies access tokens."""

    async def verify(self, token: str) -> str | None:
        """The address of the account that the token was issued for; None if it is unknown, expired or for another
        service. Raises StoreUnavailable: the answer is unknown now."""
        ...


@dataclass(frozen=True, slots=True)
class Bearer:
    """A token, and the address that the client named; empty if it named none."""

    address: str
    token: str = field(repr=False)


def read_oauthbearer(message: bytes) -> Bearer:
    """The client's message of OAUTHBEARER (RFC 7628 §3.1). Raises TokenError."""
    header, *pairs = _text(message).split("\x01")
    binding, _, rest = header.partition(",")
    authzid, mark, after = rest.partition(",")
    if binding not in ("n", "y") or not mark or after or (authzid and not authzid.startswith("a=")):
        raise TokenError("malformed GS2 header")
    address = authzid[2:].replace("=2C", ",").replace("=3D", "=")
    return Bearer(address, _token(pairs))


def read_xoauth2(message: bytes) -> Bearer:
    """The client's message of XOAUTH2, in the form that Google defined. Raises TokenError."""
    first, *pairs = _text(message).split("\x01")
    if not first.startswith("user="):
        raise TokenError("no user")
    return Bearer(first.removeprefix("user="), _token(pairs))


def _text(message: bytes) -> str:
    if len(message) > MOST_OCTETS or b"\0" in message:
        raise TokenError("too long, or with a NUL")
    try:
        text = message.decode("utf-8")
    except UnicodeDecodeError as error:
        raise TokenError("not UTF-8") from error
    if not text.endswith("\x01\x01"):
        raise TokenError("not terminated")
    return text[:-2]


def _token(pairs: list[str]) -> str:
    found = [pair.removeprefix("auth=") for pair in pairs if pair.startswith("auth=")]
    kind, _, token = found[0].partition(" ") if len(found) == 1 else ("", "", "")
    if kind.lower() != "bearer" or not token.strip():
        raise TokenError("no bearer token")
    return token.strip()
