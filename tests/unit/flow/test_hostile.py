"""Strangers who forge, and plugins that answer what no one should: each harms himself alone."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from inbox.base.limits import FIELD_OCTETS, HEADER_BLOCK_OCTETS, HEADER_FIELDS
from inbox.plugin.api.context import Door
from tests.support.flow import World, world

#: Each test takes long by itself or with its setup: `make check` leaves them out.
pytestmark = pytest.mark.slow

#: Runs the Python of its settings at a stage; what it leaves in ``answer`` is the answer.
RUNNER = '''
"""Does what the policy tells it to do."""
from dataclasses import dataclass
from inbox.plugin import *
from inbox.plugin import Plugin, PluginSettings, hookimpl
import inbox.plugin as api

class Settings(PluginSettings):
    connect: str = ""
    """What to do at connect."""
    rcpt: str = ""
    """What to do at rcpt."""
    data: str = ""
    """What to do at data."""
    store: str = ""
    """What to do at store."""

@dataclass(frozen=True)
class Secret:
    text: str

def do(text, **names):
    space = {**vars(api), **names, "Secret": Secret, "answer": None}
    exec(text, space)
    return space["answer"]

class Runner(Plugin):
    gives = (Secret,)

    def __init__(self, settings, services):
        self.settings = settings

    @hookimpl
    def connect(self, session):
        return do(self.settings.connect, session=session)

    @hookimpl
    async def rcpt(self, tx, recipient):
        return do(self.settings.rcpt, tx=tx, recipient=recipient)

    @hookimpl
    def data(self, tx):
        return do(self.settings.data, tx=tx)

    @hookimpl
    async def store(self, delivery):
        return do(self.settings.store, delivery=delivery)
'''
BOTH = ["ann@acme.test", "eve@umbra.test"]


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        await made.plugin("runner", RUNNER)
        yield made


async def run(here: World, tenant: str, **code: str) -> None:
    lines = [f"    {stage}: {text!r}" for stage, text in code.items()]
    await here.policy(f"tenants/{tenant}.yaml", "\n".join(["plugins:", "  runner:", *lines, ""]))


# -- strangers


@pytest.mark.parametrize("space", [b" ", b"\t"])
async def test_a_message_cannot_continue_the_field_that_we_put_in_front_of_it(here: World, space: bytes) -> None:
    await run(here, "acme", data="answer = AddHeader('Authentication-Results', 'mx.test; none')")
    forged = space + b"; dkim=pass\r\nSubject: hello\r\n\r\nbody\r\n"
    (reply,) = await here.receive(["ann@acme.test"], forged)
    assert reply.code == 250
    (stored,) = await here.mailbox("ann@acme.test")
    text = await here.bytes_of(stored)
    assert b"\r\nAuthentication-Results: mx.test; none\r\n\r\n" + forged in text, "an empty line keeps it apart"
    assert text.endswith(forged), "and nothing is lost"


async def test_a_header_that_is_too_long_to_be_judged_whole_is_refused(here: World) -> None:
    filler = b"X-Filler: " + b"x" * 900 + b"\r\n"
    hidden = filler * (HEADER_BLOCK_OCTETS // len(filler) + 1) + b"Subject: hidden\r\n\r\nbody\r\n"
    many = b"X: 1\r\n" * HEADER_FIELDS + b"Subject: hidden\r\n\r\nbody\r\n"
    for message in (hidden, many):
        (reply,) = await here.receive(["ann@acme.test"], message)
        assert (reply.code, reply.enhanced) == (552, "5.3.4")
    assert await here.mailbox("ann@acme.test") == []
    assert [decision.outcome for decision in await here.decisions("acme")] == ["reject", "reject"]


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"\r\n",
        b".\r\n",
        b".\r\n..\r\n...\r\n",
        b"no header at all",
        b"Subject: x",
        b": \r\n\r\n",
        b"\xff\xfe\r\n",
    ],
)
async def test_whatever_comes_is_filed_octet_by_octet(here: World, message: bytes) -> None:
    (reply,) = await here.receive(["ann@acme.test"], message)
    assert reply.code == 250
    (stored,) = await here.mailbox("ann@acme.test")
    assert (await here.bytes_of(stored))[len(stored.prepended) :] == message


# -- plugins that answer nonsense

NONSENSE = {
    "InsertHeader('0', 'X-A', 'b')": "data",
    "ChangeHeader('X-A', 'b', None)": "data",
    "DeleteHeader('X-A', 'all')": "data",
    "Quarantine(7)": "data",
    "Discard(b'no')": "data",
    "Score('A', 1, why=object())": "data",
    "Score('A', 1, group=['g'])": "data",
    "Reject(550.5, '5.7.1', 'no')": "data",
    "Reject(550, '5.7.1\\r\\n250 ok', 'no')": "data",
    "Reject(550, '5.7.1', 'x' * 1_000_000)": "data",
    f"AddHeader('X-Huge', 'x' * {FIELD_OCTETS + 1})": "data",
    f"[AddHeader('X-Huge', 'x' * 1000)] * ({HEADER_BLOCK_OCTETS} // 1000)": "data",
    "AddFlags(('\\\\Seen',) * 100_000)": "store",
    "FileInto('')": "store",
    "FileInto('a' * 2000)": "store",
    "FileInto('/'.join('a' * 100))": "store",
    "FileInto('a//b')": "store",
    "FileInto('100%')": "store",
    "FileInto('a\\x1b[2Jb')": "store",
}


@pytest.mark.parametrize(("answer", "stage"), NONSENSE.items())
async def test_nonsense_costs_its_own_tenant_and_no_other(here: World, answer: str, stage: str) -> None:
    await run(here, "acme", **{stage: f"answer = {answer}"})
    (reply,) = await here.receive(BOTH, b"Message-ID: <1@x>\r\nSubject: hello\r\n\r\nbody\r\n")
    assert reply.code == 250, reply
    assert len(await here.mailbox("eve@umbra.test")) == 1
    assert await here.mailbox("ann@acme.test") == []
    assert len(await here.quarantine("acme")) == 1, "it was to be judged and could not be"
    (decision,) = await here.decisions("acme")
    assert "nonsense" in str(decision), "the record says whose fault it was"


async def test_a_reason_that_quotes_unreadable_octets_is_kept(here: World) -> None:
    await run(here, "acme", data="answer = Quarantine('text \\udcff')")
    await here.receive(["ann@acme.test"])
    assert len(await here.quarantine("acme")) == 1


async def test_a_plugin_that_names_the_inbox_in_small_letters_means_the_inbox(here: World) -> None:
    await run(here, "acme", store="answer = FileInto('inbox')")
    await here.receive(["ann@acme.test"])
    assert len(await here.mailbox("ann@acme.test")) == 1


@pytest.mark.parametrize(
    "error", ["KeyboardInterrupt", "BaseException", "SystemExit", "GeneratorExit", "StopIteration"]
)
@pytest.mark.parametrize("stage", ["rcpt", "data", "store"])
async def test_whatever_a_hook_raises_is_its_own_failure(here: World, error: str, stage: str) -> None:
    await run(here, "acme", **{stage: f"raise {error}('boom')"})
    replies = await here.receive(["ann@acme.test"])
    assert [reply.code for reply in replies] == [451]
    assert error in str(await here.decisions("acme"))


# -- plugins that reach for another tenant


async def test_no_other_tenant_sees_what_a_hook_does_to_the_session(here: World) -> None:
    spoil = (
        "tx.session.helo = 'acme.secret'; tx.session.facts.put(Secret('acme.secret')); "
        "tx.params['SECRET'] = 'acme.secret'; tx.session.judgements.clear()"
    )
    look = "answer = AddHeader('X-Seen', f'{tx.session.helo} {tx.session.facts.get(Secret)} {tx.params}')"
    await run(here, "acme", rcpt=spoil, data=spoil)
    await run(here, "umbra", data=look)
    (reply,) = await here.receive(BOTH)
    assert reply.code == 250
    (stored,) = await here.mailbox("eve@umbra.test")
    text = await here.bytes_of(stored)
    assert b"X-Seen: mx.elsewhere.test None {}" in text
    assert b"secret" not in text
    assert "secret" not in str(await here.decisions("umbra"))


async def test_a_hook_cannot_move_a_message_to_another_tenant(here: World) -> None:
    umbra = await here.tenant("umbra")
    await run(
        here, "acme",
        data=f"tx.tenant, tx.tenant_name = {umbra!r}, 'umbra'; answer = Quarantine('x')",
    )  # fmt: skip
    (reply,) = await here.receive(["ann@acme.test"])
    assert reply.code == 250
    assert await here.quarantine("umbra") == []
    assert len(await here.quarantine("acme")) == 1
    assert [decision.tenant for decision in await here.decisions()] == ["acme"]


async def test_a_tenants_record_does_not_quote_another_tenants_refusal(here: World) -> None:
    await run(here, "acme", data="answer = Reject(550, '5.7.1', 'Acme keeps a list of bad people')")
    await run(here, "umbra", data="answer = Reject(554, '5.7.0', 'Umbra does not like it')")
    (reply,) = await here.receive(BOTH)
    assert reply.code == 550
    (decision,) = await here.decisions("umbra")
    assert (decision.code, decision.text.partition(" (id")[0]) == (554, "Umbra does not like it")
    assert "Acme" not in str(decision)


async def test_lmtp_files_nothing_for_a_recipient_that_it_refuses(here: World) -> None:
    # The second recipient's hook fails after the first one's copy was made: both are deferred.
    await run(here, "acme", store="answer = AddFlags(('no flag',)) if 'bob' in delivery.account else None")
    replies = await here.receive(["ann@acme.test", "bob@acme.test"], door=Door.LMTP)
    filed = [len(await here.mailbox(f"{name}@acme.test")) for name in ("ann", "bob")]
    assert filed == [int(reply.code == 250) for reply in replies]


async def test_redirect_at_data_sends_the_message_there(here: World) -> None:
    await run(here, "acme", data="answer = Redirect('bob@acme.test')")
    (reply,) = await here.receive(["ann@acme.test"])
    assert reply.code == 250
    assert await here.mailbox("ann@acme.test") == []
    assert len(await here.mailbox("bob@acme.test")) == 1


async def test_redirect_at_data_to_another_tenant_loses_nothing(here: World) -> None:
    await run(here, "acme", data="answer = Redirect('eve@umbra.test')")
    (reply,) = await here.receive(["ann@acme.test"])
    assert reply.code == 451
    assert await here.mailbox("eve@umbra.test") == []


async def test_forged_pictures_do_not_come_out_of_the_quarantine(here: World) -> None:
    """One tenant refuses before the record is looked up, another takes the message."""
    await here.policy(
        "tenants/umbra.yaml",
        "plugins:\n  runner: {data: \"answer = Reject(550, '5.7.1', 'No thanks')\"}\n"
        "  spf: {exempt: ['192.0.2.0/24']}\n  dkim: {}\n  dmarc: {}\n  bimi: {}\n",
    )
    fields = b"BIMI-Location: v=BIMI1; l=https://evil.example/l.svg\r\nSubject: brand\r\n"
    (reply,) = await here.receive(["ann@acme.test", "eve@umbra.test"], fields + b"\r\nbuy\r\n")
    assert reply.code == 250
    (decision,) = await here.decisions("umbra")
    (bimi,) = (plugin for stage in decision.stages for plugin in stage.plugins if plugin.plugin == "bimi")
    assert (bimi.status, decision.outcome) == ("skipped", "quarantine")
    (held,) = await here.quarantine("umbra")
    text = await here.bytes_of(held)
    assert b"BIMI-Location" not in text
    assert b"Subject: brand" in text
    (taken,) = await here.mailbox("ann@acme.test")
    assert b"BIMI-Location" in await here.bytes_of(taken), "that tenant has no such rule"
