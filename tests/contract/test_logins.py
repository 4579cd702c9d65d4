"""Failed logins are counted for all processes and instances together."""

from __future__ import annotations

from ipaddress import ip_address
from typing import Any

from inbox.base.errors import AuthenticationFailed
from inbox.flow.login import FAILURES_PER_PEER, PasswordLogin
from inbox.identity.passwords import Passwords
from inbox.plugin.api.context import Door, Session
from inbox.plugin.api.testing import FakeClock, MemoryLog
from inbox.policy.verdicts import Accept
from inbox.store.ports import Database
from tests.support.store import Home, Opener


class NoHooks:
    async def judge(self, *_: object) -> Accept:
        return Accept()


class OnePassword:
    """Counts the checks; ``secret`` is right."""

    def __init__(self) -> None:
        self.checks = 0

    async def verify(self, stored: str | None, password: str) -> bool:
        self.checks += 1
        return stored is not None and password == "secret"

    async def scram(self, password: str) -> str | None:
        return None


async def at_once(_: float) -> None:
    return


def process(db: Database, clock: FakeClock, passwords: OnePassword) -> PasswordLogin:
    """The logins of one process."""
    made: Any = passwords
    typed: Passwords = made
    return PasswordLogin(
        db.accounts, db.tenants, db.rates, typed, NoHooks(), clock, MemoryLog(), at_once,
        credentials=db.credentials, secret=b"key",
    )  # fmt: skip


async def attempt(login: PasswordLogin, peer: str, address: str, password: str) -> bool:
    session = Session("s", Door.SUBMISSION, ip_address(peer))
    try:
        await login.login(session, address, password)
    except AuthenticationFailed:
        return False
    return True


async def test_a_network_that_guesses_in_several_processes_is_refused_in_all(
    acme: Home, opener: Opener, clock: FakeClock
) -> None:
    passwords = OnePassword()
    first, second = (process(db, clock, passwords) for db in (acme.db, await opener()))
    for number in range(FAILURES_PER_PEER):
        login = (first, second)[number % 2]
        assert not await attempt(login, f"2001:db8::{number:x}", f"user{number}@acme.test", "guess")

    for login in (first, second):
        assert not await attempt(login, "2001:db8::ffff", "ann@acme.test", "secret")
        assert await attempt(login, "2001:db8:0:1::1", "ann@acme.test", "secret"), "another /64 network"
    assert passwords.checks == FAILURES_PER_PEER + 2, "no password of a refused network is checked"
