"""Strict about unscanned mail: holds mail that the virus scanner could not scan, unless SPF passes.

Returns at: data (Quarantine).
Reads:      VirusFact, which it needs; SpfFact, if the policy has a plugin that gives it.

An example::

    plugins:
      clamav: {on_unscanned: accept}
      strict_unscanned: {}
"""

from __future__ import annotations

from inbox.plugin import Plugin, Quarantine, Result, SpfFact, Transaction, VirusFact, hookimpl

__version__ = "1.0.0"


class StrictUnscanned(Plugin):
    """Runs after the plugins whose facts it reads, wherever the policy puts it."""

    needs = (VirusFact,)
    after = (SpfFact,)

    @hookimpl
    def data(self, tx: Transaction) -> Quarantine | None:
        """A needed fact can be missing: its plugin may have failed."""
        virus, spf = tx.facts.get(VirusFact), tx.facts.get(SpfFact)
        if virus is not None and virus.status != "unscanned":
            return None
        if spf is not None and spf.result is Result.PASS:
            return None
        return Quarantine(f"not scanned: {virus.why if virus is not None else 'no scanner answered'}")
