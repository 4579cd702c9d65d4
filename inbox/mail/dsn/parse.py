"""Parse received notifications: RFC 3464, RFC 6533, feedback reports (RFC 5965), and the ones that follow no standard.

Never fails on any input; what cannot be read is left out. Reads at most ``TEXT_OCTETS`` of each part.
"""

from __future__ import annotations

import json
import re
from typing import Any, Final, cast

from inbox.mail.bodies import body_text, walk
from inbox.mail.content import Buffer, Content
from inbox.mail.dsn.freetext import (
    RECIPIENTS,
    derived_status,
    human_part,
    one_line,
    read_text,
    written_code,
    written_status,
)
from inbox.mail.dsn.report import Action, Feedback, Notification, ReportedRecipient
from inbox.mail.encoded import decode_value
from inbox.mail.mime import Part, scan

#: Octets of one part that are read.
TEXT_OCTETS: Final = 256 * 1024
#: Octets of the returned header section that are kept.
ORIGINAL_OCTETS: Final = 64 * 1024
_PARTS: Final = 50
_DAEMONS: Final = (
    b"daemon", b"postmaster", b"post_master", b"mailer", b"administrator", b"mail delivery", b"-admin@", b"fml",
)  # fmt: skip

_STATUS_TYPES: Final = frozenset({"message/delivery-status", "message/global-delivery-status"})
_RETURNED_TYPES: Final = frozenset(
    {"message/rfc822", "message/global", "text/rfc822-headers", "message/rfc822-headers", "message/global-headers"}
)
_STATUS: Final = re.compile(r"(?<![\d.])([245])\.(\d{1,3})\.(\d{1,3})(?![\d.])")
_ACTIONS: Final = frozenset({"failed", "delayed", "delivered", "relayed", "expanded"})
_FIELD: Final = re.compile(r"^([A-Za-z][A-Za-z0-9\-]{1,60})[ \t]*:[ \t]*(.*)$")
_REPORTED_RECIPIENT: Final = re.compile(r"(?im)^Original-Rcpt-To[ \t]*:[ \t]*(.{1,320}?)[ \t]*$")
_REFUSED: Final = re.compile(r"(?i)could not be delivered to|error message below|was not delivered to")


def parse(content: Content) -> Notification:
    """Returns what a message reports. ``kind`` is ``other`` if it reports nothing about a delivery."""
    buffer = content.buffer()
    root = scan(buffer)
    parts = [part for _, part in walk(root)][:_PARTS]
    original = _original(parts, buffer)
    if any(_type(part) == "message/feedback-report" for part in parts):
        return _complaint(parts, buffer, original)
    texts = [_text(part, buffer) for part in parts if _is_text(part, original_of=root)]
    text = "\n".join(texts)[:TEXT_OCTETS]
    for part in parts:
        if _type(part) in _STATUS_TYPES:
            found = _standard(_text(part, buffer), text, original)
            if found is not None:
                return found
    subject = decode_value(root.fields.get(b"subject", b""))
    if _is_auto_reply(root, subject) and not _is_from_daemon(root):
        return Notification("auto-reply", original=original)
    embedded = _json(text)
    if embedded is not None:
        return Notification("notification", tuple(embedded[:RECIPIENTS]), original=original)
    if "Final-Recipient:" in text:
        found = _standard(text[max(text.find("Reporting-MTA:"), 0) :], text, original)
        if found is not None:
            return found
    if not _is_from_mailer(root, subject) and not _REFUSED.search(text[:2000]):
        return Notification("other", original=original)
    failed = tuple(decode_value(root.fields.get(b"x-failed-recipients", b"")).replace(",", " ").split())
    recipients = tuple(read_text(text, failed[:RECIPIENTS], subject))
    return Notification("notification" if recipients else "other", recipients, original=original)


def _type(part: Part) -> str:
    kind = part.kind or (b"text", b"plain")
    return f"{kind[0].decode('latin-1')}/{kind[1].decode('latin-1')}".lower()


def _is_text(part: Part, original_of: Part) -> bool:
    """Whether a part is text that the notification's author wrote: not inside the returned message."""
    above: Part | None = part
    while above is not None:
        if above.is_message or _type(above) in _RETURNED_TYPES:
            return False
        above = above.parent
    kind = _type(part)
    return kind.startswith("text/") or (not part.children and (part.is_multipart or part is original_of))


def _text(part: Part, buffer: Buffer) -> str:
    text = body_text(part, buffer, TEXT_OCTETS)
    if _type(part) == "text/html":
        text = re.sub(r"<(?:br|/p|/div|/tr)[^>]{0,80}>", "\n", text)
        text = re.sub(r"<(?![^\s<>]{1,64}@)[^<>]{0,2000}>", " ", text).replace("&lt;", "<").replace("&gt;", ">")
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _original(parts: list[Part], buffer: Buffer) -> bytes:
    for part in parts:
        if _type(part) in _RETURNED_TYPES:
            return bytes(buffer[part.body : min(part.end, part.body + ORIGINAL_OCTETS)])
    return b""


def _is_auto_reply(root: Part, subject: str) -> bool:
    """RFC 3834 §5: automatic replies are marked; older programs mark only the subject."""
    marked = root.fields.get(b"auto-submitted", b"").lower().startswith(b"auto-replied")
    away = re.match(r"(?i)(?:away|out of (?:the )?office|auto(?:matic)?[ -]?(?:reply|response)|vacation)\b", subject)
    suppressed = b"x-autoreply" in root.fields or root.fields.get(b"precedence", b"").lower() == b"auto_reply"
    return (marked or away is not None or suppressed) and b"x-failed-recipients" not in root.fields


