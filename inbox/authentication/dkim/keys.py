"""Public keys of signers (RFC 6376 §3.6, RFC 8301, RFC 8463): lookup in the DNS, bounds, checks, and a cache of parsed
keys."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.hazmat.primitives.serialization import load_der_public_key

from inbox.authentication.dkim.tags import TagsInvalid, octets, parse_tags, words
from inbox.base.limits import (
    DOMAIN_OCTETS,
    KEY_RECORD_OCTETS,
    KEY_RECORDS,
    PUBLIC_KEY_OCTETS,
    RSA_BITS_LEAST,
    RSA_BITS_MOST,
    RSA_EXPONENT_BITS,
)
from inbox.dns.answers import DnsTemporary, NameUnfit, Resolver
from inbox.mail.address import AddressError, canonical_domain


class KeyInvalid(ValueError):
    """There is no usable key. The text quotes no input."""


@dataclass(frozen=True, slots=True)
class PublicKey:
    """A key record. ``kind`` is ``rsa`` or ``ed25519``, ``testing`` its ``t=y``, ``strict`` its ``t=s``; ``hashes``
    are the names of ``h=`` (empty: all)."""

    kind: str
    key: RSAPublicKey | Ed25519PublicKey
    bits: int
    testing: bool = False
    strict: bool = False
    hashes: tuple[str, ...] = ()


def domain_name(text: str) -> str:
    """A domain (``d=``) or selector (``s=``) of a signature as A-labels in lower case (RFC 6376 §3.5, RFC 8616 §5).

    Raises:
        KeyInvalid: the name cannot be looked up.
    """
    if len(text) > DOMAIN_OCTETS or text.startswith("["):  # IDNA is slow for long texts.
        raise KeyInvalid("not a domain name")
    try:
        return canonical_domain(text)
    except AddressError:
        raise KeyInvalid("not a domain name") from None


def parse_key(record: bytes) -> PublicKey:
    """Parse a key record (RFC 6376 §3.6.1). Parsed records are cached.

    Raises:
        KeyInvalid: it is malformed, revoked, not meant for mail, too large or too small.
    """
    if len(record) > KEY_RECORD_OCTETS:
        raise KeyInvalid("the key record is too long")
    parsed = _parsed(record)
    if isinstance(parsed, str):
        raise KeyInvalid(parsed)
    return parsed


@lru_cache(maxsize=4096)
def _parsed(record: bytes) -> PublicKey | str:
    """The key, or the error: both are kept, so that no message parses a record again."""
    try:
        tags = parse_tags(record, KEY_RECORD_OCTETS)
        if tags.get("v", "DKIM1") != "DKIM1":
            return "the key record has an unknown version"
        services = words(tags, "s")
        if services and not {"*", "email"} & set(services):
            return "the key is not for mail"
        if tags.get("p") == "":
            return "the key is revoked"
        raw = octets(tags, "p")
    except TagsInvalid as error:
        return f"the key record is malformed: {error}"
    # The bound comes before the parser, so that no record makes it read numbers of 16,384 bits.
    if len(raw) > PUBLIC_KEY_OCTETS:
        return "the key is too large"
    flags = words(tags, "t")
    kind = tags.get("k", "rsa")
    found = _rsa(raw) if kind == "rsa" else _ed25519(raw) if kind == "ed25519" else "the key's type is unknown"
    if isinstance(found, str):
        return found
    key, bits = found
    return PublicKey(kind, key, bits, "y" in flags, "s" in flags, words(tags, "h"))


def _ed25519(raw: bytes) -> tuple[Ed25519PublicKey, int] | str:
    try:
        return Ed25519PublicKey.from_public_bytes(raw), 256  # RFC 8463 §4: the octets alone, no DER
    except (ValueError, UnsupportedAlgorithm):
        return "the key is malformed"


def _rsa(raw: bytes) -> tuple[RSAPublicKey, int] | str:
    """SubjectPublicKeyInfo, or a bare RSAPublicKey, which RFC 6376 §3.6.1 literally specifies."""
    try:
        key = load_der_public_key(raw)
    except (ValueError, UnsupportedAlgorithm):
        return "the key is malformed"
    if not isinstance(key, RSAPublicKey):
        return "the key is not of its declared type"
    if key.key_size < RSA_BITS_LEAST:
        return f"the key has fewer than {RSA_BITS_LEAST} bits"  # RFC 8301 §3.2
    if key.key_size > RSA_BITS_MOST or key.public_numbers().e.bit_length() > RSA_EXPONENT_BITS:
        return "the key is too large"
    return key, key.key_size


async def find_key(dns: Resolver, domain: str, selector: str, kind: str = "") -> PublicKey:
    """The key of ``selector`` and ``domain`` (both as :func:`domain_name` gives them), RFC 6376 §3.6.2.

    Args:
        kind: ``rsa`` or ``ed25519``: the type for the signature's algorithm. Empty: either.

    Raises:
        KeyInvalid: there is no key, or no usable one.
        DnsTemporary: no answer now.
    """
    try:
        answer = await dns.txt(f"{selector}._domainkey.{domain}")
    except NameUnfit:
        raise KeyInvalid("not a domain name") from None
    if not answer.records:
        raise KeyInvalid("there is no key")
    problem = ""
    # There must be only one record; if there are more, the result must not depend on their order.
    for record in sorted(answer.records)[:KEY_RECORDS]:
        try:
            key = parse_key(record)
        except KeyInvalid as error:
            problem = problem or str(error)
            continue
        if kind in {"", key.kind}:
            return key
        problem = "the key is of another type than the signature"
    raise KeyInvalid(problem)


Found = PublicKey | KeyInvalid | DnsTemporary


async def find_keys(dns: Resolver, wanted: Iterable[tuple[str, str, str]]) -> dict[tuple[str, str, str], Found]:
    """The keys of several signatures, (domain, selector, kind) each, looked up at once; a missing key is returned as
    the error that :func:`find_key` raises for it."""

    async def one(domain: str, selector: str, kind: str) -> Found:
        try:
            return await find_key(dns, domain, selector, kind)
        except (KeyInvalid, DnsTemporary) as error:
            return error

    different = tuple(dict.fromkeys(wanted))
    if len(different) == 1:
        return {different[0]: await one(*different[0])}
    return dict(zip(different, await asyncio.gather(*(one(*each) for each in different)), strict=True))
