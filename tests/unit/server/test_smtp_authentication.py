"""Logins on the submission server: long lines, connections that end, sessions of accounts that were disabled."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import hmac
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from inbox.base.limits import AUTH_LINE_OCTETS, COMMAND_LINE_OCTETS
from inbox.plugin.api.context import Door
from inbox.server.limits import LOGGED_IN
from inbox.server.smtp.config import SUBMISSION
from inbox.server.smtp.server import SmtpServer
from tests.support.imap_world import client_tls, server_tls
from tests.support.smtp_world import MemoryClient, World, reply, say, smtp_world

LOGIN = "AUTH PLAIN AGFubkBkZW1vLnRlc3QAc2VjcmV0"
MAIL, RCPT = "MAIL FROM:<ann@demo.test>", "RCPT TO:<bob@elsewhere.test>"


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with smtp_world(tmp_path, submission=True, listen=False, login_without_tls=True) as world:
        yield world


async def logged_in(world: World) -> MemoryClient:
    client = await world.greeted()
    assert await say(client, LOGIN) == ["235 2.7.0 Authentication succeeded"]
    return client


async def test_hooks_see_the_user_and_the_door(world: World) -> None:
    await logged_in(world)
    (session,) = world.receiving.sessions
    assert session.door is Door.SUBMISSION
    assert session.identity is not None
    assert session.identity.address == "ann@demo.test"


async def test_the_longest_line_of_an_exchange(world: World) -> None:
    client = await world.greeted()
    await say(client, "AUTH PLAIN")
    short = "A" * (AUTH_LINE_OCTETS - 4)
    assert await say(client, short) == ["501 5.5.2 Invalid PLAIN response"]
    await say(client, "AUTH PLAIN")
    assert await say(client, short + "AAAA") == ["500 5.5.6 Authentication exchange line is too long"]
    assert await say(client, "AUTH PLAIN " + short[:-12]) == ["501 5.5.2 Invalid PLAIN response"]


async def test_a_bare_line_feed_ends_no_line_of_an_exchange(world: World) -> None:
    client = await world.greeted()
    await say(client, "AUTH PLAIN")
    assert await say(client, b"AGFubkBkZW1vLnRlc3QAc2VjcmV0\n") == ["501 5.5.2 Lines must end with CRLF"]
    assert not world.passwords.asked


async def test_after_the_login_lines_have_their_usual_limit(world: World) -> None:
    client = await logged_in(world)
    assert await say(client, "NOOP " + "x" * COMMAND_LINE_OCTETS) == ["500 5.5.2 Line too long"]


async def test_pipelined_credentials_are_one_exchange(world: World) -> None:
    """AUTH LOGIN with everything in one packet: the lines are responses, and never commands."""
    client = await world.greeted()
    client.send(b"AUTH LOGIN\r\nYW5uQGRlbW8udGVzdA==\r\nc2VjcmV0\r\nNOOP\r\n")
    assert [(await reply(client))[-1] for _ in range(4)] == [
        "334 VXNlcm5hbWU6",
        "334 UGFzc3dvcmQ6",
        "235 2.7.0 Authentication succeeded",
        "250 2.0.0 OK",
    ]


async def test_a_silent_client_is_disconnected(world: World) -> None:
    client = await world.greeted()
    await say(client, "AUTH PLAIN")
    world.pass_time(301)
    assert await reply(client) == ["421 4.4.2 Timeout, closing connection"]
    assert await reply(client) == []


async def test_a_client_that_leaves_within_an_exchange(world: World) -> None:
    client = await world.greeted()
    await say(client, "AUTH LOGIN")
    client.lose()
    await asyncio.wait(list(world.server._sessions), timeout=10)
    assert not world.server._sessions
    assert not world.log.errors
    assert not world.passwords.asked


async def test_a_server_that_stops_does_not_wait_for_an_exchange(world: World) -> None:
    client = await world.greeted()
    await say(client, "AUTH PLAIN")
    await world.server.drain(5)
    assert await reply(client) == ["421 4.3.2 Shutting down, try again later"]


async def test_a_user_keeps_the_place_of_a_user(world: World) -> None:
    """When connections are short, strangers make room first: also after RSET, and inside a transaction."""
    client = await logged_in(world)
    (session,) = world.server._sessions.values()
    for command in ("NOOP", MAIL, RCPT, "RSET", "EHLO again.example"):
        await say(client, command)
        assert session.channel.standing == LOGGED_IN


async def test_the_session_of_a_disabled_account_ends(world: World) -> None:
    client, other = await logged_in(world), await logged_in(world)
    world.passwords.disabled = {"id of ann@demo.test"}
    await say(other, MAIL)
    await world.server.dismiss()
    assert await reply(client) == ["421 4.7.0 This account is disabled"]
    assert await reply(client) == []
    assert await say(other, RCPT, "DATA") == ["250 2.1.5 OK", "354 End data with <CR><LF>.<CR><LF>"]
    other.send(b"text\r\n.\r\n")
    assert await reply(other) == ["250 2.0.0 OK"], "what was begun is finished"
    assert await reply(other) == ["421 4.7.0 This account is disabled"]


async def test_an_enabled_user_is_not_disconnected(world: World) -> None:
    client = await logged_in(world)
    await world.server.dismiss()
    assert await say(client, "NOOP") == ["250 2.0.0 OK"]


async def test_implicit_tls_offers_auth_at_once(tmp_path: Path) -> None:
    async with smtp_world(tmp_path, submission=True, tls=server_tls(), tls_from_start=True) as world:
        client = await world.tcp(client_tls())
        await reply(client)
        client.send(b"EHLO client.example\r\n")
        lines = await reply(client)
        assert "250 AUTH SCRAM-SHA-256 PLAIN LOGIN" in lines
        assert "250-STARTTLS" not in lines
        assert await say(client, LOGIN, MAIL) == ["235 2.7.0 Authentication succeeded", "250 2.1.0 OK"]
        client.writer.close()


async def test_starttls_resets_the_session(tmp_path: Path) -> None:
    """RFC 3207 §4.2: also the login of a server that allows it before TLS."""
    async with smtp_world(tmp_path, submission=True, tls=server_tls(), login_without_tls=True) as world:
        client = await world.tcp()
        await reply(client)
        await say(client, "EHLO client.example", LOGIN, "STARTTLS")
        await client.start_tls()
        assert await say(client, "EHLO client.example", MAIL) == [
            "250 AUTH SCRAM-SHA-256 PLAIN LOGIN",
            "530 5.7.0 Authentication required",
        ]
        assert world.receiving.sessions[0].identity is None
        client.writer.close()


def test_a_server_for_users_needs_their_logins(world: World) -> None:
    backend = world.server._backend
    with pytest.raises(ValueError, match="users log in"):
        SmtpServer(lambda: backend.config, world.receiving, world.clock, backend.ids, world.log, service=SUBMISSION)


def b64(message: str | bytes) -> str:
    return base64.b64encode(message.encode() if isinstance(message, str) else message).decode()


def unb64(line: str) -> str:
    assert line.startswith("334 ")
    return base64.b64decode(line[4:]).decode()


async def scram(client: MemoryClient, password: str, *, initial: bool) -> list[str]:
    """The client's side of SCRAM-SHA-256 (RFC 5802 §3) by the standard library; the replies after its proof."""
    bare = "n=ann@demo.test,r=rOprNGfwEbeRWgbNEkqO"
    if initial:
        (line,) = await say(client, f"AUTH SCRAM-SHA-256 {b64('n,,' + bare)}")
    else:
        _, line = await say(client, "AUTH SCRAM-SHA-256", b64("n,," + bare))
    challenge = unb64(line)
    nonce, salt, rounds = (field[2:] for field in challenge.split(","))
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(salt), int(rounds))
    key = hmac.digest(salted, b"Client Key", "sha256")
    without_proof = f"c=biws,r={nonce}"
    signed = f"{bare},{challenge},{without_proof}".encode()
    proof = bytes(a ^ b for a, b in zip(key, hmac.digest(hashlib.sha256(key).digest(), signed, "sha256"), strict=True))
    replies = await say(client, b64(f"{without_proof},p={b64(proof)}"))
    if replies[0].startswith("334 "):
        expected = hmac.digest(hmac.digest(salted, b"Server Key", "sha256"), signed, "sha256")
        assert unb64(replies[0]) == f"v={b64(expected)}", "the server proves that it knows the password, too"
        replies += await say(client, "")
    return replies


