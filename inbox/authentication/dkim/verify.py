"""Verification of a message's DKIM signatures (RFC 6376 §6.1), in three steps.

It parses all fields, looks up all of their keys concurrently, then does the arithmetic, in one pass over the body for
each of the two canonical forms, regardless of the number of signatures.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol, TypeVar

from inbox.authentication.dkim.canonical import BodyHashes, Form
from inbox.authentication.dkim.crypto import verify as verify_octets
from inbox.authentication.dkim.keys import Found, KeyInvalid, PublicKey, find_keys
from inbox.authentication.dkim.section import ONCE, HeaderSection
from inbox.authentication.dkim.signature import Signature, read_signature
from inbox.base.limits import DKIM_SIGNATURES, RSA_BITS_LEAST
from inbox.dns.answers import DnsTemporary, LookupsSpent, Resolver
from inbox.mail.content import Content
from inbox.plugin.api.facts import DkimFact, DkimSignature, Result

R = TypeVar("R")
FIELD = "dkim-signature"
#: Messages up to this size are verified in the calling thread: cheaper than switching threads.
INLINE_OCTETS: Final = 128 * 1024
#: The message gets the best result: results that may still become a pass precede those that cannot.
_BEST: Final = (
    Result.PASS, Result.TEMPERROR, Result.POLICY, Result.FAIL, Result.PERMERROR, Result.NEUTRAL, Result.SOFTFAIL,
    Result.NONE,
)  # fmt: skip


class Offload(Protocol):
    """Runs a function in a thread for arithmetic."""

    def __call__(self, function: Callable[..., R], *args: object) -> Awaitable[R]: ...


@dataclass(frozen=True, slots=True)
class Limits:
    """``signatures`` is the number of verified signatures of one message; with RSA keys of fewer than ``bits`` bits
    none passes."""

    signatures: int = DKIM_SIGNATURES
    bits: int = RSA_BITS_LEAST


@dataclass(frozen=True, slots=True)
class _Read:
    """One field: its place in the section, its fact, and the data for verification."""

    place: int
    fact: DkimSignature
    signature: Signature | None

    @property
    def wanted(self) -> tuple[str, str, str] | None:
        """The key that the signature needs."""
        signature = self.signature
        return None if signature is None else (signature.domain, signature.selector, signature.kind)


async def verify(
    content: Content,
    dns: Resolver,
    *,
    now: float,
    limits: Limits = Limits(),
    offload: Offload | None = None,
    hashes: BodyHashes | None = None,
) -> DkimFact:
    """Verify all signatures of a message, from top to bottom. Never raises because of the message or the DNS.

    Args:
        now: seconds since the epoch.
        offload: runs the arithmetic for messages of more than INLINE_OCTETS.
        hashes: the hashes that the message's checks share; None if no other check needs them.
    """
    hashes = hashes or BodyHashes()
    section = HeaderSection.of(content)
    places = section.places(FIELD)
    if not places:
        return DkimFact(Result.NONE)
    reads = [_read(section, place, now) for place in places[: limits.signatures]]
    keys = await find_keys(dns, [read.wanted for read in reads if read.wanted is not None])
    if offload is None or content.size <= INLINE_OCTETS:
        judged = judge(content, section, reads, keys, limits, hashes)
    else:
        judged = await offload(judge, content, section, reads, keys, limits, hashes)
    return DkimFact(best(judged), judged, len(places) - len(reads))


def _read(section: HeaderSection, place: int, now: float) -> _Read:
    fact, signature = read_signature(section.raw[place].partition(b":")[2], now)
    fault = section.fault
    if not fault and section.count("from") != 1:  # RFC 5322 §3.6; RFC 6376 §8.15
        fault = "there must be exactly one From field"
    if fault:
        return _Read(place, replace(fact, result=Result.PERMERROR, reason=fault), None)
    return _Read(place, fact, signature)


def judge(
    content: Content,
    section: HeaderSection,
    reads: list[_Read],
    keys: Mapping[tuple[str, str, str], Found],
    limits: Limits,
    shared: BodyHashes,
) -> tuple[DkimSignature, ...]:
    """The arithmetic: the body's hashes, then signature by signature."""
    usable: dict[int, tuple[Signature, PublicKey]] = {}
    judged: dict[int, DkimSignature] = {}
    for read in reads:
        found = None if read.wanted is None else keys[read.wanted]
        if read.signature is None or found is None:
            judged[read.place] = read.fact
            continue
        outcome = _key_problem(read.fact, read.signature, found)
        if outcome is not None:
            judged[read.place] = outcome
        elif isinstance(found, PublicKey):
            usable[read.place] = (read.signature, found)
    hashes = _hashes(content, section.body, [signature for signature, _ in usable.values()], shared)
    for read in reads:
        if read.place in usable:
            signature, key = usable[read.place]
            result, reason = _verified(section, read.place, signature, key, hashes, limits)
            judged[read.place] = replace(read.fact, result=result, reason=reason, bits=key.bits, testing=key.testing)
    return tuple(judged[read.place] for read in reads)


