"""SCRAM-SHA-256 (RFC 5802, RFC 7677): verifiers of passwords, and the server's side of the exchange, without any I/O.

The server keeps a verifier instead of the password: a client proves that it knows the password without sending it, and
the server proves that it knows the verifier. Channel binding is not offered. A password has one verifier, so app
passwords, of which an account has several, cannot be used with SCRAM.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import secrets
import stringprep
import unicodedata
from dataclasses import dataclass, field
from typing import Final

MECHANISM: Final = "SCRAM-SHA-256"
#: RFC 7677 §4: at least 4096. A client computes this many rounds at each login: about 50 ms.
ITERATIONS: Final = 100_000
#: Bounds of what is accepted from the database: a damaged verifier must not keep a client busy for minutes.
_FEWEST, _MOST_ITERATIONS = 4096, 10_000_000
_SALT_OCTETS: Final = 16
_NONCE_OCTETS: Final = 18
#: Bounds of what a client sends.
MOST_OCTETS: Final = 2048
_MOST_NONCE: Final = 256
_HASH: Final = "sha256"


class ScramError(Exception):
    """The exchange failed. The text is a ``server-error-value`` of RFC 5802 §7, for the client."""


@dataclass(frozen=True, slots=True)
class Verifier:
    """The values that the server stores for a password (RFC 5802 §3)."""

    salt: bytes
    iterations: int
    stored_key: bytes = field(repr=False)
    server_key: bytes = field(repr=False)

    def __str__(self) -> str:
        """The text for the database, in the same form as PostgreSQL stores."""
        words = [base64.b64encode(each).decode("ascii") for each in (self.salt, self.stored_key, self.server_key)]
        return f"{MECHANISM}${self.iterations}:{words[0]}${words[1]}:{words[2]}"


def verifier_of(password: str, salt: bytes | None = None, iterations: int = ITERATIONS) -> Verifier | None:
    """The verifier of a password; None if SASLprep prohibits one of its characters. Takes about 50 ms."""
    try:
        prepared = saslprep(password)
    except ValueError:
        return None
    salt = secrets.token_bytes(_SALT_OCTETS) if salt is None else salt
    salted = hashlib.pbkdf2_hmac(_HASH, prepared.encode(), salt, iterations)
    client_key = hmac.digest(salted, b"Client Key", _HASH)
    return Verifier(salt, iterations, hashlib.sha256(client_key).digest(), hmac.digest(salted, b"Server Key", _HASH))


def read_verifier(text: str) -> Verifier | None:
    """Parse the text that ``str`` produced; None if it is damaged."""
    try:
        mechanism, first, second = text.split("$")
        iterations, salt = first.split(":")
        stored_key, server_key = second.split(":")
        made = Verifier(_decoded(salt), int(iterations), _decoded(stored_key), _decoded(server_key))
    except ValueError:
        return None
    if mechanism != MECHANISM or not _FEWEST <= made.iterations <= _MOST_ITERATIONS or len(made.stored_key) != 32:
        return None
    return made


def pretended_verifier(secret: bytes, user: str) -> Verifier:
    """A verifier for a user without one. It matches no password, and each user always has the same salt: otherwise
    two attempts would reveal that the user does not exist (RFC 5802 §9).
    """

    def derived(purpose: bytes) -> bytes:
        return hmac.digest(secret, purpose + b"\0" + user.encode("utf-8", "surrogatepass"), _HASH)

    return Verifier(derived(b"salt")[:_SALT_OCTETS], ITERATIONS, derived(b"stored"), derived(b"server"))


@dataclass(frozen=True, slots=True)
class ClientFirst:
    """The client's first message (RFC 5802 §7): who logs in, and the part that is signed."""

    user: str
    nonce: str
    gs2_header: bytes
    bare: bytes


def read_client_first(message: bytes) -> ClientFirst:
    """Reads the client's first message.

    Raises:
        ScramError: it is malformed, asks for channel binding, or for another user's identity.
    """
    text = _text(message)
    binding, _, rest = text.partition(",")
    authzid, _, bare = rest.partition(",")
    if binding.startswith("p="):
        raise ScramError("server-does-not-support-channel-binding")
    if binding not in ("n", "y"):
        raise ScramError("other-error")
    attributes = bare.split(",")
    if attributes[0].startswith("m="):
        raise ScramError("extensions-not-supported")
    if len(attributes) < 2 or not attributes[0].startswith("n=") or not attributes[1].startswith("r="):
        raise ScramError("other-error")
    user, nonce = _name(attributes[0][2:]), attributes[1][2:]
    if not nonce or len(nonce) > _MOST_NONCE or not all("!" <= each <= "~" for each in nonce):
        raise ScramError("other-error")
    if authzid and (not authzid.startswith("a=") or _name(authzid[2:]) != user):
        raise ScramError("other-error")
    return ClientFirst(user, nonce, f"{binding},{authzid},".encode(), bare.encode())


