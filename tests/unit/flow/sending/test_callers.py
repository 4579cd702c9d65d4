"""Callers of the API: keys, app passwords, and guessing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from inbox.flow.failed_logins import FAILURES_PER_PEER
from inbox.flow.sending import callers
from inbox.flow.sending.callers import Callers
from inbox.flow.sending.errors import Kind, RequestRefused
from inbox.identity import app_passwords
from inbox.identity.api_keys import PresentedKey, generate
from inbox.identity.passwords import Passwords
from inbox.plugin.api.testing import FakeClock, MemoryLog
from inbox.store.ports import AppPassword, Scope
from tests.support.api import new_key, new_session
from tests.support.flow import World, world


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        yield made


class Waits:
    def __init__(self) -> None:
        self.seconds: list[float] = []

    async def __call__(self, seconds: float) -> None:
        self.seconds.append(seconds)


@pytest.fixture
def waits() -> Waits:
    return Waits()


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def tested(here: World, clock: FakeClock, waits: Waits) -> Callers:
    database = here.installation.database
    login = here.parts.login
    login._sleep = waits
    return Callers(database.api_keys, database.tenants, login, database.rates, clock, MemoryLog(), waits)


async def refusal(tested: Callers, here: World, text: str, peer: str = "192.0.2.7") -> tuple[Kind, str]:
    with pytest.raises(RequestRefused) as error:
        await tested.by_key(new_session(here, peer), text)
    return error.value.kind, error.value.code_name


async def test_a_key_names_its_tenant(here: World, tested: Callers) -> None:
    key = await new_key(here, "umbra")
    caller = await tested.by_key(new_session(here), key.shown)
    assert (caller.tenant, caller.tenant_name) == (await here.tenant("umbra"), "umbra")
    assert key.secret not in repr(caller)
    caller.check("send")
    with pytest.raises(RequestRefused) as error:
        caller.check("queue")
    assert error.value.kind is Kind.FORBIDDEN


async def test_an_unknown_key_and_a_wrong_secret_look_the_same(here: World, tested: Callers, waits: Waits) -> None:
    key = await new_key(here)
    wrong = (Kind.UNAUTHENTICATED, "not_authenticated")
    for text in (generate().shown, PresentedKey(key.id, generate().secret).shown, "", "x", key.shown + "x"):
        assert await refusal(tested, here, text) == wrong
    assert waits.seconds == [1.0] * 5


async def test_who_guesses_is_refused_without_a_look_up(
    here: World, tested: Callers, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    key = await new_key(here)
    for _ in range(FAILURES_PER_PEER):
        assert (await refusal(tested, here, generate().shown))[0] is Kind.UNAUTHENTICATED
    assert await refusal(tested, here, generate().shown) == (Kind.LIMITED, "too_many_failures")

    async def looked_up(_: str) -> None:
        raise AssertionError("the key was looked up")

    monkeypatch.setattr(here.installation.database.api_keys, "find", looked_up)
    assert await refusal(tested, here, generate().shown) == (Kind.LIMITED, "too_many_failures")
    monkeypatch.undo()
    assert await tested.by_key(new_session(here, "198.51.100.1"), key.shown), "other networks are not limited"
    clock.advance(callers.KEPT_SECONDS + 1)
    assert await tested.by_key(new_session(here), key.shown), "nobody guesses a key, so a valid one is not refused"


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"expires_at": 1.0}, (Kind.UNAUTHENTICATED, "key_expired")),
        ({"networks": ("198.51.100.0/24",)}, (Kind.FORBIDDEN, "network_not_allowed")),
    ],
)
async def test_limits_of_a_key(here: World, tested: Callers, fields: Any, expected: Any) -> None:
    key = await new_key(here, **fields)
    assert await refusal(tested, here, key.shown) == expected


async def test_a_disabled_tenant_and_a_revoked_key(here: World, tested: Callers, clock: FakeClock) -> None:
    key = await new_key(here)
    await tested.by_key(new_session(here), key.shown)
    tenant, database = await here.tenant("acme"), here.installation.database
    await database.hosting.set_active(Scope(tenant), False)
    clock.advance(callers.KEPT_SECONDS + 1)
    assert await refusal(tested, here, key.shown) == (Kind.FORBIDDEN, "tenant_disabled")
    await database.api_keys.revoke(tenant, key.id)
    clock.advance(callers.KEPT_SECONDS + 1)
    assert (await refusal(tested, here, key.shown))[0] is Kind.UNAUTHENTICATED


async def test_a_use_is_written_once_in_an_hour(
    here: World, tested: Callers, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, written = await new_key(here), []
    keys = here.installation.database.api_keys
    used = keys.used

    async def counted(tenant: str, which: str, at: float, peer: str) -> None:
        written.append(peer)
        await used(tenant, which, at, peer)

    monkeypatch.setattr(keys, "used", counted)
    for _ in range(3):
        await tested.by_key(new_session(here), key.shown)
        clock.advance(60)
    assert written == ["192.0.2.7"]
    clock.advance(3600)
    await tested.by_key(new_session(here), key.shown)
    assert len(written) == 2
    found = await keys.find(key.id)
    assert found is not None
    assert found.last_used_peer == "192.0.2.7"


async def test_a_key_is_read_once_in_five_seconds(
    here: World, tested: Callers, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    key, read = await new_key(here), []
    keys = here.installation.database.api_keys
    find = keys.find

    async def counted(which: str) -> Any:
        read.append(which)
        return await find(which)

    monkeypatch.setattr(keys, "find", counted)
    for _ in range(3):
        await tested.by_key(new_session(here), key.shown)
    assert read == [key.id]
    clock.advance(callers.KEPT_SECONDS + 1)
    await tested.by_key(new_session(here), key.shown)
    assert len(read) == 2


async def with_app_password(here: World, clock: FakeClock, *protocols: Any) -> str:
    passwords = Passwords(clock)
    new = app_passwords.generate()
    identity = await here.identity("ann@acme.test")
    stored = AppPassword(new.id, "a script", protocols, await passwords.hash(new.text))
    await here.installation.database.credentials.add_app_password(identity.tenant, identity.account, stored)
    passwords.close()
    return new.shown


async def test_an_app_password_for_api_names_its_account(here: World, tested: Callers, clock: FakeClock) -> None:
    password = await with_app_password(here, clock, "api")
    caller = await tested.by_app_password(new_session(here), "ann@acme.test", password)
    assert caller.user is not None
    assert (caller.tenant_name, caller.user.address) == ("acme", "ann@acme.test")
    caller.check("send")


async def test_other_passwords_are_refused(here: World, tested: Callers, clock: FakeClock, waits: Waits) -> None:
    imap = await with_app_password(here, clock, "imap", "smtp")
    given = [("ann@acme.test", imap), ("eve@umbra.test", imap), ("ann@acme.test", "correct horse"), ("", "")]
    for address, password in given:
        with pytest.raises(RequestRefused) as error:
            await tested.by_app_password(new_session(here), address, password)
        assert (error.value.kind, error.value.code_name) == (Kind.UNAUTHENTICATED, "not_authenticated")
    assert waits.seconds == [1.0] * 4
