"""Attempts: what the next host gets, and TLS, 8-bit, SMTPUTF8, BDAT and REQUIRETLS by the RFCs and the settings."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any

import pytest
from pydantic import SecretStr

from inbox.flow.outbound import attempt as attempt_module
from inbox.flow.outbound import transmission
from inbox.flow.outbound.ports import Attempted, Outgoing
from inbox.policy.outbound import Smarthost
from tests.support.host_dns import HostDns
from tests.support.imap_world import expired_tls, server_tls
from tests.support.outbound_world import attempt_once, attempts, go_ahead, outgoing, way
from tests.support.remote_smtp import Answer, RemoteSmtp, dropping, remote


def brief(attempted: Attempted) -> list[tuple[int, str, str]]:
    return [(each.code, each.enhanced, each.stage) for each in attempted.results]


async def two_hosts(
    first: RemoteSmtp, second: RemoteSmtp, mail: Outgoing, *, dead: bool = False, **settings: Any
) -> Attempted:
    """An attempt at two hosts in this order; ``dead``: the second one does not listen."""
    async with remote(first) as one, AsyncExitStack() as stack:
        if not dead:
            await stack.enter_async_context(remote(second, "127.0.0.2", one.port))
        dns = HostDns()
        dns.a_records = {"one.test": ["127.0.0.1"], "two.test": ["127.0.0.2"]}
        made = attempts(one.port, dns, **settings)
        try:
            return await made.attempt(mail, way("one.test", "two.test"), go_ahead)
        finally:
            await made.close()


PLAIN = ("PIPELINING",)
LACKING = [
    (outgoing(size=27), ("SIZE 5",), "5.3.4"),
    (outgoing(sender="ü@y.test", smtputf8=True), PLAIN, "5.6.7"),
    (outgoing("ü@x.test", smtputf8=True), PLAIN, "5.6.7"),
    (outgoing(content="Subject: x\r\n\r\nü\r\n".encode(), body="8BITMIME"), PLAIN, "5.6.3"),
]


@pytest.mark.parametrize(("mail", "offered", "enhanced"), LACKING)
async def test_what_one_host_does_not_support_is_tried_at_the_next(
    mail: Outgoing, offered: tuple[str, ...], enhanced: str
) -> None:
    second = RemoteSmtp()
    got = await two_hosts(RemoteSmtp({}, offered), second, mail)
    assert brief(got) == [(250, "2.0.0", "dot")]
    assert len(second.messages) == 1
    got = await two_hosts(RemoteSmtp({}, offered), RemoteSmtp({}, offered), mail)
    assert [(each.code // 100, each.enhanced) for each in got.results] == [(5, enhanced)]
    # A host that cannot be reached now may support it.
    got = await two_hosts(RemoteSmtp({}, offered), RemoteSmtp(), mail, dead=True)
    assert brief(got) == [(0, "4.4.1", "connect")]


async def test_only_recipients_that_need_smtputf8_wait_for_a_host_with_it() -> None:
    first, second = RemoteSmtp({}, PLAIN), RemoteSmtp()
    got = await two_hosts(first, second, outgoing("ann@x.test", "ü@x.test", smtputf8=True))
    assert brief(got) == [(250, "2.0.0", "dot")] * 2
    assert "RCPT TO:<ann@x.test>" in first.commands
    assert [command for command in second.commands if command.startswith("RCPT")] == ["RCPT TO:<ü@x.test>"]


async def test_a_domain_needs_no_smtputf8() -> None:
    async with remote(RemoteSmtp({}, PLAIN)) as server:
        got = await attempt_once(server.port, outgoing("ann@bücher.test", smtputf8=True))
    assert brief(got) == [(250, "2.0.0", "dot")]
    assert "RCPT TO:<ann@xn--bcher-kva.test>" in server.commands


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (RemoteSmtp(), RemoteSmtp()),
        (RemoteSmtp({"STARTTLS": "454 4.7.0 Not now"}, ("STARTTLS",)), RemoteSmtp()),
        (RemoteSmtp(tls=server_tls()), RemoteSmtp(tls=server_tls())),
    ],
)
async def test_rfc8689_without_the_demanded_tls_the_message_fails(first: RemoteSmtp, second: RemoteSmtp) -> None:
    """No STARTTLS, one that is refused, and certificates of another name."""
    got = await two_hosts(first, second, outgoing(require_tls=True))
    assert brief(got) == [(550, "5.7.30", "starttls")]
    assert first.sessions
    assert second.sessions
    got = await two_hosts(first, second, outgoing(require_tls=True), dead=True)
    assert brief(got) == [(0, "4.4.1", "connect")]


async def test_rfc8689_a_host_with_requiretls_gets_the_message() -> None:
    capabilities = ("PIPELINING", "REQUIRETLS")
    async with remote(RemoteSmtp({}, capabilities, server_tls())) as server:
        assert brief(await attempt_once(server.port, outgoing(require_tls=True))) == [(250, "2.0.0", "dot")]
        assert "MAIL FROM:<me@y.test> REQUIRETLS" in server.commands
        server.capabilities = PLAIN
        assert brief(await attempt_once(server.port, outgoing(require_tls=True))) == [(550, "5.7.30", "mail")]


async def test_a_refused_starttls_falls_back_by_setting() -> None:
    async with remote(RemoteSmtp({"STARTTLS": "454 4.7.0 Not now"}, ("STARTTLS",))) as server:
        assert brief(await attempt_once(server.port)) == [(250, "2.0.0", "dot")]
        for settings in ({"allow_plaintext_fallback": False}, {"require_starttls": True}, {"tls_mode": "required"}):
            assert brief(await attempt_once(server.port, **settings)) == [(451, "4.7.4", "starttls")]
    assert len(server.messages) == 1


async def test_require_starttls_defers_where_none_is_offered() -> None:
    async with remote(RemoteSmtp()) as server:
        assert brief(await attempt_once(server.port, require_starttls=True)) == [(451, "4.7.4", "starttls")]
    async with remote(RemoteSmtp(tls=server_tls())) as server:
        assert brief(await attempt_once(server.port, require_starttls=True)) == [(250, "2.0.0", "dot")]


async def test_invalid_certificates_are_taken_by_setting() -> None:
    """The certificate is for localhost."""
    dns = HostDns()
    dns.a_records = {"other.test": ["127.0.0.1"]}
    async with remote(RemoteSmtp(tls=server_tls())) as server:
        for allowed, expected in ((False, (451, "4.7.5", "starttls")), (True, (250, "2.0.0", "dot"))):
            made = attempts(server.port, dns, tls_mode="required", allow_invalid_certs=allowed)
            assert brief(await made.attempt(outgoing(), way("other.test"), go_ahead)) == [expected]
            await made.close()


@pytest.mark.parametrize("greeting", ["250 Hello", "354 What"])
async def test_a_greeting_that_is_none_is_temporary(greeting: str) -> None:
    async with remote(RemoteSmtp({"greeting": greeting})) as server:
        assert brief(await attempt_once(server.port)) == [(451, "4.5.0", "greeting")]


async def test_the_watchdog_keeps_the_answers_that_came(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise a recipient who has the message would get it again."""
    monkeypatch.setattr("inbox.flow.outbound.attempt.ATTEMPT_SECONDS", 0.5)
    first = RemoteSmtp({"RCPT TO:<bob@x.test>": "450 4.2.1 Later", "RCPT TO:<eve@x.test>": "550 5.1.1 No"})
    # The first host answers for each; the other one never does.
    async with remote(first) as one, remote(RemoteSmtp({"greeting": None}), "127.0.0.2", one.port):
        dns = HostDns()
        dns.a_records = {"one.test": ["127.0.0.1"], "two.test": ["127.0.0.2"]}
        made = attempts(one.port, dns)
        mail = outgoing("ann@x.test", "bob@x.test", "eve@x.test")
        got = await made.attempt(mail, way("one.test", "two.test"), go_ahead)
        await made.close()
    assert [(each.code, each.enhanced) for each in got.results] == [(250, "2.0.0"), (0, "4.4.7"), (550, "5.1.1")]
    assert got.dot_sent


