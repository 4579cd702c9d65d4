"""Records of refusals: the first in full, further ones as a count that ``explain`` finds."""

from __future__ import annotations

import re
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path

import pytest

from inbox.flow import refusals
from inbox.flow.refusals import FULL, FULL_LMTP, OVERALL, PAIRS, PEERS, REASONS, WINDOW_SECONDS, RecordMode, Refusals
from inbox.mail.address import Address
from inbox.mail.reply import Reply
from inbox.plugin.api.context import Door, Session
from inbox.plugin.api.testing import FakeClock, MemoryLog
from inbox.policy.decision import Decision, decode
from inbox.policy.rendering import render
from inbox.policy.stages import Stage
from inbox.store.ports.decisions import DecisionRecord
from tests.support.flow import World, world

UNKNOWN = Reply(550, "5.1.1", "No such user")


def session(peer: str = "192.0.2.7", door: Door = Door.SMTP) -> Session:
    return Session("s1", door, ip_address(peer), helo="mx.elsewhere.test")


class Home:
    """Refusals over a dictionary of what was written last under each id and tenant."""

    def __init__(self) -> None:
        self.clock = FakeClock()
        self.log = MemoryLog()
        self.written: dict[tuple[str, str], Decision] = {}
        self.writes = 0
        self._next = 0
        self.refusals = Refusals(self.clock, self, self.log, self.write)

    def new(self) -> str:
        self._next += 1
        return f"{self._next:020}"

    async def write(self, records: Sequence[DecisionRecord]) -> None:
        for record in records:
            self.writes += 1
            self.written[record.id, record.tenant] = decode(record.body)

    async def refuse(
        self, peer: str = "192.0.2.7", tenant: str = "", refusal: Reply = UNKNOWN, to: str = "x@demo.test"
    ) -> str:
        """The id of the counting record; empty if the refusal is recorded in full."""
        mode = self.refusals.choose(session(peer), tenant)
        if mode is RecordMode.FULL:
            return ""
        return await self.refusals.count(mode, session(peer), tenant, tenant, refusal, Stage.RCPT, [to])


async def test_the_first_are_recorded_in_full_and_the_others_counted() -> None:
    home = Home()
    ids = [await home.refuse() for _ in range(FULL + 1000)]
    assert ids[:FULL] == [""] * FULL
    assert len(set(ids[FULL:])) == 1
    assert home.writes == 1, "the first that is counted is in the database before its reply"
    await home.refusals.flush(everything=True)
    [decision] = home.written.values()
    assert (decision.id, decision.count, decision.peer) == (ids[-1], 1000, "192.0.2.7")
    assert decision.reasons == {"rcpt: 550 5.1.1 No such user": 1000}
    assert home.writes == 2
    assert home.log.named("refusals_counted")[-1]["count"] == 1000


async def test_each_tenant_has_a_count_of_its_own_under_the_same_id() -> None:
    home = Home()
    for _ in range(FULL + 3):
        await home.refuse(tenant="t1", to="a@one.test")
    for _ in range(FULL + 2):
        await home.refuse(tenant="t2", to="b@two.test")
    await home.refusals.flush(everything=True)
    assert {tenant: (found.count, found.recipients) for (_, tenant), found in home.written.items()} == {
        "t1": (3, ["a@one.test"]),
        "t2": (2, ["b@two.test"]),
    }
    assert len({which for which, _ in home.written}) == 1


async def test_a_window_ends_and_the_next_one_has_records_again() -> None:
    home = Home()
    first = [await home.refuse() for _ in range(FULL + 2)][-1]
    home.clock.advance(WINDOW_SECONDS)
    assert await home.refuse() == ""
    await home.refusals.flush()
    assert home.written[first, ""].count == 2
    later = [await home.refuse() for _ in range(FULL)][-1]
    assert later not in ("", first)


async def test_a_count_that_grows_is_written_now_and_then() -> None:
    home = Home()
    for _ in range(FULL + 5):
        await home.refuse()
    await home.refusals.flush()
    assert home.writes == 1, "written a moment ago"
    home.clock.advance(refusals.REWRITE_SECONDS)
    await home.refusals.flush()
    await home.refusals.flush()
    assert home.writes == 2
    [decision] = home.written.values()
    assert decision.count == 5


async def test_all_peers_together_have_a_bound() -> None:
    home = Home()
    ids = [await home.refuse(f"10.{n >> 8}.{n & 255}.1") for n in range(OVERALL * 3)]
    assert ids.count("") == OVERALL
    assert len(set(ids)) == 2
    await home.refusals.flush(everything=True)
    [decision] = home.written.values()
    assert (decision.count, decision.peer) == (OVERALL * 2, "")
    home.clock.advance(refusals.OVERALL_SECONDS)
    assert await home.refuse("10.200.0.1") == ""


