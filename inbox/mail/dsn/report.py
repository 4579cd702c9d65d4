"""The content of a delivery status notification as values (RFC 3464, RFC 5965)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Action = Literal["failed", "delayed", "delivered", "relayed", "expanded"]
#: ``auto-reply``: a vacation notice or another answer of a program (RFC 3834); ``complaint``: RFC 5965.
Kind = Literal["notification", "complaint", "auto-reply", "other"]


@dataclass(frozen=True, slots=True)
class ReportedRecipient:
    """One recipient of a received notification. All texts come from strangers.

    Attributes:
        address: empty if the notification does not name it.
        status: the enhanced code (RFC 3463); derived from the reply code or the text if none is written.
        code: the SMTP reply code, 0 if none is written.
        text: the diagnostic text on one line, cut to ``TEXT_CHARACTERS``.
        is_derived: no enhanced code is written; only the class of ``status`` was found.
        context: what the notification says to people, for a failure that ``text`` does not explain.
        original: the address of Original-Recipient, if it is not ``address``: the one that the sender gave.
    """

    address: str
    action: Action
    status: str
    code: int
    text: str
    is_derived: bool = False
    context: str = ""
    original: str = ""


@dataclass(frozen=True, slots=True)
class Feedback:
    """A feedback report (RFC 5965 §3); texts are from a stranger, and empty if they are missing.

    Attributes:
        kind: ``abuse``, ``fraud``, ``virus``, ``other``, ``not-spam``, ``auth-failure``, …
        reporter: the program that wrote it (User-Agent).
        mail_from: the envelope sender of the reported message.
        recipients: its recipients; often redacted.
    """

    kind: str
    reporter: str = ""
    mail_from: str = ""
    recipients: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Notification:
    """A parsed message. ``original`` is the beginning of the returned header section; empty if none was returned.

    ``feedback`` is that of a ``complaint``.
    """

    kind: Kind
    recipients: tuple[ReportedRecipient, ...] = ()
    envid: str = ""
    reporting_mta: str = ""
    original: bytes = b""
    feedback: Feedback | None = None
