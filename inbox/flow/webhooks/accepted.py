"""Record events of accepted mail.

The events are durable before the positive reply. After a crash between the commit of the mail and its events the client
has no reply and sends the message again; the copies that are recognised then write the same events.
"""

from __future__ import annotations

from collections.abc import Coroutine, Sequence
from typing import Any

from inbox.flow.webhooks.events import Event, WebhookEvents
from inbox.plugin.api.context import Door
from inbox.store.ports.decisions import DecisionRecord
from inbox.store.ports.ingest import Accepted, AcceptedMessage, Ingest
from inbox.store.ports.messages import Placed

#: A message that a user's mail program stores is not mail that was sent or received.
_NO_MAIL = Door.IMAP.value


class ReportedIngest:
    """``Ingest`` of ``inbox.store.ports.ingest`` that writes events after the mail."""

    def __init__(self, ingest: Ingest, events: WebhookEvents) -> None:
        self._ingest = ingest
        self._events = events

    def accept(self, accepted: Accepted) -> Coroutine[Any, Any, list[list[Placed]]]:
        """As ``Ingest.accept``. While the database is unavailable after it has stored the mail, the reply waits."""
        # Without webhooks there is not even a coroutine more.
        return self._accept(accepted) if self._events.are_known else self._ingest.accept(accepted)

    async def _accept(self, accepted: Accepted) -> list[list[Placed]]:
        placed = await self._ingest.accept(accepted)
        for message, places in zip(accepted.messages, placed, strict=True):
            if self._events.wanted(message.tenant):
                record = next((one for one in accepted.decisions if one.tenant == message.tenant), None)
                if record is not None and record.door != _NO_MAIL:
                    await self._report(message, places, record)
        return placed

    async def _report(self, message: AcceptedMessage, places: Sequence[Placed], record: DecisionRecord) -> None:
        email = places[0].email if places else message.id
        # A client's repetition of jobs is a message of its own; that of copies only has the first copies' places.
        key = (email, *sorted((one.mailbox, one.uid) for one in places), record.id if message.jobs else "")
        about = {
            "transaction": record.id, "email": email, "door": record.door, "sender": record.sender,
        }  # fmt: skip
        whole = {
            **about, "recipients": list(record.recipients), "size": message.content.size, "tags": list(message.tags),
        }  # fmt: skip
        await self._events.write(message.tenant, "accepted", [(key, whole)])
        withheld: list[Event] = [
            ((place.email, place.mailbox, place.uid), {**about, "recipient": copy.recipient, "reason": copy.reason})
            for copy, place in zip(message.copies, places, strict=True)
            if copy.reason is not None
        ]
        await self._events.write(message.tenant, "quarantined", withheld)
