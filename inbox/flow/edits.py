"""Apply the edits that plugins asked for. The received message is never changed: edited fields are put in front of it.

Fields that an edit does not name keep their octets, so that signatures over them stay valid.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from inbox.base.limits import SPOOL_OCTETS
from inbox.mail.content import Content, MemoryContent, PrefixedContent, TailContent
from inbox.mail.edits import add_field, change_field, delete_field, insert_field, render_field
from inbox.mail.headers import header_block
from inbox.mail.nul import has_nul
from inbox.policy.verdicts import (
    AddHeader,
    ChangeHeader,
    DeleteHeader,
    Edit,
    InsertHeader,
    ReplaceBody,
)

_MESSAGE_EDITS = (AddHeader, InsertHeader, ChangeHeader, DeleteHeader, ReplaceBody)


def changes_message(edit: object) -> bool:
    """True for an edit of header or body; other edits concern recipients or a copy."""
    return isinstance(edit, _MESSAGE_EDITS)


def set_apart(content: Content) -> Content:
    """A message that begins with white space gets an empty line in front, and so has no header section.

    Otherwise its first line would continue the field that we write in front of it: a stranger could append to our
    Received or Authentication-Results. No line is lost; Postfix does the same.
    """
    return PrefixedContent(b"\r\n", content) if content.read(0, 1) in {b" ", b"\t"} else content


async def holds_nul(content: Content) -> bool:
    """True if the message contains a NUL character; a large message is read outside the event loop."""
    if content.size <= SPOOL_OCTETS:
        return has_nul(content)
    return await asyncio.to_thread(has_nul, content)


def edited(content: Content, edits: Sequence[Edit]) -> Content:
    """The message with all edits of header and body applied, in their order; other edits are ignored.

    Raises:
        ValueError: an edit's name or value is not valid in a header (CR, LF, NUL, not a field name).
    """
    wanted = [edit for edit in edits if changes_message(edit)]
    if not wanted:
        return content
    if all(isinstance(edit, AddHeader) for edit in wanted):
        fields = [render_field(edit.name, edit.value) for edit in wanted if isinstance(edit, AddHeader)]
        # The field added last is on top, as if each edit had been applied separately.
        return PrefixedContent(b"".join(reversed(fields)), content)
    block, body_at = header_block(content)
    body: Content = TailContent(content, body_at)
    for edit in wanted:
        if isinstance(edit, ReplaceBody):
            body = MemoryContent(edit.body)
        else:
            block = _edited_block(block, edit)
    return PrefixedContent(block, body)


def _edited_block(block: bytes, edit: Edit) -> bytes:
    match edit:
        case AddHeader(name, value):
            return add_field(block, name, value)
        case InsertHeader(index, name, value):
            return insert_field(block, index, name, value)
        case ChangeHeader(name, value, occurrence):
            return change_field(block, name, value, occurrence)
        case DeleteHeader(name, occurrence):
            return delete_field(block, name, occurrence)
    return block
