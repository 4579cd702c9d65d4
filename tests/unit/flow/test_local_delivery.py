"""One copy for each account: where it goes, how it is marked, and what becomes of it when its hooks refuse."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from inbox.mail.flags import Flag
from tests.support.flow import World, world

#: At store answers what the policy says for the account.
KEEPER = '''
"""Answers at store, for each account something else."""
import inbox.plugin as api
from inbox.plugin import Plugin, PluginSettings, hookimpl

class Settings(PluginSettings):
    answers: dict[str, str] = {}
    """Account to answer."""

class Keeper(Plugin):
    def __init__(self, settings, services):
        self.settings = settings

    @hookimpl
    def store(self, delivery):
        return eval(self.settings.answers.get(delivery.account, "None"), {**vars(api), "delivery": delivery})
'''
ANN, BOB, TEAM = "ann@acme.test", "bob@acme.test", "team@acme.test"


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        await made.plugin("keeper", KEEPER)
        accounts, acme = made.installation.database.accounts, await made.tenant("acme")
        for each in (ANN, BOB):
            await accounts.add_alias(acme, TEAM, each)
        yield made


async def keeper(here: World, **answers: str) -> None:
    lines = [f"      {name}@acme.test: {answer!r}" for name, answer in answers.items()]
    await here.policy("tenants/acme.yaml", "\n".join(["plugins:", "  keeper:", "    answers:", *lines, ""]))


async def test_the_accounts_of_an_alias_share_a_blob_and_its_trace(here: World) -> None:
    (reply,) = await here.receive([TEAM])
    assert reply.positive
    (ann,), (bob,) = await here.mailbox(ANN), await here.mailbox(BOB)
    assert ann.email.id == bob.email.id
    assert ann.prepended == bob.prepended
    assert ann.prepended.startswith(b"Delivered-To: team@acme.test\r\nReturn-Path: <peer@elsewhere.test>\r\nReceived: ")


async def test_two_recipients_share_a_blob_and_no_trace(here: World) -> None:
    await here.receive([ANN, BOB])
    (ann,), (bob,) = await here.mailbox(ANN), await here.mailbox(BOB)
    assert ann.email.blob_path == bob.email.blob_path
    assert b"bob" not in ann.prepended
    assert b"ann" not in bob.prepended


async def test_each_account_files_and_flags_its_own(here: World) -> None:
    await keeper(here, ann="[FileInto('Lists/Team'), AddFlags(('\\\\Seen', 'work'))]")
    await here.receive([TEAM])
    (ann,) = await here.mailbox(ANN, "Lists/Team")
    assert (ann.entry.flags, ann.entry.keywords) == (int(Flag.SEEN), ("work",))
    assert await here.mailbox(ANN) == []
    (bob,) = await here.mailbox(BOB)
    assert (bob.entry.flags, bob.entry.keywords) == (0, ())


async def test_a_message_transformed_for_one_account_is_unchanged_for_another(here: World) -> None:
    await keeper(here, ann="Transform(b'Subject: sealed\\r\\n\\r\\n')")
    await here.receive([TEAM], b"Subject: open\r\n\r\nbody\r\n")
    (ann,), (bob,) = await here.mailbox(ANN), await here.mailbox(BOB)
    assert await here.bytes_of(ann) == ann.prepended + b"Subject: sealed\r\n\r\n"
    assert await here.bytes_of(bob) == bob.prepended + b"Subject: open\r\n\r\nbody\r\n"


#: Puts a fact at data, and files by it at store.
KNOWING = '''
"""Reads at store what was found out at data."""
from dataclasses import dataclass
from inbox.plugin import FileInto, Plugin, hookimpl

@dataclass(frozen=True)
class Seen:
    folder: str

class Knowing(Plugin):
    gives = (Seen,)

    @hookimpl
    def data(self, tx):
        tx.facts.put(Seen("Known"))

    @hookimpl
    def store(self, delivery):
        seen = delivery.facts.get(Seen)
        return FileInto(seen.folder) if seen is not None else None
'''


async def test_a_delivery_sees_the_facts_of_its_transaction(here: World) -> None:
    await here.plugin("knowing", KNOWING)
    await here.policy("tenants/acme.yaml", "plugins:\n  knowing: {}\n")
    await here.receive([ANN])
    assert len(await here.mailbox(ANN, "Known")) == 1


async def test_all_accounts_of_an_alias_refuse(here: World) -> None:
    await keeper(here, ann="Reject(552, '5.2.2', 'ann is full')", bob="Defer(452, '4.2.2', 'bob is full')")
    (reply,) = await here.receive([TEAM])
    assert (reply.code, reply.enhanced) == (552, "5.2.2")
    assert await here.mailbox(ANN) == await here.mailbox(BOB) == await here.quarantine("acme") == []


async def test_a_message_that_one_account_of_an_alias_refuses_is_not_lost(here: World) -> None:
    await keeper(here, ann="Reject(552, '5.2.2', 'ann is full')")
    (reply,) = await here.receive([TEAM])
    assert reply.positive
    assert await here.mailbox(ANN) == []
    assert len(await here.mailbox(BOB)) == 1
    (held,) = await here.quarantine("acme")
    assert held.reason == "552 5.2.2 ann is full"
    assert held.recipient == TEAM


async def test_an_invalid_flag_defers_without_a_reason_for_the_peer(here: World) -> None:
    await keeper(here, ann="AddFlags(('\\\\Nonsense',))")
    (reply,) = await here.receive([ANN])
    assert (reply.code, reply.text.split(" (id")[0]) == (451, "Local problem, try again later")
    assert await here.mailbox(ANN) == []


SIGNER = '''
"""Signs whatever is delivered."""
from inbox.plugin import AddHeader, Plugin, hookimpl

class Signer(Plugin):
    @hookimpl
    def deliver(self, delivery):
        return AddHeader("X-Signature", delivery.kind)
'''


async def test_a_field_for_outgoing_mail_is_an_error_of_the_plugin_in_a_mailbox(here: World) -> None:
    await here.plugin("signer", SIGNER)
    await here.policy("tenants/acme.yaml", "plugins: {signer: {}}\n")
    (reply,) = await here.receive([ANN])
    assert (reply.code, reply.enhanced) == (451, "4.3.0")
    assert await here.mailbox(ANN) == []


async def test_a_recipient_of_an_attempt_cannot_be_dropped_from_a_mailbox(here: World) -> None:
    dropper = SIGNER.replace("AddHeader", "DropRecipient").replace('"X-Signature", delivery.kind', '"ann@acme.test"')
    await here.plugin("signer", dropper)
    await here.policy("tenants/acme.yaml", "plugins: {signer: {}}\n")
    (reply,) = await here.receive([ANN])
    assert (reply.code, reply.enhanced) == (451, "4.3.0")
    assert await here.mailbox(ANN) == []
