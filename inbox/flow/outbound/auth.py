"""AUTH at a smarthost (RFC 4954): SCRAM-SHA-256, PLAIN and LOGIN, the strongest first. The caller checks TLS before."""

from __future__ import annotations

import asyncio
import base64
import binascii
from collections.abc import Awaitable, Callable, Collection
from typing import Final

from inbox.identity.scram_client import MECHANISM as SCRAM
from inbox.identity.scram_client import ClientExchange, ScramError
from inbox.wire.smtp.client import ServerReply, base64_line

#: Sends one line and returns the reply.
Command = Callable[[bytes], Awaitable[ServerReply]]

#: Octets of a command, CRLF included (RFC 5321 §4.5.3.1.4): a longer initial response is sent after the challenge.
_COMMAND_OCTETS: Final = 512


class AuthFailed(Exception):
    """The server cannot be logged in to. The text says why, and ends without a full stop."""


async def authenticate(command: Command, offered: Collection[str], username: str, password: str) -> str:
    """Logs in, and returns the mechanism that was used.

    A refusal (5xx) leads to the next mechanism, because servers offer SCRAM to users for whom they have no verifier. A
    server that offers SCRAM and cannot prove that it knows the password gets no password.

    Raises:
        AuthFailed: no mechanism is offered, or the server refuses all that are, or deceives.
    """
    ways = [each for each in (SCRAM, "PLAIN", "LOGIN") if each in offered]
    exchange = None
    if SCRAM in ways:
        try:
            exchange = ClientExchange(username, password)
        except ValueError:  # no server has a verifier of such a password
            ways.remove(SCRAM)
    if not ways:
        raise AuthFailed("offers neither AUTH SCRAM-SHA-256 nor PLAIN nor LOGIN")
    reply = None
    for way in ways:
        if way == SCRAM and exchange is not None:
            reply = await _scram(command, exchange)
        elif way == "PLAIN":
            reply = await _initial(command, way, f"\0{username}\0{password}".encode())
        else:
            reply = await _login(command, username, password)
        if reply.code == 235:
            return way
        if not 500 <= reply.code <= 599:
            break
    assert reply is not None
    raise AuthFailed(f"refused AUTH {way}: {reply.code} {reply.text}")


async def _initial(command: Command, mechanism: str, message: bytes) -> ServerReply:
    """The command with its initial response (RFC 4954 §4); returns the server's answer to the response."""
    response = base64.b64encode(message)
    line = b"AUTH %s %s\r\n" % (mechanism.encode(), response)
    if len(line) <= _COMMAND_OCTETS:
        return await command(line)
    reply = await command(b"AUTH %s\r\n" % mechanism.encode())
    return await command(response + b"\r\n") if reply.code == 334 else reply


async def _login(command: Command, username: str, password: str) -> ServerReply:
    reply = await command(b"AUTH LOGIN\r\n")
    for text in (username, password):
        if reply.code != 334:
            break
        reply = await command(base64_line(text))
    return reply


async def _scram(command: Command, exchange: ClientExchange) -> ServerReply:
    """Returns the reply that ends the exchange: 235 only after the server has proved itself."""
    reply = await _initial(command, SCRAM, exchange.first)
    try:
        if reply.code == 334:
            # The many rounds of a challenge that was not seen before would keep all other connections waiting.
            proof = await asyncio.to_thread(exchange.prove, _decoded(reply))
            reply = await command(base64.b64encode(proof) + b"\r\n")
            if reply.code == 334:
                exchange.verify(_decoded(reply))
                return await command(b"\r\n")
    except ScramError as error:
        await command(b"*\r\n")
        raise AuthFailed(f"failed AUTH {SCRAM}: {error}") from None
    if reply.code == 235:
        raise AuthFailed(f"failed AUTH {SCRAM}: the server did not prove that it knows the password")
    return reply


def _decoded(reply: ServerReply) -> bytes:
    try:
        return base64.b64decode(reply.text, validate=True)
    except (binascii.Error, ValueError):
        raise ScramError("the server's message is not base64") from None
