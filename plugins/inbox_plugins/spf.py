"""SPF: checks that the sending server may use the domain of the sender, and its own name in HELO (RFC 7208).

Returns at: mail (checks, without an opinion yet), rcpt (Reject 550 5.7.23 or 5.7.24, Defer 451 4.7.24), data
            (scores, tags, quarantine; refusals, too, with ``at: data`` or if a header is trusted).
Gives:      SpfFact, from MAIL on: the results for MAIL FROM and for HELO. For a null sender, that of HELO alone.
Asks:       DNS, in at most 20 seconds and with the limits of RFC 7208 §4.6.4. A result is remembered for the TTL of its
            answers.
Adds:       ``Received-SPF`` (§9.1).
On error:   defer. A DNS failure is not an error of the plugin; it gives the result ``temperror``.

Only mail from other servers is checked: on port 25, without login, outside of ``exempt``. Put servers of
your own that pass mail on (a secondary MX, a gateway) into ``exempt``: SPF is about the server that sent a mail, not
about the servers that passed it on.

``results`` sets the action for each result, and ``require_pass`` for those that it does not name: true rejects mail
without a pass and defers it if the DNS does not answer (``temperror``); false accepts it. Much honest mail comes from
domains without a record (``none``), or from servers that a domain does not vouch for (``softfail``, ``neutral``): the
policy that ships accepts these. Forwarded mail fails; DKIM and ARC survive forwarding. ``exp=``, the domain's
explanation of a failure, is kept in the decision record and is not sent to the peer, because it is a stranger's text.

An example::

    plugins:
      spf:
        results: {fail: reject, softfail: {score: 3}, neutral: ignore, none: ignore}
        helo_results: {fail: reject}
        exempt: ["127.0.0.0/8", "::1", "192.0.2.25"]

``allow_header_override`` is dangerous: if it is true, the plugin takes the result from the message's topmost
Authentication-Results field with our ``authserv_id`` instead. It is for servers that get all their mail from a gateway
which checks SPF, writes such a field, and removes forged ones. Anyone else who reaches this server can write such a
field.
"""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Literal

from pydantic import Field

from inbox.authentication.results import MethodResult, believed, clean
from inbox.authentication.spf import SpfChecker, received_spf
from inbox.mail.address import AddressError, canonical_domain
from inbox.plugin import (
    Action,
    AddHeader,
    BelievedName,
    Defer,
    Door,
    HeaderOverride,
    Opinion,
    Plugin,
    PluginSettings,
    Recipient,
    Reject,
    Result,
    Services,
    Session,
    SpfFact,
    Transaction,
    action_for,
    hookimpl,
    opinion_of,
)
from inbox.plugin.limits import DOMAIN_OCTETS

__version__ = "1.0.0"

_LOOPBACK: list[IPv4Network | IPv6Network] = [ip_network("127.0.0.0/8"), ip_network("::1")]
#: Replies to the peer. The domain is in A-labels, the address is that of the peer.
_REPLIES = {
    Result.FAIL: "{domain} does not permit {peer} to send its mail (SPF fail)",
    Result.SOFTFAIL: "{domain} does not vouch for mail from {peer} (SPF softfail)",
    Result.NEUTRAL: "{domain} does not vouch for mail from {peer} (SPF neutral)",
    Result.NONE: "{domain} has no SPF record, which is required here",
    Result.PERMERROR: "The SPF record of {domain} is invalid",
    Result.TEMPERROR: "The SPF record of {domain} cannot be looked up now, try again later",
}


class Settings(PluginSettings):
    """Mail that is checked, and the actions for each result."""

    require_pass: bool = Field(
        True,
        description="Reject every result but pass, and defer temperror, unless `results` names the result.",
        json_schema_extra={"env": "SMTP_REQUIRE_SPF_PASS"},
    )
    domain_require_pass: bool | None = Field(
        None,
        description="The same for one domain: true rejects every result but pass, whatever `results` says; false "
        "overrides `require_pass`.",
        json_schema_extra={"domain_field": "require_spf_pass"},
    )
    results: dict[Result, Action] = Field(
        {},
        description="Actions for each result (pass, fail, softfail, neutral, none, temperror, permerror): "
        "reject, defer, quarantine, tag, ignore or {score: N}.",
        examples=[{"softfail": {"score": 2.5}, "none": "ignore"}],
    )
    helo_results: dict[Result, Action] = Field(
        {},
        description="The same for the name in HELO of mail that has a sender. Results that are not named are ignored.",
        examples=[{"fail": {"score": 1}}],
    )
    check_helo: bool = Field(True, description="Check the name in HELO, too, if the mail has a sender.")
    at: Literal["rcpt", "data"] = Field(
        "rcpt", description="When to refuse: before the content is sent, or after it, together with all other plugins."
    )
    exempt: list[IPv4Network | IPv6Network] = Field(
        _LOOPBACK,
        max_length=1000,
        description="Networks whose mail is not checked: loopback, your own relays.",
        examples=[["127.0.0.0/8", "::1/128", "192.0.2.0/24"]],
    )
    received_spf: bool = Field(True, description="Add a Received-SPF field.")
    allow_header_override: HeaderOverride = False
    authserv_id: BelievedName = ""


