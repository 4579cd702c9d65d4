"""DKIM with others: they verify what we sign, we verify what they sign, over the DNS of a real server."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from inbox.authentication.dkim.verify import verify
from inbox.base.clock import SystemClock
from inbox.dns.resolver import CachingResolver
from inbox.mail.content import MemoryContent
from inbox.plugin.api.facts import Result
from inbox.plugin.api.signing import SigningKey
from tests.support.cli import Cli
from tests.support.dkim import ED25519_KEY, MAIL, RSA_KEY, key_record, signed, signing_key
from tests.support.dkim_peers import (
    OpenDkim,
    dkimproxy_verify,
    dkimpy,
    dkimpy_signed,
    dkimverify,
    mail_dkim,
    mail_dkim_signed,
    opendkim,
)
from tests.support.dns_servers import DnsServers
from tests.support.dns_world import DnsWorld, quoted

pytestmark = pytest.mark.real

RSA = signing_key(RSA_KEY, "signed.test", "rsa")
ED25519 = signing_key(ED25519_KEY, "signed.test", "ed25519")
KEYS = pytest.mark.parametrize("key", [RSA, ED25519], ids=["rsa", "ed25519"])
FORMS = pytest.mark.parametrize("forms", ["simple/simple", "simple/relaxed", "relaxed/simple", "relaxed/relaxed"])
MAILS = {
    "text": MAIL.replace(b"sender.test", b"signed.test"),
    "empty": b"From: ann@signed.test\r\nSubject: x\r\n\r\n",
    "spaces": b"From:ann@signed.test\r\nSubject:  a \t b \r\n\t c\r\nX:\r\n\r\n \t a  b \r\n\r\n\r\n  c\t\r\n \r\n\r\n",
    "large": b"From: ann@signed.test\r\nTo: a@b.test,\r\n c@d.test\r\n\r\n" + b"A line,  and  more. \r\n" * 20_000,
    "utf-8": "From: Änn <ann@signed.test>\r\nSubject: Grüße\r\n\r\nDöner\r\n".encode(),
}
EACH = pytest.mark.parametrize("mail", list(MAILS.values()), ids=list(MAILS))


@pytest.fixture
async def resolver(dns_world: DnsWorld) -> str:
    for key in (RSA, ED25519):
        await dns_world.publish("signed.test", f"{key.selector}._domainkey TXT {quoted(key_record(key.private))}")
    return dns_world.resolver


@pytest.fixture(scope="module")
def filters(dns_servers: DnsServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, OpenDkim]]:
    folder = tmp_path_factory.mktemp("opendkim")
    with (
        opendkim(folder / "rsa", dns_servers.resolver, RSA) as rsa,
        opendkim(folder / "ed25519", dns_servers.resolver, ED25519) as ed25519,
        opendkim(folder / "simple", dns_servers.resolver, RSA, "simple/simple") as simple,
    ):
        yield {"rsa": rsa, "ed25519": ed25519, "simple": simple}


async def result(message: bytes, resolver: str) -> list[Result]:
    found = CachingResolver(SystemClock(), resolver)
    fact = await verify(MemoryContent(message), found, now=time.time())
    return [one.result for one in fact.signatures]


@EACH
async def test_they_verify_what_we_sign(mail: bytes, resolver: str, filters: dict[str, OpenDkim]) -> None:
    both = signed(mail, RSA, ED25519, now=time.time())
    assert await result(both, resolver) == [Result.PASS, Result.PASS]
    assert await filters["rsa"].verify(both) == ["pass", "pass"]
    assert dkimpy(both, resolver, 0)
    assert dkimpy(both, resolver, 1)
    # It has no Ed25519 without a further package.
    assert mail_dkim(signed(mail, RSA, now=time.time()), resolver) == ["pass"]


async def test_the_commands_that_people_check_with(resolver: str) -> None:
    message = signed(MAILS["text"], RSA, now=time.time())
    changed = message.replace(b"Hello", b"Hullo")
    assert "verify result: pass" in dkimproxy_verify(message, resolver)
    assert "verify result: fail (body has been altered)" in dkimproxy_verify(changed, resolver)
    assert "signature ok" in dkimverify(message, resolver)
    assert "body hash mismatch" in dkimverify(changed, resolver)


async def test_they_do_not_verify_what_was_changed(resolver: str, filters: dict[str, OpenDkim]) -> None:
    """That the peers' pass says something."""
    changed = signed(MAILS["text"], RSA, now=time.time()).replace(b"Hello", b"Hullo")
    assert await result(changed, resolver) == [Result.FAIL]
    assert await filters["rsa"].verify(changed) == ["fail"]
    assert not dkimpy(changed, resolver)
    assert mail_dkim(changed, resolver) == ["fail"]


