"""Hashing and checking passwords."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from inbox.base.errors import ConfigError
from inbox.identity.passwords import REMEMBERED_SECONDS, Passwords
from inbox.plugin.api.testing import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def passwords(clock: FakeClock) -> Iterator[Passwords]:
    passwords = Passwords(clock)
    yield passwords
    passwords.close()


async def test_the_right_password_is_right_and_others_are_not(passwords: Passwords) -> None:
    stored = await passwords.hash("correct horse")
    assert stored.startswith("$argon2id$")
    assert await passwords.verify(stored, "correct horse")
    assert not await passwords.verify(stored, "correct horsf")
    assert not await passwords.verify(stored, "")


@pytest.mark.costly
async def test_the_parameters_are_those_of_owasp(passwords: Passwords) -> None:
    assert "$m=19456,t=2,p=1$" in await passwords.hash("correct horse")


async def test_two_hashes_of_one_password_differ(passwords: Passwords) -> None:
    assert await passwords.hash("correct horse") != await passwords.hash("correct horse")


async def test_an_unknown_account_matches_no_password(passwords: Passwords) -> None:
    assert not await passwords.verify(None, "correct horse")
    assert not await passwords.verify("", "correct horse")


async def test_a_broken_hash_matches_nothing(passwords: Passwords) -> None:
    assert not await passwords.verify("$argon2id$rubbish", "correct horse")


async def test_success_is_remembered_for_a_while_and_only_for_that_hash(
    passwords: Passwords, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = await passwords.hash("correct horse")
    assert await passwords.verify(stored, "correct horse")
    hashed: list[str | None] = []

    def refusing(hash_: str | None, _password: str) -> bool:
        hashed.append(hash_)
        return False

    monkeypatch.setattr(passwords, "_check", refusing)
    assert await passwords.verify(stored, "correct horse")
    assert not await passwords.verify("$another$", "correct horse")
    assert not await passwords.verify(stored, "another")
    clock.advance(REMEMBERED_SECONDS + 1)
    assert not await passwords.verify(stored, "correct horse")
    assert hashed == ["$another$", stored, stored]


async def test_too_short_and_too_long(passwords: Passwords) -> None:
    with pytest.raises(ConfigError):
        await passwords.hash("seven77")
    with pytest.raises(ConfigError):
        await passwords.hash("x" * 1025)
    assert not await passwords.verify(await passwords.hash("correct horse"), "x" * 1_000_000)


async def test_surrogates_are_replaced(passwords: Passwords) -> None:
    assert not await passwords.verify(await passwords.hash("correct horse"), "\udc80")
