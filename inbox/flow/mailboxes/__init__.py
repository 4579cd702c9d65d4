"""Use cases over mailboxes, for every protocol and page that shows them: IMAP, POP3, JMAP, admin pages and commands.

``resolver`` maps a name to a mailbox and the user's rights, ``names`` has the commands on mailboxes themselves,
``messages`` those on their messages, ``holdings`` and ``quarantine`` are for administrators. Servers import these
instead of the store; this module exports the types that they need.
"""

from inbox.flow.mailboxes.errors import NameRefused, NoSuchMailbox, NotPermitted, SpecialUseTaken
from inbox.flow.mailboxes.messages import MailboxMessages
from inbox.flow.mailboxes.names import MailboxNames
from inbox.flow.mailboxes.resolver import Access, OwnMailboxes, Place, Resolver
from inbox.flow.mailboxes.rights import ALL_RIGHTS, Rights
from inbox.store.listing import Listing, States
from inbox.store.ports.messages import Column, Entry, StoreMode, StoreStep

__all__ = [
    "ALL_RIGHTS",
    "Access",
    "Column",
    "Entry",
    "Listing",
    "MailboxMessages",
    "MailboxNames",
    "NameRefused",
    "NoSuchMailbox",
    "NotPermitted",
    "OwnMailboxes",
    "Place",
    "Resolver",
    "Rights",
    "SpecialUseTaken",
    "States",
    "StoreMode",
    "StoreStep",
]
