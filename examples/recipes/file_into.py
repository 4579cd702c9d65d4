"""File into a folder: stores mail of a mailing list in a separate mailbox and adds a keyword.

Returns at: store (FileInto, AddFlags).

An example::

    plugins:
      file_into: {lists: {"dev.lists.example.org": Lists/Dev}}
"""

from __future__ import annotations

import re

from pydantic import Field

from inbox.plugin import AddFlags, Delivery, FileInto, Opinion, Plugin, PluginSettings, Services, hookimpl

__version__ = "1.0.0"

#: RFC 2919 §3: the identifier is in angle brackets at the end of List-Id.
_LIST_ID = re.compile(r"<([^<>\s]{1,255})>\s*$")


class Settings(PluginSettings):
    """Mailboxes of lists."""

    lists: dict[str, str] = Field(max_length=1000, description="List identifiers and mailboxes; / separates levels.")


class FileIntoFolder(Plugin):
    """Decides for each recipient's copy: two recipients of one message cause two calls."""

    def __init__(self, settings: Settings, services: Services) -> None:
        self.lists = {name.lower(): mailbox for name, mailbox in settings.lists.items()}

    @hookimpl
    def store(self, delivery: Delivery) -> list[Opinion]:
        """A missing mailbox is created. Junk stays in Junk: ``delivery.mailbox`` is the destination so far."""
        message = delivery.transaction.message
        found = _LIST_ID.search((message.headers.get("List-Id") or "")[-1000:]) if message is not None else None
        mailbox = self.lists.get(found[1].lower()) if found is not None else None
        if mailbox is None or delivery.mailbox != "INBOX":
            return []
        return [FileInto(mailbox), AddFlags(("$list",))]
