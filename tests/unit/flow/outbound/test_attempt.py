"""Attempts against scripted servers: results for each recipient, the next host, and peers that misbehave."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest
from pydantic import SecretStr

from inbox.flow.outbound.ports import Attempted
from inbox.policy.outbound import Smarthost
from tests.support.host_dns import HostDns
from tests.support.imap_world import server_tls
from tests.support.outbound_world import attempt_once, attempts, go_ahead, outgoing, way
from tests.support.remote_smtp import RemoteSmtp, Session, dropping, remote


def brief(attempted: Attempted) -> list[tuple[int, str, str]]:
    return [(each.code, each.enhanced, each.stage) for each in attempted.results]


async def test_a_message_is_delivered_and_its_dots_are_stuffed() -> None:
    async with remote(RemoteSmtp()) as server:
        got = await attempt_once(server.port, outgoing(content=b"Subject: x\r\n\r\n.hidden\r\nlast"))
    assert brief(got) == [(250, "2.0.0", "dot")]
    assert (got.host, got.address, got.tls, got.dot_sent) == ("localhost", "127.0.0.1", "", True)
    assert server.messages == [b"Subject: x\r\n\r\n..hidden\r\nlast\r\n.\r\n"]
    assert server.commands == [
        "EHLO me.test", "MAIL FROM:<me@y.test> SIZE=27", "RCPT TO:<ann@x.test>", "DATA", "QUIT",
    ]  # fmt: skip


async def test_each_recipient_has_its_own_result() -> None:
    answers = {"RCPT TO:<bob@x.test>": "550 5.1.1 No such user", "RCPT TO:<eve@x.test>": "450 4.2.1 Later"}
    async with remote(RemoteSmtp({**answers})) as server:
        got = await attempt_once(server.port, outgoing("ann@x.test", "bob@x.test", "eve@x.test"))
    assert brief(got) == [(250, "2.0.0", "dot"), (550, "5.1.1", "rcpt"), (450, "4.2.1", "rcpt")]


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("552 Too many recipients", (452, "4.5.3", "rcpt")),
        ("552 5.5.3 Too many recipients", (452, "4.5.3", "rcpt")),
        ("552 5.2.2 Mailbox full", (552, "5.2.2", "rcpt")),
    ],
)
async def test_rfc5321_552_at_rcpt_means_too_many_recipients(reply: str, expected: tuple[int, str, str]) -> None:
    answers = {"RCPT TO:<bob@x.test>": reply}
    async with remote(RemoteSmtp({**answers})) as server:
        got = await attempt_once(server.port, outgoing("ann@x.test", "bob@x.test"))
    assert brief(got) == [(250, "2.0.0", "dot"), expected]


async def test_552_to_the_only_recipient_is_permanent() -> None:
    async with remote(RemoteSmtp({"RCPT": "552 Too many recipients"})) as server:
        got = await attempt_once(server.port, outgoing("ann@x.test"))
    assert brief(got) == [(552, "5.0.0", "rcpt")]


async def test_a_connection_is_used_again_without_another_ehlo() -> None:
    made = None
    async with remote(RemoteSmtp()) as server:
        made = attempts(server.port)
        for _ in range(3):
            assert brief(await made.attempt(outgoing(), way(), go_ahead)) == [(250, "2.0.0", "dot")]
        await made.close()
    assert len(server.sessions) == 1
    assert [command.split()[0] for command in server.commands].count("EHLO") == 1
    assert "RSET" not in server.commands
    assert server.commands[-1] == "QUIT"


async def test_a_transaction_without_dot_is_reset_before_the_next() -> None:
    async with remote(RemoteSmtp({"RCPT TO:<bob@x.test>": "550 5.1.1 No such user"})) as server:
        made = attempts(server.port)
        await made.attempt(outgoing("bob@x.test"), way(), go_ahead)
        assert brief(await made.attempt(outgoing(), way(), go_ahead)) == [(250, "2.0.0", "dot")]
        await made.close()
    assert server.commands.count("RSET") == 1
    assert len(server.sessions) == 1


async def test_a_refused_rset_costs_a_new_connection_only() -> None:
    answers = {"RCPT TO:<bob@x.test>": "550 5.1.1 No such user", "RSET": "502 5.5.1 What"}
    async with remote(RemoteSmtp({**answers})) as server:
        made = attempts(server.port)
        await made.attempt(outgoing("bob@x.test"), way(), go_ahead)
        assert brief(await made.attempt(outgoing(), way(), go_ahead)) == [(250, "2.0.0", "dot")]
        await made.close()
    assert len(server.sessions) == 2


async def test_an_idle_connection_that_the_peer_closed_is_replaced() -> None:
    async with remote(RemoteSmtp()) as server:
        made = attempts(server.port)
        await made.attempt(outgoing(), way(), go_ahead)
        server.answers["MAIL"] = "421 4.4.2 Idle for too long"
        second = asyncio.create_task(made.attempt(outgoing(), way(), go_ahead))
        while len(server.sessions) < 2:
            await asyncio.sleep(0)
        del server.answers["MAIL"]
        assert brief(await second) == [(250, "2.0.0", "dot")]
        await made.close()


async def test_messages_per_connection_are_limited() -> None:
    async with remote(RemoteSmtp()) as server:
        made = attempts(server.port)
        for _ in range(4):
            await made.attempt(outgoing(), way(messages_per_connection=2), go_ahead)
        await made.close()
    assert len(server.sessions) == 2


async def test_no_reply_to_the_dot_is_never_tried_at_another_host() -> None:
    async with remote(RemoteSmtp({"dot": dropping()})) as server:
        got = await attempt_once(server.port, path=way("localhost", "127.0.0.1"))
    assert brief(got) == [(0, "4.4.2", "dot")]
    assert got.dot_sent
    assert (len(server.sessions), len(server.messages)) == (1, 1)


async def test_a_lost_lease_sends_no_dot() -> None:
    async def lost() -> bool:
        return False

    async with remote(RemoteSmtp()) as server:
        got = await attempt_once(server.port, before_dot=lost)
    assert got.results[0].code == 0
    assert not got.dot_sent
    assert server.messages == []


async def test_an_error_of_before_dot_is_raised_and_no_dot_is_sent() -> None:
    async def broken() -> bool:
        raise RuntimeError("the database is away")

    async with remote(RemoteSmtp()) as server:
        with pytest.raises(RuntimeError, match="away"):
            await attempt_once(server.port, before_dot=broken)
    assert server.messages == []


async def test_lmtp_has_a_reply_for_each_recipient() -> None:
    answers = {"dot1": "452 4.2.2 Mailbox full", "dot0": "250 2.1.5 Delivered"}
    async with remote(RemoteSmtp({**answers}, lmtp=True)) as server:
        path = way(hosts=None, smarthost=Smarthost(host="127.0.0.1", port=server.port, protocol="lmtp"))
        got = await attempt_once(25, outgoing("ann@x.test", "bob@x.test"), path)
    assert brief(got) == [(250, "2.1.5", "dot"), (452, "4.2.2", "dot")]
    assert server.commands[0] == "LHLO me.test"


async def octets_slowly(session: Session) -> None:
    while True:
        session.writer.write(b"2")
        await session.writer.drain()
        await asyncio.sleep(0.01)


def endless(line: bytes) -> Callable[[Session], Awaitable[None]]:
    async def send(session: Session) -> None:
        while True:
            session.writer.write(line * 100)
            await session.writer.drain()

    return send


VERBS = ["greeting", "EHLO", "MAIL", "RCPT", "DATA", "dot"]


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("answer", [dropping(), b"hello\r\n", endless(b"250-x\r\n"), endless(b"x" * 100)])
async def test_a_peer_that_misbehaves_at_any_verb_leaves_the_mail_pending(
    verb: str, answer: bytes | Callable[[Session], Awaitable[None]]
) -> None:
    async with remote(RemoteSmtp({verb: answer})) as server:
        got = await attempt_once(server.port)
    assert got.results[0].code == 0
    assert got.results[0].stage == verb.lower()
    assert got.dot_sent == (verb == "dot")


@pytest.mark.parametrize("verb", ["greeting", "EHLO", "MAIL", "RCPT", "DATA"])
@pytest.mark.parametrize("answer", [None, octets_slowly])
async def test_a_silent_or_slow_peer_costs_one_time_out(
    verb: str, answer: Callable[[Session], Awaitable[None]] | None
) -> None:
    async with remote(RemoteSmtp({verb: answer})) as server:
        got = await attempt_once(server.port, timeout_secs=0.2)
    assert brief(got) == [(0, "4.4.2", verb.lower())]


@pytest.mark.parametrize("verb", VERBS)
async def test_a_permanent_reply_at_any_verb_is_the_result(verb: str) -> None:
    async with remote(RemoteSmtp({verb: "554 5.7.1 No"})) as server:
        got = await attempt_once(server.port, tls_mode="required" if verb == "EHLO" else "opportunistic")
    assert brief(got) == [(554, "5.7.1", verb.lower())]


async def test_helo_follows_a_refused_ehlo_only_where_tls_is_not_required() -> None:
    async with remote(RemoteSmtp({"EHLO": "502 5.5.1 What"})) as server:
        assert brief(await attempt_once(server.port)) == [(250, "2.0.0", "dot")]
        assert "HELO me.test" in server.commands
        assert "MAIL FROM:<me@y.test>" in server.commands
        assert brief(await attempt_once(server.port, require_starttls=True)) == [(502, "5.5.1", "ehlo")]


@pytest.mark.parametrize("greeting", ["421 4.3.2 Busy", "554 5.3.2 No service"])
async def test_a_greeting_that_refuses_moves_on_to_the_next_host(greeting: str) -> None:
    async with remote(RemoteSmtp({"greeting": greeting})) as bad, remote(RemoteSmtp(), "127.0.0.2", bad.port) as good:
        dns = HostDns()
        dns.a_records = {"bad.test": ["127.0.0.1"], "good.test": ["127.0.0.2"]}
        made = attempts(bad.port, dns)
        got = await made.attempt(outgoing(), way("bad.test", "good.test"), go_ahead)
        await made.close()
    assert brief(got) == [(250, "2.0.0", "dot")]
    assert [(name, reply.stage) for name, reply in got.hosts] == [("bad.test", "greeting")]
    assert len(good.messages) == 1


async def test_a_dead_host_is_tried_last_the_next_time() -> None:
    async with remote(RemoteSmtp(), "127.0.0.2") as good:
        dns = HostDns()
        dns.a_records = {"dead.test": ["127.0.0.3"], "good.test": ["127.0.0.2"]}
        made = attempts(good.port, dns)
        first = await made.attempt(outgoing(), way("dead.test", "good.test"), go_ahead)
        again = await made.attempt(outgoing(), way("dead.test", "good.test"), go_ahead)
        await made.close()
    assert [name for name, _ in first.hosts] == ["dead.test"]
    assert again.hosts == ()
    assert brief(again) == [(250, "2.0.0", "dot")]


async def test_a_refusal_by_policy_over_ipv6_is_tried_over_ipv4() -> None:
    async with (
        remote(RemoteSmtp({"RCPT": "550 5.7.1 No PTR"}), "::1") as six,
        remote(RemoteSmtp(), "127.0.0.1", six.port) as four,
    ):
        dns = HostDns()
        dns.aaaa_records, dns.a_records = {"localhost": ["::1"]}, {"localhost": ["127.0.0.1"]}
        made = attempts(six.port, dns)
        got = await made.attempt(outgoing(), way(), go_ahead)
        await made.close()
    assert brief(got) == [(250, "2.0.0", "dot")]
    assert (len(six.sessions), len(four.messages)) == (1, 1)


async def test_private_addresses_are_refused_unless_routed() -> None:
    dns = HostDns()
    dns.a_records = {"localhost": ["127.0.0.1"]}
    made = attempts(25, dns)
    made.routed = ()
    assert brief(await made.attempt(outgoing(), way(), go_ahead)) == [(550, "5.4.4", "dns")]


async def test_an_address_look_up_that_fails_is_temporary() -> None:
    dns = HostDns()
    dns.fails.add("mx.test")
    assert brief(await attempts(25, dns).attempt(outgoing(), way("mx.test"), go_ahead)) == [(451, "4.4.3", "dns")]


async def test_starttls_is_used_where_it_is_offered_and_verified_where_it_is_required() -> None:
    async with remote(RemoteSmtp(tls=server_tls())) as server:
        for mode in ("opportunistic", "required"):
            got = await attempt_once(server.port, tls_mode=mode)
            assert brief(got) == [(250, "2.0.0", "dot")]
            assert got.tls.startswith("TLSv1.")
        # The certificate is for localhost and 127.0.0.1.
        dns = HostDns()
        dns.a_records = {"other.test": ["127.0.0.1"]}
        made = attempts(server.port, dns, tls_mode="required")
        got = await made.attempt(outgoing(), way("other.test"), go_ahead)
        await made.close()
    assert brief(got) == [(451, "4.7.5", "starttls")]
    assert "other.test" in got.results[0].text


async def test_required_tls_that_is_not_offered_defers() -> None:
    async with remote(RemoteSmtp()) as server:
        assert brief(await attempt_once(server.port, tls_mode="required")) == [(451, "4.7.4", "starttls")]
    assert server.messages == []


async def test_a_failed_handshake_falls_back_by_setting() -> None:
    capabilities = ("PIPELINING", "STARTTLS")
    async with remote(RemoteSmtp({"STARTTLS": dropping_after_220}, capabilities)) as server:
        got = await attempt_once(server.port)
        assert brief(got) == [(250, "2.0.0", "dot")]
        assert got.tls == ""
        got = await attempt_once(server.port, allow_plaintext_fallback=False)
        assert brief(got) == [(451, "4.7.5", "starttls")]


async def dropping_after_220(session: Session) -> None:
    session.writer.write(b"220 Go ahead\r\n")
    await session.writer.drain()
    await session.reader.read(10)
    session.drop()


async def test_data_before_the_handshake_ends_the_session() -> None:
    answers = {"STARTTLS": "220 Go ahead\r\n250 injected"}
    async with remote(RemoteSmtp({**answers}, ("STARTTLS",))) as server:
        assert brief(await attempt_once(server.port, tls_mode="required")) == [(451, "4.7.0", "starttls")]


async def test_auth_is_sent_over_verified_tls_only() -> None:
    async with remote(RemoteSmtp({"AUTH": "235 2.7.0 Ok"}, ("AUTH PLAIN", "PIPELINING"), server_tls())) as server:
        relay = Smarthost(host="127.0.0.1", port=server.port, username="u", password=SecretStr("p"))
        assert brief(await attempt_once(25, path=way(hosts=None, smarthost=relay))) == [(250, "2.0.0", "dot")]
        assert "AUTH PLAIN AHUAcA==" in server.commands
        server.answers["AUTH"] = "535 5.7.8 Wrong"
        assert brief(await attempt_once(25, path=way(hosts=None, smarthost=relay))) == [(451, "4.7.8", "auth")]
    async with remote(RemoteSmtp({}, ("AUTH PLAIN",))) as server:
        relay = Smarthost(host="127.0.0.1", port=server.port, username="u", password=SecretStr("p"))
        assert brief(await attempt_once(25, path=way(hosts=None, smarthost=relay))) == [(451, "4.7.4", "starttls")]
    assert not any(command.startswith("AUTH") for command in server.commands)


async def test_two_tls_policies_never_share_a_connection() -> None:
    async with remote(RemoteSmtp(tls=server_tls())) as server:
        made = attempts(server.port)
        await made.attempt(outgoing(), way(tls="opportunistic"), go_ahead)
        await made.attempt(outgoing(), way(tls="required"), go_ahead)
        await made.close()
    assert len(server.sessions) == 2


async def test_8bit_mail_is_not_sent_to_a_7bit_peer() -> None:
    async with remote(RemoteSmtp({}, ("PIPELINING",))) as server:
        eight = "Subject: x\r\n\r\n\u00e9\r\n".encode()
        assert brief(await attempt_once(server.port, outgoing(content=eight, body="8BITMIME"))) == [
            (554, "5.6.3", "mail")
        ]
        assert brief(await attempt_once(server.port, outgoing(body="8BITMIME"))) == [(250, "2.0.0", "dot")]
        utf8 = outgoing(content="Subject: \u00e9\r\n\r\nx\r\n".encode(), smtputf8=True)
        assert brief(await attempt_once(server.port, utf8)) == [(553, "5.6.7", "mail")]
        assert brief(await attempt_once(server.port, outgoing(smtputf8=True))) == [(250, "2.0.0", "dot")]


async def test_a_large_message_is_sent_in_blocks() -> None:
    content = b"Subject: x\r\n\r\n" + b"." * 70 + b"\r\n" + b"x" * 998 + b"\r\n"
    content += (b"y" * 76 + b"\r\n") * 10_000
    async with remote(RemoteSmtp()) as server:
        assert brief(await attempt_once(server.port, outgoing(content=content))) == [(250, "2.0.0", "dot")]
    assert server.messages[0] == content.replace(b"\r\n.", b"\r\n..") + b".\r\n"
