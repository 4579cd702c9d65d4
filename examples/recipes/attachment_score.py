"""Attachment score: adds points for attachments with dangerous names.

Returns at: data (Score DANGEROUS_ATTACHMENT, group attachments).

An example::

    plugins:
      attachment_score: {points: {exe: 6, js: 4, zip: 1}}
    groups: {attachments: {cap: 8}}
"""

from __future__ import annotations

from pydantic import Field

from inbox.plugin import Plugin, PluginSettings, Score, Services, Transaction, hookimpl

__version__ = "1.0.0"


class Settings(PluginSettings):
    """Points by extension."""

    points: dict[str, float] = Field(
        {"exe": 6.0, "js": 4.0}, max_length=1000, description="Points for each extension, in lower case."
    )


class AttachmentScore(Plugin):
    """The worst attachment counts: ten harmless archives are not worse than one."""

    def __init__(self, settings: Settings, services: Services) -> None:
        self.points = settings.points

    @hookimpl
    def data(self, tx: Transaction) -> Score | None:
        """A name may have several extensions, and a part several names: each counts (invoice.exe.pdf)."""
        attachments = tx.message.attachments if tx.message is not None else ()
        found = [(self.points.get(one, 0.0), part.file_name) for part in attachments for one in part.extensions]
        points, name = max(found, default=(0.0, ""))
        return Score("DANGEROUS_ATTACHMENT", points, name, group="attachments") if points else None
