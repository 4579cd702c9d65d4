"""ARC sets of forwarded mail."""

from __future__ import annotations

import pytest

from inbox.authentication.arc.validate import validate
from inbox.hosting.keys.sealing import ArcSealing
from inbox.mail.content import MemoryContent
from inbox.plugin.api.facts import ArcFact, Facts, Result
from inbox.plugin.api.signing import SigningKey
from inbox.plugin.api.standins import MemoryResolver, MemorySigningKeys
from inbox.plugin.api.testing import FakeClock, run_in_thread
from tests.support.arc import MESSAGE, Forwarder, passed_on, record
from tests.support.rsa_keys import rsa_key


@pytest.fixture
def dns() -> MemoryResolver:
    made = MemoryResolver()
    made.txt_records["arc._domainkey.acme.test"] = [record(rsa_key())]
    return made


def sealing(*keys: SigningKey) -> ArcSealing:
    class Keys(MemorySigningKeys):
        async def keys(self, tenant: str, domain: str) -> tuple[SigningKey, ...]:
            return keys if (tenant, domain) == ("o1", "acme.test") else ()

    return ArcSealing(Keys(), run_in_thread, FakeClock())


OURS = SigningKey("acme.test", "arc", rsa_key())


async def sealed(message: bytes, *facts: object, by: ArcSealing | None = None) -> bytes:
    found = Facts()
    for fact in facts:
        found.put(fact)
    content = MemoryContent(message)
    return await (by or sealing(OURS)).seal(content, "mx.test; spf=pass", "o1", "acme.test", found)


async def test_a_message_without_a_chain(dns: MemoryResolver) -> None:
    made = await sealed(MESSAGE)
    fact = await validate(MemoryContent(made + MESSAGE), dns, now=FakeClock().now())
    assert (fact.result, len(fact.sets)) == (Result.PASS, 1)


async def test_a_chain_is_continued(dns: MemoryResolver) -> None:
    message = await passed_on(MESSAGE, 2, dns)
    chain = await validate(MemoryContent(message), dns, now=FakeClock().now())
    assert chain.result is Result.PASS
    made = await sealed(message, chain)
    fact = await validate(MemoryContent(made + message), dns, now=FakeClock().now())
    assert (fact.result, len(fact.sets)) == (Result.PASS, 3)


async def test_nothing_is_added_past_cv_fail(dns: MemoryResolver) -> None:
    broken = (await passed_on(MESSAGE, 1, dns)).replace(b"How are you?", b"Who are you?")
    chain = await validate(MemoryContent(broken), dns, now=FakeClock().now())
    assert chain.result is Result.FAIL
    last = await sealed(broken, chain)
    assert b"cv=fail" in last
    ended = last + broken
    assert await sealed(ended, await validate(MemoryContent(ended), dns, now=FakeClock().now())) == b""


async def test_a_chain_that_nothing_validated_is_left_alone(dns: MemoryResolver) -> None:
    message = await Forwarder(dns, "hop.example").pass_on(MESSAGE)
    assert await sealed(message) == b""
    assert await sealed(message, ArcFact(Result.NONE)) != b""


async def test_without_an_rsa_key_there_is_no_set() -> None:
    assert await sealed(MESSAGE, by=sealing()) == b""
