"""BIMI: finds the picture that the author's domain publishes for display beside its mail.

Returns at: data (DeleteHeader for forged fields; AddHeader for BIMI-Location).
Gives:      BimiFact: pass with the addresses of picture and certificate, none with the reason, or an error.
Needs:      DmarcFact: BIMI passes only if DMARC passes and the domain's policy is quarantine or reject for all mail,
            including that of subdomains and of the organizational domain. DkimFact, if available: a BIMI-Selector
            field counts if the author signed it.
Asks:       DNS: ``SELECTOR._bimi.DOMAIN``, then ``default._bimi.`` of the organizational domain.
Removes:    every BIMI-Location, BIMI-Indicator and BIMI-Logo-Preference that a message arrives with: only the server
            in front of the mailbox may decide what a client shows as a brand. They are removed from refused mail, too:
            if another tenant accepts the message, this tenant has it in quarantine.
On error:   accept: a missing picture is no reason to refuse mail.

Neither picture nor certificate is fetched: a pass means that the domain publishes a valid record, not that the picture
is its trade mark. With ``location_header: true``, clients get the addresses in a header field; leave it off if your
clients show a picture without checking the certificate.

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
    """Information for clients."""

    location_header: bool = Field(
        False, description="Add BIMI-Location with the addresses of picture and certificate if the record is valid."
    )


class Bimi(Plugin):
    """Looks the record up and reports it."""

    gives = (BimiFact,)
    needs = (DmarcFact,)
    after = (DkimFact,)
    on_error = "accept"
    #: A tree walk, the organizational domain's policy and two records: each look-up ends after five seconds, and
    #: DMARC has made most of them before.
    timeout = 20.0

    def __init__(self, settings: Settings, services: Services) -> None:
        self.settings = settings
        self._dns = services.dns

    def at_least(self, tx: Transaction) -> list[Edit]:
        """Removes forged fields from a refused message, too, and when the record cannot be looked up."""
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
