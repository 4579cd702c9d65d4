"""Newsletter: recognizes bulk mail, for rules.

Gives:      NewsletterFact, which rules see as ``facts.newsletter.kind`` and ``facts.newsletter.one_click``.

An example: spam_rules runs after this plugin because it comes after it in the policy::

    plugins:
      newsletter: {}
      spam_rules:
        rules:
          - name: BULK_WITHOUT_EXIT
            when: 'facts.newsletter != null && facts.newsletter.kind == "bulk" && !facts.newsletter.one_click'
            score: 2
"""

from __future__ import annotations

from dataclasses import dataclass

from inbox.plugin import Plugin, Transaction, hookimpl

__version__ = "1.0.0"


@dataclass(frozen=True, slots=True)
class NewsletterFact:
    """``kind`` is ``list`` or ``bulk``. ``one_click``: the reader can leave with one click (RFC 8058)."""

    kind: str
    one_click: bool


class Newsletter(Plugin):
    """Only gives a fact; the policy's rules decide."""

    gives = (NewsletterFact,)
    shareable = True

    @hookimpl
    def data(self, tx: Transaction) -> None:
        """Puts a fact, or none for personal mail."""
        if tx.message is None:
            return
        headers = tx.message.headers
        one_click = headers.get("List-Unsubscribe-Post") == "List-Unsubscribe=One-Click"
        if headers.count("List-Id"):
            tx.facts.put(NewsletterFact("list", one_click))
        elif (headers.get("Precedence") or "").lower() == "bulk" or headers.count("List-Unsubscribe"):
            tx.facts.put(NewsletterFact("bulk", one_click))
