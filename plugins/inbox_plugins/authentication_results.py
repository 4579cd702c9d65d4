"""Authentication-Results: adds one field with the results of the checks of a message's origin (RFC 8601).

Returns at: data (AddHeader, DeleteHeader).
Reads:      SpfFact, DkimFact, DmarcFact, ArcFact and BimiFact, as far as their plugins are enabled; a login is
            reported as ``auth=pass``, without the account if its user submits the message. Without results the field
            says ``none``.
Removes:    every field that claims to come from this server, before its own is added (§5), because programs behind
            this server trust fields with its name. A field is removed if a careless reader might take it for ours:
            regardless of case, comments in front, encoding and misspelling. Fields of other servers stay, unless all
            fields together are longer than those of any honest mail. Forged fields are removed from refused mail, too:
            if another tenant accepts the message, this tenant has it in quarantine.
Applies to: mail that other servers and users send (SMTP, LMTP, submission, HTTP). Mail that an owner stores over IMAP
            is not changed.
On error:   defer.

Enable it after the plugins whose results it reports. Those plugins may trust fields of a gateway
(``allow_header_override``); the new field then has the results that they took from there.

An example::

    plugins:
      authentication_results: {authserv_id: mx.example.org}
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from pydantic import Field, field_validator

from inbox.authentication import findings
from inbox.authentication.results import NAME, MethodResult, may_be, render
from inbox.mail.message import Message
from inbox.plugin import (
    AddHeader,
    ArcFact,
    BimiFact,
    DeleteHeader,
    DkimFact,
    DmarcFact,
    Door,
    Opinion,
    Plugin,
    PluginSettings,
    Services,
    SpfFact,
    Transaction,
    hookimpl,
)
from inbox.plugin.limits import AUTHENTICATION_RESULTS_SEARCHED

__version__ = "1.0.0"

_SENDING: Final = frozenset({Door.SUBMISSION, Door.API})
_DOORS: Final = frozenset({Door.SMTP, Door.LMTP, *_SENDING})
#: With more forged fields than this, all fields of the name are removed: each removal copies the header section.
_MOST_FORGED: Final = 20
_ID = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?\Z")


class Settings(PluginSettings):
    """The name of this server in the field."""

    authserv_id: str = Field(
        "",
        max_length=255,
        examples=["mx.example.org"],
        description="The name in the field (§2.5). Servers that trust one another's results may share a name. Empty: "
        "this server's name.",
    )

    @field_validator("authserv_id")
    @classmethod
    def _is_a_name(cls, value: str) -> str:
        if value and not _ID.match(value):
            raise ValueError("an authserv-id is a name such as mx.example.org")
        return value


class AuthenticationResults(Plugin):
    """Collects facts, writes one field, removes forged ones."""

    gives = ()
    needs = ()
    after = (SpfFact, DkimFact, DmarcFact, ArcFact, BimiFact)
    shareable = False
    #: A refused message may go into quarantine and be released: it must not have forged fields then.
    always = True
    on_error = "defer"
    timeout = 1.0

    def __init__(self, settings: Settings, services: Services) -> None:
        self._authserv_id = settings.authserv_id or services.server_name

    @hookimpl
    def data(self, tx: Transaction) -> list[Opinion]:
        """The removals, then our field in front."""
        if tx.message is None or tx.session.door not in _DOORS:
            return []
        value = render(self._authserv_id, list(_found(tx)))
        return [*_removals(tx.message, self._authserv_id), AddHeader(NAME, value)]


def _found(tx: Transaction) -> Iterator[MethodResult]:
    """Results in the order that readers expect: the peer, the signers, the author."""
    facts, session = tx.facts, tx.session
    if session.identity is not None:
        # Submitted mail goes to strangers, who must not learn which account is behind an alias or shared inbox.
        shown = () if session.door in _SENDING else (("smtp.auth", session.identity.address),)
        yield MethodResult("auth", "pass", shown)
    if (spf := facts.get(SpfFact)) is not None:
        yield from findings.of_spf(spf)
    if (dkim := facts.get(DkimFact)) is not None:
        yield from findings.of_dkim(dkim)
    if (dmarc := facts.get(DmarcFact)) is not None:
        yield from findings.of_dmarc(dmarc)
    if session.identity is None and (arc := facts.get(ArcFact)) is not None:
        yield from findings.of_arc(arc, session.peer)
    if (bimi := facts.get(BimiFact)) is not None:
        yield from findings.of_bimi(bimi)


class _Forged(dict[str, list[int]]):
    """Positions of forged fields in one message by the name that they claim, searched once for all tenants."""


def _removals(message: Message, authserv_id: str) -> list[Opinion]:
    values = message.headers.raw_all(NAME)
    if sum(map(len, values)) > AUTHENTICATION_RESULTS_SEARCHED:
        return [DeleteHeader(NAME)]
    known = message.shared(_Forged)
    forged = known.get(authserv_id)
    if forged is None:
        forged = known[authserv_id] = [place for place, value in enumerate(values) if may_be(value, authserv_id)]
    if len(forged) > _MOST_FORGED:
        return [DeleteHeader(NAME)]
    # Counted from below: neither a removal further up nor a field that another plugin puts in front shifts them.
    return [DeleteHeader(NAME, place - len(values)) for place in forged]
