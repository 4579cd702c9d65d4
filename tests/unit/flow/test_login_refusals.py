"""Logging in: who comes in, who does not, and what a failure costs."""

from __future__ import annotations

from dataclasses import replace
from ipaddress import ip_address
from typing import Any

import pytest

from inbox.base.errors import AuthenticationFailed, StoreUnavailable
from inbox.flow.login import FAILURE_DELAY, PasswordLogin
from inbox.mail.tenancy import Account, HostedDomain, Tenant
from inbox.plugin.api.context import Door, Identity, Session
from inbox.plugin.api.testing import FakeClock, MemoryLog
from inbox.policy.verdicts import Accept, Defer, Reject, Verdict
from inbox.store.ports.credentials import password_mark
from inbox.store.ports.rates import Counted

ACME, UMBRA = Tenant("o1", "acme"), Tenant("o2", "umbra")
ANN = Account("a1", ACME.id, "ann@acme.test", "hash of secret")
PASSWORD = "secret"


class World:
    """A login over one account, with everything else in memory; it is every one of its neighbours at once."""

    def __init__(self) -> None:
        self.clock, self.log = FakeClock(), MemoryLog()
        self.account = ANN
        self.hosted: HostedDomain | None = HostedDomain(ACME, "acme.test")
        self.verdict: Verdict = Accept()
        self.checked: list[str | None] = []
        self.judged: list[Identity] = []
        self.slept: list[float] = []
        self.counts: dict[tuple[str, float], int] = {}
        self.counting_fails = False
        parts: Any = self
        self.door = PasswordLogin(
            parts, self, parts, parts, self, self.clock, self.log, self.sleep, credentials=parts, secret=b"key"
        )

    async def by_address(self, address: str) -> Account | None:
        return self.account if address == self.account.address else None

    async def domain(self, fqdn: str) -> HostedDomain | None:
        return self.hosted if fqdn == "acme.test" else None

    async def verify(self, stored: str | None, password: str) -> bool:
        self.checked.append(stored)
        return stored is not None and password == PASSWORD

    async def scram(self, password: str) -> str:
        return "verifier"

    async def set_scram(self, tenant: str, account: str, scram: str, password_hash: str) -> None:
        self.account = replace(self.account, scram=scram)

    async def judge(self, session: Session, identity: Identity, domain: HostedDomain) -> Verdict:
        self.judged.append(identity)
        return self.verdict

    async def hit(self, key: str, window: float, now: float, amount: int = 1) -> Counted:
        if self.counting_fails and amount:
            raise StoreUnavailable("gone")
        ends = (now // window + 1) * window
        self.counts[key, ends] = self.counts.get((key, ends), 0) + amount
        return Counted(self.counts[key, ends], ends)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    async def login(self, address: str = ANN.address, password: str = PASSWORD, peer: str = "192.0.2.7") -> Identity:
        return await self.door.login(Session("s", Door.IMAP, ip_address(peer)), address, password)

    async def refused(self, address: str = ANN.address, password: str = PASSWORD, peer: str = "192.0.2.7") -> str:
        """The reason, from the log: the client gets none."""
        with pytest.raises(AuthenticationFailed) as caught:
            await self.login(address, password, peer)
        assert (caught.value.code, caught.value.text) == (535, "Authentication failed")
        return str(self.log.named("login_failed")[-1]["why"])


@pytest.fixture
def here() -> World:
    return World()


async def test_the_right_password_tells_who_it_is(here: World) -> None:
    assert await here.login("Ann@ACME.test") == Identity(
        "ann@acme.test", "a1", "o1", "acme", password_mark(ANN.password_hash)
    )
    assert here.slept == []
    assert [entry["address"] for entry in here.log.named("login")] == ["ann@acme.test"]


@pytest.mark.parametrize(
    ("address", "password"), [("ann@acme.test", "wrong"), ("bob@acme.test", PASSWORD), ("no address", PASSWORD)]
)
async def test_a_wrong_half_costs_the_same_as_the_other(here: World, address: str, password: str) -> None:
    assert await here.refused(address, password) == "wrong address or password"
    assert here.slept == [FAILURE_DELAY]
    assert len(here.checked) == 1  # a hash is computed for an address that nobody has, too
    assert here.judged == []


async def test_a_disabled_account_does_not_come_in(here: World) -> None:
    here.account = replace(ANN, is_active=False)
    assert await here.refused() == "the account is disabled"


@pytest.mark.parametrize("hosted", [None, HostedDomain(UMBRA, "acme.test")])
async def test_a_domain_that_went_away_or_to_another_tenant(here: World, hosted: HostedDomain | None) -> None:
    here.hosted = hosted
    assert await here.refused() == "the account's domain is no longer hosted"


@pytest.mark.parametrize("verdict", [Reject(text="not from there"), Defer(text="not now")])
async def test_the_auth_hooks_have_the_last_word(here: World, verdict: Verdict) -> None:
    here.verdict = verdict
    assert (await here.refused()).startswith("refused by policy: ")
    assert [identity.address for identity in here.judged] == ["ann@acme.test"]


async def test_a_failure_that_cannot_be_counted_still_refuses_and_costs(here: World) -> None:
    here.counting_fails = True
    assert await here.refused(password="wrong") == "wrong address or password"
    assert here.slept == [FAILURE_DELAY]
    assert here.log.errors == ["login_not_counted"] * 2


async def test_a_database_that_is_gone_is_no_wrong_password(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    async def gone(address: str) -> Account | None:
        raise StoreUnavailable("gone")

    monkeypatch.setattr(here, "by_address", gone)
    with pytest.raises(StoreUnavailable):
        await here.login()
    assert here.log.named("login_failed") == []
