"""DMARC: checks that the domain in From authorized the message, and applies its policy if not (RFC 9989).

Returns at: data (Reject, Defer, Quarantine, Score, AddHeader), for mail from other servers (port 25).
Gives:      DmarcFact.
Needs:      SpfFact and DkimFact (plugins spf and dkim); uses ArcFact (plugin arc) if available. If one of the two
            plugins failed with ``on_error: accept``, a message that does not pass has the result temperror.
Asks:       the DNS for ``_dmarc`` records, at most eight for a domain; without an answer the result is temperror.
Skips:      sessions that logged in, peers that SPF skips (its ``exempt``), LMTP: their result: ``none``.
On error:   defer.

Actions: mail that passes is accepted. To mail that fails, the policy of its domain is applied (``honour_policy`` and
``policies``), unless one of ``exceptions`` or ``trusted_sealers`` applies. ``results`` adds actions for each result;
the stricter action counts. ``require_pass`` rejects all mail that does not pass, except for exceptions; the database
field ``require_dmarc_pass`` of a domain overrides all of these and has no exceptions.

A policy is weakened by one step if its domain says so: with ``t=y`` (RFC 9989), or with ``pct`` for messages outside of
the sample (RFC 7489). The transaction id decides whether a message is in the sample: the result is the same for all
tenants, and a sender cannot predict it.

The DNS tree walk of RFC 9989 finds the organizational domain. ``organizational_domain`` may also be ``public_suffix``
(the public suffix list, as in RFC 7489), or ``both``: the tree walk, corrected by the list where a registry published a
record without ``psd=y``.

DMARC cannot evaluate mail without exactly one From field that names exactly one domain, and senders can use that to
evade it: ``malformed_from`` sets the action (RFC 9989 §11.5). Several addresses of one domain are allowed, as are
groups.

Reports: a message whose domain requests aggregate reports is counted once, whatever the number of tenants and
recipients, with the action for the tenant that is evaluated first; in shadow mode without an action. A deferred message
is counted when it is sent again.

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

#: Signatures that one observation names; RFC 7489 §7.2 leaves the number to reporters.
_MAX_REPORTED: Final = 10
#: Octets of From above which it is read in another thread: 64 KB take 100 ms.
_LONG_FROM: Final = 4096
_STRICTNESS: Final = {"ignore": 0, "tag": 1, "quarantine": 3, "defer": 4, "reject": 5}


class Dmarc(Plugin):
    """Evaluates DMARC from the results of SPF and DKIM."""

    gives = (DmarcFact,)
    needs = (SpfFact, DkimFact)
    after = (ArcFact,)
    # The facts that it uses may differ from tenant to tenant.
    shareable = False
    on_error = "defer"
    #: Above DMARC_SECONDS and DMARC_EXCEPTION_SECONDS, which end in results: a stranger's slow name servers must not
    #: make the plugin fail, or the breaker would disable it for the mail of every tenant.
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
        """Loads the public suffix list if it is needed: mail must not wait for that."""
        if self.settings.organizational_domain is not Method.TREE_WALK:
            await self._services.run_blocking("crypto", self._suffixes.is_public, "com")

    @hookimpl
    async def data(self, tx: Transaction) -> HookResult:
        """Evaluates DMARC and counts the message for reports."""
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

    # -- actions -----------------------------------------------------------------------------------------------------

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
            return _stricter(action, "defer")  # Otherwise slow signatures would evade any policy.
        if fact.result is Result.FAIL and settings.honour_policy:
            return _stricter(action, _wanted(settings, fact.disposition))
        return action

    async def _excepted(
        self, tx: Transaction, fact: DmarcFact, action: Action, discovery: Discovery
    ) -> tuple[DmarcFact, Action]:
        """The fact with the exception that applies, and its action; both unchanged if none applies."""
        way = _way(tx, fact.domain)
        try:
            async with asyncio.timeout(DMARC_EXCEPTION_SECONDS):
                for exemption, instead in self._exceptions:
                    if await exempts(exemption, way, self._services.dns, discovery):
                        vouch = await vouched(way.arc, fact.domain, exemption.sealers, discovery)
                        comment = " ".join(text for text in (exemption.name, vouch) if text)[:255]
                        return replace(fact, disposition="none", exception=exemption.kind, comment=comment), instead
        except (DnsTemporary, TimeoutError):
            # An exception may apply: deferred mail is sent again, refused mail would be lost.
            return replace(fact, comment="an exception could not be looked up"), _softened(action)
        sealers = [domain for exemption, _ in self._exceptions for domain in exemption.sealers]
        if sealers and way.arc is not None and way.arc.temporary:
            return replace(fact, comment="the ARC chain could not be looked up"), _softened(action)
        return fact, action

    def _opinion(self, fact: DmarcFact, action: Action) -> HookResult:
        failed = fact.result is Result.FAIL
        if not fact.domain:
            text = "The From field does not name exactly one domain"
        elif failed and fact.policy != "none" and action == "reject":
            text = f"Refused per the DMARC policy of {fact.policy_domain}"
        elif failed:
            text = f"The message does not pass DMARC for {fact.domain}"
        else:
            text = f"The DMARC result for {fact.domain} is {fact.result}"
        # RFC 7372 §3.3: SPF and DKIM, both.
        enhanced = "5.7.26" if failed else "5.7.1"
        why = "; ".join(filter(None, (fact.reason, fact.policy and f"p={fact.policy}", fact.comment)))
        server = self._services.server_name
        return opinion_of(action, "dmarc", fact.result, text=text, enhanced=enhanced, why=why, server=server)

    # -- the rest ----------------------------------------------------------------------------------------------------

    def _believed(self, tx: Transaction, domain: str) -> DmarcFact | None:
        """The result in the message's header, if the settings trust it; a failure is evaluated here nevertheless."""
        if not self.settings.allow_header_override or tx.message is None or not domain:
            return None
        name = self.settings.authserv_id or self._services.server_name
        results = authentication_results.believed(tx.message.headers, name).get("dmarc", [])
        result = dmarc_of(results, domain)
        return None if result not in RESULTS - {Result.FAIL} else DmarcFact(result, domain, source="header")

    def _observe(self, tx: Transaction, fact: DmarcFact, action: Action, checked: Checked) -> None:
        """RFC 9990 §3, RFC 7489 §7.2: one count for each message, without recipients."""
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
    """The reason why DMARC does not apply to a message; empty if it applies."""
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
    """The action for a domain's policy."""
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
    """A score ranks between a tag and the quarantine; of two scores, the higher one is stricter."""
    return 2 + action.score / 1000 if isinstance(action, ScoreAction) else _STRICTNESS[action]


def _softened(action: Action) -> Action:
    return "defer" if action in {"reject", "quarantine"} else action


def _disposition(action: Action) -> str:
    """The name of an action in reports."""
    if isinstance(action, ScoreAction):
        return "none"
    return action if action in {"reject", "quarantine"} else "none"
