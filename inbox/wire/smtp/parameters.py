"""Parameters of MAIL and RCPT: SIZE, BODY, SMTPUTF8, those of delivery status notifications (RFC 3461 §4), REQUIRETLS
(RFC 8689 §2), and those of submission: AUTH (RFC 4954 §5), HOLDFOR and HOLDUNTIL (RFC 4865 §4), MT-PRIORITY
(RFC 6710 §3).
"""

from __future__ import annotations

import re

from inbox.base.limits import DSN_ENVID_OCTETS, DSN_ORCPT_OCTETS
from inbox.mail.release import hold_until, release_time
from inbox.wire.smtp.errors import CommandError

# RFC 5321 §4.1.2: esmtp-param; a value has no "=". RFC 6531 §3.3 adds UTF-8 to values.
_PARAMETER = re.compile(r"([A-Za-z0-9][A-Za-z0-9-]{0,39})(?:=([^\x00-\x20=\x7f]+))?\Z")
#: RFC 3461 §4: xtext = *( xchar / hexchar ); hexchar is "+" and two upper-case hexadecimal digits.
_XTEXT = re.compile(r"(?:[\x21-\x2a\x2c-\x3c\x3e-\x7e]|\+[0-9A-F]{2})*\Z")
#: RFC 6533 §3 adds the address type "utf-8", in which UTF-8 may occur unencoded.
_ORCPT = re.compile(r"[A-Za-z0-9-]{1,40};((?:[\x21-\x2a\x2c-\x3c\x3e-\x7e\x80-\U0010ffff]|\+[0-9A-F]{2})+)\Z")
_SIZE = re.compile(r"[0-9]{1,20}\Z")
_NOTIFY = frozenset({"NEVER", "SUCCESS", "FAILURE", "DELAY"})
_NONE: frozenset[str] = frozenset()
_HOLDFOR = re.compile(r"[0-9]{1,9}\Z")
#: RFC 6710 §7: priority-value.
_PRIORITY = re.compile(r"(?:-?[1-9]|0)\Z")
#: Parameters of MAIL that only a submission server recognises.
SUBMISSION = frozenset({"AUTH", "HOLDFOR", "HOLDUNTIL", "MT-PRIORITY"})
#: The parameter of MAIL that is recognised over TLS only (RFC 8689 §2).
OVER_TLS = frozenset({"REQUIRETLS"})


def _bad(text: str) -> CommandError:
    return CommandError(501, "5.5.4", text)


def split_parameters(text: str) -> dict[str, str]:
    """Parameters by upper-case keyword; one without a value has the empty string.

    Raises:
        CommandError: 501 if a parameter is malformed or occurs twice.
    """
    params: dict[str, str] = {}
    for word in text.split(" ") if text else ():
        if not word:
            continue
        found = _PARAMETER.match(word)
        if found is None:
            raise _bad("Bad parameter syntax")
        keyword = found[1].upper()
        if keyword in params:
            raise _bad("Duplicate parameter")
        params[keyword] = found[2] or ""
    return params


def check_mail(params: dict[str, str], extensions: frozenset[str] = _NONE) -> int:
    """Checks the parameters of MAIL; returns the value of SIZE in octets, 0 without one.

    Args:
        params: by upper-case keyword.
        extensions: keywords of :data:`SUBMISSION` and :data:`OVER_TLS` that this server recognises, too.

    Raises:
        CommandError: 501 for a value that is not allowed; 555 (RFC 5321 §4.1.1.11) if a keyword is not one of
            SIZE, BODY, SMTPUTF8, RET, ENVID, or in ``extensions``.
    """
    size = 0
    for keyword, value in params.items():
        match keyword:
            case "SIZE":  # RFC 1870 §6
                if _SIZE.match(value) is None:
                    raise _bad("SIZE must be a number of octets")
                size = int(value)
            case "BODY":  # RFC 6152 §2; BINARYMIME (RFC 3030) is not offered
                if value.upper() not in ("7BIT", "8BITMIME"):
                    raise _bad("BODY must be 7BIT or 8BITMIME")
            case "SMTPUTF8":  # RFC 6531 §3.4
                if value:
                    raise _bad("SMTPUTF8 takes no value")
            case "RET":  # RFC 3461 §4.3
                if value.upper() not in ("FULL", "HDRS"):
                    raise _bad("RET must be FULL or HDRS")
            case "ENVID":  # RFC 3461 §4.4
                if not 0 < len(value) <= DSN_ENVID_OCTETS or _XTEXT.match(value) is None:
                    raise _bad("ENVID must be xtext of at most 100 characters")
            case _ if keyword in extensions:
                _check_extension(keyword, value)
            case _:
                raise CommandError(555, "5.5.4", "MAIL parameter not recognized")
    if "HOLDFOR" in params and "HOLDUNTIL" in params:  # RFC 4865 §4.1
        raise _bad("HOLDFOR and HOLDUNTIL exclude each other")
    return size


def _check_extension(keyword: str, value: str) -> None:
    match keyword:
        case "REQUIRETLS" if value:
            raise _bad("REQUIRETLS takes no value")
        case "MT-PRIORITY" if _PRIORITY.match(value) is None:
            raise _bad("MT-PRIORITY must be a number from -9 to 9")
        case "AUTH" if value != "<>" and (not value or _XTEXT.match(value) is None):
            raise _bad("AUTH must be <> or an address in xtext")
        case "HOLDFOR" if _HOLDFOR.match(value) is None or not int(value):
            raise _bad("HOLDFOR must be a number of seconds")
        case "HOLDUNTIL":
            try:
                hold_until(value)
            except ValueError:
                raise _bad("HOLDUNTIL must be a UTC time such as 2026-12-01T08:00:00Z") from None


def check_release(params: dict[str, str], now: float, longest: int) -> None:
    """Checks the release time that a client asks for (RFC 4865 §4).

    Args:
        params: the checked parameters of MAIL.
        now: seconds since the epoch.
        longest: the longest time for which a message is held, in seconds.

    Raises:
        CommandError: 555 if no message is held; 501 if the time is later than the limit.
    """
    release = release_time(params, now)
    if not release:
        return
    if not longest:
        raise CommandError(555, "5.5.4", "MAIL parameter not recognized")
    if release > now + longest:
        raise _bad(f"A message is held for at most {longest} seconds")


def check_rcpt(params: dict[str, str]) -> tuple[frozenset[str], str | None]:
    """Checks the parameters of RCPT; returns the words of NOTIFY in upper case, and ORCPT as received.

    Raises:
        CommandError: 501 for a value that is not allowed; 555 (RFC 5321 §4.1.1.11) if a keyword is neither
            NOTIFY nor ORCPT.
    """
    notify, orcpt = _NONE, None
    for keyword, value in params.items():
        match keyword:
            case "NOTIFY":  # RFC 3461 §4.1: NEVER cannot be combined
                words = value.upper().split(",")
                notify = frozenset(words)
                if not notify <= _NOTIFY or len(notify) != len(words) or ("NEVER" in notify and len(words) > 1):
                    raise _bad("NOTIFY must be NEVER, or a list of SUCCESS, FAILURE, DELAY")
            case "ORCPT":  # RFC 3461 §4.2
                if len(value.encode("utf-8", "surrogatepass")) > DSN_ORCPT_OCTETS or _ORCPT.match(value) is None:
                    raise _bad("ORCPT must be type;xtext")
                orcpt = value
            case _:
                raise CommandError(555, "5.5.4", "RCPT parameter not recognized")
    return notify, orcpt
