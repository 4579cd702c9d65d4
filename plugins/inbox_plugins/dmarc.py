"""DMARC: whether the domain in From stands by a message, and what it asks for if not (RFC 9989).

Returns at: data (Reject, Defer, Quarantine, Score, AddHeader), for mail from other servers (port 25).
Gives:      DmarcFact.
Needs:      SpfFact and DkimFact (plugins spf and dkim); uses ArcFact (plugin arc) where it is there. If one of the two
            failed and was told to accept, what does not pass is temperror.
Asks:       the DNS for ``_dmarc`` records, at most eight for a domain; without an answer the result is temperror.
Leaves out: sessions that logged in, peers that SPF leaves out (its ``exempt``), LMTP: their result is none.
On error:   defer.

What follows: mail that passes is fine. For mail that fails, what its domain asks for is done (``honour_policy`` and
``policies``), unless one of ``exceptions`` or ``trusted_sealers`` applies. ``results`` says what else follows from a
result; of the two, the stricter one counts. ``require_pass`` refuses all that does not pass but for exceptions; the
database field ``require_dmarc_pass`` of a domain is the last word and knows no exceptions.

A policy is weakened by one step where its domain says so: ``t=y`` (RFC 9989), or ``pct`` and a message that it leaves
out (RFC 7489). ``pct`` draws lots with the id of the transaction: the same for all tenants, and nobody can foresee it.

Which domains belong together is found out by the DNS tree walk of RFC 9989. ``organizational_domain`` may also be
``public_suffix`` (the public suffix list, as RFC 7489 had it), or ``both``: the tree walk, corrected by the list where
a registry published a record without ``psd=y``.

Mail without one From field that names exactly one domain cannot be judged, and has been a way round DMARC ever since:
``malformed_from`` says what follows (RFC 9989 §11.5). Several addresses of one domain are fine, as are groups.

Reports: a message whose domain wants aggregate reports is counted once, whatever the number of tenants and recipients,
with what was done for the tenant that was judged first; in shadow mode that is nothing. One that is deferred comes
again, and is counted then.

An example::

    plugins:
      spf: {results: {none: ignore, neutral: ignore, softfail: ignore}}
      dkim: {}
      arc: {}
      dmarc:
        results: {none: {score: 0.5}, temperror: defer}
        policies: {quarantine: {score: 6}}
        trusted_sealers: [lists.example.org, "*.forwarder.example"]
        exceptions:
          - {name: alumni, forwarders: ["192.0.2.0/24", "*.alumni.example.edu"]}
          - {name: ietf, mailing_lists: [dmarc.ietf.org], action: {score: 1}}
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

from inbox.authentication import results as authentication_results
from inbox.authentication.dmarc.author import Author, MessageAuthor
from inbox.authentication.dmarc.discovery import Discovery, Method
from inbox.authentication.dmarc.evaluation import Checked, evaluate, lookups_spent, sample_of
from inbox.authentication.dmarc.forwarding import Exemption, Way, dmarc_of, exempts, vouched
from inbox.authentication.dmarc.public_suffix import PublicSuffixes, shipped
from inbox.mail.message import Message
from inbox.plugin import (
    Action,
    ArcFact,
    DkimFact,
    DmarcFact,
    DnsTemporary,
    Door,
    HookResult,
    Observation,
    Plugin,
    Result,
    ScoreAction,
    Services,
    SpfFact,
    Transaction,
    action_for,
    hookimpl,
    opinion_of,
)
from inbox.plugin.limits import DMARC_EXCEPTION_SECONDS
from inbox_plugins._dmarc_settings import RESULTS, Settings

__version__ = "1.0.0"

#: Signatures that one observation names, as RFC 7489 §7.2 lets reporters choose.
_MAX_REPORTED: Final = 10
#: Octets of From above which it is read in another thread: 64 KB take 100 ms.
_LONG_FROM: Final = 4096
_STRICTNESS: Final = {"ignore": 0, "tag": 1, "quarantine": 3, "defer": 4, "reject": 5}


class Dmarc(Plugin):
    """Judges the author's domain once SPF and DKIM have spoken."""

    gives = (DmarcFact,)
    needs = (SpfFact, DkimFact)
    after = (ArcFact,)
    # The facts that it stands on may differ from tenant to tenant.
    shareable = False
    on_error = "defer"
    #: Above DMARC_SECONDS and DMARC_EXCEPTION_SECONDS, which end in results: a stranger's slow name servers must not
    #: make the plugin fail, or the breaker would keep it from everybody's mail.
    timeout = 20.0

    def __init__(self, settings: Settings, services: Services) -> None:
        self.settings = settings
        self._services = services
        self._suffixes: PublicSuffixes = shipped()
        self._exceptions = [(each.exemption(), each.action) for each in settings.exceptions]
        if settings.trusted_sealers:
            trusted = Exemption("", sealers=tuple(settings.trusted_sealers))
            self._exceptions.insert(0, (trusted, "ignore"))

    async def start(self) -> None:
        """Reads the public suffix list where it is wanted: that takes a moment, and mail should not wait for it."""
        if self.settings.organizational_domain is not Method.TREE_WALK:
            await self._services.run_blocking("crypto", self._suffixes.is_public, "com")

    @hookimpl
    async def data(self, tx: Transaction) -> HookResult:
        """Judges the message, and counts it for reports."""
        assert tx.message is not None, "data comes with a message"
        author = await self._author(tx.message)
        discovery = Discovery(self._services.dns, self.settings.organizational_domain, self._suffixes)
        checked = Checked(tx.facts.get(SpfFact), tx.facts.get(DkimFact))
        fact = self._believed(tx, author.domain)
        if fact is None:
            because = _not_judged(tx, checked)
            if because:
                tx.facts.put(DmarcFact(Result.NONE, author.domain, reason=because, source="exempt"))
                return None
            fact = await evaluate(author, checked, discovery, sample_of(f"{tx.id} {author.domain}"))
        action = self._action(fact)
        if fact.result is Result.FAIL and action != "ignore" and not self.settings.domain_require_pass:
            fact, action = await self._excepted(tx, fact, action, discovery)
        tx.facts.put(fact)
        self._observe(tx, fact, action, checked)
        return self._opinion(fact, action)

    async def _author(self, message: Message) -> Author:
        fields = message.headers.raw_all("from")
        known = message.shared(MessageAuthor)
        if sum(map(len, fields)) <= _LONG_FROM:
            return known.of(fields)
        return await self._services.run_blocking("crypto", known.of, fields)

    # -- what follows ------------------------------------------------------------------------------------------------

    def _action(self, fact: DmarcFact) -> Action:
        settings = self.settings
        action = action_for(
            fact.result,
            settings.results,
            require_pass=settings.require_pass,
            domain_requires=settings.domain_require_pass,
        )
        if not fact.domain:
            return _stricter(action, settings.malformed_from)
        if lookups_spent(fact):
            return _stricter(action, "defer")  # Or else slow signatures would make a way round any policy.
        if fact.result is Result.FAIL and settings.honour_policy:
            return _stricter(action, _wanted(settings, fact.disposition))
        return action

    async def _excepted(
        self, tx: Transaction, fact: DmarcFact, action: Action, discovery: Discovery
    ) -> tuple[DmarcFact, Action]:
        """The fact with the exception that applies and its action; as they were if there is none."""
        way = _way(tx, fact.domain)
        try:
            async with asyncio.timeout(DMARC_EXCEPTION_SECONDS):
                for exemption, instead in self._exceptions:
                    if await exempts(exemption, way, self._services.dns, discovery):
                        vouch = await vouched(way.arc, fact.domain, exemption.sealers, discovery)
                        comment = " ".join(text for text in (exemption.name, vouch) if text)[:255]
                        return replace(fact, disposition="none", exception=exemption.kind, comment=comment), instead
        except (DnsTemporary, TimeoutError):
            # An exception may apply: what would be lost by refusing comes again.
            return replace(fact, comment="an exception could not be looked up"), _softened(action)
        sealers = [domain for exemption, _ in self._exceptions for domain in exemption.sealers]
        if sealers and way.arc is not None and way.arc.temporary:
            return replace(fact, comment="the ARC chain could not be looked up"), _softened(action)
        return fact, action

    def _opinion(self, fact: DmarcFact, action: Action) -> HookResult:
        failed = fact.result is Result.FAIL
        if not fact.domain:
            said = "The From field does not name exactly one domain"
        elif failed and fact.policy != "none" and action == "reject":
            said = f"Refused per the DMARC policy of {fact.policy_domain}"
        elif failed:
            said = f"The message does not pass DMARC for {fact.domain}"
        else:
            said = f"The DMARC result for {fact.domain} is {fact.result}"
        # RFC 7372 §3.3: SPF and DKIM, both.
        enhanced = "5.7.26" if failed else "5.7.1"
        why = "; ".join(text for text in (fact.reason, fact.policy and f"p={fact.policy}", fact.comment) if text)
        server = self._services.server_name
        return opinion_of(action, "dmarc", fact.result, said=said, enhanced=enhanced, why=why, server=server)

    # -- the rest ----------------------------------------------------------------------------------------------------

    def _believed(self, tx: Transaction, domain: str) -> DmarcFact | None:
        """What came with the message, if the operator wants to believe it; a failure is judged here all the same."""
        if not self.settings.allow_header_override or tx.message is None or not domain:
            return None
        name = self.settings.authserv_id or self._services.server_name
        said = authentication_results.believed(tx.message.headers, name).get("dmarc", [])
        result = dmarc_of(said, domain)
        return None if result not in RESULTS - {Result.FAIL} else DmarcFact(result, domain, source="header")

    def _observe(self, tx: Transaction, fact: DmarcFact, action: Action, checked: Checked) -> None:
        """RFC 9990 §3, RFC 7489 §7.2: one count for each message, with nothing in it about recipients."""
        wanted = any(name == "rua" for name, _ in fact.published)
        if not (self.settings.report and wanted and fact.source == "checked"):
            return
        if fact.result not in {Result.PASS, Result.FAIL} or action == "defer":
            return
        if not self._services.once.first(f"dmarc {tx.id} {fact.policy_domain}"):
            return
        done = "none" if tx.facts.is_shadow else _disposition(action)
        exception, comment = fact.exception, fact.comment
        if done != fact.disposition:
            exception, comment = "local_policy", comment or ("not enforced" if tx.facts.is_shadow else "")
        signatures = checked.dkim.signatures if checked.dkim is not None else ()
        scope = "helo" if checked.spf is not None and checked.spf.identity == "helo" else "mfrom"
        self._services.feedback.observe(
            Observation(
                day=datetime.fromtimestamp(self._services.clock.now(), UTC).date().isoformat(),
                policy_domain=fact.policy_domain,
                published=fact.published,
                source_ip=str(tx.session.peer),
                header_from=fact.domain,
                envelope_from=tx.sender.domain if tx.sender is not None else "",
                disposition=done,
                dkim_aligned=fact.dkim_aligned,
                spf_aligned=fact.spf_aligned,
                dkim=tuple((each.domain, each.selector, each.result.value) for each in signatures[:_MAX_REPORTED]),
                spf=() if checked.spf is None else ((checked.spf.domain, scope, checked.spf.result.value),),
                exception=exception,
                comment=comment,
            )
        )


