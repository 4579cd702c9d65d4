"""Use cases over mailboxes, for every protocol and page that shows them: IMAP, POP3, JMAP, admin pages and commands.

``resolver`` leads from a name to a mailbox and the user's rights, ``names`` has the commands about mailboxes as such,
``messages`` those about what is in them, ``holdings`` and ``quarantine`` what an administrator sees. Servers import
these and not the store; the values that they need are listed here.
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
