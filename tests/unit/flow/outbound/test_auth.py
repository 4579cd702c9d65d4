"""AUTH at a smarthost: the strongest mechanism first, real servers, and servers that deceive."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable

import pytest
from pydantic import SecretStr

from inbox.flow.outbound.auth import AuthFailed, authenticate
from inbox.identity.scram import Exchange, read_client_first, verifier_of
from inbox.policy.outbound import Smarthost
from inbox.wire.smtp.client import ReplyReader, ServerReply
from tests.support.outbound_world import attempt_once, attempts, go_ahead, outgoing, way
from tests.support.smarthost import PASSWORD, USER, smarthost

ALL = ("SCRAM-SHA-256", "PLAIN", "LOGIN", "GSSAPI")


class Server:
    """Answers lines in turn; an answer may be computed from the line."""

    def __init__(self, *answers: str | Callable[[bytes], str]) -> None:
        self.answers = list(answers)
        self.lines: list[bytes] = []

    async def command(self, line: bytes) -> ServerReply:
        self.lines.append(line)
        answer = self.answers.pop(0)
        reader = ReplyReader()
        reader.feed((answer if isinstance(answer, str) else answer(line)).encode() + b"\r\n")
        reply = reader.next()
        assert reply is not None
        return reply

    async def login(self, offered: Iterable[str], password: str = "p") -> str:
        return await authenticate(self.command, frozenset(offered), "u", password)


def scram_answers(password: str, *, forged: bool = False) -> list[str | Callable[[bytes], str]]:
    """A server's side that knows ``password``; ``forged`` makes its signature wrong."""
    verifier = verifier_of(password, iterations=4096)
    assert verifier is not None
    made: list[Exchange] = []

    def challenge(line: bytes) -> str:
        made.append(Exchange(read_client_first(base64.b64decode(line.split()[2])), verifier))
        return "334 " + base64.b64encode(made[0].challenge).decode()

    def final(line: bytes) -> str:
        signature = b"v=" + base64.b64encode(b"forged") if forged else made[0].finish(base64.b64decode(line))
        return "334 " + base64.b64encode(signature).decode()

    return [challenge, final]


async def test_the_strongest_mechanism_is_used_and_the_server_proves_itself() -> None:
    server = Server(*scram_answers("p"), "235 2.7.0 Ok")
    assert await server.login(ALL) == "SCRAM-SHA-256"
    assert server.lines[0].startswith(b"AUTH SCRAM-SHA-256 ")
    assert server.lines[-1] == b"\r\n"
    assert b"p" not in [base64.b64decode(line.split()[-1]) for line in server.lines[:-1]]


async def test_rfc4954_plain_and_login() -> None:
    server = Server("235 2.7.0 Ok")
    assert await server.login(("PLAIN", "LOGIN")) == "PLAIN"
    assert server.lines == [b"AUTH PLAIN AHUAcA==\r\n"]
    server = Server("334 VXNlcm5hbWU6", "334 UGFzc3dvcmQ6", "235 2.7.0 Ok")
    assert await server.login(("LOGIN",)) == "LOGIN"
    assert server.lines == [b"AUTH LOGIN\r\n", b"dQ==\r\n", b"cA==\r\n"]


async def test_a_long_response_does_not_exceed_the_length_of_a_command() -> None:
    server = Server("334 ", "235 2.7.0 Ok")
    assert await server.login(("PLAIN",), "p" * 500) == "PLAIN"
    assert server.lines == [b"AUTH PLAIN\r\n", base64.b64encode(b"\0u\0" + b"p" * 500) + b"\r\n"]


async def test_a_user_without_a_verifier_logs_in_with_plain() -> None:
    server = Server("535 5.7.8 No verifier", "235 2.7.0 Ok")
    assert await server.login(ALL) == "PLAIN"
    server = Server(*scram_answers("other")[:1], "535 5.7.8 Wrong", "235 2.7.0 Ok")
    assert await server.login(ALL) == "PLAIN"


async def test_a_password_that_no_verifier_can_have_is_sent_with_plain() -> None:
    server = Server("235 2.7.0 Ok")
    assert await server.login(ALL, "a\u0007") == "PLAIN"


async def test_all_refusals_and_a_temporary_one() -> None:
    server = Server("535 5.7.8 No", "535 5.7.8 No", "535 5.7.8 Wrong")
    with pytest.raises(AuthFailed, match="refused AUTH LOGIN: 535 Wrong"):
        await server.login(ALL)
    server = Server("454 4.7.0 Later")
    with pytest.raises(AuthFailed, match="refused AUTH SCRAM-SHA-256: 454 Later"):
        await server.login(ALL)
    with pytest.raises(AuthFailed, match="offers neither"):
        await Server().login(("GSSAPI",))
    with pytest.raises(AuthFailed, match="offers neither"):
        await Server().login(())


@pytest.mark.parametrize(
    ("answers", "why"),
    [
        ([*scram_answers("p", forged=True), "501 5.7.0 Cancelled"], "signature is wrong"),
        (["334 ?", "501 5.7.0 Cancelled"], "not base64"),
        (["334 " + base64.b64encode(b"r=x,s=eA==,i=4096").decode(), "501 5.7.0 Cancelled"], "another nonce"),
        ([*scram_answers("p")[:1], "235 2.7.0 Ok"], "did not prove"),
        (["235 2.7.0 Ok"], "did not prove"),
    ],
)
async def test_a_server_that_deceives_gets_no_password(answers: list[str], why: str) -> None:
    server = Server(*answers)
    with pytest.raises(AuthFailed, match=why):
        await server.login(ALL)
    assert not any(b"PLAIN" in line or b"LOGIN" in line for line in server.lines)


@pytest.mark.real
@pytest.mark.parametrize(
    ("mechanisms", "used"),
    [("plain login scram-sha-256", "SCRAM-SHA-256"), ("plain login", "PLAIN"), ("login", "LOGIN")],
)
async def test_postfix_with_dovecot_relays_for_a_user_who_logs_in(mechanisms: str, used: str) -> None:
    with smarthost(mechanisms) as server:
        relay = Smarthost(host="localhost", port=server.port, username=USER, password=SecretStr(PASSWORD))
        made = attempts(25)
        for _ in range(2):
            got = await made.attempt(outgoing(), way(hosts=None, smarthost=relay), go_ahead)
            assert (got.results[0].code, got.results[0].stage) == (250, "dot")
        await made.close()
        # The second message went over the same connection; Postfix logs the login with each.
        server.logins(used, 2)
        wrong = Smarthost(host="localhost", port=server.port, username=USER, password=SecretStr("wrong"))
        got = await attempt_once(25, path=way(hosts=None, smarthost=wrong))
        assert (got.results[0].code, got.results[0].enhanced, got.results[0].stage) == (451, "4.7.8", "auth")
        got = await attempt_once(25, path=way(hosts=None, smarthost=Smarthost(host="localhost", port=server.port)))
        assert (got.results[0].code // 100, got.results[0].stage) == (5, "rcpt")