@pytest.mark.parametrize("initial", [False, True])
async def test_scram(world: World, initial: bool) -> None:
    client = await world.greeted()
    assert (await scram(client, "secret", initial=initial))[-1] == "235 2.7.0 Authentication succeeded"
    assert await say(client, MAIL) == ["250 2.1.0 OK"]


async def test_scram_with_a_wrong_password(world: World) -> None:
    client = await world.greeted()
    assert await scram(client, "guess", initial=True) == ["535 5.7.8 Authentication credentials invalid"]
    assert await say(client, MAIL) == ["530 5.7.0 Authentication required"]


async def test_scram_that_is_cancelled_after_the_proof_is_no_login(world: World) -> None:
    client = await world.greeted()
    original = client.send
    monkey = {b"\r\n": b"*\r\n"}
    client.send = lambda data: original(monkey.get(data, data))  # type: ignore[method-assign]
    assert (await scram(client, "secret", initial=True))[-1] == "501 5.7.0 Authentication cancelled"
    client.send = original  # type: ignore[method-assign]
    assert await say(client, MAIL) == ["530 5.7.0 Authentication required"]


TOKENS = {
    "OAUTHBEARER": "n,a=ann@demo.test,\x01auth=Bearer {}\x01\x01",
    "XOAUTH2": "user=ann@demo.test\x01auth=Bearer {}\x01\x01",
}


@pytest.mark.parametrize("mechanism", TOKENS)
async def test_access_tokens(world: World, mechanism: str) -> None:
    client = await world.greeted()
    good, bad = (f"AUTH {mechanism} {b64(TOKENS[mechanism].format(word))}" for word in ("secret", "expired"))
    assert await say(client, good) == ["504 5.5.4 Unrecognized authentication mechanism"], "none is verified here"
    world.passwords.tokens = True
    client.send(b"EHLO client.example\r\n")
    assert "250 AUTH SCRAM-SHA-256 PLAIN LOGIN OAUTHBEARER XOAUTH2" in await reply(client)
    # RFC 7628 §3.2.3: the error is a challenge, which the client answers before the failure.
    assert await say(client, bad, "AQ==") == [
        "334 " + b64('{"status":"invalid_token"}'),
        "535 5.7.8 Authentication credentials invalid",
    ]
    assert await say(client, f"AUTH {mechanism} {b64('nonsense')}") == ["501 5.5.2 Invalid response: not terminated"]
    assert await say(client, good, MAIL) == ["235 2.7.0 Authentication succeeded", "250 2.1.0 OK"]
