"""Authentication-Results: one field that says what was found out about a message's origin (RFC 8601).

Returns at: data (AddHeader, DeleteHeader).
Reads:      SpfFact, DkimFact, DmarcFact, ArcFact and BimiFact, as far as their plugins are enabled; who logged in is
            told as ``auth=pass``. If there is nothing to tell, the field says ``none``.
Removes:    every field that claims to be ours, before ours is added (§5): programs behind this server believe what
            has its name. A field counts as ours if some careless reader might take it so: in any case, with comments in
            front, encoded, misspelt. Fields of other servers stay, unless all fields together are longer than any
            honest mail's. That is so for refused mail, too: if another tenant takes it, it is in quarantine here.
Applies to: what other servers and users send (SMTP, LMTP, submission, HTTP). What an owner files over IMAP stays as it
            is.
On error:   defer.

Enable it behind the plugins whose results it tells. A gateway that writes fields of the same name is asked by them
(``allow_header_override``); what they believed stands in the new field.

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

_DOORS: Final = frozenset({Door.SMTP, Door.LMTP, Door.SUBMISSION, Door.HTTP})
#: More forged fields than this, and all fields of the name go: each removal copies the header section.
_MOST_FORGED: Final = 20
_ID = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?\Z")


class Settings(PluginSettings):
    """By which name we sign."""

    authserv_id: str = Field(
        "",
        max_length=255,
        examples=["mx.example.org"],
        description="The name in the field (§2.5). Servers that trust one another's results may share one. Empty: this "
        "server's name.",
    )

    @field_validator("authserv_id")
    @classmethod
    def _is_a_name(cls, value: str) -> str:
        if value and not _ID.match(value):
            raise ValueError("an authserv-id is a name such as mx.example.org")
        return value


class AuthenticationResults(Plugin):
    """Collects facts, writes one field, removes those that pretend to be it."""

    gives = ()
    needs = ()
    after = (SpfFact, DkimFact, DmarcFact, ArcFact, BimiFact)
    shareable = False
    #: What somebody refused may go into quarantine, and come out of it: without forged fields.
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
    """In the order in which readers expect them: who connected, who signed, who wrote it."""
    facts, session = tx.facts, tx.session
    if session.identity is not None:
        yield MethodResult("auth", "pass", (("smtp.auth", session.identity.address),))
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
    """The places of forged fields in one message by the name that they claim, searched for once for all tenants."""


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
