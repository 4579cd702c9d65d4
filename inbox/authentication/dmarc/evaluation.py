"""DMARC evaluation: the result for the domain in From, and the disposition that its policy requests.

A message passes if SPF or a DKIM signature passed for a domain that is aligned with From's (RFC 9989 §4.4). A failed
look-up makes the result temperror only if it could have made it pass: otherwise a sender could evade a policy with a
signature of any domain whose DNS never answers.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import blake2s

from inbox.authentication.dmarc.author import Author
from inbox.authentication.dmarc.discovery import Discovery, Found
from inbox.authentication.dmarc.records import Policy
from inbox.base.limits import DMARC_IDENTIFIERS, DMARC_SECONDS
from inbox.dns.answers import SPENT, AnswerUnfit, DnsError
from inbox.plugin.api.facts import DkimFact, DmarcFact, Result, SpfFact

#: Names of exceptions that the domain owner makes: RFC 7489 Appendix C and RFC 9990 §3.1.1.
SAMPLED_OUT = "sampled_out"
TEST_MODE = "policy_test_mode"


@dataclass(frozen=True, slots=True)
class Checked:
    """Inputs besides the From field: results of SPF and DKIM. None: the check did not finish."""

    spf: SpfFact | None
    dkim: DkimFact | None


async def evaluate(
    author: Author, checked: Checked, discovery: Discovery, sample: int, seconds: float = DMARC_SECONDS
) -> DmarcFact:
    """The result for one message; never fails.

    Args:
        sample: 0 to 99, see :func:`sample_of`: whether ``pct`` excludes the message.
        seconds: for all look-ups together; they run one after another, in zones that the author chooses.
    """
    if not author.domain:
        return DmarcFact(Result.PERMERROR, "", reason=author.problem)
    try:
        async with asyncio.timeout(seconds):
            return await _evaluated(author.domain, checked, discovery, sample)
    except TimeoutError:
        return DmarcFact(Result.TEMPERROR, author.domain, reason="the policy could not be looked up in time")


async def _evaluated(domain: str, checked: Checked, discovery: Discovery, sample: int) -> DmarcFact:
    try:
        found = await discovery.policy(domain)
        if found is None:
            return DmarcFact(Result.NONE, domain, reason="no policy is published")
        if found.record.problem:
            return DmarcFact(Result.PERMERROR, domain, policy_domain=found.domain, reason=found.record.problem)
        policy = await _policy_for(domain, found, discovery)
    except AnswerUnfit:  # Asking again would give the same answer.
        return DmarcFact(Result.PERMERROR, domain, reason="an answer of the DNS about the policy is too large")
    except DnsError as error:
        return DmarcFact(Result.TEMPERROR, domain, reason=_with_spent("the policy could not be looked up", error.args))
    return await _judge(domain, found, policy, checked, discovery, sample)


def sample_of(text: str) -> int:
    """0 to 99, the same for equal texts, and unpredictable without the text."""
    return int.from_bytes(blake2s(text.encode("utf-8", "replace"), digest_size=8).digest()) % 100


async def _policy_for(domain: str, found: Found, discovery: Discovery) -> Policy:
    record = found.record
    if found.domain == domain:
        return record.p
    # The domain is looked up only if it makes a difference.
    return record.policy_below(exists=record.np is None or await discovery.exists(domain))


async def _judge(
    domain: str, found: Found, policy: Policy, checked: Checked, discovery: Discovery, sample: int
) -> DmarcFact:
    alignment = _Alignment(domain, discovery)
    record = found.record
    spf = await alignment.of(_spf_identifiers(checked.spf), strict=record.strict_spf)
    dkim = await alignment.of(_dkim_identifiers(checked.dkim), strict=record.strict_dkim)
    result, reason = _result(spf, dkim, checked)
    disposition, exception = policy, ""
    if result is not Result.FAIL:
        disposition = Policy.NONE
    elif policy is not Policy.NONE and (record.testing or sample >= record.pct):
        # Once, even if both apply: t=y replaces pct=0 (RFC 9989 Appendix A.6).
        disposition, exception = policy.lowered, TEST_MODE if record.testing else SAMPLED_OUT
    return DmarcFact(
        result,
        domain,
        alignment.organizational_domain,
        found.domain,
        policy.value,
        disposition.value,
        spf is Result.PASS,
        dkim is Result.PASS,
        exception,
        "t=y" if exception == TEST_MODE else "",  # The report format of RFC 7489 has no value for it.
        record.published,
        reason,
    )


def _result(spf: Result, dkim: Result, checked: Checked) -> tuple[Result, str]:
    if Result.PASS in {spf, dkim}:
        return Result.PASS, ""
    if Result.TEMPERROR in {spf, dkim}:
        reasons = [checked.spf.reason] if checked.spf is not None else []
        reasons += [signature.reason for signature in (checked.dkim.signatures if checked.dkim is not None else ())]
        return Result.TEMPERROR, _with_spent("an aligned check could not be completed", reasons)
    if checked.spf is None or checked.dkim is None:
        return Result.TEMPERROR, f"{'SPF' if checked.spf is None else 'DKIM'} was not checked"
    return Result.FAIL, "neither SPF nor DKIM passed for an aligned domain"


def _with_spent(text: str, reasons: Iterable[object]) -> str:
    """``text``, and a note if a budget of look-ups was spent, which the sender can cause."""
    return f"{text}: {SPENT}" if any(SPENT in str(reason) for reason in reasons) else text


def _spf_identifiers(spf: SpfFact | None) -> Iterator[tuple[str, Result]]:
    """RFC 9989 §4.4.2: the domain of MAIL FROM; with a null sender that is HELO's (RFC 7208 §2.4)."""
    if spf is not None and (spf.identity == "mailfrom" or not spf.sender):
        yield spf.domain, spf.result