@EACH
async def test_we_verify_what_opendkim_signs(mail: bytes, resolver: str, filters: dict[str, OpenDkim]) -> None:
    for name in ("rsa", "ed25519", "simple"):
        message = await filters[name].sign(mail, "ann@signed.test")
        assert message.startswith(b"DKIM-Signature:")
        assert await result(message, resolver) == [Result.PASS], name
        assert await result(message.replace(b"From:", b"From: x"), resolver) == [Result.FAIL]


@EACH
@FORMS
@KEYS
async def test_we_verify_what_dkimpy_signs(mail: bytes, forms: str, key: SigningKey, resolver: str) -> None:
    assert await result(dkimpy_signed(mail, key, forms), resolver) == [Result.PASS]


@FORMS
async def test_we_verify_what_mail_dkim_signs(forms: str, resolver: str, tmp_path: Path) -> None:
    for mail in MAILS.values():
        message = mail_dkim_signed(mail, RSA, tmp_path, forms)
        assert await result(message, resolver) == [Result.PASS]


#: Lines that relays and programs leave in front of a message; whether dkimpy passes them over, too.
STRAYS = {
    b"From ann@signed.test Mon Jan  1 10:00:00 2024\r\n": True,
    b">From ann@signed.test Mon Jan  1 10:00:00 2024\r\n": False,
    "Größe: 1\r\n".encode(): False,
    b"no colon\r\n": False,
}


@pytest.mark.parametrize("stray", STRAYS)
async def test_lines_in_front_that_are_no_fields(stray: bytes, resolver: str) -> None:
    after = stray + signed(MAILS["text"], RSA, now=time.time())
    assert await result(after, resolver) == [Result.PASS]
    assert mail_dkim(after, resolver) == ["pass"]
    before = signed(stray + MAILS["text"], RSA, now=time.time())
    assert await result(before, resolver) == [Result.PASS]
    assert mail_dkim(before, resolver) == ["pass"]
    if STRAYS[stray]:
        assert dkimpy(after, resolver)
        assert dkimpy(before, resolver)
    for hidden in (b" From: eve@evil.test\r\n", b"From : eve@evil.test\r\n", b"From\xa0: eve@evil.test\r\n"):
        assert await result(stray + hidden + after, resolver) == [Result.PERMERROR]


async def test_a_dns_that_does_not_answer(dns_world: DnsWorld) -> None:
    names = {
        signing_key(RSA_KEY, "bogus.test", "mail"): {Result.TEMPERROR},
        signing_key(RSA_KEY, "signed.test", "absent"): {Result.PERMERROR},
        signing_key(RSA_KEY, "plain.test", "loop"): {Result.TEMPERROR, Result.PERMERROR},
        signing_key(RSA_KEY, "plain.test", "long"): {Result.TEMPERROR, Result.PERMERROR},
    }
    await dns_world.publish("plain.test", "loop._domainkey CNAME pool", "pool CNAME loop._domainkey")
    long = key_record(RSA_KEY) + b"; n=" + b"x" * 8192
    await dns_world.publish("plain.test", f"long._domainkey TXT {quoted(long)}")
    for key, expected in names.items():
        assert set(await result(signed(MAIL, key, now=time.time()), dns_world.resolver)) <= expected, key
    assert await result(signed(MAIL, RSA, now=time.time()), dns_world.silent) == [Result.TEMPERROR]


def test_explain_shows_what_was_found(
    resolver: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    cli = Cli(tmp_path, monkeypatch, capsys).demo()
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "default.yaml").write_text("plugins: {recipients: {}, dkim: {}}\n")
    monkeypatch.setenv("DNS_RESOLVER", resolver)
    file = cli.folder / "mail.eml"
    envelope = ("--from", "ann@signed.test", "--to", "ann@demo.test")
    file.write_bytes(signed(MAIL, RSA, ED25519, now=time.time()))
    assert cli("domain", "set", "demo.test", "require_dkim_pass=true").code == 0
    ran = cli("policy", "explain", "--eml", str(file), *envelope)
    assert ran.code == 0
    assert "DkimFact" in ran.out
    file.write_bytes(file.read_bytes().replace(b"Hello", b"Hullo"))
    ran = cli("policy", "explain", "--eml", str(file), *envelope)
    assert ran.code == 1
    assert "550 5.7.20 No DKIM signature of the message is valid" in ran.out
    assert "the body is not what was signed" in ran.out
