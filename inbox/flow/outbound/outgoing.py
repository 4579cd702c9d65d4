"""The message of an attempt: a job's content, recipients and parameters."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from inbox.flow.edits import edited
from inbox.flow.outbound.ports import HostReply, Outgoing, OutgoingRecipient
from inbox.mail.address import Address
from inbox.mail.content import Content, MemoryContent, PrefixedContent
from inbox.policy.verdicts import AddHeader
from inbox.store.ports.queue import QueuedJob


def added_fields(edits: Sequence[object]) -> bytes:
    """The header fields that ``deliver`` hooks added, in the order in which they are sent."""
    fields = [edit for edit in edits if isinstance(edit, AddHeader)]
    prefixed = edited(MemoryContent(b""), fields)
    return prefixed.read(0, prefixed.size)


def outgoing(
    queued: QueuedJob,
    tried: Sequence[int],
    content: Content,
    signed: bytes,
    reverse_path: str,
    in_seven_bits: Callable[[], Awaitable[Content | HostReply]] | None = None,
) -> Outgoing:
    """The message for the recipients at the positions ``tried``, with the fields ``signed`` before its header, from the
    envelope sender ``reverse_path``."""
    job = queued.job
    recipients = (job.recipients[index] for index in tried)
    whole = PrefixedContent(signed, content) if signed else content
    return Outgoing(
        reverse_path,
        tuple(OutgoingRecipient(Address.parse(each.address), each.notify, each.orcpt) for each in recipients),
        whole,
        whole.size,
        job.body,
        job.smtputf8,
        job.require_tls,
        job.ret,
        job.envid,
        in_seven_bits,
    )
