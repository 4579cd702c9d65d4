"""Logging in, and guessing of passwords."""

from __future__ import annotations

import asyncio
from collections import Counter
from ipaddress import ip_address
from typing import Any

import pytest

from inbox.base.errors import AuthenticationFailed, StoreUnavailable
from inbox.base.metrics import rendered
from inbox.flow.login import FAILURES_PER_ACCOUNT, FAILURES_PER_PEER, WINDOW_SECONDS, PasswordLogin
from inbox.mail.tenancy import Account, DomainOverrides, HostedDomain, Tenant
from inbox.plugin.api.context import Door, Identity, Session
from inbox.plugin.api.services import Counted
from inbox.plugin.api.testing import FakeClock, MemoryLog
from inbox.policy.verdicts import Accept, Reject, Verdict

ADDRESS = "ann@demo.test"
RIGHT = "correct horse"
HOME, ELSEWHERE = "192.0.2.1", "198.51.100.1"


class Rates:
    def __init__(self) -> None:
        self.counts: Counter[tuple[str, float]] = Counter()
        self.down = False

    async def hit(self, key: str, window: float, now: float, amount: int = 1) -> Counted:
        if self.down:
            raise StoreUnavailable("down")
        await asyncio.sleep(0)
        self.counts[key, now // window] += amount
        return Counted(self.counts[key, now // window], (now // window + 1) * window)

    async def prune(self, now: float) -> int:
        raise NotImplementedError


class SlowPasswords:
    """Remembers how many checks there were, and how many at once."""

    def __init__(self) -> None:
        self.checks = self.running = self.most = 0

    async def scram(self, password: str) -> str:
        return f"verifier of {password}"

    async def verify(self, stored: str | None, password: str) -> bool:
        self.checks += 1
        self.running += 1
        self.most = max(self.most, self.running)
        for _ in range(5):
            await asyncio.sleep(0)
        self.running -= 1
        return stored is not None and password == RIGHT


class NoCredentials:
    """No app passwords; keeps the verifiers that are set."""

    def __init__(self) -> None:
        self.verifiers: list[str] = []

    async def set_scram(self, tenant: str, account: str, scram: str, password_hash: str) -> None:
        self.verifiers.append(scram)


class World:
    def __init__(self) -> None:
        self.clock, self.rates, self.passwords, self.log = FakeClock(), Rates(), SlowPasswords(), MemoryLog()
        self.verdict: Verdict = Accept()
        self.domain_of = HostedDomain(Tenant("o", "demo"), "demo.test", DomainOverrides())
        self.slept: list[float] = []
        accounts: Any = self  # the methods of each port that a login calls
        rates: Any = self.rates
        passwords: Any = self.passwords
        self.credentials = NoCredentials()
        credentials: Any = self.credentials
        self.login = PasswordLogin(
            accounts, self, rates, passwords, self, self.clock, self.log, self.sleep,
            credentials=credentials, secret=b"key",
        )  # fmt: skip

    async def by_address(self, address: str) -> Account | None:
        return Account("a", "o", ADDRESS, "hash", True) if address == ADDRESS else None

    async def domain(self, fqdn: str) -> HostedDomain | None:
        return self.domain_of if fqdn == "demo.test" else None

    async def judge(self, session: Session, identity: Identity, domain: HostedDomain) -> Verdict:
        return self.verdict

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    async def attempt(self, password: str, peer: str = HOME, address: str = ADDRESS) -> bool:
        session = Session("s", Door.IMAP, ip_address(peer))
        try:
            await self.login.login(session, address, password)
        except AuthenticationFailed:
            return False
        return True


def strangers(number: int) -> list[str]:
    return [f"203.0.113.{last}" for last in range(1, number + 1)]


async def test_the_right_password() -> None:
    here = World()
    assert await here.attempt(RIGHT)
    assert not here.slept
    here.verdict = Reject()
    assert not await here.attempt(RIGHT)
    assert here.slept == [1.0]


async def test_logins_are_counted_by_door_and_result() -> None:
    here = World()
    await here.attempt(RIGHT)
    for _ in range(2):
        await here.attempt("wrong")
    lines = rendered(here.login.meters.families()).splitlines()
    assert [line for line in lines if line.startswith("inbox_logins_total")] == [
        'inbox_logins_total{door="imap",result="succeeded"} 1',
        'inbox_logins_total{door="imap",result="failed"} 2',
    ]


async def test_a_peer_that_fails_often_is_refused_without_a_look_at_the_password() -> None:
    here = World()
    for number in range(FAILURES_PER_PEER):
        assert not await here.attempt("wrong", address=f"user{number}@demo.test")
    assert not await here.attempt(RIGHT)
    assert here.passwords.checks == FAILURES_PER_PEER
    assert await here.attempt(RIGHT, ELSEWHERE)
    here.clock.advance(WINDOW_SECONDS)
    assert await here.attempt(RIGHT)


async def test_many_connections_guess_no_faster_than_one() -> None:
    here = World()
    assert not any(await asyncio.gather(*(here.attempt("wrong") for _ in range(200))))
    assert here.passwords.checks == FAILURES_PER_PEER
    assert here.passwords.most == 1, "a flood from one peer takes one place in the queue for a hash"


async def test_an_ipv6_network_is_one_peer() -> None:
    here = World()
    for number in range(FAILURES_PER_PEER):
        await here.attempt("wrong", f"2001:db8::{number:x}", f"user{number}@demo.test")
    assert not await here.attempt(RIGHT, "2001:db8::ffff")
    assert await here.attempt(RIGHT, "2001:db8:0:1::1")


async def test_an_account_that_many_guess_at_is_closed_to_strangers() -> None:
    here = World()
    for peer in strangers(FAILURES_PER_ACCOUNT):
        assert not await here.attempt("wrong", peer)
    assert not await here.attempt(RIGHT, ELSEWHERE)
    assert here.passwords.checks == FAILURES_PER_ACCOUNT


async def test_guessing_passwords_does_not_lock_the_owner_out() -> None:
    here = World()
    assert await here.attempt(RIGHT, HOME)
    for peer in strangers(FAILURES_PER_ACCOUNT + 5):
        assert not await here.attempt("wrong", peer)
    assert not await here.attempt(RIGHT, ELSEWHERE)
    assert await here.attempt(RIGHT, HOME)


async def test_a_known_peer_has_its_own_limit_nevertheless() -> None:
    here = World()
    assert await here.attempt(RIGHT, HOME)
    for _ in range(FAILURES_PER_PEER):
        await here.attempt("wrong", HOME)
    assert not await here.attempt(RIGHT, HOME)


async def test_no_counters_no_login() -> None:
    here = World()
    here.rates.down = True
    with pytest.raises(StoreUnavailable):
        await here.attempt(RIGHT)


@pytest.mark.parametrize("address", ["ann", "", "ann@demo.test\0", "ann@@demo.test", "nobody@demo.test"])
async def test_an_unknown_account_takes_as_long_as_a_wrong_password(address: str) -> None:
    here = World()
    assert not await here.attempt(RIGHT, address=address)
    assert here.passwords.checks == 1
    assert here.slept == [1.0]


async def test_the_log_names_connection_account_and_tenant() -> None:
    here = World()
    await here.attempt(RIGHT)
    here.verdict = Reject()
    await here.attempt(RIGHT)
    await here.attempt("wrong")
    told = [(event, fields["id"], fields["address"], fields["tenant"]) for _, event, fields in here.log.events]
    session, address = told[0][1], told[0][2]
    # The owner of a wrong password is unknown.
    assert told == [
        ("login", session, address, told[0][3]),
        ("login_failed", session, address, told[0][3]),
        ("login_failed", session, address, ""),
    ]
    assert session and told[0][3]


async def test_no_password_is_ever_logged() -> None:
    here = World()
    secrets: list[Any] = ["hunter2hunter2", RIGHT]
    for secret in secrets:
        await here.attempt(secret)
        await here.attempt(secret, address=secret)
    assert not any(secret in str(here.log.events) for secret in secrets)
