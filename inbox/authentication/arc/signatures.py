"""The two signatures of an ARC Set (RFC 8617 §4.1.2, §4.1.3): parsing of their tags, and the octets that they sign.

Both follow DKIM (RFC 6376 §3.7), with the differences in RFC 8617.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from inbox.authentication.arc.chain import SEAL
from inbox.authentication.dkim.canonical import Form, canonical_field, without_signature
from inbox.authentication.dkim.crypto import verify
from inbox.authentication.dkim.keys import Found, KeyInvalid, PublicKey, domain_name
from inbox.authentication.dkim.section import HeaderSection
from inbox.authentication.dkim.signature import ALGORITHMS
from inbox.authentication.dkim.tags import TagsInvalid, number, octets, required, words
from inbox.base.limits import ARC_SIGNED_FIELDS, CLOCK_SKEW_SECONDS
from inbox.dns.answers import DnsTemporary, LookupsSpent

#: A key by domain, selector and kind.
KeyName = tuple[str, str, str]


class SignatureInvalid(ValueError):
    """An invalid signature. The text quotes no input.

    ``temporary``: its key cannot be looked up now; it may be valid later.
    """

    def __init__(self, text: str, *, temporary: bool = False) -> None:
        super().__init__(text)
        self.temporary = temporary


@dataclass(frozen=True, slots=True)
class Signed:
    """The common part of an ARC-Seal and an ARC-Message-Signature."""

    key: KeyName
    signature: bytes

    def check(self, found: Found | None, data: bytes) -> None:
        """Raises SignatureInvalid unless ``data`` was signed with this key."""
        if not isinstance(found, PublicKey):
            raise _without_key(found)
        if found.hashes and "sha256" not in found.hashes:  # RFC 6376 §3.6.1: h=
            raise SignatureInvalid("the key is not for SHA-256")
        if not verify(found.key, self.signature, data):
            raise SignatureInvalid("the signature is wrong")


def _without_key(found: KeyInvalid | DnsTemporary | None) -> SignatureInvalid:
    if isinstance(found, DnsTemporary):
        why = f": {found}" if isinstance(found, LookupsSpent) else ""
        return SignatureInvalid(f"its key cannot be looked up now{why}", temporary=True)
    return SignatureInvalid(str(found) if found is not None else "its key was not looked up")


@dataclass(frozen=True, slots=True)
class MessageSignature(Signed):
    """ARC-Message-Signature. ``covers`` are the names of ``h=`` in lower case."""

    covers: tuple[str, ...]
    header_form: Form
    body_form: Form
    body_hash: bytes


def read_seal(tags: Mapping[str, str], now: float) -> Signed:
    """An ARC-Seal by its tags.

    Args:
        now: seconds since the epoch.

    Raises:
        SignatureInvalid: no key can make it valid.
    """
    if "h" in tags:  # §4.1.3: not allowed, and the chain fails
        raise SignatureInvalid("h= is not allowed in a seal")
    try:
        return Signed(_key(tags, now), octets(tags, "b"))
    except (TagsInvalid, KeyInvalid) as error:
        raise SignatureInvalid(str(error)) from None


def read_message_signature(tags: Mapping[str, str], now: float) -> MessageSignature:
    """An ARC-Message-Signature by its tags.

    ``l=`` is refused: anyone could append to a body of which only the beginning is signed. Without ``c=`` both
    forms are relaxed, as in other implementations (RFC 8617 does not specify it; RFC 6376 has simple).

    Args:
        now: seconds since the epoch.

    Raises:
        SignatureInvalid: no key can make it valid.
    """
    try:
        names = words(tags, "h")
        if "h" not in tags or len(names) > ARC_SIGNED_FIELDS:
            raise SignatureInvalid("h= is missing or too long")
        if SEAL in names:  # §4.1.2
            raise SignatureInvalid("it covers a seal")
        if "l" in tags:
            raise SignatureInvalid("only a part of the body is signed")
        expires = number(tags, "x")
        if expires is not None and expires < now - CLOCK_SKEW_SECONDS:
            raise SignatureInvalid("it has expired")
        header_form, body_form = _forms(tags.get("c", "relaxed/relaxed"))
        return MessageSignature(_key(tags, now), octets(tags, "b"), names, header_form, body_form, octets(tags, "bh"))
    except (TagsInvalid, KeyInvalid) as error:
        raise SignatureInvalid(str(error)) from None


def _key(tags: Mapping[str, str], now: float) -> KeyName:
    """Raises TagsInvalid, KeyInvalid, SignatureInvalid."""
    kind = ALGORITHMS.get(required(tags, "a"))
    if kind is None:
        raise SignatureInvalid("the algorithm is unknown")
    made = number(tags, "t")
    if made is not None and made > now + CLOCK_SKEW_SECONDS:
        raise SignatureInvalid("it was made in the future")
    return domain_name(required(tags, "d")), domain_name(required(tags, "s")), kind


def _forms(text: str) -> tuple[Form, Form]:
    header, _, body = text.partition("/")
    try:
        return Form(header), Form(body) if "/" in text else Form.SIMPLE  # RFC 6376 §3.5
    except ValueError:
        raise SignatureInvalid("the canonicalisation is unknown") from None


def seal_octets(before: Iterable[bytes], seal: bytes) -> bytes:
    """Octets that a seal signs (§5.1.1): the sets before it, then its own set, which ends with the seal without ``b=``.

    Args:
        before: the sets with lower instances in order, none for a chain that failed (§5.1.2); then the set's own
            ARC-Authentication-Results and ARC-Message-Signature. All in canonical form.
        seal: the seal as it is in the message, with or without a value of ``b=``.
    """
    own = canonical_field(without_signature(seal), Form.RELAXED).removesuffix(b"\r\n")
    return b"".join((*before, own))


def set_octets(section: HeaderSection, places: Iterable[int]) -> bytes:
    """A whole set in canonical form, as the seals of later sets cover it."""
    return b"".join(section.canonical(place, Form.RELAXED) for place in places)