class Spf(Plugin):
    """Checks at MAIL, refuses at RCPT by each recipient's policy, scores and adds the field at the end of DATA."""

    gives = (SpfFact,)
    needs = ()
    shareable = True
    on_error = "defer"
    #: Above the 20 seconds of RFC 7208 §4.6.4, which end in a result.
    timeout = 25.0

    def __init__(self, settings: Settings, services: Services) -> None:
        self.settings = settings
        self._server = services.server_name
        self._authserv_id = settings.authserv_id or services.server_name
        self._checker = SpfChecker(services.dns, services.clock, services.server_name)

    @hookimpl
    async def mail(self, tx: Transaction) -> None:
        """Checks once for all recipients."""
        if not self.settings.allow_header_override:
            await self._fact(tx)

    @hookimpl
    async def rcpt(self, tx: Transaction, recipient: Recipient) -> list[Opinion]:
        """Refuses, if the policy refuses before the content is sent."""
        del recipient  # The policy is the recipient's; the result is the same for all.
        if self.settings.at != "rcpt" or self.settings.allow_header_override:
            return []
        fact = await self._fact(tx)
        if fact is None:
            return []
        return [opinion for opinion in self._opinions(fact, tx.session) if isinstance(opinion, Reject | Defer)]

    @hookimpl
    async def data(self, tx: Transaction) -> list[Opinion]:
        """Returns all opinions, and adds the trace field."""
        fact = self._believed(tx) or await self._fact(tx)
        if fact is None:
            return []
        opinions = self._opinions(fact, tx.session)
        if self.settings.received_spf and fact.source == "checked":
            opinions.append(AddHeader("Received-SPF", received_spf(fact, tx.session.peer, self._server)))
        return opinions

    async def _fact(self, tx: Transaction) -> SpfFact | None:
        """The known fact, or a new one; None if SPF does not apply."""
        known = tx.facts.get(SpfFact)
        session = tx.session
        if session.door is not Door.SMTP or session.identity is not None:
            return known
        exempt = self._is_exempt(session)
        # The fact of MAIL follows the server's policy; a tenant may exempt other peers.
        if known is not None and (known.source == "header" or (known.source == "exempt") == exempt):
            return known
        if exempt:
            domain = tx.sender.domain if tx.sender else ""
            fact = SpfFact(Result.NONE, domain, helo=_greeted(session), source="exempt")
        else:
            check_helo = self.settings.check_helo
            fact = await self._checker.check(session.peer, session.helo, tx.sender, check_helo=check_helo)
        # Before the message arrives, all tenants share the same facts.
        if known is None or tx.message is not None:
            tx.facts.put(fact)
        return fact

    def _is_exempt(self, session: Session) -> bool:
        peer = session.peer
        if peer.version == 6 and peer.ipv4_mapped is not None:
            peer = peer.ipv4_mapped
        return any(peer in network for network in self.settings.exempt if network.version == peer.version)

    def _believed(self, tx: Transaction) -> SpfFact | None:
        """The result in the message's own header, if the settings trust it; None if there is none for SPF."""
        if not self.settings.allow_header_override or tx.message is None or tx.session.door is not Door.SMTP:
            return None
        found = believed(tx.message.headers, self._authserv_id).get("spf", [])
        claimed = next((each for each in found if each.get("smtp.mailfrom")), next(iter(found), None))
        if claimed is None or claimed.known is None:
            return None
        fact = _fact_of(claimed, claimed.known, tx)
        tx.facts.put(fact)
        return fact

    def _opinions(self, fact: SpfFact, session: Session) -> list[Opinion]:
        if fact.source == "exempt":
            return []
        settings = self.settings
        action = action_for(
            fact.result,
            settings.results,
            require_pass=settings.require_pass,
            domain_requires=settings.domain_require_pass,
        )
        opinions = [self._opinion(action, "spf", fact.result, fact.domain, fact.reason or fact.mechanism, session)]
        if fact.identity == "mailfrom" and fact.helo_result is not None:
            action = settings.helo_results.get(fact.helo_result, "ignore")
            opinions.append(self._opinion(action, "spf_helo", fact.helo_result, _name(fact.helo), fact.helo, session))
        return [opinion for opinion in opinions if opinion is not None]

    def _opinion(
        self, action: Action, method: str, result: Result, domain: str, why: str, session: Session
    ) -> Opinion | None:
        if action == "ignore":
            return None
        text = _REPLIES.get(result, "Refused because of SPF").format(
            domain=f"the domain {domain}" if domain else "the name in HELO", peer=session.peer
        )
        text = text[0].upper() + text[1:]
        failed = result in {Result.TEMPERROR, Result.PERMERROR}
        return opinion_of(
            action,
            method,
            result,
            text=text,
            enhanced="5.7.24" if failed else "5.7.23",  # RFC 7372 §3.2
            deferred="4.7.24" if result is Result.TEMPERROR and method == "spf" else "4.7.0",
            why=why,
            server=self._server,
        )


def _fact_of(claimed: MethodResult, result: Result, tx: Transaction) -> SpfFact:
    identity = "helo" if claimed.get("smtp.helo") and not claimed.get("smtp.mailfrom") else "mailfrom"
    domain = _name(claimed.get(f"smtp.{identity}").rpartition("@")[2])
    return SpfFact(result, domain, identity, str(tx.sender or ""), _greeted(tx.session), source="header")


def _greeted(session: Session) -> str:
    return clean(session.helo or "", DOMAIN_OCTETS)


def _name(text: str) -> str:
    """The domain in A-labels; empty if ``text`` is not a domain."""
    try:
        return canonical_domain(text)
    except AddressError:
        return ""
