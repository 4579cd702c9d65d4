"""BIMI: which picture the author's domain wants to be shown beside its mail.

Returns at: data (DeleteHeader for forged fields; AddHeader for BIMI-Location).
Gives:      BimiFact: pass with the addresses of picture and certificate, none with the reason, or an error.
Needs:      DmarcFact: DMARC passed, and the domain's policy is quarantine or reject for all mail, that of subdomains
            and of the organizational domain included. DkimFact, if it is there: a BIMI-Selector field counts if the
            author signed it.
Asks:       DNS: ``SELECTOR._bimi.DOMAIN``, then ``default._bimi.`` of the organizational domain.
Removes:    every BIMI-Location, BIMI-Indicator and BIMI-Logo-Preference that a message arrives with: only the server
            in front of the mailbox may say what a client shows as a brand. That is so for refused mail, too: if another
            tenant takes it, it is in quarantine here.
On error:   accept: a picture is no reason to turn mail away.

Neither picture nor certificate is fetched: a pass says that the domain publishes a sound record, and not that the
picture is its trade mark. With ``location_header: true`` clients are told the addresses; leave it off if yours show a
picture without checking the certificate.

An example::

    plugins:
      spf: {}
      dkim: {}
      dmarc: {}
      bimi: {location_header: true}
"""

from __future__ import annotations

from pydantic import Field

from inbox.authentication.bimi import RECEIVER_FIELDS, assess
from inbox.plugin import (
    AddHeader,
    BimiFact,
    DeleteHeader,
    DkimFact,
    DmarcFact,
    Edit,
    Plugin,
    PluginSettings,
    Result,
    Services,
    Transaction,
    hookimpl,
)

__version__ = "1.0.0"


class Settings(PluginSettings):
    """What clients are told."""

    location_header: bool = Field(
        False, description="Add BIMI-Location with the addresses of picture and certificate when the record is sound."
    )


class Bimi(Plugin):
    """Looks the record up and tells of it."""

    gives = (BimiFact,)
    needs = (DmarcFact,)
    after = (DkimFact,)
    on_error = "accept"
    #: A tree walk, the organizational domain's policy and two records: each look-up ends after five seconds, and most
    #: were answered for DMARC.
    timeout = 20.0

    def __init__(self, settings: Settings, services: Services) -> None:
        self.settings = settings
        self._dns = services.dns

    def at_least(self, tx: Transaction) -> list[Edit]:
        """Forged fields go from a message that is refused, too, and when the record cannot be looked up."""
        if tx.message is None:
            return []
        return [DeleteHeader(name) for name in RECEIVER_FIELDS if tx.message.headers.count(name)]

    @hookimpl
    async def data(self, tx: Transaction) -> list[Edit]:
        """The fact, and the edits that follow from it."""
        if tx.message is None:
            return []
        headers = tx.message.headers
        edits = self.at_least(tx)
        fact = await assess(tx.facts.get(DmarcFact), tx.facts.get(DkimFact), headers, self._dns)
        tx.facts.put(fact)
        if self.settings.location_header and fact.result is Result.PASS:
            evidence = f"; a={fact.evidence}" if fact.evidence else ""
            edits.append(AddHeader("BIMI-Location", f"v=BIMI1; l={fact.location}{evidence}"))
        return edits
