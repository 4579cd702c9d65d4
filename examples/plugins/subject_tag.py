"""Subject tag: marks mail from outside in its subject, so that readers are careful with links.

Returns at: data (ChangeHeader).

Mail is from outside when its sender's domain is not one of the recipients' domains, nor one of ``ours``. A message
that has the tag already (a reply to a reply) is not changed::

    plugins:
      subject_tag: {tag: "[EXTERNAL]", ours: [partner.test]}

Changing a subject breaks DKIM signatures that cover it: put this plugin after those that check signatures.
"""

from __future__ import annotations

from pydantic import Field

from inbox.plugin import ChangeHeader, Plugin, PluginSettings, Services, Transaction, hookimpl

__version__ = "1.0.0"

#: Characters of a subject that are kept.
_LONGEST = 500


class Settings(PluginSettings):
    """The tag, and your own domains."""

    tag: str = Field("[EXTERNAL]", pattern=r"^[!-~]{1,40}$", description="One word of printable ASCII.")
    ours: list[str] = Field(
        [], max_length=1000, description="Domains whose mail is not from outside.", examples=[["partner.test"]]
    )


class SubjectTag(Plugin):
    """Rewrites one header field."""

    def __init__(self, settings: Settings, services: Services) -> None:
        self.settings = settings
        self.ours = frozenset(domain.lower() for domain in settings.ours)

    @hookimpl
    def data(self, tx: Transaction) -> ChangeHeader | None:
        """Returns None if the subject stays unchanged."""
        if tx.message is None or tx.sender is None:  # bounces have no sender
            return None
        if tx.session.identity is not None or tx.sender.domain in self.ours:
            return None
        if tx.sender.domain in {recipient.address.domain for recipient in tx.recipients}:
            return None
        # A stranger wrote the subject: line ends and NUL must not get into our field.
        subject = "".join(max(one, " ") for one in tx.message.subject[:_LONGEST])
        if self.settings.tag in subject:
            return None
        return ChangeHeader("Subject", f"{self.settings.tag} {subject}".strip())
