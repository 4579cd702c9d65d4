"""Header fields as octets (RFC 5322 §2.2): splitting a section into fields."""

from __future__ import annotations

import re
from itertools import islice
from typing import Final

#: Name, value and line ends of one field with its folded lines. A line without a colon is skipped, and white space is
#: allowed before the colon (§4.5), both as in Dovecot.
FIELD: Final = re.compile(rb"^([^: \t\n][^:\n]*):([^\n]*(?:\n[ \t][^\n]*)*)\n?", re.MULTILINE)
#: Sections up to this size are split in one call; longer ones field by field, up to the bound.
_SMALL: Final = 8192
#: Octets that are invalid in a name (§3.6.8), except the colon. They are stripped from the ends of a name: obsolete
#: syntax has white space there, and many readers trim more (control characters, a no-break space, a byte order mark).
#: They treat ``Authentication-Results\\v:`` as the field of that name, so it must be found, and removed, by that name.
#: Within a name they make a different name, as for all readers.
_NOT_OF_NAMES: Final = bytes([*range(0x21), *range(0x7F, 0x100)])


def split_fields(block: bytes, most: int) -> list[tuple[bytes, bytes]]:
    """The first ``most`` fields as (name in lower case, value without the white space around it)."""
    if len(block) <= _SMALL:
        pairs: list[tuple[bytes, bytes]] = FIELD.findall(block)[:most]
    else:
        pairs = [(found[1], found[2]) for found in islice(FIELD.finditer(block), most)]
    return [(name.strip(_NOT_OF_NAMES).lower(), value.strip(b" \t\r\n")) for name, value in pairs]


def name_of(written: bytes) -> bytes:
    """The field name before the colon, in its original case."""
    return written.strip(_NOT_OF_NAMES)
