"""Rights of a user to a mailbox (RFC 4314 §2.1), and the flags that each of them allows to change."""

from __future__ import annotations

from enum import Flag as EnumFlag
from enum import auto
from typing import Final

from inbox.mail.flags import Flag


class Rights(EnumFlag):
    """A set of rights. The comment of each names its letter in ACL commands."""

    #: ``l``: the mailbox exists for the user: LIST, SUBSCRIBE.
    LOOKUP = auto()
    #: ``r``: SELECT, EXAMINE, STATUS, FETCH, SEARCH, COPY from it.
    READ = auto()
    #: ``s``: change ``\\Seen``.
    SEEN = auto()
    #: ``w``: change flags and keywords other than ``\\Seen`` and ``\\Deleted``.
    WRITE = auto()
    #: ``i``: APPEND, and COPY into it.
    INSERT = auto()
    #: ``p``: send mail to its address. No command checks it yet.
    POST = auto()
    #: ``k``: CREATE below it, RENAME to below it.
    CREATE = auto()
    #: ``x``: DELETE or RENAME it.
    DELETE_MAILBOX = auto()
    #: ``t``: change ``\\Deleted``.
    DELETE_MESSAGES = auto()
    #: ``e``: EXPUNGE.
    EXPUNGE = auto()
    #: ``a``: change the rights of others. No command checks it yet.
    ADMINISTER = auto()


#: The rights of an owner.
ALL_RIGHTS: Final = ~Rights(0)
#: RFC 4314 §5.2: with one of these a mailbox is selected READ-WRITE.
CHANGING: Final = Rights.SEEN | Rights.WRITE | Rights.INSERT | Rights.DELETE_MESSAGES | Rights.EXPUNGE
_FLAG_RIGHTS: Final = Rights.SEEN | Rights.WRITE | Rights.DELETE_MESSAGES


def changeable(rights: Rights) -> int:
    """The system flags that these rights allow a user to change. Keywords need ``WRITE``."""
    flags = Flag.SEEN if Rights.SEEN in rights else Flag(0)
    if Rights.DELETE_MESSAGES in rights:
        flags |= Flag.DELETED
    if Rights.WRITE in rights:
        flags |= Flag.ANSWERED | Flag.FLAGGED | Flag.DRAFT
    return int(flags)


def changes_all_flags(rights: Rights) -> bool:
    """Whether these rights allow a user to change every flag and keyword."""
    return rights & _FLAG_RIGHTS == _FLAG_RIGHTS
