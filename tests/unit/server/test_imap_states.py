"""Each command in each state (RFC 9051 §3, §6): allowed, or refused with BAD and a reason."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import pytest

from inbox.server.imap.dispatch import COMMANDS
from tests.support.imap_world import world

NOT_AUTHENTICATED, AUTHENTICATED, SELECTED = "not authenticated", "authenticated", "selected"
ANY = {NOT_AUTHENTICATED, AUTHENTICATED, SELECTED}
BEFORE, BEHIND, INSIDE = {NOT_AUTHENTICATED}, {AUTHENTICATED, SELECTED}, {SELECTED}
#: By command: a line that its grammar allows, and the states in which the RFCs allow it.
LINES: Final[dict[str, tuple[bytes, set[str]]]] = {
    "CAPABILITY": (b"CAPABILITY", ANY),
    "NOOP": (b"NOOP", ANY),
    "LOGOUT": (b"LOGOUT", ANY),
    "ID": (b"ID NIL", ANY),
    "STARTTLS": (b"STARTTLS", BEFORE),
    "AUTHENTICATE": (b"AUTHENTICATE PLAIN =", BEFORE),
    "LOGIN": (b"LOGIN a b", BEFORE),
    "APPEND": (b"APPEND INBOX {3+}\r\nabc", BEHIND),
    "CREATE": (b"CREATE x", BEHIND),
    "DELETE": (b"DELETE x", BEHIND),
    "ENABLE": (b"ENABLE X", BEHIND),
    "EXAMINE": (b"EXAMINE INBOX", BEHIND),
    "IDLE": (b"IDLE\r\nDONE", BEHIND),
    "LIST": (b'LIST "" *', BEHIND),
    "LSUB": (b'LSUB "" *', BEHIND),
    "NAMESPACE": (b"NAMESPACE", BEHIND),
    "RENAME": (b"RENAME x y", BEHIND),
    "SELECT": (b"SELECT INBOX", BEHIND),
    "STATUS": (b"STATUS INBOX (MESSAGES)", BEHIND),
    "SUBSCRIBE": (b"SUBSCRIBE INBOX", BEHIND),
    "UNSUBSCRIBE": (b"UNSUBSCRIBE INBOX", BEHIND),
    "CHECK": (b"CHECK", INSIDE),
    "CLOSE": (b"CLOSE", INSIDE),
    "UNSELECT": (b"UNSELECT", INSIDE),
    "EXPUNGE": (b"EXPUNGE", INSIDE),
    "UID EXPUNGE": (b"UID EXPUNGE 1", INSIDE),
    "COPY": (b"COPY 1 INBOX", INSIDE),
    "UID COPY": (b"UID COPY 1 INBOX", INSIDE),
    "MOVE": (b"MOVE 1 INBOX", INSIDE),
    "UID MOVE": (b"UID MOVE 1 INBOX", INSIDE),
    "FETCH": (b"FETCH 1 UID", INSIDE),
    "UID FETCH": (b"UID FETCH 1 FLAGS", INSIDE),
    "STORE": (b"STORE 1 FLAGS ()", INSIDE),
    "UID STORE": (b"UID STORE 1 FLAGS ()", INSIDE),
    "SEARCH": (b"SEARCH ALL", INSIDE),
    "UID SEARCH": (b"UID SEARCH ALL", INSIDE),
}


def test_every_command_is_here() -> None:
    assert set(LINES) == set(COMMANDS)


def reason(allowed: set[str], state: str) -> bytes:
    if state == NOT_AUTHENTICATED:
        return b"Log in first"
    return b"Already logged in" if allowed == BEFORE else b"No mailbox selected"


@pytest.mark.parametrize("state", sorted(ANY))
@pytest.mark.slow
async def test_a_command_in_this_state(tmp_path: Path, state: str) -> None:
    async with world(tmp_path) as w:
        await w.deliver(b"Subject: x\r\n\r\nabc\r\n")
        for line, allowed in LINES.values():
            async with w.connect() as client:
                if state != NOT_AUTHENTICATED:
                    await client.starttls()
                    await client.login()
                if state == SELECTED:
                    await client.ok(b"SELECT INBOX")
                client.send(b"x " + line + b"\r\n")
                answer = (await client.until(b"x"))[-1]
                if state not in allowed:
                    assert answer == b"x BAD " + reason(allowed, state), line
                    if line.startswith(b"IDLE"):
                        assert (await client.response()).startswith(b"DONE BAD ")  # what follows is no DONE
                    await client.ok(b"NOOP")
                else:
                    assert reason(allowed, state) not in answer, line
        assert not w.log.errors