def _is_from_daemon(root: Part) -> bool:
    sender = root.fields.get(b"from", b"").lower()
    return any(name in sender for name in _DAEMONS)


def _is_from_mailer(root: Part, subject: str) -> bool:
    """Whether a program for mail delivery wrote the message, by its sender or its subject."""
    return (
        b"x-failed-recipients" in root.fields
        or _is_from_daemon(root)
        or root.fields.get(b"return-path", b"").strip() == b"<>"
        or re.search(r"(?i)undeliver|fail|returned|delivery|bounce|reject|delayed|not.{1,10}deliver", subject)
        is not None
    )


# --- message/delivery-status ---


def _groups(text: str) -> list[dict[str, str]]:
    """The groups of fields of a delivery-status body (RFC 3464 §2.1); repeated fields keep the first value."""
    groups: list[dict[str, str]] = [{}]
    name = ""
    for line in text.split("\n")[:5000]:
        if not line.strip():
            if groups[-1]:
                groups.append({})
            name = ""
            continue
        found = _FIELD.match(line)
        if found and not line[0].isspace():
            name = found[1].lower()
            if name == "final-recipient" and name in groups[-1]:
                groups.append({})
            groups[-1].setdefault(name, found[2].strip())
        elif name:
            groups[-1][name] = f"{groups[-1][name]} {line.strip()}"[:8000]
    return [group for group in groups if group]


def _standard(status: str, human: str, original: bytes) -> Notification | None:
    groups = _groups(status)
    message = next((group for group in groups if "reporting-mta" in group), {})
    named = [group for group in groups if {"final-recipient", "original-recipient"} & group.keys()]
    if not named:
        named = [group for group in groups if "status" in group or "action" in group]
    recipients = tuple(_recipient(group, human) for group in named[:RECIPIENTS])
    if not recipients:
        return None
    envid = message.get("original-envelope-id", "")
    return Notification("notification", recipients, envid, _value(message.get("reporting-mta", "")), original)


def _value(field: str) -> str:
    """The value of ``type; value`` without comments."""
    return field.partition(";")[2].strip() if ";" in field else field.strip()


def _recipient(group: dict[str, str], human: str) -> ReportedRecipient:
    original = _value(group.get("original-recipient", "")).strip("<> ")
    address = _value(group.get("final-recipient", "")).strip("<> ") or original
    action = group.get("action", "failed").split()[:1]
    word = action[0].lower().strip(";") if action else "failed"
    diagnostic = _value(group.get("diagnostic-code", ""))
    written = _STATUS.search(group.get("status", ""))
    status = written[0] if written else ""
    inner = written_status(diagnostic)
    vague = not status or status.endswith(".0.0") or (inner and inner[0] == status[0] and not inner.endswith(".0.0"))
    if vague and inner:
        status = inner
    code = written_code(diagnostic)
    context = ""
    if len(diagnostic.split()) < 4 or not status or status.endswith(".0.0"):
        context = human_part(human)
        code = code or written_code(context)
        if not status or status.endswith(".0.0"):
            status = written_status(context) or status
    return ReportedRecipient(
        address, cast(Action, word) if word in _ACTIONS else "failed",
        status or derived_status(code, diagnostic + context), code, one_line(diagnostic),
        is_derived=not status, context=one_line(context), original="" if original == address else original,
    )  # fmt: skip


# --- others ---


def _complaint(parts: list[Part], buffer: Buffer, original: bytes) -> Notification:
    """A feedback report (RFC 5965)."""
    report = next(part for part in parts if _type(part) == "message/feedback-report")
    text = _text(report, buffer)
    fields: dict[str, str] = {}
    for group in _groups(text):
        fields = {**group, **fields}
    recipients = [one.strip("<> \t") for one in _REPORTED_RECIPIENT.findall(text)[:RECIPIENTS]]
    feedback = Feedback(
        one_line(fields.get("feedback-type", "other")).partition(" ")[0].lower(),
        one_line(fields.get("user-agent", "")),
        fields.get("original-mail-from", "").strip("<> "),
        tuple(recipients),
    )
    envid = fields.get("original-envelope-id", "")
    return Notification("complaint", (), envid, _value(fields.get("reporting-mta", "")), original, feedback)


def _json(text: str) -> list[ReportedRecipient] | None:
    """Recipients of a notification that Amazon SES sends as JSON; None if it is not one."""
    begin = text.find("{")
    if begin < 0 or '"notificationType"' not in text:
        return None
    try:
        value, _ = json.JSONDecoder().raw_decode(text[begin:].replace("\n", ""))
    except (ValueError, RecursionError):
        return None
    bounce = value.get("bounce") if isinstance(value, dict) else None
    if isinstance(bounce, dict):
        return [_of_json(one) for one in _dicts(bounce.get("bouncedRecipients"))]
    delivery = value.get("delivery") if isinstance(value, dict) else None
    if isinstance(delivery, dict):
        text = str(delivery.get("smtpResponse", ""))
        names = delivery.get("recipients")
        return [
            ReportedRecipient(str(name), "delivered", written_status(text) or "2.0.0", 250, one_line(text))
            for name in (names if isinstance(names, list) else [])
        ]
    return None


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [one for one in value if isinstance(one, dict)] if isinstance(value, list) else []


def _of_json(one: dict[str, Any]) -> ReportedRecipient:
    text = str(one.get("diagnosticCode", ""))
    status = written_status(str(one.get("status", ""))) or written_status(text)
    code = written_code(text)
    return ReportedRecipient(
        str(one.get("emailAddress", "")), "failed", status or derived_status(code, text), code, one_line(text),
        is_derived=not status,
    )  # fmt: skip
