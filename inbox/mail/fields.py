"""Header fields as octets (RFC 5322 §2.2): the one place that knows where a field begins and ends."""

from __future__ import annotations

import re
from itertools import islice
from typing import Final

#: Name, value and line ends of one field with its folded lines. A line without a colon belongs to no field and is
#: passed over, and white space may stand in front of the colon (§4.5), both as Dovecot does.
FIELD: Final = re.compile(rb"^([^:\s][^:\n]*):([^\n]*(?:\n[ \t][^\n]*)*)\n?", re.MULTILINE)
#: Sections up to this size are split in one call; longer ones field by field, up to the bound.
_SMALL: Final = 8192


def split_fields(block: bytes, most: int) -> list[tuple[bytes, bytes]]:
    """The first ``most`` fields as (name in lower case, value without the white space around it)."""
    if len(block) <= _SMALL:
        pairs: list[tuple[bytes, bytes]] = FIELD.findall(block)[:most]
    else:
        pairs = [(found[1], found[2]) for found in islice(FIELD.finditer(block), most)]
    return [(name.rstrip(b" \t").lower(), value.strip(b" \t\r\n")) for name, value in pairs]
