"""The ``notify`` hooks: whether and how the sender of a job is notified."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from inbox.base.errors import PolicyError
from inbox.flow.judge import Judge
from inbox.flow.outbound.ports import Kind
from inbox.flow.outbound.senders import Senders, delivery_of
from inbox.mail.content import Content
from inbox.plugin.api.context import Notification
from inbox.plugin.api.services import Log
from inbox.policy.stages import Stage
from inbox.policy.verdicts import DropDsn, WriteDsn
from inbox.store.ports.queue import QueuedJob, RecipientState


@dataclass(frozen=True, slots=True)
class Form:
    """The form of a notification. ``is_dropped``: none is sent. ``copies`` are addresses that get it, too."""

    is_dropped: bool = False
    note: str = ""
    headers_only: bool = False
    copies: tuple[str, ...] = ()


class NotifyHooks:
    """Asks the plugins of the sender's policy. A report that is repeated after a crash asks them again."""

    def __init__(self, senders: Senders, judge: Judge, log: Log) -> None:
        self._senders = senders
        self._judge = judge
        self._log = log

    async def form(
        self, queued: QueuedJob, states: Sequence[RecipientState], about: Sequence[int], kind: Kind, original: Content
    ) -> Form:
        """The form of the notification about the recipients at these positions. Raises StoreUnavailable."""
        try:
            sender = await self._senders.sender(queued)
        except PolicyError as error:
            # The sender must learn of the failure even if the policy is unusable.
            self._log.error("notification_without_policy", job=queued.job.id, error=str(error))
            return Form()
        delivery = delivery_of(queued, list(about), sender.tenant_name, original, ())
        notification = Notification(delivery, kind, tuple(states[index].category or "" for index in about))
        outcome = await self._judge.judge(Stage.NOTIFY, sender.policy, notification=notification)
        written = [edit for edit in outcome.edits if isinstance(edit, WriteDsn)]
        return Form(
            any(isinstance(edit, DropDsn) for edit in outcome.edits),
            "\n\n".join(edit.note for edit in written if edit.note),
            any(edit.headers_only for edit in written),
            tuple(dict.fromkeys(edit.copy_to for edit in written if edit.copy_to)),
        )
