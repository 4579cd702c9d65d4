"""Signing a message (RFC 6376 §5): relaxed/relaxed, and visible fields are signed once more than they occur.

A signature without ``l=`` covers the whole body, and a field that ``h=`` names once more than it occurs cannot be added
later without breaking the signature (§8.15).
"""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator, Sequence
from typing import Final

from inbox.authentication.dkim.canonical import Form, body_hash
from inbox.authentication.dkim.crypto import sign as sign_octets
from inbox.authentication.dkim.section import HeaderSection
from inbox.base.errors import InboxError
from inbox.mail.content import Content
from inbox.plugin.api.signing import SigningKey

FIELD: Final = "DKIM-Signature"
#: Signed once more than they occur, whether they occur or not.
OVERSIGNED: Final = (
    "from", "to", "cc", "reply-to", "subject", "date", "message-id", "mime-version", "content-type",
    "content-transfer-encoding",
)  # fmt: skip
#: Signed as often as they occur (RFC 6376 §5.4.1).
SIGNED: Final = (
    "sender", "in-reply-to", "references", "list-id", "list-unsubscribe", "list-unsubscribe-post", "autocrypt",
    "content-disposition", "content-language",
)  # fmt: skip
#: Never signed: they are added or changed on the way (§5.4).
_CHANGED_ON_THE_WAY: Final = re.compile(r"(?:return-path|received|dkim-signature|authentication-results|bcc|arc-.*)\Z")
#: A space follows after this many characters of h= and b=, so that the field can be folded.
_GROUP: Final = 64


class CannotBeSigned(InboxError):
    """No verifier would accept a signature of the message: no From or two, a malformed header section."""

    code, status, text = 550, "5.6.0", "The message is malformed"


def sign(content: Content, key: SigningKey, *, now: float, expire_after: float | None = None) -> str:
    """The value of a DKIM-Signature field for an unchanged message.

    It is one line, with spaces where it may be folded: folded there by ``inbox.mail.edits.render_field`` it verifies.

    Args:
        now: seconds since the epoch, for ``t=``.
        expire_after: seconds after which the signature is void (``x=``); None: never.

    Raises:
        CannotBeSigned: the message is malformed.
    """
    return sign_all(content, (key,), now=now, expire_after=expire_after)[0]


def sign_all(
    content: Content, keys: Sequence[SigningKey], *, now: float, expire_after: float | None = None
) -> list[str]:
    """Like :func:`sign`, for several keys; reads the body once."""
    section = HeaderSection.of(content)
    if section.fault:
        raise CannotBeSigned(section.fault)
    if section.count("from") != 1:
        raise CannotBeSigned("there must be exactly one From field")
    body = body_hash(content, section.body, Form.RELAXED)
    if not body:
        raise CannotBeSigned("the body has too much white space to canonicalise")
    digest = base64.b64encode(body).decode()
    return [_value(section, key, digest, int(now), expire_after) for key in keys]


def signed_names(section: HeaderSection, headers: Sequence[str]) -> list[str]:
    """The names of ``h=`` in lower case: the default ones, then those that the operator configured."""
    names: list[str] = []
    for name in OVERSIGNED:
        names += [name] * (section.count(name) + 1)
    for name in SIGNED:
        names += [name] * section.count(name)
    for name in dict.fromkeys(wanted.strip().lower() for wanted in headers):
        if name and name not in names and _CHANGED_ON_THE_WAY.match(name) is None:
            names += [name] * max(1, section.count(name))
    return names


def _value(section: HeaderSection, key: SigningKey, digest: str, now: int, expire_after: float | None) -> str:
    names = signed_names(section, key.headers)
    expires = "" if expire_after is None else f" x={int(now + expire_after)};"
    value = (
        f"v=1; a={key.algorithm}; c=relaxed/relaxed; d={key.domain}; s={key.selector}; t={now};{expires}"
        f" h={' '.join(_grouped(names))}; bh={digest}; b="
    )
    data = section.signed_octets(names, Form.RELAXED, f"{FIELD}: {value}".encode("ascii"))
    signature = base64.b64encode(sign_octets(key.private, data)).decode()
    return value + " ".join(signature[start : start + _GROUP] for start in range(0, len(signature), _GROUP))


def _grouped(names: Sequence[str]) -> Iterator[str]:
    """The names with colons between them, in pieces of about ``_GROUP`` characters."""
    piece = ""
    for name in names[:-1]:
        piece += f"{name}:"
        if len(piece) >= _GROUP - 16:
            yield piece
            piece = ""
    yield piece + names[-1]
