"""The record under which the DNS shows a signing key (RFC 6376 §3.6.1, RFC 8463 §4): written, and recognised."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from inbox.authentication.signing import PrivateKey

#: RFC 1035 §3.3: octets of one character-string.
STRING_OCTETS: Final = 255
#: Octets of a key record that are looked at. One of RSA-4096 has about 750.
RECORD_OCTETS: Final = 8192


class Publication(StrEnum):
    """What the DNS shows under a selector, compared with a key of ours."""

    PUBLISHED = "published"
    MISSING = "missing"
    #: ``p=`` is empty (RFC 6376 §3.6.1).
    REVOKED = "revoked"
    #: Another key, or this one with tags that keep it from being used for signatures on mail with SHA-256.
    OTHER = "other"
    #: More than one record: which of them a verifier takes is undefined (RFC 6376 §3.6.2.2).
    AMBIGUOUS = "ambiguous"


def key_type(private: PrivateKey) -> str:
    """``k=``: ``rsa`` or ``ed25519``."""
    return "ed25519" if isinstance(private, Ed25519PrivateKey) else "rsa"


def record_name(selector: str, domain: str) -> str:
    """Where the record stands (RFC 6376 §3.6.2.1), without the last dot."""
    return f"{selector}._domainkey.{domain}"


def record_text(private: PrivateKey) -> str:
    """The record of a key's public half, e.g. ``v=DKIM1; k=rsa; p=MIIB…``."""
    return f"v=DKIM1; k={key_type(private)}; p={base64.b64encode(_public_forms(private)[0]).decode()}"


def zone_strings(text: str) -> str:
    """``text`` as the strings of a TXT record in a zone file (RFC 1035 §5.1), each of at most 255 octets.

    Raises:
        UnicodeEncodeError: it is not ASCII.
    """
    octets = text.encode("ascii")
    parts = [octets[at : at + STRING_OCTETS].decode() for at in range(0, len(octets), STRING_OCTETS)]
    return " ".join('"' + part.replace("\\", "\\\\").replace('"', '\\"') + '"' for part in parts or [""])


def publication(records: Sequence[bytes], private: PrivateKey) -> Publication:
    """What the TXT records under a selector say about the key ``private``."""
    if not records:
        return Publication.MISSING
    if len(records) > 1:
        return Publication.AMBIGUOUS
    tags = _tags(records[0])
    if tags is None or not _usable(tags, key_type(private)):
        return Publication.OTHER
    shown = "".join(tags["p"].split())
    if not shown:
        return Publication.REVOKED
    try:
        found = base64.b64decode(shown, validate=True)
    except binascii.Error:
        return Publication.OTHER
    return Publication.PUBLISHED if found in _public_forms(private) else Publication.OTHER


def _public_forms(private: PrivateKey) -> tuple[bytes, ...]:
    """The octets of the public key that ``p=`` may hold; ours is the first."""
    public = private.public_key()
    if isinstance(private, Ed25519PrivateKey):
        return (public.public_bytes(Encoding.Raw, PublicFormat.Raw),)  # RFC 8463 §4.2
    # RFC 6376 §3.6.1 names RSAPublicKey; what everybody publishes is a SubjectPublicKeyInfo (its example, too).
    return (
        public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(Encoding.DER, PublicFormat.PKCS1),
    )


def _tags(record: bytes) -> Mapping[str, str] | None:
    """The tags of a record (RFC 6376 §3.2); None if it is malformed."""
    tags: dict[str, str] = {}
    try:
        text = record.decode("ascii")
    except UnicodeDecodeError:
        return None
    if len(text) > RECORD_OCTETS:
        return None
    for part in text.removesuffix(";").split(";"):
        name, equals, value = part.partition("=")
        name = name.strip()
        if not equals or not name or name in tags:
            return None
        tags[name] = value.strip()
    # "v=" is optional, but where it stands it stands first and says DKIM1.
    if "v" in tags and (tags["v"] != "DKIM1" or next(iter(tags)) != "v"):
        return None
    return tags if "p" in tags else None


def _usable(tags: Mapping[str, str], kind: str) -> bool:
    """Whether the record is for signatures on mail, with SHA-256, with a key of this kind."""
    hashes = {name.strip() for name in tags.get("h", "sha256").split(":")}
    services = {name.strip() for name in tags.get("s", "*").split(":")}
    return tags.get("k", "rsa") == kind and "sha256" in hashes and not services.isdisjoint({"*", "email"})
