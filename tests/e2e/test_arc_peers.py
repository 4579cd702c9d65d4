"""ARC with others: they validate what we seal, we validate what they seal, over the DNS of a real server."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from inbox.authentication.arc.seal import seal
from inbox.authentication.arc.validate import validate
from inbox.base.clock import SystemClock
from inbox.dns.resolver import CachingResolver
from inbox.mail.content import MemoryContent
from inbox.plugin.api.facts import ArcFact, Result
from inbox.plugin.api.signing import SigningKey
from tests.support.arc import MESSAGE, record
from tests.support.arc_peers import Rspamd, arcverify, rspamd
from tests.support.dns_servers import DnsServers
from tests.support.dns_world import DnsWorld, quoted
from tests.support.rsa_keys import rsa_key

pytestmark = pytest.mark.real

OURS = SigningKey("signed.test", "ours", rsa_key(0, 2048))
THEIRS = SigningKey("plain.test", "theirs", rsa_key(1, 2048))
PASSED = "cv=b'pass' success"
MAILS = {
    "text": MESSAGE,
    "empty": b"From: ann@author.example\r\nSubject: x\r\n\r\n",
    "spaces": b"From:ann@a.example\r\nSubject:  a \t b \r\n\t c\r\nX:\r\n\r\n \t a  b \r\n\r\n\r\n  c\t\r\n \r\n\r\n",
    "large": b"From: ann@author.example\r\nTo: a@b.test,\r\n c@d.test\r\n\r\n" + b"A line,  and  more. \r\n" * 20_000,
    "many fields": b"".join(b"List-Id: <%d>\r\n" % number for number in range(50)) + MESSAGE,
}
EACH = pytest.mark.parametrize("mail", list(MAILS.values()), ids=list(MAILS))


@pytest.fixture
async def resolver(dns_world: DnsWorld) -> str:
    for key, private in ((OURS, rsa_key(0, 2048)), (THEIRS, rsa_key(1, 2048))):
        await dns_world.publish(key.domain, f"{key.selector}._domainkey TXT {quoted(record(private))}")
    return dns_world.resolver


@pytest.fixture(scope="module")
def peer(dns_servers: DnsServers, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Rspamd]:
    with rspamd(tmp_path_factory.mktemp("rspamd"), dns_servers.resolver, THEIRS) as running:
        yield running


async def judge(message: bytes, resolver: str) -> ArcFact:
    return await validate(MemoryContent(message), CachingResolver(SystemClock(), resolver), now=time.time())


async def sealed(message: bytes, resolver: str) -> bytes:
    chain = await judge(message, resolver)
    made = seal(MemoryContent(message), "mx.signed.test; spf=pass; arc=none", OURS, time.time(), chain)
    assert made is not None
    return bytes(made) + message


@EACH
async def test_they_validate_what_we_seal(mail: bytes, resolver: str, peer: Rspamd) -> None:
    message = await sealed(await sealed(mail, resolver), resolver)
    assert arcverify(message, resolver) == PASSED
    assert peer.symbol(message) == "ARC_ALLOW"


async def test_they_do_not_validate_what_was_changed(resolver: str, peer: Rspamd) -> None:
    """That the peers' pass says something."""
    message = await sealed(MESSAGE, resolver)
    for changed in (message.replace(b"How", b"Who"), message.replace(b"spf=pass", b"spf=fail")):
        assert (await judge(changed, resolver)).result is Result.FAIL
        assert arcverify(changed, resolver).startswith("cv=b'fail'")
        assert peer.symbol(changed) == "ARC_REJECT"


@EACH
async def test_we_validate_what_they_seal(mail: bytes, resolver: str, peer: Rspamd) -> None:
    message = peer.sealed(mail)
    fact = await judge(message, resolver)
    assert (fact.result, fact.oldest_pass, fact.reason) == (Result.PASS, 0, "")
    assert fact.sealers == ("plain.test",)


async def test_a_chain_of_all_of_us(resolver: str, peer: Rspamd) -> None:
    """rspamd 3.4 is the second: it seals in the wrong order of sets from the third on, and rejects that itself."""
    message = await sealed(peer.sealed(await sealed(MESSAGE, resolver)), resolver)
    fact = await judge(message, resolver)
    assert (fact.result, fact.oldest_pass, fact.reason) == (Result.PASS, 0, "")
    assert fact.sealers == ("signed.test", "plain.test", "signed.test")
    assert arcverify(message, resolver) == PASSED
    assert peer.symbol(message) == "ARC_ALLOW"


async def test_a_chain_that_we_found_broken(resolver: str, peer: Rspamd) -> None:
    message = (await sealed(MESSAGE, resolver)).replace(b"How", b"Who")
    message = await sealed(message, resolver)
    assert b"cv=fail" in message
    assert arcverify(message, resolver).startswith("cv=None")
    assert peer.symbol(message) in {"ARC_REJECT", "ARC_INVALID"}
