"""The envelope of a transaction as the flow knows it: the plugins' view, and the destinations of each recipient.

Plugins receive ``transaction`` or a view of it, and never the envelope: they must not read or change another tenant's
recipients, or the policy and the accounts of a recipient.
"""

from __future__ import annotations

import msgspec

from inbox.flow.destinations import Destinations
from inbox.mail.reply import Reply
from inbox.mail.tenancy import HostedDomain
from inbox.plugin.api.context import Recipient, Transaction
from inbox.policy.outcome import StageOutcome
from inbox.policy.snapshot import EffectivePolicy
from inbox.store.ports.shared import SharedEvent


class Admitted(msgspec.Struct, frozen=True):
    """A recipient that was accepted.

    ``domain`` is the hosted domain whose tenant is responsible: the recipient's own, or the sender's for a
    recipient elsewhere. ``policy`` is fixed until the end of the transaction. ``judgement`` is that of ``rcpt``, None
    if no ``rcpt`` hooks ran.
    """

    recipient: Recipient
    domain: HostedDomain
    policy: EffectivePolicy
    judgement: StageOutcome | None
    destinations: Destinations


class NotAdmitted(msgspec.Struct, frozen=True):
    """A recipient that is refused with ``reply``; ``why`` is for the operator."""

    reply: Reply
    judgement: StageOutcome | None = None
    why: str = ""


class Envelope(msgspec.Struct, frozen=True):
    """One MAIL … DATA. ``recipients`` grows with each RCPT that is accepted; it keeps the client's order. ``event`` is
    recorded with the message: it is sent in the name of a shared inbox."""

    transaction: Transaction
    recipients: list[Admitted] = msgspec.field(default_factory=list)
    event: SharedEvent | None = None