class Exchange:
    """One exchange after the client's first message: the challenge, then the answer to the client's proof.

    Args:
        nonce: the server's part of the nonce, which must never repeat; None generates one.
    """

    def __init__(self, first: ClientFirst, verifier: Verifier, nonce: str | None = None) -> None:
        self._first = first
        self._verifier = verifier
        own = base64.b64encode(secrets.token_bytes(_NONCE_OCTETS)).decode("ascii") if nonce is None else nonce
        self._nonce = first.nonce + own
        salt = base64.b64encode(verifier.salt).decode("ascii")
        #: The server's first message.
        self.challenge = f"r={self._nonce},s={salt},i={verifier.iterations}".encode("ascii")

    def finish(self, message: bytes) -> bytes:
        """The server's final message, if the client has proved that it knows the password.

        Raises:
            ScramError: the proof is wrong, or the message is malformed.
        """
        without_proof, mark, proof = _text(message).rpartition(",p=")
        attributes = without_proof.split(",")
        if not mark or len(attributes) < 2 or attributes[0].startswith("m="):
            raise ScramError("other-error")
        if attributes[0] != f"c={base64.b64encode(self._first.gs2_header).decode('ascii')}":
            raise ScramError("channel-bindings-dont-match")
        if not hmac.compare_digest(attributes[1].encode(), f"r={self._nonce}".encode()):
            raise ScramError("other-error")
        signed = b",".join((self._first.bare, self.challenge, without_proof.encode()))
        try:
            given = _decoded(proof)
        except ValueError as error:
            raise ScramError("invalid-encoding") from error
        signature = hmac.digest(self._verifier.stored_key, signed, _HASH)
        client_key = bytes(a ^ b for a, b in zip(given, signature, strict=False))
        if not hmac.compare_digest(hashlib.sha256(client_key).digest(), self._verifier.stored_key):
            raise ScramError("invalid-proof")
        answer = hmac.digest(self._verifier.server_key, signed, _HASH)
        return b"v=" + base64.b64encode(answer)


def saslprep(text: str) -> str:
    """SASLprep (RFC 4013), for a stored string.

    Raises:
        ValueError: a character is prohibited, or the text mixes directions of writing.
    """
    if text.isascii() and text.isprintable():
        return text
    mapped = "".join(
        " " if stringprep.in_table_c12(each) else each for each in text if not stringprep.in_table_b1(each)
    )
    prepared = unicodedata.ucd_3_2_0.normalize("NFKC", mapped)
    prohibited = (
        stringprep.in_table_c12, stringprep.in_table_c21_c22, stringprep.in_table_c3, stringprep.in_table_c4,
        stringprep.in_table_c5, stringprep.in_table_c6, stringprep.in_table_c7, stringprep.in_table_c8,
        stringprep.in_table_c9, stringprep.in_table_a1,
    )  # fmt: skip
    if not prepared or any(is_in(each) for each in prepared for is_in in prohibited):
        raise ValueError("a character is prohibited")
    if any(stringprep.in_table_d1(each) for each in prepared):
        mixed = any(stringprep.in_table_d2(each) for each in prepared)
        if mixed or not (stringprep.in_table_d1(prepared[0]) and stringprep.in_table_d1(prepared[-1])):
            raise ValueError("the text mixes directions of writing")
    return prepared


def _text(message: bytes) -> str:
    if len(message) > MOST_OCTETS or b"\0" in message:
        raise ScramError("other-error")
    try:
        return message.decode("utf-8")
    except UnicodeDecodeError as error:
        raise ScramError("invalid-username-encoding") from error


def _name(text: str) -> str:
    """A ``saslname``: ``=2C`` is a comma and ``=3D`` an equals sign, and no other ``=`` may occur."""
    rest = text.replace("=2C", "").replace("=3D", "")
    if not text or "=" in rest:
        raise ScramError("invalid-username-encoding")
    return text.replace("=2C", ",").replace("=3D", "=")


def _decoded(text: str) -> bytes:
    """Raises ValueError if the text is not base64."""
    try:
        return base64.b64decode(text, validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from error
