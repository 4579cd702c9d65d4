"""Every command of SMTP and LMTP in every state of a connection, with its reply.

A row of the grids below is a command, a column a state; ``ok`` stands for the reply of the command where it is legal,
and every other word for a refusal. A command that is refused must not change the state.
"""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from inbox.wire.smtp.state import State, Verb
from tests.support.imap_world import server_tls
from tests.support.smtp_world import MemoryClient, World, reply, say, smtp_world

GREETING = {False: "EHLO client.example", True: "LHLO client.example"}
MAIL, RCPT, BAD_RCPT = "MAIL FROM:<a@x.test>", "RCPT TO:<bob@demo.test>", "RCPT TO:<unknown@demo.test>"
LOGIN = "AUTH PLAIN AGFubkBkZW1vLnRlc3QAc2VjcmV0"
CHUNK = b"BDAT 4\r\nab\r\n"
#: Commands of a client to reach each state, after the banner and before the command that is tried.
WAY: dict[State, list[str | bytes]] = {
    State.FRESH: [],
    State.READY: ["greeting"],
    State.SENDER: ["greeting", MAIL],
    State.NO_RCPTS: ["greeting", MAIL, BAD_RCPT],
    State.RCPTS: ["greeting", MAIL, RCPT],
    State.CHUNKS: ["greeting", MAIL, RCPT, CHUNK],
}
COMMANDS: dict[Verb, str | bytes] = {
    Verb.EHLO: "EHLO client.example",
    Verb.HELO: "HELO client.example",
    Verb.LHLO: "LHLO client.example",
    Verb.STARTTLS: "STARTTLS",
    Verb.AUTH: LOGIN,
    Verb.MAIL: MAIL,
    Verb.RCPT: RCPT,
    Verb.DATA: "DATA",
    Verb.BDAT: CHUNK,
    Verb.RSET: "RSET",
    Verb.NOOP: "NOOP",
    Verb.HELP: "HELP",
    Verb.VRFY: "VRFY ann@demo.test",
    Verb.EXPN: "EXPN staff",
    Verb.QUIT: "QUIT",
}
#: The reply where the command is legal.
OK = {
    Verb.EHLO: "250 STARTTLS",
    Verb.HELO: "250 mx.test",
    Verb.LHLO: "250 STARTTLS",
    Verb.AUTH: "235 2.7.0 Authentication succeeded",
    Verb.MAIL: "250 2.1.0 OK",
    Verb.RCPT: "250 2.1.5 OK",
    Verb.DATA: "354 End data with <CR><LF>.<CR><LF>",
    Verb.BDAT: "250 2.0.0 4 octets received",
    Verb.RSET: "250 2.0.0 OK",
    Verb.NOOP: "250 2.0.0 OK",
    Verb.HELP: "214 2.0.0 See RFC 5321",
    Verb.VRFY: "252 2.5.0 Cannot VRFY user, try RCPT",
    Verb.EXPN: "502 5.5.1 Command not implemented",
    Verb.QUIT: "221 2.0.0 Bye",
}
REFUSAL = {
    "unknown": "500 5.5.2 Command not recognized",
    "offered": "502 5.5.1 Command not implemented",
    "again": "503 5.5.1 Already authenticated",
    "login": "530 5.7.0 Authentication required",
    "ehlo": "503 5.5.1 Send EHLO first",
    "mail": "503 5.5.1 Send MAIL first",
    "rcpt": "503 5.5.1 Send RCPT first",
    "busy": "503 5.5.1 A transaction is under way",
    "chunks": "503 5.5.1 Send the rest with BDAT, or RSET",
    "none": "554 5.5.1 No valid recipients",
    "rset": "503 5.5.1 STARTTLS is not allowed inside a transaction, send RSET first",
}
SMTP = """
            fresh    ready    sender   no rcpts rcpts    chunks
EHLO        ok       ok       ok       ok       ok       ok
HELO        ok       ok       ok       ok       ok       ok
LHLO        unknown  unknown  unknown  unknown  unknown  unknown
STARTTLS    ehlo     ok       rset     rset     rset     rset
AUTH        offered  offered  offered  offered  offered  offered
MAIL        ehlo     ok       busy     busy     busy     chunks
RCPT        ehlo     mail     ok       ok       ok       chunks
DATA        ehlo     mail     rcpt     none     ok       chunks
BDAT        ehlo     mail     rcpt     rcpt     ok       ok
RSET        ok       ok       ok       ok       ok       ok
NOOP        ok       ok       ok       ok       ok       ok
HELP        ok       ok       ok       ok       ok       ok
VRFY        ok       ok       ok       ok       ok       ok
EXPN        ok       ok       ok       ok       ok       ok
QUIT        ok       ok       ok       ok       ok       ok
"""
#: RFC 2033 §4.1: no EHLO and HELO. §4.2: 503 for DATA without a recipient.
LMTP = """
            fresh    ready    sender   no rcpts rcpts    chunks
LHLO        ok       ok       ok       ok       ok       ok
EHLO        unknown  unknown  unknown  unknown  unknown  unknown
HELO        unknown  unknown  unknown  unknown  unknown  unknown
STARTTLS    ehlo     ok       rset     rset     rset     rset
AUTH        offered  offered  offered  offered  offered  offered
MAIL        ehlo     ok       busy     busy     busy     chunks
RCPT        ehlo     mail     ok       ok       ok       chunks
DATA        ehlo     mail     rcpt     rcpt     ok       chunks
BDAT        ehlo     mail     rcpt     rcpt     ok       ok
RSET        ok       ok       ok       ok       ok       ok
NOOP        ok       ok       ok       ok       ok       ok
HELP        ok       ok       ok       ok       ok       ok
VRFY        ok       ok       ok       ok       ok       ok
EXPN        ok       ok       ok       ok       ok       ok
QUIT        ok       ok       ok       ok       ok       ok
"""
#: RFC 4954 §4: once, and not inside a transaction. RFC 6409 §4.3: no MAIL without it.
SUBMISSION = """
            fresh    ready    sender   no rcpts rcpts    chunks
EHLO        ok       ok       ok       ok       ok       ok
HELO        ok       ok       ok       ok       ok       ok
LHLO        unknown  unknown  unknown  unknown  unknown  unknown
STARTTLS    ehlo     ok       rset     rset     rset     rset
AUTH        ehlo     again    again    again    again    again
MAIL        ehlo     ok       busy     busy     busy     chunks
RCPT        ehlo     mail     ok       ok       ok       chunks
DATA        ehlo     mail     rcpt     none     ok       chunks
BDAT        ehlo     mail     rcpt     rcpt     ok       ok
RSET        ok       ok       ok       ok       ok       ok
NOOP        ok       ok       ok       ok       ok       ok
HELP        ok       ok       ok       ok       ok       ok
VRFY        ok       ok       ok       ok       ok       ok
EXPN        ok       ok       ok       ok       ok       ok
QUIT        ok       ok       ok       ok       ok       ok
"""
STATES = tuple(State)
GRIDS = {"smtp": SMTP, "lmtp": LMTP, "submission": SUBMISSION}


