"""Logging in with an app password, SCRAM or an access token; and the end of sessions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from ipaddress import ip_address
from pathlib import Path

import pytest

from inbox.base.errors import AuthenticationFailed, StoreUnavailable
from inbox.base.ids import RandomIds
from inbox.flow import login as module
from inbox.flow.dismissal import CHANGED, DISABLED, Dismissal
from inbox.flow.failed_logins import FAILURES_PER_PEER
from inbox.flow.login import PasswordLogin
from inbox.identity.app_passwords import Presented, generate
from inbox.identity.passwords import Passwords
from inbox.mail.tenancy import HostedDomain
from inbox.plugin.api.context import Door, Identity, Session
from inbox.plugin.api.testing import FakeClock, MemoryLog
from inbox.policy.verdicts import Accept, Verdict
from inbox.store.ports import AppPassword
from inbox.store.ports.credentials import app_password_mark, password_mark
from inbox.store.ports.hosting import Scope
from inbox.store.sqlite import SqliteDatabase
from tests.unit.identity.test_scram import answer

ANN, PASSWORD = "ann@acme.test", "correct horse"


class Tokens:
    """Accepts one token; stalls or fails on request."""

    def __init__(self) -> None:
        self.stalls = self.down = False

    async def verify(self, token: str) -> str | None:
        if self.stalls:
            await asyncio.Event().wait()
        if self.down:
            raise StoreUnavailable("down")
        return ANN if token == "anns-token" else None


class World:
    """Ann of acme with her password, over a real database."""

    def __init__(self, db: SqliteDatabase, clock: FakeClock, passwords: Passwords) -> None:
        self.db, self.clock, self.passwords, self.log = db, clock, passwords, MemoryLog()
        self.tokens = Tokens()
        self.slept: list[float] = []
        self.dismissal = Dismissal(db.hosting, db.credentials)
        self.login = self.made(self.tokens)

    def made(self, tokens: Tokens | None) -> PasswordLogin:
        return PasswordLogin(
            self.db.accounts, self.db.tenants, self.db.rates, self.passwords, self, self.clock, self.log, self.sleep,
            credentials=self.db.credentials, secret=b"key", tokens=tokens,
        )  # fmt: skip

    async def fill(self) -> None:
        self.tenant = await self.db.tenants.add("acme")
        await self.db.tenants.add_domain(self.tenant.id, "acme.test")
        stored = await self.passwords.hash(PASSWORD)
        self.account = await self.db.accounts.add(self.tenant.id, ANN, stored)

    async def judge(self, session: Session, identity: Identity, domain: HostedDomain) -> Verdict:
        return Accept()

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)

    async def app(self, *protocols: str) -> Presented:
        new = generate()
        stored = await self.passwords.hash(new.text)
        kept = AppPassword(new.id, "Phone", protocols or ("imap", "smtp"), stored, 1.0)  # type: ignore[arg-type]
        await self.db.credentials.add_app_password(self.tenant.id, self.account.id, kept)
        return new

    async def used(self, app: Presented) -> float | None:
        found = await self.db.credentials.app_password(self.tenant.id, self.account.id, app.id)
        assert found is not None
        return found.last_used_at

    async def scram(self, password: str, user: str = ANN) -> Identity:
        first = f"n,,n={user},r=abc".encode()
        exchange = self.login.scram(session())
        identity, final = await exchange.finish(answer(await exchange.challenge(first), first, password))
        assert final.startswith(b"v=")
        return identity


def session(door: Door = Door.IMAP) -> Session:
    return Session("s", door, ip_address("192.0.2.1"))


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[World]:
    clock, passwords = FakeClock(), None
    db = SqliteDatabase(tmp_path / "inbox.db", clock, RandomIds(clock.now))
    passwords = Passwords(clock, threads=1)
    await db.open()
    made = World(db, clock, passwords)
    await made.fill()
    yield made
    await db.close()
    passwords.close()


# -- app passwords


async def test_an_app_password_opens_its_protocols_only(here: World) -> None:
    app = await here.app("smtp")
    identity = await here.login.login(session(Door.SUBMISSION), ANN, app.shown)
    assert (identity.account, identity.credential) == (here.account.id, app_password_mark(app.id))
    with pytest.raises(AuthenticationFailed):
        await here.login.login(session(Door.IMAP), ANN, app.shown)
    assert "not for imap" in here.log.named("login_failed")[0]["why"]
    (event,) = here.log.named("login")
    assert event["app_password"] == app.id
    assert app.text not in str(here.log.events)


async def test_a_wrong_or_revoked_app_password_fails(here: World) -> None:
    app = await here.app()
    wrong = app.shown[:-1] + ("a" if app.shown[-1] != "a" else "b")
    with pytest.raises(AuthenticationFailed):
        await here.login.login(session(), ANN, wrong)
    await here.login.login(session(), ANN, app.shown)
    await here.db.credentials.revoke_app_password(here.tenant.id, here.account.id, app.id)
    with pytest.raises(AuthenticationFailed):
        await here.login.login(session(), ANN, app.shown)
    await here.login.login(session(), ANN, PASSWORD)


async def test_an_app_password_is_its_accounts_only(here: World) -> None:
    app = await here.app()
    await here.db.accounts.add(here.tenant.id, "bob@acme.test", await here.passwords.hash("bobs password"))
    with pytest.raises(AuthenticationFailed):
        await here.login.login(session(), "bob@acme.test", app.shown)


async def test_the_last_use_is_written_once_an_hour(here: World) -> None:
    app = await here.app()
    writes = []
    original = here.db.credentials.used_app_password

    async def counted(*arguments: object) -> None:
        writes.append(arguments)
        await original(*arguments)  # type: ignore[arg-type]

    here.db.credentials.used_app_password = counted  # type: ignore[method-assign,assignment]
    began = here.clock.now()
    for _ in range(5):
        await here.login.login(session(), ANN, app.shown)
    assert len(writes) == 1
    assert await here.used(app) == began
    here.clock.advance(3600)
    await here.login.login(session(), ANN, app.shown)
    assert len(writes) == 2
    assert await here.used(app) == began + 3600


async def test_a_use_that_cannot_be_written_does_not_refuse_the_user(here: World) -> None:
    app = await here.app()

    async def full(*_: object) -> None:
        raise StoreUnavailable("read-only")

    here.db.credentials.used_app_password = full  # type: ignore[method-assign,assignment]
    assert (await here.login.login(session(), ANN, app.shown)).account == here.account.id
    assert here.log.named("app_password_use_not_recorded")


async def test_a_password_of_the_same_form_is_still_a_password(here: World) -> None:
    similar = generate().shown
    await here.db.accounts.set_password(here.tenant.id, ANN, await here.passwords.hash(similar))
    await here.login.login(session(), ANN, similar)


async def test_nobody_logs_in_to_a_shared_inbox(here: World) -> None:
    await here.db.shared_inboxes.add(here.tenant.id, "support@acme.test", "Support")
    for password in ("", PASSWORD):
        with pytest.raises(AuthenticationFailed):
            await here.login.login(session(), "support@acme.test", password)
    with pytest.raises(AuthenticationFailed):
        await here.scram("", "support@acme.test")


# -- SCRAM


async def test_scram_after_a_login_with_the_password(here: World) -> None:
    with pytest.raises(AuthenticationFailed):
        await here.scram(PASSWORD)  # The account has no verifier yet.
    await here.login.login(session(), ANN, PASSWORD)
    identity = await here.scram(PASSWORD)
    assert (identity.account, identity.credential) == (here.account.id, password_mark(here.account.password_hash))
    with pytest.raises(AuthenticationFailed):
        await here.scram("another")


async def test_an_earlier_password_does_not_open_with_scram(here: World) -> None:
    await here.login.login(session(), ANN, PASSWORD)
    await here.db.accounts.set_password(here.tenant.id, ANN, await here.passwords.hash("a new password"))
    with pytest.raises(AuthenticationFailed):
        await here.scram(PASSWORD)


async def test_a_password_that_changes_during_the_exchange(here: World) -> None:
    await here.login.login(session(), ANN, PASSWORD)
    first = f"n,,n={ANN},r=abc".encode()
    exchange = here.login.scram(session())
    final = answer(await exchange.challenge(first), first, PASSWORD)
    await here.db.accounts.set_password(here.tenant.id, ANN, await here.passwords.hash("a new password"))
    with pytest.raises(AuthenticationFailed):
        await exchange.finish(final)


async def test_an_unknown_user_looks_like_a_known_one(here: World) -> None:
    await here.login.login(session(), ANN, PASSWORD)

    async def challenge(user: str) -> tuple[str, ...]:
        found = (await here.login.scram(session()).challenge(f"n,,n={user},r=abc".encode())).decode()
        return tuple(each.partition("=")[2] for each in found.split(",")[1:])

    nobody = await challenge("nobody@acme.test")
    assert nobody == await challenge("nobody@acme.test") == await challenge("NOBODY@acme.test")
    ann = await challenge(ANN)
    assert (len(nobody[0]), nobody[1]) == (len(ann[0]), ann[1])
    with pytest.raises(AuthenticationFailed):
        await here.scram(PASSWORD, "nobody@acme.test")


async def test_a_challenge_has_one_answer(here: World) -> None:
    await here.login.login(session(), ANN, PASSWORD)
    first = f"n,,n={ANN},r=abc".encode()
    exchange = here.login.scram(session())
    final = answer(await exchange.challenge(first), first, "wrong")
    with pytest.raises(AuthenticationFailed):
        await exchange.finish(final)
    with pytest.raises(RuntimeError):
        await exchange.finish(final)
    with pytest.raises(AuthenticationFailed):
        await here.login.scram(session()).challenge(b"nonsense")


# -- access tokens


async def test_tokens_are_refused_unless_a_verifier_is_configured(here: World) -> None:
    without = here.made(None)
    assert not without.accepts_tokens
    with pytest.raises(AuthenticationFailed):
        await without.bearer(session(), ANN, "anns-token")


async def test_a_token_opens_its_own_account(here: World) -> None:
    assert here.login.accepts_tokens
    for address in (ANN, ANN.upper(), ""):
        assert (await here.login.bearer(session(), address, "anns-token")).account == here.account.id
    for address, token in (("bob@acme.test", "anns-token"), (ANN, "wrong"), ("", "")):
        with pytest.raises(AuthenticationFailed):
            await here.login.bearer(session(), address, token)


async def test_a_verifier_that_stalls_or_fails(here: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "TOKEN_SECONDS", 0.0)
    here.tokens.stalls = True
    with pytest.raises(StoreUnavailable):
        await here.login.bearer(session(), ANN, "anns-token")
    here.tokens.stalls, here.tokens.down = False, True
    with pytest.raises(StoreUnavailable):
        await here.login.bearer(session(), ANN, "anns-token")


# -- guessing


@pytest.mark.parametrize("way", ["password", "app", "scram", "token"])
async def test_every_way_counts_failures_in_the_same_counters(here: World, way: str) -> None:
    await here.login.login(session(), ANN, PASSWORD)
    app = await here.app("smtp")

    async def fail() -> None:
        match way:
            case "password":
                await here.login.login(session(), ANN, "wrong")
            case "app":
                await here.login.login(session(), ANN, app.shown)
            case "scram":
                await here.scram("wrong")
            case _:
                await here.login.bearer(session(), ANN, "wrong")

    for _ in range(FAILURES_PER_PEER):
        with pytest.raises(AuthenticationFailed):
            await fail()
    for right in (
        here.login.login(session(), ANN, PASSWORD),
        here.scram(PASSWORD),
        here.login.bearer(session(), ANN, "anns-token"),
    ):
        with pytest.raises(AuthenticationFailed):
            await right
    assert "too many failures" in here.log.named("login_failed")[-1]["why"]
    assert len(here.slept) == FAILURES_PER_PEER + 3


# -- the end of sessions


async def test_sessions_end_when_what_opened_them_is_no_longer_valid(here: World) -> None:
    app, other = await here.app(), await here.app()
    await here.login.login(session(), ANN, PASSWORD)
    by_password = await here.login.login(session(), ANN, PASSWORD)
    by_scram = await here.scram(PASSWORD)
    by_app = await here.login.login(session(), ANN, app.shown)
    by_other = await here.login.login(session(), ANN, other.shown)
    by_token = await here.login.bearer(session(), ANN, "anns-token")
    everybody = [by_password, by_scram, by_app, by_other, by_token]
    assert await here.dismissal.ended(everybody) == {}
    await here.db.credentials.revoke_app_password(here.tenant.id, here.account.id, app.id)
    assert await here.dismissal.ended(everybody) == {by_app: CHANGED}
    await here.db.accounts.set_password(here.tenant.id, ANN, "another hash")
    assert set(await here.dismissal.ended(everybody)) == {by_password, by_scram, by_app}
    await here.db.hosting.set_active(Scope(here.tenant.id, account=ANN), False)
    assert await here.dismissal.ended(everybody) == dict.fromkeys(everybody, DISABLED)
    assert await here.dismissal.ended([]) == {}
    assert replace(by_token, credential="") == by_token
