"""Parser of one DKIM-Signature field (RFC 6376 §3.5, §6.1.1; RFC 8301, RFC 8463)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

from inbox.authentication.dkim.canonical import Form
from inbox.authentication.dkim.keys import KeyInvalid, domain_name
from inbox.authentication.dkim.tags import TagsInvalid, number, octets, parse_tags, required, words
from inbox.base.limits import CLOCK_SKEW_SECONDS, TAG_LENGTH_DIGITS
from inbox.plugin.api.facts import DkimSignature, Result

#: ``a=`` and the ``k=`` that goes with it. RFC 8301 §3.1 forbids rsa-sha1.
ALGORITHMS = {"rsa-sha256": "rsa", "ed25519-sha256": "ed25519"}
_FIELD_NAME = re.compile(r"[!-9<-~]+\Z")
_ALGORITHM = re.compile(r"[a-z0-9-]{1,32}\Z")
_UNPRINTABLE = re.compile(r"[^!-~]")
_BASE64 = re.compile(r"[^A-Za-z0-9+/=]")
#: RFC 6008 §4: as many characters of b= as distinguish signatures, at least eight.
_SHOWN = 8
_SHA256_OCTETS = 32
#: ``i=`` is shown whole up to this length; beyond it, only its domain.
_IDENTITY_CHARACTERS = 254


class SignatureInvalid(ValueError):
    """The field cannot be verified (PERMFAIL). The text quotes no input."""


@dataclass(frozen=True, slots=True)
class Signature:
    """The data for verification: ``header`` and ``body`` are the forms of ``c=``, ``names`` the ``h=`` in lower case,
    ``length`` is ``l=``, ``identity`` the domain of ``i=``, ``kind`` the required key type."""

    kind: str
    domain: str
    selector: str
    identity: str
    header: Form
    body: Form
    names: tuple[str, ...]
    value: bytes
    body_hash: bytes
    length: int | None


def read_signature(value: bytes, now: float) -> tuple[DkimSignature, Signature | None]:
    """Parse the field's value.

    Returns:
        Its fact, as far as it can be read, and the data for verification. Without the latter, the former
        has the result and the reason.
    """
    try:
        tags = parse_tags(value)
    except TagsInvalid as error:
        return DkimSignature(Result.PERMERROR, reason=str(error)), None
    names = words(tags, "h")
    fact = _fact(tags, names)
    try:
        signature = _checked(tags, fact, names, now)
    except (TagsInvalid, SignatureInvalid) as error:
        return replace(fact, result=Result.PERMERROR, reason=str(error)), None
    return fact, signature


def _fact(tags: Mapping[str, str], names: tuple[str, ...]) -> DkimSignature:
    """The fact about a signature, safe for a header field."""
    algorithm = tags.get("a", "").lower()
    return DkimSignature(
        Result.NONE,
        domain=_name(tags, "d"),
        selector=_name(tags, "s"),
        identity=_shown(_UNPRINTABLE.sub("?", tags.get("i", ""))),
        algorithm=algorithm if _ALGORITHM.match(algorithm) else "",
        signature=_BASE64.sub("", tags.get("b", ""))[:_SHOWN],
        covers=tuple(filter(_FIELD_NAME.match, dict.fromkeys(names))),
    )


def _shown(identity: str) -> str:
    if len(identity) <= _IDENTITY_CHARACTERS:
        return identity
    return "@" + identity.rpartition("@")[2][: _IDENTITY_CHARACTERS - 1]


def _name(tags: Mapping[str, str], tag: str) -> str:
    try:
        return domain_name(tags.get(tag, ""))
    except KeyInvalid:
        return ""


def _checked(tags: Mapping[str, str], fact: DkimSignature, names: tuple[str, ...], now: float) -> Signature:
    if required(tags, "v") != "1":
        raise SignatureInvalid("the signature has an unknown version")
    algorithm = required(tags, "a").lower()
    if algorithm == "rsa-sha1":
        raise SignatureInvalid("rsa-sha1 must not be used")  # RFC 8301 §3.1
    if algorithm not in ALGORITHMS:
        raise SignatureInvalid("the algorithm is unknown")
    domain = fact.domain
    if required(tags, "d") and "." not in domain:  # RFC 6376 §3.5: domain-name has two labels at least.
        raise SignatureInvalid("d= is not a domain name")
    if required(tags, "s") and not fact.selector:
        raise SignatureInvalid("s= is not a domain name")
    if required(tags, "h") and len(set(names)) != len(fact.covers):
        raise SignatureInvalid("h= is malformed")
    if "from" not in names:
        raise SignatureInvalid("From is not signed")
    if tags.get("q") is not None and "dns/txt" not in words(tags, "q"):
        raise SignatureInvalid("the key is published by an unknown query method")
    header, body = _forms(tags)
    body_hash = octets(tags, "bh")
    if len(body_hash) != _SHA256_OCTETS:
        raise SignatureInvalid("bh= is not a SHA-256 hash")
    _check_times(tags, now)
    return Signature(
        ALGORITHMS[algorithm], domain, fact.selector, _identity(tags, domain), header, body, names,
        octets(tags, "b"), body_hash, number(tags, "l", TAG_LENGTH_DIGITS),
    )  # fmt: skip


def _identity(tags: Mapping[str, str], domain: str) -> str:
    """The domain of ``i=``, which is ``domain`` or one below it."""
    value = tags.get("i")
    if value is None:
        return domain
    _, at, host = value.rpartition("@")
    if not at:
        raise SignatureInvalid("i= has no @")
    try:
        identity = domain_name(host.strip())
    except KeyInvalid:
        raise SignatureInvalid("i= is not of a domain name") from None
    if identity != domain and not identity.endswith(f".{domain}"):
        raise SignatureInvalid("i= is not within d=")
    return identity


def _forms(tags: Mapping[str, str]) -> tuple[Form, Form]:
    header, slash, body = tags.get("c", "simple").lower().partition("/")
    try:
        return Form(header), Form(body) if slash else Form.SIMPLE
    except ValueError:
        raise SignatureInvalid("the canonicalisation is unknown") from None


def _check_times(tags: Mapping[str, str], now: float) -> None:
    made, expires = number(tags, "t"), number(tags, "x")
    if made is not None and made > now + CLOCK_SKEW_SECONDS:
        raise SignatureInvalid("the signature was made in the future")
    if expires is None:
        return
    if made is not None and expires < made:
        raise SignatureInvalid("the signature expires before its creation")
    if expires < now - CLOCK_SKEW_SECONDS:
        raise SignatureInvalid("the signature has expired")
