"""Conversion of facts to results of an Authentication-Results field (RFC 8601 §2.7, RFC 6008, RFC 8617, RFC 9989)."""

from __future__ import annotations

from collections.abc import Iterator
from ipaddress import IPv4Address, IPv6Address
from typing import Final

from inbox.authentication.results import MethodResult
from inbox.plugin.api.facts import ArcFact, BimiFact, DkimFact, DkimSignature, DmarcFact, Result, SpfFact

#: Signatures of one message in the field; the decision record has all of them.
_SIGNATURES: Final = 15
#: An address is shown whole up to this length; beyond it, only its domain.
_ADDRESS: Final = 254
_BELIEVED: Final = "from the message's header"


def of_spf(fact: SpfFact) -> Iterator[MethodResult]:
    """MAIL FROM and HELO, each on its own (§2.7.2). Empty for a peer that SPF did not check."""
    if fact.source == "exempt":
        return
    comment = _BELIEVED if fact.source == "header" else ""
    if fact.identity == "helo":
        yield MethodResult("spf", fact.result, _properties(("smtp.helo", fact.domain)), fact.reason, comment)
        return
    # §2.7.2: the domain is enough; a local part that is not ASCII could not be parsed again.
    short = fact.sender.isascii() and len(fact.sender) <= _ADDRESS and not _escaped(fact.sender)
    sender = fact.sender if fact.source != "header" and short else ""
    mailfrom = ("smtp.mailfrom", sender or fact.domain)
    yield MethodResult("spf", fact.result, _properties(mailfrom), fact.reason, comment)
    if fact.helo_result not in {None, Result.NONE}:
        yield MethodResult("spf", str(fact.helo_result), _properties(("smtp.helo", fact.helo)))


def _escaped(address: str) -> bool:
    """Whether the address has a quoted local part. In the field, its quotes would have to be escaped, and widely used
    readers (Mail::AuthenticationResults) refuse a field with such an escape as a whole."""
    return '"' in address or "\\" in address


def of_dkim(fact: DkimFact) -> Iterator[MethodResult]:
    """Each signature that was judged (§2.7.1), known by the beginning of its ``b=`` (RFC 6008)."""
    if fact.source == "exempt":
        return
    comment = _BELIEVED if fact.source == "header" else ""
    if not fact.signatures:
        yield MethodResult("dkim", fact.result, comment=comment)
    for signature in fact.signatures[:_SIGNATURES]:
        yield _signed(signature, comment)


def _signed(signature: DkimSignature, comment: str) -> MethodResult:
    if signature.testing:
        comment = f"{comment}, the key is for tests" if comment else "the key is for tests"
    identity = signature.identity
    properties = _properties(
        ("header.d", signature.domain),
        ("header.i", f"@{identity.rpartition('@')[2]}" if _escaped(identity) else identity),
        ("header.s", signature.selector),
        ("header.a", signature.algorithm),
        ("header.b", signature.signature),
    )
    return MethodResult("dkim", signature.result, properties, signature.reason, comment)


def of_arc(fact: ArcFact, peer: IPv4Address | IPv6Address) -> Iterator[MethodResult]:
    """RFC 8617 §4.1.1 and §6: the chain, the oldest intact signature, and the peer that it came from."""
    if fact.result is Result.NONE:
        yield MethodResult("arc", fact.result)
        return
    properties = (("header.oldest-pass", str(fact.oldest_pass)), ("smtp.remote-ip", str(peer)))
    comment = f"sealed by {', '.join(fact.sealers[:_SIGNATURES])}" if fact.sealers else ""
    yield MethodResult("arc", fact.result, properties, fact.reason, comment)


def of_dmarc(fact: DmarcFact) -> Iterator[MethodResult]:
    """The domain of From, the policy in its record, and the resulting disposition."""
    if fact.source == "exempt":
        return
    comment = _BELIEVED if fact.source == "header" else ""
    if not comment and fact.policy:
        comment = f"p={fact.policy} dis={fact.disposition}"
    properties = _properties(("header.from", fact.domain), ("policy.dmarc", fact.policy))
    yield MethodResult("dmarc", fact.result, properties, fact.reason, comment)


def of_bimi(fact: BimiFact) -> Iterator[MethodResult]:
    """The domain and the selector of the indicator's record."""
    properties = _properties(("header.d", fact.domain), ("header.selector", fact.selector)) if fact.domain else ()
    yield MethodResult("bimi", fact.result, properties, fact.reason)


def _properties(*pairs: tuple[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple((name, value) for name, value in pairs if value)
