"""Mail of honest senders that break the rules a little, at a real server that enforces DMARC."""

from __future__ import annotations

import imaplib
import smtplib
import ssl
import time
from collections.abc import Iterator

import pytest

from tests.support.authors import Author, send
from tests.support.dkim import signed, signing_key
from tests.support.dns_servers import DnsServers
from tests.support.dns_world import DnsWorld
from tests.support.server import PASSWORD, UNCOUNTED, RunningServer

pytestmark = pytest.mark.real

POLICY = """
plugins: {recipients: {}, spf: {exempt: []}, dkim: {}, arc: {}, dmarc: {}, authentication_results: {}}
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory, dns_servers: DnsServers) -> Iterator[RunningServer]:
    folder = tmp_path_factory.mktemp("server")
    server = RunningServer(
        folder, command=UNCOUNTED, environment={"DNS_RESOLVER": dns_servers.resolver, "SERVER_HOSTNAME": "mx.test"}
    )
    server.populate()
    (folder / "policies").mkdir(exist_ok=True)
    (folder / "policies" / "default.yaml").write_text(POLICY)
    try:
        yield server.start()
    finally:
        server.close()


def fetched(server: RunningServer, subject: str) -> tuple[bytes, bytes]:
    """The message, and ENVELOPE, of Ann's one mail with this subject."""
    context = ssl.create_default_context(cafile=str(server.certificate))
    context.check_hostname = False
    client = imaplib.IMAP4_SSL("127.0.0.1", server.port("imaps"), ssl_context=context)
    client.login("ann@demo.test", PASSWORD)
    client.select("INBOX", readonly=True)
    _, (numbers,) = client.search(None, "SUBJECT", f'"{subject}"')
    (number,) = numbers.split()
    part = client.fetch(number.decode(), "(BODY.PEEK[])")[1][0]
    envelope = client.fetch(number.decode(), "(ENVELOPE)")[1][0]
    client.logout()
    assert isinstance(part, tuple) and isinstance(envelope, bytes)
    return part[1], envelope


SHAPES = {
    "brackets": (b"Carol [EXT] <%s>", ""),
    "at work": (b"Carol @ Work <%s>", ""),
    "another address as the name": (b"form@visitor.test <%s>", ""),
    "no end of the quotes": (b'"Carol <%s>', ""),
    "doubled brackets": (b"Carol <<%s>>", ""),
    "dots": (b"Carol <%s>", "user..name."),
    "long": (b"Carol <%s>", "bounces+" + "0123456789" * 30),
}


@pytest.mark.parametrize("shape", SHAPES)
async def test_mail_that_other_servers_accept_is_accepted(
    server: RunningServer, dns_world: DnsWorld, shape: str
) -> None:
    author = await Author.named(f"honest{list(SHAPES).index(shape)}").publish(dns_world, dmarc="v=DMARC1; p=reject")
    name, local = SHAPES[shape]
    message = author.mail(shape, sign=False).replace(
        b"From: Carol <%s>" % author.address.encode(), b"From: " + name % author.address.encode()
    )
    message = signed(message, signing_key(domain=author.domain), now=time.time() - 10)
    stray = b"From carol@elsewhere.test Mon Jan  1 10:00:00 2024\r\n"
    sender = f"{local or 'carol'}@{author.domain}"
    answered = send(server, sender, stray + message)
    assert answered.brief == (250, "2.0.0"), answered.text
    stored, envelope = fetched(server, shape)
    assert f"Return-Path: <{sender}>\r\n".encode() in stored
    assert b"dkim=pass" in stored and b"dmarc=pass" in stored
    assert f'NIL "carol" "{author.domain}"'.encode() in envelope
    explained = server.cli("explain", answered.id)
    assert sender in explained.stdout


async def test_mail_that_may_show_another_author_is_refused(server: RunningServer, dns_world: DnsWorld) -> None:
    author = await Author.named("evil").publish(dns_world, dmarc="v=DMARC1; p=reject")
    for name in (b"ceo@bank.test, <%s>", b"<ceo@bank.test> <%s>", b"=?utf-8?q?=3Cceo=40bank.test=3E?= <%s>"):
        message = author.mail("forged", sign=False).replace(
            b"From: Carol <%s>" % author.address.encode(), b"From: " + name % author.address.encode()
        )
        message = signed(message, signing_key(domain=author.domain), now=time.time() - 10)
        answered = send(server, author.address, message)
        assert answered.code == 550
        assert "From field does not name exactly one domain" in answered.text


@pytest.mark.parametrize("path", ["postmaster", "Postmaster@demo.test", "POSTMASTER@mx.test"])
async def test_postmaster_is_reached(server: RunningServer, dns_world: DnsWorld, path: str) -> None:
    author = await Author.named("asks").publish(dns_world)
    subject = f"to {path.replace('@', ' at ')}"
    with smtplib.SMTP("127.0.0.1", server.port("smtp"), timeout=60) as client:
        client.ehlo("client.test")
        assert client.docmd("MAIL", f"FROM:<{author.address}>")[0] == 250
        assert client.docmd("RCPT", f"TO:<{path}>")[0] == 250
        assert client.data(author.mail(subject))[0] == 250
    assert fetched(server, subject)


def test_a_malformed_sender_is_refused_with_an_id(server: RunningServer) -> None:
    with smtplib.SMTP("127.0.0.1", server.port("smtp"), timeout=60) as client:
        client.ehlo("client.test")
        code, text = client.docmd("MAIL", "FROM:<carol@client..test>")
    assert code == 501
    found = text.decode().rpartition("(id ")[2].rstrip(")")
    assert "Bad sender address syntax" in server.cli("explain", found).stdout
