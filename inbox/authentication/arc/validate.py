"""Validation of an ARC chain (RFC 8617 §5.2): which claims of earlier hops can be believed.

A chain of fifty sets costs at most a hundred signatures, two passes over the body and ARC_KEYS DNS queries. Cheap
checks come first: a chain whose structure is broken, or whose newest set does not match the message, fails before any
query or computation for the others.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final, TypeVar

from inbox.authentication.arc.chain import Chain, read_chain
from inbox.authentication.arc.signatures import (
    KeyName,
    MessageSignature,
    SignatureInvalid,
    Signed,
    read_message_signature,
    read_seal,
    seal_octets,
    set_octets,
)
from inbox.authentication.dkim.canonical import BodyHashes
from inbox.authentication.dkim.keys import Found, find_keys
from inbox.authentication.dkim.section import HeaderSection
from inbox.authentication.dkim.verify import INLINE_OCTETS, Offload, added_again
from inbox.base.limits import ARC_KEYS
from inbox.dns.answers import Resolver
from inbox.mail.content import Content
from inbox.plugin.api.facts import ArcFact, ArcSet, Result

R = TypeVar("R")
Keys = Mapping[KeyName, Found]
#: Chains of up to this many sets are checked in the calling thread, if the message is also small: a set takes about 0.1
#: ms.
INLINE_SETS: Final = 8


async def validate(
    content: Content,
    dns: Resolver,
    *,
    now: float,
    offload: Offload | None = None,
    hashes: BodyHashes | None = None,
) -> ArcFact:
    """The state of a message's chain. Never raises.

    All failures are permanent (§5.2.1): if a key cannot be looked up now, the result is fail, too, and the fact's
    ``temporary`` is set.

    Args:
        now: seconds since the epoch.
        offload: runs the arithmetic for large messages and long chains.
        hashes: the hashes that the message's checks share; None if no other check needs them.
    """
    section = HeaderSection.of(content)
    chain = read_chain(section)
    if not chain.fault and not chain.hops:
        return ArcFact(Result.NONE, reason=section.fault)
    if chain.fault:
        return ArcFact(Result.FAIL, reason=chain.fault)
    judge = Judge(content, section, chain, now, hashes or BodyHashes())
    small = content.size <= INLINE_OCTETS and len(chain.hops) <= INLINE_SETS
    run = _here if offload is None or small else offload
    try:
        await run(judge.prepare)
        keys: dict[KeyName, Found] = await find_keys(dns, judge.first_keys())
        await run(judge.check_newest, keys)
        others = [name for name in judge.other_keys() if name not in keys]
        if others:
            keys |= await find_keys(dns, others)
        await run(judge.check_others, keys)
    except SignatureInvalid as error:
        return ArcFact(Result.FAIL, judge.sets(), reason=str(error), temporary=error.temporary)
    return ArcFact(Result.PASS, judge.sets(), judge.oldest_pass, added=judge.added())


async def _here(function: Callable[..., R], *args: object) -> R:
    return function(*args)


class Judge:
    """The steps of §5.2 that do not wait, in order; each raises SignatureInvalid when the chain fails."""

    def __init__(self, content: Content, section: HeaderSection, chain: Chain, now: float, hashes: BodyHashes) -> None:
        self._content = content
        self._section = section
        self._hops = chain.hops
        self._now = now
        self._seals: list[Signed] = []
        self._hashes = hashes
        #: All sets but the newest in canonical form.
        self._sets: list[bytes] = []
        #: Message signatures that match the body, from the newest down to the first that does not.
        self._fitting: list[MessageSignature] = []
        self.oldest_pass = 0

    def prepare(self) -> None:
        """Reads all seals and the newest message signature, and compares its hash of the body."""
        for hop in self._hops:
            try:
                self._seals.append(read_seal(hop.seal, self._now))
            except SignatureInvalid as error:
                raise _named("ARC-Seal", hop.instance, error) from None
        newest = self._hops[-1]
        try:
            self._fitting = [self._fits(newest.signature)]
        except SignatureInvalid as error:
            raise _named("ARC-Message-Signature", newest.instance, error) from None

    def first_keys(self) -> list[KeyName]:
        """The keys of the newest set."""
        return [self._fitting[0].key, self._seals[-1].key]

    def check_newest(self, keys: Keys) -> None:
        """§5.2 step 4, and step 6 for the newest set: a chain that was broken on the way here fails."""
        self._check_signature(len(self._hops), keys)
        self._sets = [set_octets(self._section, hop.places) for hop in self._hops[:-1]]
        self._check_seal(len(self._hops), keys)
        for hop in reversed(self._hops[:-1]):
            try:
                self._fitting.append(self._fits(hop.signature))
            except SignatureInvalid:
                break  # §5.2 step 5.A: older ones do not matter.

    def other_keys(self) -> list[KeyName]:
        """The keys of the seals, then of older message signatures, up to the limit of queries."""
        names = [*(seal.key for seal in self._seals), *(signature.key for signature in self._fitting)]
        return list(dict.fromkeys(names))[:ARC_KEYS]

    def check_others(self, keys: Keys) -> None:
        """§5.2 steps 5 and 6 for the sets before the newest."""
        count = len(self._hops)
        for instance in range(count - 1, 0, -1):
            self._check_seal(instance, keys)
        passing = count
        for instance in range(count - 1, count - len(self._fitting), -1):
            try:
                self._check_signature(instance, keys)
            except SignatureInvalid:
                break
            passing = instance
        self.oldest_pass = 0 if passing == 1 else passing

    def sets(self) -> tuple[ArcSet, ...]:
        """The sets for the fact; with domains only where the seal could be read."""
        covers = tuple(dict.fromkeys(self._fitting[0].covers)) if self._fitting else ()
        made = []
        for number, hop in enumerate(self._hops):
            domain, selector = self._seals[number].key[:2] if number < len(self._seals) else ("", "")
            newest = number == len(self._hops) - 1
            made.append(ArcSet(hop.instance, domain, selector, hop.results, covers if newest else ()))
        return tuple(made)

    def added(self) -> str:
        """A field that the newest set covers and that occurs again without being covered; or empty."""
        return added_again(self._section, self._fitting[0].covers)

    def _fits(self, tags: Mapping[str, str]) -> MessageSignature:
        signature = read_message_signature(tags, self._now)
        found = self._hashes.of(self._content, self._section.body, signature.body_form)
        if found.get(None) != signature.body_hash:
            raise SignatureInvalid("the body was changed after signing")
        return signature

    def _check_signature(self, instance: int, keys: Keys) -> None:
        hop, signature = self._hops[instance - 1], self._fitting[len(self._hops) - instance]
        place = hop.places[1]
        data = self._section.signed_octets(signature.covers, signature.header_form, self._section.raw[place], place)
        try:
            signature.check(keys.get(signature.key), data)
        except SignatureInvalid as error:
            raise _named("ARC-Message-Signature", instance, error) from None

    def _check_seal(self, instance: int, keys: Keys) -> None:
        *covered, own = self._hops[instance - 1].places
        octets = seal_octets([*self._sets[: instance - 1], set_octets(self._section, covered)], self._section.raw[own])
        seal = self._seals[instance - 1]
        try:
            seal.check(keys.get(seal.key), octets)
        except SignatureInvalid as error:
            raise _named("ARC-Seal", instance, error) from None


def _named(field: str, instance: int, error: SignatureInvalid) -> SignatureInvalid:
    return SignatureInvalid(f"{field} of instance {instance}: {error}", temporary=error.temporary)