def _dkim_identifiers(dkim: DkimFact | None) -> Iterator[tuple[str, Result]]:
    """RFC 9989 §4.4.1: each ``d=`` with a valid signature."""
    for signature in dkim.signatures if dkim is not None else ():
        yield signature.domain, signature.result


class _Alignment:
    """Alignment of identifiers with one Author Domain.

    ``organizational_domain`` is the Author Domain's, empty until it is needed.
    """

    def __init__(self, author: str, discovery: Discovery) -> None:
        self._author = author
        self._discovery = discovery
        self.organizational_domain = ""

    async def of(self, identifiers: Iterator[tuple[str, Result]], *, strict: bool) -> Result:
        """PASS if an aligned identifier passed, TEMPERROR if one may have, otherwise FAIL."""
        wanted = [
            (domain.lower().rstrip("."), result)
            for domain, result in dict.fromkeys(identifiers)
            if domain and result in {Result.PASS, Result.TEMPERROR}
        ]
        # Equal domains need no look-ups, and those that passed come first: one of them is enough for most messages.
        wanted.sort(key=lambda each: (each[1] is not Result.PASS, each[0] != self._author))
        unsure = False
        for domain, result in wanted[:DMARC_IDENTIFIERS]:
            try:
                aligned = domain == self._author or (not strict and await self._relaxed(domain))
            except DnsError:
                unsure = True
                continue
            if aligned and result is Result.PASS:
                return Result.PASS
            unsure = unsure or aligned
        return Result.TEMPERROR if unsure else Result.FAIL

    async def _relaxed(self, domain: str) -> bool:
        """RFC 9989 §4.4: whether both have the same organizational domain. Raises DnsError without an answer."""
        if not self.organizational_domain:
            self.organizational_domain = await self._discovery.organizational_domain(self._author)
        organizational = self.organizational_domain
        # An organizational domain is the domain itself or above it: other domains need no tree walk.
        if domain != organizational and not domain.endswith(f".{organizational}"):
            return False
        return await self._discovery.organizational_domain(domain) == organizational


def lookups_spent(fact: DmarcFact) -> bool:
    """Whether the result is temporary because the budget of slow DNS look-ups was spent."""
    return fact.result is Result.TEMPERROR and SPENT in fact.reason
