"""The DNS record of a signing key (RFC 6376 §3.6.1, RFC 8463 §4): rendering and comparison."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from enum import StrEnum
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from inbox.authentication.dkim.keys import KeyInvalid, parse_key
from inbox.plugin.api.signing import PrivateKey

#: RFC 1035 §3.3: octets of one character-string.
STRING_OCTETS: Final = 255


class Publication(StrEnum):
    """The state of the DNS record of a selector, compared with the server's key."""

    PUBLISHED = "published"
    MISSING = "missing"
    #: Another key, a revoked key, or a key that is not for mail or not for SHA-256.
    OTHER = "other"
    #: More than one record: which of them a verifier uses is undefined (RFC 6376 §3.6.2.2).
    AMBIGUOUS = "ambiguous"


def key_type(private: PrivateKey) -> str:
    """``k=``: ``rsa`` or ``ed25519``."""
    return "ed25519" if isinstance(private, Ed25519PrivateKey) else "rsa"


def record_name(selector: str, domain: str) -> str:
    """The name of the record (RFC 6376 §3.6.2.1), without the last dot."""
    return f"{selector}._domainkey.{domain}"


def record_text(private: PrivateKey) -> str:
    """The record of a key's public half, e.g. ``v=DKIM1; k=rsa; p=MIIB…``."""
    return f"v=DKIM1; k={key_type(private)}; p={base64.b64encode(_public_octets(private)).decode()}"


def zone_strings(text: str) -> str:
    """``text`` as the strings of a TXT record in a zone file (RFC 1035 §5.1), each of at most 255 octets.

    Raises:
        UnicodeEncodeError: it is not ASCII.
    """
    octets = text.encode("ascii")
    parts = [octets[at : at + STRING_OCTETS].decode() for at in range(0, len(octets), STRING_OCTETS)]
    return " ".join('"' + part.replace("\\", "\\\\").replace('"', '\\"') + '"' for part in parts or [""])


def publication(records: Sequence[bytes], private: PrivateKey) -> Publication:
    """The state of the TXT records of a selector, compared with the key ``private``."""
    return compared(records, private.public_key())


def compared(records: Sequence[bytes], public: RSAPublicKey | Ed25519PublicKey) -> Publication:
    """:func:`publication` for callers that have only the public key."""
    if not records:
        return Publication.MISSING
    if len(records) > 1:
        return Publication.AMBIGUOUS
    try:
        shown = parse_key(records[0])
    except KeyInvalid:
        return Publication.OTHER
    usable = not shown.hashes or "sha256" in shown.hashes
    # Two public keys are equal if their numbers are, regardless of encoding.
    return Publication.PUBLISHED if usable and shown.key == public else Publication.OTHER


def _public_octets(private: PrivateKey) -> bytes:
    """The value of ``p=``."""
    public = private.public_key()
    if isinstance(private, Ed25519PrivateKey):
        return public.public_bytes(Encoding.Raw, PublicFormat.Raw)  # RFC 8463 §4.2
    # RFC 6376 §3.6.1 names RSAPublicKey; published keys (and its example) are a SubjectPublicKeyInfo.
    return public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