def _not_judged(tx: Transaction, checked: Checked) -> str:
    """Why DMARC does not apply to a message; empty if it does."""
    if tx.session.identity is not None:
        return "the sender logged in"
    if tx.session.door is not Door.SMTP:
        return "it did not come from another server over SMTP"
    if checked.spf is not None and checked.spf.source == "exempt":
        return "the peer is exempt"
    return ""


def _way(tx: Transaction, domain: str) -> Way:
    spf, dkim = tx.facts.get(SpfFact), tx.facts.get(DkimFact)
    passing = dkim.passing if dkim is not None else ()
    if spf is not None and spf.result is Result.PASS:
        passing = (spf.domain, *passing)
    lists = tx.message.headers.raw_all("list-id") if tx.message is not None else []
    return Way(domain, tx.session.peer, tx.session.helo or "", tuple(lists), passing, tx.facts.get(ArcFact))


def _wanted(settings: Settings, disposition: str) -> Action:
    """What a domain's policy means here."""
    match disposition:
        case "reject":
            return settings.policies.get("reject", "reject")
        case "quarantine":
            return settings.policies.get("quarantine", "quarantine")
        case _:
            return settings.policies.get("none", "ignore")


def _stricter(one: Action, other: Action) -> Action:
    return one if _strictness(one) >= _strictness(other) else other


def _strictness(action: Action) -> float:
    """A score stands between a tag and the quarantine; of two, the higher one is stricter."""
    return 2 + action.score / 1000 if isinstance(action, ScoreAction) else _STRICTNESS[action]


def _softened(action: Action) -> Action:
    return "defer" if action in {"reject", "quarantine"} else action


def _disposition(action: Action) -> str:
    """As reports name it."""
    if isinstance(action, ScoreAction):
        return "none"
    return action if action in {"reject", "quarantine"} else "none"
