"""Sealing (RFC 8617 §5.1): the ARC Set that the server adds to a message that it forwards.

The outbound path calls :func:`seal` for mail that a recipient redirects to another server (``Redirect``, an external
alias or a Sieve rule), as the last step before sending: any later change breaks the set (§5.1). It passes the signing
key of the server's own name or of the redirecting tenant's domain (``SigningKeys``), and the Authentication-Results
that were written when the message arrived. Mail of local users is signed by DKIM alone.
"""

from __future__ import annotations

import base64
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from inbox.authentication.arc.chain import Chain, Validation, read_chain
from inbox.authentication.arc.signatures import seal_octets, set_octets
from inbox.authentication.dkim.canonical import Form, body_hash, canonical_field
from inbox.authentication.dkim.crypto import sign
from inbox.authentication.dkim.section import HeaderSection
from inbox.authentication.dkim.sign import signed_names
from inbox.base.limits import ARC_SETS
from inbox.mail.content import Content
from inbox.plugin.api.facts import ArcFact, Result
from inbox.plugin.api.signing import SigningKey

#: Fields of one name that are covered: a thousand would make an unreadable field.
_MOST_OF_ONE: Final = 20
#: RFC 5322 §2.1.1
_LINE: Final = 78
#: Characters of b= and h= between two folds.
_PIECE: Final = 72


@dataclass(frozen=True, slots=True)
class ArcFields:
    """The three fields of a set, each with its CRLF."""

    seal: bytes
    message_signature: bytes
    results: bytes

    def __bytes__(self) -> bytes:
        """All three, as they are prepended to the message (§5.1: the seal on top)."""
        return self.seal + self.message_signature + self.results


def sealing_key(keys: Iterable[SigningKey]) -> SigningKey | None:
    """The first key that can seal: RFC 8617 only has the algorithm rsa-sha256."""
    return next((key for key in keys if key.algorithm == "rsa-sha256"), None)


def seal(
    content: Content,
    authentication_results: str,
    key: SigningKey,
    now: float,
    chain: ArcFact,
    headers: Sequence[str] | None = None,
) -> ArcFields | None:
    """Create the next set for a message.

    Returns None if the message must not get one: the chain has ended (an earlier hop found it broken, §5.1.2, or it has
    fifty sets), or the header section is so malformed that other readers may see other fields in it.

    A chain that is broken here gets a last set: with ``cv=fail``, and a seal that covers this set alone (§5.1.2).

    It signs twice and hashes the whole body: 0.7 ms, and 2.5 ms per MB. Call it in a thread for large messages.

    Args:
        content: the message as it will be sent.
        authentication_results: the value of the Authentication-Results field that this server wrote on receipt, which
            begins with its authserv-id (RFC 8601 §2.2). ASCII.
        key: the signing key; its domain vouches for the set.
        now: seconds since the epoch, for ``t=``.
        chain: the state of the chain when the message arrived, before anything was changed.
        headers: fields that the message signature covers instead of the usual ones.

    Raises:
        ValueError: the key is not an RSA key.
    """
    if key.algorithm != "rsa-sha256":
        raise ValueError("ARC sets are signed with RSA keys (RFC 8617 §4.1.2)")
    section = HeaderSection.of(content)
    found = read_chain(section)
    if section.fault or found.ended or found.highest >= ARC_SETS:
        return None
    state = _state(found, chain)
    instance = found.highest + 1
    results = _results(instance, authentication_results)
    names = _covered(section, key) if headers is None else tuple(name.lower() for name in headers)
    common = [("d", key.domain), ("i", str(instance)), ("s", key.selector), ("t", str(int(now)))]
    digest = base64.b64encode(body_hash(content, section.body, Form.RELAXED)).decode("ascii")
    tags = [("bh", digest), ("c", "relaxed/relaxed"), common[0], ("h", ":".join(names)), *common[1:]]
    unsigned = rendered("ARC-Message-Signature", tags)
    signature = sign(key.private, section.signed_octets(names, Form.RELAXED, unsigned))
    message_signature = rendered("ARC-Message-Signature", tags, signature)
    before = [set_octets(section, hop.places) for hop in found.hops] if state is Validation.PASS else []
    tags = [("cv", state.value), *common]
    covered = [canonical_field(field, Form.RELAXED) for field in (results, message_signature)]
    octets = seal_octets([*before, *covered], rendered("ARC-Seal", tags))
    return ArcFields(rendered("ARC-Seal", tags, sign(key.private, octets)), message_signature, results)


def _state(found: Chain, chain: ArcFact) -> Validation:
    """``cv=`` of the new set. A chain other than the validated one is broken."""
    if not found.highest and not found.fault:
        return Validation.NONE
    whole = chain.result is Result.PASS and not found.fault and len(found.hops) == len(chain.sets)
    return Validation.PASS if whole else Validation.FAIL


def _covered(section: HeaderSection, key: SigningKey) -> tuple[str, ...]:
    """The fields that DKIM signs, without those that RFC 8617 §4.1.2 forbids, and the DKIM-Signature fields."""
    counts = Counter(signed_names(section, key.headers))
    counts["dkim-signature"] = section.count("dkim-signature")
    return tuple(name for name, count in counts.items() for _ in range(min(count, _MOST_OF_ONE)))


def _results(instance: int, text: str) -> bytes:
    words = f"i={instance}; {text}".encode("ascii", "replace").decode("ascii").split()
    return _folded("ARC-Authentication-Results", words)


def rendered(name: str, tags: Sequence[tuple[str, str]], signature: bytes = b"") -> bytes:
    """The field of a seal or a message signature: ``a=``, ``b=`` (empty without ``signature``), then ``tags``."""
    words: list[str] = []
    for tag, value in (("a", "rsa-sha256"), ("b", base64.b64encode(signature).decode("ascii")), *tags):
        words += _pieces(f"{tag}={value}", ":" if tag == "h" else "")
        words[-1] += ";"
    words[-1] = words[-1].removesuffix(";")
    return _folded(name, words)


def _pieces(text: str, separator: str) -> list[str]:
    """``text`` in pieces between which white space is insignificant: anywhere, or after a separator."""
    pieces: list[str] = []
    while len(text) > _PIECE:
        cut = text.rfind(separator, 0, _PIECE) + 1 if separator else _PIECE
        cut = cut or text.find(separator, _PIECE) + 1 or len(text)
        pieces.append(text[:cut])
        text = text[cut:]
    return [*pieces, text] if text else pieces


def _folded(name: str, words: Iterable[str]) -> bytes:
    lines, line = [], f"{name}:"
    for word in words:
        if len(line) + 1 + len(word) > _LINE:
            lines.append(line)
            line = ""
        line += f" {word}"
    return "\r\n".join([*lines, line]).encode("ascii") + b"\r\n"
