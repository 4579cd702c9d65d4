"""Find failed recipients and their replies in notifications that are not RFC 3464: qmail, Exim, Exchange, webmail."""

from __future__ import annotations

import re
from typing import Final

from inbox.mail.dsn.report import Action, ReportedRecipient

#: The maximum length of a diagnostic text, in characters.
TEXT_CHARACTERS: Final = 1000
#: The maximum number of recipients that are read from one notification.
RECIPIENTS: Final = 100
#: The part of a line that is read; programs that write notifications fold long before.
_LINE: Final = 1000

_ADDRESS: Final = re.compile(r"[^\s<>()\[\]:;,\"'@=]{1,64}@[A-Za-z0-9\[][A-Za-z0-9.:\-\]]{0,253}[A-Za-z0-9\]]")
#: A line that begins with the failed address, as in most notifications of this kind.
_LEADING: Final = re.compile(r"^[\s*>|]{0,20}(?:To: )?<?(" + _ADDRESS.pattern + r")>?(?=[\s:;,.)]|$)", re.ASCII)
#: Enhanced codes, but not a part of an IP address or of a version.
_STATUS: Final = re.compile(r"(?<![\d.])([245]\.\d{1,3}\.\d{1,3})(?![\d]|\.\d)")
_CODE: Final = re.compile(r"(?<![\d.\-/#&+(=])([45]\d\d)(?=$|[ \-:;,<])(?! (?:bytes|octets|seconds|GMT|KB|MB))")
#: The line at which the returned message begins.
_ORIGINAL: Final = re.compile(
    r"(?i)^[>\s]{0,8}(?:-{2,}[^\n]{0,40}(?:copy of|original|returned|unsent|header|message text|enclosed|body of)"
    r"|[-|=]{4,}.{0,20}(?:message text follows|original message|unsent message|header of)"
    r"|(?:original message(?: headers)?|message headers?|message text) follows?"
    r"|received: ?from |return-path: ?<|(?:message details|original message|the message was)[^\n]{0,30}:?$)"
)
#: Sentences of every notification, and lines of a transcript before the failure: not the reason.
_BOILERPLATE: Final = re.compile(
    r"(?im)^[ \t]*(?:In: |Out: [23]|>>> ).*$|I'm sorry to have to inform you that[^.]{0,200}\."
    r"|each of the following recipients was rejected by a remote mail server\.?"
    r"|I'm not going to try again; this message has been in the queue too long\."
    r"|This message was created automatically by mail delivery (?:software|system)\."
    r"|^.{0,20}This (?:is|report relates to).{0,100}$|If (?:you )?require assistance.{0,100}"
    r"|this is only a temporary failure report|please (?:ask your postmaster|send mail to|contact).{0,60}"
)
_DELAY: Final = re.compile(
    r"(?i)warning message only|will be retried|will (?:continue|keep) trying|delayed|not yet been"
)
_TEMPORARY: Final = re.compile(
    r"(?i)retry time(?:out)? (?:not reached|exceeded)|too long|timed? ?out|temporar|not reachable|connection refused"
    r"|unreachable|delivery attempts|expired|over ?quota|mailbox (?:is )?full|quota (?:exceeded|full)|try again"
    r"|warning message"
)


def human_part(text: str) -> str:
    """Cuts the returned message off a notification's text."""
    lines: list[str] = []
    for number, line in enumerate(text.splitlines()):
        if number > 1 and _ORIGINAL.match(line[:200]):
            break
        lines.append(line[:_LINE])
    return _BOILERPLATE.sub("", "\n".join(lines)[:20_000])


def written_status(text: str) -> str:
    """The enhanced code that decides a text; empty if there is none.

    That is the first one, but failures come before successes (a transcript has both), and a code that names the cause
    before one that does not: ``x.0.0`` (undefined) and ``4.4.7`` (expired).
    """
    found: list[str] = _STATUS.findall(text[: TEXT_CHARACTERS * 4])
    return min(found, key=lambda one: (one[0] == "2", one.endswith(".0.0"), one == "4.4.7"), default="")


def written_code(text: str) -> int:
    """The SMTP reply code in a text; 0 if there is none."""
    found = _CODE.search(text[: TEXT_CHARACTERS * 4])
    return int(found[1]) if found else 0


def one_line(text: str) -> str:
    """The text on one line, without control characters, cut to ``TEXT_CHARACTERS``."""
    return " ".join("".join(c if c.isprintable() else " " for c in text[: TEXT_CHARACTERS * 2]).split())[
        :TEXT_CHARACTERS
    ]


def derived_status(code: int, text: str) -> str:
    """A status of the right class for a failure without an enhanced code (RFC 3463 §3.1: undefined)."""
    if code:
        return f"{code // 100}.0.0"
    return "4.0.0" if _TEMPORARY.search(text) else "5.0.0"


def _recipient(address: str, part: str, context: str, action: Action) -> ReportedRecipient:
    """A recipient with the codes that its own text contains, or else the whole text."""
    code = written_code(part) or written_code(context)
    status = written_status(part) or written_status(context)
    return ReportedRecipient(
        address, action, status or derived_status(code, part + context), code, one_line(part),
        is_derived=not status, context=one_line(context),
    )  # fmt: skip


def read_text(text: str, failed: tuple[str, ...] = (), subject: str = "") -> list[ReportedRecipient]:
    """The recipients that a notification for people reports.

    Args:
        failed: addresses from header fields (X-Failed-Recipients).
        subject: is searched for the reason, too, if the text has none.
    """
    human = human_part(text)
    action: Action = "delayed" if _DELAY.search(human[:TEXT_CHARACTERS]) else "failed"
    sections = _sections(human)
    if not sections:
        named = failed or tuple(dict.fromkeys(_ADDRESS.findall(human[:20_000])))[:1]
        if not named and not re.search(
            r"(?i)undeliver|fail|error|reject|bounc|unknown|delay|no valid", human + subject
        ):
            return []
        sections = dict.fromkeys(named or ("",), human)
    elif failed:
        sections = {address: part for address, part in sections.items() if address in failed} or sections
    recipients = []
    for address, part in list(sections.items())[:RECIPIENTS]:
        needs_context = not _tells(part) or (len(sections) == 1 and not written_status(part))
        recipients.append(_recipient(address, part, f"{human}\n{subject}" if needs_context else "", action))
    return recipients


def _tells(part: str) -> bool:
    """Whether a section holds more than the address."""
    return bool(_STATUS.search(part) or _CODE.search(part)) or len(_ADDRESS.sub("", part).split()) > 3


def _sections(human: str) -> dict[str, str]:
    """The text from each line that begins with an address to the next such line."""
    sections: dict[str, list[str]] = {}
    current: list[str] | None = None
    for line in human.splitlines():
        found = _LEADING.match(line)
        if found and len(sections) < RECIPIENTS:
            current = sections.setdefault(found[1], [])
        if current is not None:
            current.append(line)
    return {address: "\n".join(lines) for address, lines in sections.items()}
