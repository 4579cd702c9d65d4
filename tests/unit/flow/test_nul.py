"""Messages with NUL characters: one setting for every door."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from inbox.base.limits import SPOOL_OCTETS
from inbox.flow.appending import Refused
from inbox.mail.content import MemoryContent
from inbox.plugin.api.context import Door
from tests.support.flow import POLICY, SCRIPTED, World, world
from tests.unit.flow.test_appending import ANN, mailbox, session

NUL = b"Subject: x\0y\r\n\r\nbody\0\r\n"
REPLACED = NUL.replace(b"\0", b"\x80")


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        await made.plugin("scripted", SCRIPTED)
        yield made


async def append(here: World, message: bytes) -> None:
    await here.parts.appending.append(await session(here), await mailbox(here), MemoryContent(message), 0, (), 7.0)


@pytest.mark.parametrize("message", [NUL, b"Subject: large\r\n\r\n" + b"x" * SPOOL_OCTETS + b"\0"])
async def test_a_message_with_nul_is_refused_at_every_door(here: World, message: bytes) -> None:
    for door in (Door.SMTP, Door.LMTP):
        [reply] = await here.receive([ANN], message, door=door)
        assert (reply.code, reply.enhanced) == (550, "5.6.0")
        assert reply.text.startswith("Message contains NUL characters (id ")
    with pytest.raises(Refused) as refused:
        await append(here, message)
    assert (refused.value.code, refused.value.status) == (550, "5.6.0")
    assert "NUL" in refused.value.text
    assert await here.mailbox(ANN) == []
    assert [decision.outcome for decision in await here.decisions("acme")] == ["reject"] * 3


async def test_nul_is_replaced_where_the_policy_allows_it(here: World) -> None:
    # The hook refuses what it does not see as it came.
    seen = "None if b'\\\\0' in tx.message.content.read(0, 100) else Reject(550, '5.7.1', 'changed')"
    policy = POLICY + f'  scripted: {{data: "{seen}"}}\nserver: {{nul_characters: replace}}\n'
    await here.policy("default.yaml", policy)
    [reply] = await here.receive([ANN], NUL)
    assert reply.code == 250, reply
    await append(here, NUL)
    received, appended = await here.mailbox(ANN)
    assert (await here.bytes_of(received)).endswith(REPLACED)
    assert await here.bytes_of(appended) == REPLACED
