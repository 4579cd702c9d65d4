"""Sender addresses: which belong to an account, in MAIL FROM and in From."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from inbox.flow.submission.permission import Permissions
from inbox.flow.submission.senders import Senders
from inbox.mail.address import Address
from inbox.mail.headers import Headers
from inbox.mail.reply import Reply
from tests.support.flow import World, world

ANN = "ann@acme.test"


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        accounts = made.installation.database.accounts
        await accounts.add_alias(await made.tenant("acme"), "sales@acme.test", ANN)
        await accounts.add_alias(await made.tenant("acme"), "help@acme.test", "bob@acme.test")
        yield made


def senders(here: World) -> Senders:
    shared = here.installation.database.shared_inboxes
    return Senders(Permissions(here.parts.directory, shared, here.installation.clock, here.parts.judge))


@pytest.mark.parametrize(
    ("sender", "allowed"),
    [
        (ANN, True),
        ("ANN@Acme.Test", True),
        ("ann+shop@acme.test", True),
        ("sales@acme.test", True),
        ("sales+shop@acme.test", True),
        (None, True),
        ("bob@acme.test", False),
        ("help@acme.test", False),
        ("nobody@acme.test", False),
        ("eve@umbra.test", False),
        ("ann@umbra.test", False),
        ("ann@elsewhere.test", False),
    ],
)
async def test_mail_from_belongs_to_the_account(here: World, sender: str | None, allowed: bool) -> None:
    address = None if sender is None else Address.parse(sender)
    refusal = await senders(here).refusal_of_sender(await here.identity(ANN), address)
    if allowed:
        assert refusal is None
    else:
        assert refusal is not None
        assert (refusal.code, refusal.enhanced) == (553, "5.7.1")
        assert refusal.text == f"ann@acme.test may not send as {address}"


@pytest.mark.parametrize(
    ("fields", "refusal"),
    [
        (b"From: Ann <ann@acme.test>\r\n", None),
        (b"From: ann@acme.test, Sales <sales@acme.test>\r\n", None),
        (b"Subject: no author\r\n", None),
        (b"From: eve@umbra.test\r\n", "553 5.7.1 ann@acme.test may not send as eve@umbra.test"),
        (b"From: ann@acme.test, bob@acme.test\r\n", "553 5.7.1 ann@acme.test may not send as bob@acme.test"),
        # One reader shows the first, another the second.
        (b"From: ann@acme.test\r\nFrom: eve@umbra.test\r\n", "550 5.6.0 The message has more than one From field"),
        (b"from: ann@acme.test\r\nFROM: eve@umbra.test\r\n", "550 5.6.0 The message has more than one From field"),
        (b"From: \r\n", "550 5.6.0 The From field has no valid address"),
        (b"From: undisclosed\r\n", "550 5.6.0 The From field has no valid address"),
        (b"From: boss@bank.test <ann@acme.test>\r\n", None),
        (b"From: Group: ann@acme.test, eve@umbra.test;\r\n", "553 5.7.1 ann@acme.test may not send as eve@umbra.test"),
        (
            b"From: " + b", ".join(b"ann+%d@acme.test" % n for n in range(11)) + b"\r\n",
            "550 5.6.0 The From field has more than 10 addresses",
        ),
    ],
)
async def test_from_belongs_to_the_account(here: World, fields: bytes, refusal: str | None) -> None:
    found = await senders(here).author(await here.identity(ANN), Headers.parse(fields + b"\r\n"), None)
    assert (f"{found.code} {found.enhanced} {found.text}" if isinstance(found, Reply) else None) == refusal