def test_an_attempt_ends_by_itself_before_the_worker_gives_it_up() -> None:
    assert attempt_module.ATTEMPT_SECONDS < transmission.ATTEMPT_SECONDS


async def test_a_peer_that_stores_and_drops_gets_one_copy_in_each_attempt() -> None:
    """RFC 1047: the same message, and never two copies in one attempt, however many hosts there are."""
    one, two = RemoteSmtp({"dot": dropping()}), RemoteSmtp()
    for copies in (1, 2):
        got = await two_hosts(one, two, outgoing(content=b"Message-ID: <a@b>\r\n\r\nx\r\n"))
        assert brief(got) == [(0, "4.4.2", "dot")]
        assert (len(one.messages), len(two.messages)) == (copies, 0)
    assert len(set(one.messages)) == 1


async def test_the_last_chunk_is_as_ambiguous_as_the_dot() -> None:
    dotted = outgoing(content=b"Subject: x\r\n\r\n.dot\r\n")
    for answer in (dropping(), "550 5.6.0 No"):
        one, two = RemoteSmtp({"dot": answer}, ("PIPELINING", "CHUNKING")), RemoteSmtp()
        got = await two_hosts(one, two, dotted)
        assert (got.results[0].code, got.results[0].stage) == (0 if callable(answer) else 550, "dot")
        assert got.dot_sent
        assert (len(one.messages), len(two.messages)) == (1, 0)

    async def lost() -> bool:
        return False

    async with remote(RemoteSmtp({}, ("CHUNKING",))) as server:
        got = await attempt_once(server.port, dotted, before_dot=lost)
    assert not got.dot_sent
    assert server.messages == []


