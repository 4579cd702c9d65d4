"""The command tables of SMTP, submission and LMTP.

The table in :mod:`inbox.wire.smtp.state` defines when a command is legal, and the state after it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Final

from inbox.plugin.api.context import Door
from inbox.server.smtp import authentication, commands, message
from inbox.server.smtp.session import SmtpSession
from inbox.wire.smtp.state import Verb


@dataclass(frozen=True, slots=True)
class Rule:
    """One command.

    Attributes:
        run: receives the session and the text after the verb. May raise ``CommandError``.
        idle: has no effect on mail: a client that sends only such commands is disconnected.
        reads: octets follow it that must be read even where it is not legal, so it checks the dialogue itself.
    """

    run: Callable[[SmtpSession, str], Awaitable[None]]
    idle: bool = False
    reads: bool = False


_SHARED: Final[Mapping[Verb, Rule]] = {
    Verb.STARTTLS: Rule(commands.starttls),
    Verb.MAIL: Rule(commands.mail),
    Verb.RCPT: Rule(commands.rcpt),
    Verb.DATA: Rule(message.data),
    Verb.BDAT: Rule(message.bdat, reads=True),
    Verb.RSET: Rule(commands.rset, idle=True),
    Verb.NOOP: Rule(commands.noop, idle=True),
    Verb.HELP: Rule(commands.help_, idle=True),
    Verb.VRFY: Rule(commands.vrfy, idle=True),
    Verb.EXPN: Rule(commands.expn, idle=True),
    Verb.QUIT: Rule(commands.quit_),
}

_SMTP: Final[Mapping[Verb, Rule]] = {
    Verb.EHLO: Rule(commands.ehlo, idle=True),
    Verb.HELO: Rule(commands.helo, idle=True),
    **_SHARED,
}

COMMANDS: Final[Mapping[Door, Mapping[Verb, Rule]]] = {
    Door.SMTP: _SMTP,
    # Only users log in: on the port for other servers, AUTH would invite everybody to guess passwords.
    Door.SUBMISSION: {**_SMTP, Verb.AUTH: Rule(authentication.auth)},
    # RFC 2033 §4.1: LHLO in place of EHLO and HELO, which are not recognized.
    Door.LMTP: {Verb.LHLO: Rule(commands.ehlo, idle=True), **_SHARED},
}