async def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusals, "OVERALL", 10**9)
    home = Home()
    for number in range(FULL + 50):
        await home.refuse(refusal=Reply(550, "5.7.1", f"reason {number}"), to=f"u{number}@demo.test")
    for number in range(PEERS + 10):
        await home.refuse(str(ip_address(0x0A000000 + number)))
    assert len(home.refusals._windows) == PEERS
    await home.refusals.flush(everything=True)
    [decision] = home.written.values()
    assert decision.count == 50, "what was counted is written when it is forgotten"
    assert len(decision.reasons) == REASONS + 1
    assert len(decision.recipients) == refusals.RECIPIENTS


async def test_a_relay_of_our_own_is_not_cut_short(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusals, "OVERALL", 10**9)
    home = Home()
    relay = session("127.0.0.1", Door.LMTP)
    assert [home.refusals.choose(relay, "t1") for _ in range(FULL_LMTP + 1)][-2:] == [
        RecordMode.FULL,
        RecordMode.COUNTED,
    ]


def test_a_count_is_rendered() -> None:
    decision = Decision(
        "1" * 20, 120.0, "reject", door="smtp", peer="192.0.2.7", recipients=["a@demo.test"], count=12, first=60.0,
        reasons={"connect: 550 5.7.1 Go \x1b away": 2, "rcpt: 550 5.1.1 No": 10},
    )  # fmt: skip
    lines = render(decision)
    assert lines[0] == f"{'1' * 20}: 12 refusals of one peer, counted together (reject)"
    assert lines[1:4] == [
        "  from        1970-01-01 00:01:00 UTC",
        "  to          1970-01-01 00:02:00 UTC",
        "  from peer   192.0.2.7 through smtp",
    ]
    assert lines[-2:] == ["      10 ×    rcpt: 550 5.1.1 No", "       2 ×    connect: 550 5.7.1 Go \\x1b away"]


# -- through the whole flow


async def refused_recipients(here: World, count: int) -> list[str]:
    tx_session = session()
    _, tx = await here.parts.pipeline.mail(tx_session, None, {})
    assert tx is not None
    texts = []
    for number in range(count):
        reply = await here.parts.pipeline.rcpt(tx, Address.parse(f"nobody{number}@acme.test"), frozenset(), None)
        texts.append(reply.text)
    return texts


def id_of(text: str) -> str:
    found = re.search(r"\(id (\w+)\)", text)
    assert found is not None
    return found[1]


async def test_every_reply_has_an_id_that_is_in_the_database(tmp_path: Path) -> None:
    async with world(tmp_path) as here:
        texts = await refused_recipients(here, FULL + 20)
        ids = [id_of(text) for text in texts]
        assert len(set(ids)) == FULL + 1
        for which in set(ids):
            [record] = await here.installation.database.decisions.get(which)
            assert record.tenant == await here.tenant("acme")
        await here.parts.pipeline.flush(everything=True)
        decisions = await here.decisions("acme")
        assert len(decisions) == FULL + 1
        [counted] = [found for found in decisions if found.count]
        assert counted.count == 20
        assert counted.tenant == "acme"
        assert await here.decisions("umbra") == []


async def test_messages_that_are_refused_are_counted_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(refusals, "FULL_MESSAGES", 2)
    looped = b"Received: x\r\n" * 101 + b"\r\n"
    async with world(tmp_path) as here:
        texts = [(await here.receive(["ann@acme.test", "eve@umbra.test"], looped))[0].text for _ in range(6)]
        ids = [id_of(text) for text in texts]
        assert len(set(ids)) == 3
        records = await here.installation.database.decisions.get(ids[-1])
        assert {decode(record.body).tenant for record in records} == {"acme", "umbra"}


async def test_counts_are_written_when_the_server_stops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with world(tmp_path) as here:
        which = id_of((await refused_recipients(here, FULL + 7))[-1])
        database = here.installation.database
        add = database.decisions.add
        written: list[DecisionRecord] = []

        async def adding(records: Sequence[DecisionRecord]) -> None:
            written.extend(records)
            await add(records)

        monkeypatch.setattr(database.decisions, "add", adding)
    assert [(record.id, decode(record.body).count) for record in written] == [(which, 7)]


async def test_pairs_of_peers_and_tenants_are_bounded() -> None:
    home = Home()
    for n in range(2 * PAIRS // 50):
        for tenant in range(50):
            home.refusals.choose(session(f"10.{n >> 8}.{n & 255}.1"), f"t{tenant}")
    windows = home.refusals._windows.values()
    assert sum(len(window.tenants) for window in windows) == PAIRS
    assert next(reversed(windows)).network == f"10.{n >> 8}.{n & 255}.1", "the newest are kept"