def _key_problem(fact: DkimSignature, signature: Signature, found: Found) -> DkimSignature | None:
    """The result, if the key alone determines it."""
    if isinstance(found, DnsTemporary):
        return replace(fact, result=Result.TEMPERROR, reason=not_found_now(found, "the key cannot be looked up now"))
    if isinstance(found, KeyInvalid):
        return replace(fact, result=Result.PERMERROR, reason=str(found))
    problem = ""
    if found.hashes and "sha256" not in found.hashes:
        problem = "the key is not for SHA-256"
    elif found.strict and signature.identity != signature.domain:
        problem = "the key is not for subdomains"  # RFC 6376 §3.6.1, t=s
    if not problem:
        return None
    return replace(fact, result=Result.PERMERROR, reason=problem, bits=found.bits, testing=found.testing)


def not_found_now(error: DnsTemporary, text: str) -> str:
    """``text``, with the reason if it is the server's own: answers of name servers must not get into header fields."""
    return f"{text}: {error}" if isinstance(error, LookupsSpent) else text


Hashes = dict[tuple[Form, int | None], bytes]


def _hashes(content: Content, start: int, signatures: list[Signature], shared: BodyHashes) -> Hashes:
    """The body's hashes in each form and length that a signature names: one pass for each form."""
    found: Hashes = {}
    for form in dict.fromkeys(signature.body for signature in signatures):
        lengths = [signature.length for signature in signatures if signature.body is form]
        for length, digest in shared.of(content, start, form, lengths).items():
            found[form, length] = digest
    return found


def _verified(
    section: HeaderSection, place: int, signature: Signature, key: PublicKey, hashes: Hashes, limits: Limits
) -> tuple[Result, str]:
    if (signature.body, None) not in hashes:
        return Result.PERMERROR, "the body has too much white space to canonicalise"
    body_hash = hashes.get((signature.body, signature.length))
    if body_hash is None:  # RFC 6376 §3.5
        return Result.PERMERROR, "l= exceeds the length of the body"
    if body_hash != signature.body_hash:
        return Result.FAIL, "the body is not what was signed"
    data = section.signed_octets(signature.names, signature.header, section.raw[place], place)
    if not verify_octets(key.key, signature.value, data):
        return Result.FAIL, "the signature does not fit the header fields"
    if signature.length is not None:
        return Result.POLICY, "l= allows anyone to append to the body"
    if key.kind == "rsa" and key.bits < limits.bits:
        return Result.POLICY, f"the key has fewer than {limits.bits} bits"
    if name := added_again(section, signature.names):
        return Result.POLICY, f"there is a {name} field that is not signed"
    return Result.PASS, "the key is for tests" if key.testing else ""


def added_again(section: HeaderSection, names: Sequence[str]) -> str:
    """A field of ONCE that a signature over ``names`` covers and that occurs again without being covered; or "".

    Readers show one of them, and which one differs (RFC 6376 §8.15).
    """
    return next(
        (name for name in dict.fromkeys(names) if name in ONCE and section.count(name) > max(1, names.count(name))), ""
    )


def best(judged: Sequence[DkimSignature]) -> Result:
    """The message's result from one or more signatures.

    A failed signature of a domain in test mode is ignored (RFC 6376 §3.6.1, t=y).
    """
    results = [Result.NONE if one.testing and one.result is Result.FAIL else one.result for one in judged]
    return min(results, key=_BEST.index)
