"""Shouting subject: a spam rule of your own in Python. Subjects in capitals get points.

Returns at: data (Score SHOUTING_SUBJECT). The policy's thresholds say what follows from the total.

Write a rule in Python when it has to count or to remember. A plain condition is shorter as a rule of ``spam_rules``,
in the policy itself::

    plugins:
      shouting_subject: {points: 2.5, share: 0.8}
"""

from __future__ import annotations

from pydantic import Field

from inbox.plugin import Plugin, PluginSettings, Score, Services, Transaction, hookimpl

__version__ = "1.0.0"

#: Longer subjects are judged by their beginning: what a stranger sends is never looked at without a bound.
_LOOKED_AT = 1000


class Settings(PluginSettings):
    """Definition of shouting, and its points."""

    points: float = Field(1.5, ge=0, le=100, description="Points for a subject that shouts.")
    share: float = Field(0.7, gt=0, le=1, description="Share of capitals among its letters from which on it shouts.")
    letters: int = Field(8, ge=1, description="Shorter subjects may shout: RE, FYI, ASAP.")


class ShoutingSubject(Plugin):
    """Counts capitals."""

    def __init__(self, settings: Settings, services: Services) -> None:
        self.settings = settings

    @hookimpl
    def data(self, tx: Transaction) -> Score | None:
        """None means: no opinion."""
        if tx.message is None:
            return None
        # Scripts without capitals (Arabic, Chinese …) cannot shout.
        letters = [one for one in tx.message.subject[:_LOOKED_AT] if one.isupper() or one.islower()]
        if len(letters) < self.settings.letters:
            return None
        share = sum(one.isupper() for one in letters) / len(letters)
        if share < self.settings.share:
            return None
        return Score("SHOUTING_SUBJECT", self.settings.points, f"{share:.0%} of the subject's letters are capitals")
