"""The port ``Credentials``."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from inbox.base.errors import AlreadyExists, LimitReached, NotFound
from inbox.store.ports import Database
from inbox.store.ports.credentials import APP_PASSWORDS, AppPassword, app_password_mark, password_mark
from tests.support.store import Home

PHONE = AppPassword("phone", "My phone", ("imap", "smtp"), "hash", 5.0)


async def test_an_app_password_is_kept_until_it_is_revoked(db: Database, acme: Home) -> None:
    books, account = db.credentials, acme.account.id
    await books.add_app_password(acme.tenant, account, PHONE)
    await books.add_app_password(acme.tenant, account, replace(PHONE, id="desk", created_at=4.0))
    assert await books.app_password(acme.tenant, account, "phone") == PHONE
    assert [one.id for one in await books.app_passwords(acme.tenant, account)] == ["desk", "phone"]
    await books.revoke_app_password(acme.tenant, account, "phone")
    assert await books.app_password(acme.tenant, account, "phone") is None
    with pytest.raises(NotFound):
        await books.revoke_app_password(acme.tenant, account, "phone")
    assert "hash" not in repr(PHONE)


async def test_an_id_is_given_once(db: Database, acme: Home) -> None:
    await db.credentials.add_app_password(acme.tenant, acme.account.id, PHONE)
    with pytest.raises(AlreadyExists):
        await db.credentials.add_app_password(acme.tenant, acme.account.id, replace(PHONE, password_hash="other"))
    assert await db.credentials.app_password(acme.tenant, acme.account.id, "phone") == PHONE


async def test_the_number_of_app_passwords_is_bounded(db: Database, acme: Home) -> None:
    new = [replace(PHONE, id=f"p{number}") for number in range(APP_PASSWORDS + 3)]
    done = await asyncio.gather(
        *(db.credentials.add_app_password(acme.tenant, acme.account.id, one) for one in new), return_exceptions=True
    )
    assert [type(one) for one in done if one is not None] == [LimitReached] * 3
    assert len(await db.credentials.app_passwords(acme.tenant, acme.account.id)) == APP_PASSWORDS


async def test_a_use_is_recorded_once_in_an_hour(db: Database, acme: Home) -> None:
    books, account = db.credentials, acme.account.id
    await books.add_app_password(acme.tenant, account, PHONE)
    uses = ((1000.0, "192.0.2.1"), (4599.0, "192.0.2.2"), (4600.0, "192.0.2.3"), (10.0, "192.0.2.4"))
    seen = []
    for at, peer in uses:
        await books.used_app_password(acme.tenant, account, "phone", at, peer)
        found = await books.app_password(acme.tenant, account, "phone")
        assert found is not None
        seen.append((found.last_used_at, found.last_used_peer))
    # The last one: a clock that was set back must not silence the record.
    assert seen == [(1000.0, "192.0.2.1"), (1000.0, "192.0.2.1"), (4600.0, "192.0.2.3"), (10.0, "192.0.2.4")]
    await books.used_app_password(acme.tenant, account, "unknown", 1.0, "192.0.2.1")
    assert len(await books.app_passwords(acme.tenant, account)) == 1


async def test_a_verifier_is_set_for_the_password_it_was_made_of(db: Database, acme: Home) -> None:
    address, stored = acme.account.address, acme.account.password_hash
    await db.credentials.set_scram(acme.tenant, acme.account.id, "late", "an earlier password")
    assert (await _scram(db, address)) is None
    await db.credentials.set_scram(acme.tenant, acme.account.id, "verifier", stored)
    assert (await _scram(db, address)) == "verifier"
    # With a new password the old verifier must be gone: it would let the old password in.
    await db.accounts.set_password(acme.tenant, address, "new")
    assert (await _scram(db, address)) is None
    await db.accounts.set_password(acme.tenant, address, "newer", "its verifier")
    assert (await _scram(db, address)) == "its verifier"
    made = await db.accounts.add(acme.tenant, "bob@acme.test", "hash", "bobs")
    assert (await _scram(db, "bob@acme.test")) == "bobs"
    assert "bobs" not in repr(made)


async def test_marks_name_what_opens_an_account_now(db: Database, acme: Home, other: Home) -> None:
    books, account = db.credentials, acme.account.id
    await books.add_app_password(acme.tenant, account, PHONE)
    before = await books.marks([account, other.account.id, "nobody"])
    assert before[account] == {password_mark(acme.account.password_hash), app_password_mark("phone")}
    assert set(before) == {account, other.account.id}
    await books.revoke_app_password(acme.tenant, account, "phone")
    await db.accounts.set_password(acme.tenant, acme.account.address, "new")
    assert (await books.marks([account]))[account] == {password_mark("new")}
    assert await books.marks([]) == {}


async def test_a_removed_account_leaves_no_app_password(db: Database, acme: Home) -> None:
    made = await db.accounts.add(acme.tenant, "bob@acme.test", "hash")
    await db.credentials.add_app_password(acme.tenant, made.id, PHONE)
    await db.hosting.end_account(acme.tenant, "bob@acme.test")
    assert await db.credentials.app_passwords(acme.tenant, made.id) == []
    assert await db.credentials.marks([made.id]) == {}


async def _scram(db: Database, address: str) -> str | None:
    account = await db.accounts.by_address(address)
    assert account is not None
    return account.scram