def rows(grid: str) -> dict[Verb, list[str]]:
    lines = [line.split() for line in grid.strip().splitlines()]
    return {Verb(verb): words for verb, *words in lines[1:]}


CASES = [
    pytest.param(door, state, verb, word, id=f"{door}-{state}-{verb}")
    for door, grid in GRIDS.items()
    for verb, words in rows(grid).items()
    for state, word in zip(STATES, words, strict=True)
    if (verb, word) != (Verb.STARTTLS, "ok")  # a handshake needs a socket: TestTls in test_smtp.py
]


def test_the_grids_are_complete() -> None:
    assert SMTP.split("\n")[1].replace("no rcpts", "no_rcpts").split() == [s.replace(" ", "_") for s in STATES]
    for grid in GRIDS.values():
        assert set(rows(grid)) == set(Verb)
        assert {word for words in rows(grid).values() for word in words} <= {"ok", *REFUSAL}


async def in_state(world: World, state: State, door: str) -> MemoryClient:
    client = world.memory()
    await reply(client)
    for command in WAY[state]:
        await say(client, GREETING[door == "lmtp"] if command == "greeting" else command)
        if command == "greeting" and door == "submission":
            await say(client, LOGIN)
    [session] = world.server._sessions.values()
    assert session.dialogue.state is state
    return client


def door_of(folder: Path, door: str) -> AbstractAsyncContextManager[World]:
    kind: dict[str, Any] = {"smtp": {}, "lmtp": {"lmtp": True}, "submission": {"submission": True}}[door]
    return smtp_world(folder, **kind, listen=False, tls=server_tls(), login_without_tls=True)


@pytest.mark.parametrize(("door", "state", "verb", "word"), CASES)
async def test_each_command_in_each_state(tmp_path: Path, door: str, state: State, verb: Verb, word: str) -> None:
    async with door_of(tmp_path, door) as world:
        client = await in_state(world, state, door)
        assert await say(client, COMMANDS[verb]) == [OK[verb] if word == "ok" else REFUSAL[word]]
        [session] = world.server._sessions.values() or [None]
        if word != "ok":
            assert session is not None
            assert session.dialogue.state is state, "what is refused changes nothing"
            assert await say(client, "NOOP") == ["250 2.0.0 OK"], "and the octets of a chunk are no commands"
        elif verb is Verb.QUIT:
            assert await reply(client) == []
        assert not world.log.errors


@pytest.mark.parametrize(("verb", "word"), [(Verb.AUTH, "ok"), (Verb.MAIL, "login"), (Verb.RCPT, "mail")])
async def test_a_client_without_a_login_sends_nothing(tmp_path: Path, verb: Verb, word: str) -> None:
    async with door_of(tmp_path, "submission") as world:
        client = world.memory()
        await reply(client)
        await say(client, GREETING[False])
        assert await say(client, COMMANDS[verb]) == [OK[verb] if word == "ok" else REFUSAL[word]]