async def test_bdat_carries_dots_as_they_are() -> None:
    content = b"Subject: x\r\n\r\n.hidden\r\n..\r\n.\r\nlast\r\n"
    async with remote(RemoteSmtp({}, ("PIPELINING", "CHUNKING"))) as server:
        assert brief(await attempt_once(server.port, outgoing(content=content))) == [(250, "2.0.0", "dot")]
        assert server.messages == [content]
        assert f"BDAT {len(content)} LAST" in server.commands
        # By setting, with an incomplete last line, with bare line ends, or with a large message: DATA.
        large = b"Subject: x\r\n\r\n" + b"large\r\n" * 40_000
        for mail, path in [
            (outgoing(content=large), way()),
            (outgoing(content=content), way(chunking=False)),
            (outgoing(content=b".\r\nlast"), way()),
            (outgoing(content=b".\nlast\r\n"), way()),
        ]:
            assert brief(await attempt_once(server.port, mail, path)) == [(250, "2.0.0", "dot")]
            assert server.commands[-2] == "DATA"


async def test_binary_mail_is_sent_in_chunks_even_if_bdat_is_off() -> None:
    binary = b"Content-Transfer-Encoding: binary\r\n\r\n\x00\xff\n." * 30_000
    async with remote(RemoteSmtp({}, ("CHUNKING", "BINARYMIME"))) as server:
        got = await attempt_once(server.port, outgoing(content=binary, body="BINARYMIME"), way(chunking=False))
    assert brief(got) == [(250, "2.0.0", "dot")]
    assert server.messages == [binary]


async def test_lmtp_with_chunks_has_a_reply_for_each_recipient() -> None:
    answers: dict[str, Answer] = {"dot1": "452 4.2.2 Mailbox full"}
    async with remote(RemoteSmtp(answers, ("CHUNKING", "PIPELINING"), lmtp=True)) as server:
        path = way(hosts=None, smarthost=Smarthost(host="127.0.0.1", port=server.port, protocol="lmtp"))
        got = await attempt_once(25, outgoing("ann@x.test", "bob@x.test", content=b".\r\n"), path)
    assert brief(got) == [(250, "2.0.0", "dot"), (452, "4.2.2", "dot")]


async def test_a_smarthost_whose_certificate_has_expired_gets_neither_password_nor_mail_until_it_is_renewed() -> None:
    async with remote(RemoteSmtp({"AUTH": "235 2.7.0 Ok"}, ("AUTH PLAIN",), expired_tls())) as server:
        relay = Smarthost(host="127.0.0.1", port=server.port, username="u", password=SecretStr("p"))
        got = await attempt_once(25, path=way(hosts=None, smarthost=relay))
        assert brief(got) == [(451, "4.7.5", "starttls")]
        assert "certificate has expired" in got.results[0].text
        assert not any(command.startswith(("AUTH", "MAIL")) for command in server.commands)

        server.tls = server_tls()
        got = await attempt_once(25, path=way(hosts=None, smarthost=relay))
        assert brief(got) == [(250, "2.0.0", "dot")]
