"""SCRAM-SHA-256, the client's side of the exchange (RFC 5802 §5, RFC 7677), without any I/O.

The client proves that it knows the password without sending it, and checks that the server knows the password's
verifier. Channel binding is not used.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
from functools import lru_cache
from typing import Final

from inbox.identity.scram import MECHANISM, MOST_OCTETS, ScramError, saslprep

__all__ = ["MECHANISM", "ClientExchange", "ScramError"]

#: Bounds of the iterations that a server may ask for: fewer make guessing the password from a recorded exchange cheap
#: (RFC 7677 §3), more keep a processor busy: a million take half a second.
FEWEST_ITERATIONS: Final = 4096
MOST_ITERATIONS: Final = 1_000_000
_NONCE_OCTETS: Final = 18
#: Octets of a salt; servers use 16 or so.
_MOST_SALT: Final = 1024
_HASH: Final = "sha256"
#: The gs2-header of a client that does not support channel binding.
_GS2_HEADER: Final = "n,,"


class ClientExchange:
    """One exchange: :attr:`first`, then :meth:`prove` answers the server's challenge, then :meth:`verify` ends it.

    Args:
        nonce: printable ASCII without commas, which must never repeat; None makes one.

    Raises:
        ValueError: SASLprep prohibits a character of the name or the password.
    """

    def __init__(self, username: str, password: str, nonce: str | None = None) -> None:
        self._password = saslprep(password)
        own = base64.b64encode(secrets.token_bytes(_NONCE_OCTETS)).decode("ascii") if nonce is None else nonce
        self._nonce = own
        name = saslprep(username).replace("=", "=3D").replace(",", "=2C")
        self._bare = f"n={name},r={own}"
        self._signature = b""

    @property
    def first(self) -> bytes:
        """The client's first message."""
        return (_GS2_HEADER + self._bare).encode()

    def prove(self, challenge: bytes) -> bytes:
        """The client's final message. Takes some 50 ms for a challenge that was not seen before.

        Raises:
            ScramError: the server's first message is malformed, or is not an answer to :attr:`first`.
        """
        nonce, salt, iterations = self._read(challenge)
        without_proof = f"c={base64.b64encode(_GS2_HEADER.encode()).decode('ascii')},r={nonce}".encode()
        signed = b",".join((self._bare.encode(), challenge, without_proof))
        salted = _salted(self._password, salt, iterations)
        client_key = hmac.digest(salted, b"Client Key", _HASH)
        signature = hmac.digest(hashlib.sha256(client_key).digest(), signed, _HASH)
        proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
        self._signature = hmac.digest(hmac.digest(salted, b"Server Key", _HASH), signed, _HASH)
        return without_proof + b",p=" + base64.b64encode(proof)

    def verify(self, message: bytes) -> None:
        """Checks the server's final message.

        Raises:
            ScramError: the server reports an error, or does not know the password's verifier.
        """
        text = _text(message)
        if text.startswith("e="):
            raise ScramError(f"the server reports: {text[2:102]}")
        if not text.startswith("v="):
            raise ScramError("the server's final message is malformed")
        given = _decoded(text[2:].partition(",")[0])
        if not self._signature or not hmac.compare_digest(given, self._signature):
            raise ScramError("the server does not know the password: its signature is wrong")

    def _read(self, challenge: bytes) -> tuple[str, bytes, int]:
        attributes = _text(challenge).split(",")
        if attributes[0].startswith("m="):
            raise ScramError("the server demands an extension")
        if len(attributes) < 3 or [each[:2] for each in attributes[:3]] != ["r=", "s=", "i="]:
            raise ScramError("the server's challenge is malformed")
        nonce, salt, count = (each[2:] for each in attributes[:3])
        if not nonce.startswith(self._nonce) or nonce == self._nonce:
            raise ScramError("the server's challenge has another nonce")
        if not count.isdigit() or len(count) > 9:
            raise ScramError("the server's challenge is malformed")
        if not FEWEST_ITERATIONS <= int(count) <= MOST_ITERATIONS:
            raise ScramError(
                f"the server demands {count} iterations; {FEWEST_ITERATIONS} to {MOST_ITERATIONS} are allowed"
            )
        octets = _decoded(salt)
        if not 0 < len(octets) <= _MOST_SALT:
            raise ScramError("the server's challenge is malformed")
        return nonce, octets, int(count)


@lru_cache(maxsize=64)
def _salted(password: str, salt: bytes, iterations: int) -> bytes:
    """SaltedPassword (RFC 5802 §3). A server's salt stays the same, so that only the first login costs time."""
    return hashlib.pbkdf2_hmac(_HASH, password.encode(), salt, iterations)


def _text(message: bytes) -> str:
    if len(message) > MOST_OCTETS or not message.isascii():
        raise ScramError("the server's message is malformed")
    return message.decode("ascii")


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error:
        raise ScramError("the server's message is not base64") from None
