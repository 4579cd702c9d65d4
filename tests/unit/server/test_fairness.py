"""Fair shares of the event loop: slices, turns by network, budgets."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from pathlib import Path

import pytest

from inbox.base.limits import IMAP_EARLY_COMMANDS, IMAP_ERRORS, SMTP_ERRORS
from inbox.server.fairness import NETWORKS, SLICE_SECONDS, STARTS_BURST, Share, Turns
from inbox.server.limits import ErrorBudget
from tests.support.imap_world import world as imap_world
from tests.support.smtp_world import reply, smtp_world


class Reading:
    """A clock that moves on by ``step`` whenever it is read."""

    def __init__(self, step: float = 0.0) -> None:
        self.now = 0.0
        self.step = step

    def __call__(self) -> float:
        self.now += self.step
        return self.now


class Passes:
    """Counts the passes of the event loop while it is entered."""

    def __enter__(self) -> Passes:
        self.count = 0
        self._on = True
        self._tick()
        return self

    def __exit__(self, *_: object) -> None:
        self._on = False

    def _tick(self) -> None:
        if self._on:
            self.count += 1
            asyncio.get_running_loop().call_soon(self._tick)


async def test_within_its_slice_a_connection_does_not_wait() -> None:
    share = Share(Turns(Reading()), "192.0.2.1")
    with Passes() as passes:
        for _ in range(1000):
            await share.pause()
    assert passes.count == 1


async def test_each_slice_costs_a_pass_of_the_loop() -> None:
    reading = Reading()
    share = Share(Turns(reading), "192.0.2.1")

    async def work() -> None:
        for _ in range(50):
            reading.now += SLICE_SECONDS
            await share.pause()

    with Passes() as passes:
        await share.run(work())
    assert passes.count >= 50


async def test_a_pass_of_the_loop_gives_one_turn_and_networks_alternate() -> None:
    turns, given = Turns(Reading()), []
    passes = Passes()

    async def one(network: str) -> None:
        await turns.take(network)
        given.append((network, passes.count))

    with passes:
        await asyncio.gather(*[one("flood") for _ in range(20)], one("quiet"), one("other"))
    assert [network for network, _ in given[:3]] == ["flood", "quiet", "other"]
    counts = [count for _, count in given]
    assert all(later > earlier for earlier, later in pairwise(counts))


async def test_waiting_for_the_peer_gives_a_share_back() -> None:
    reading = Reading()
    share = Share(Turns(reading), "192.0.2.1")
    with Passes() as passes:
        for _ in range(100):
            reading.now += SLICE_SECONDS / 2
            share.suspended()
            share.resumed(SLICE_SECONDS * 10)  # it works 5 % of the time
            await share.pause()
    assert passes.count == 1


async def test_a_turn_that_nobody_waits_for_any_more_is_passed_on() -> None:
    turns = Turns(Reading())
    gone, stays = (asyncio.create_task(turns.take("192.0.2.1")) for _ in range(2))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.wait_for(stays, 5)


async def test_exceptions_of_a_connection_pass_through_its_meter() -> None:
    share = Share(Turns(), "192.0.2.1")
    caught = []

    async def work() -> None:
        try:
            async with asyncio.timeout(0):
                await asyncio.Event().wait()
        except TimeoutError as error:
            caught.append(error)
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await share.run(work())
    assert caught


async def test_a_flood_of_short_connections_takes_turns() -> None:
    turns = Turns(Reading())
    ran: list[int] = []

    async def work(number: int) -> None:
        ran.append(number)

    count = int(STARTS_BURST) + 50
    with Passes() as passes:
        await asyncio.gather(*[Share(turns, "192.0.2.1").run(work(number)) for number in range(count)])
    assert ran == list(range(count))
    assert passes.count >= 50
    with Passes() as passes:
        await Share(turns, "192.0.2.2").run(work(-1))
    assert passes.count == 1, "another network does not wait"


async def test_the_networks_that_are_counted_are_bounded() -> None:
    turns = Turns(Reading())
    for number in range(NETWORKS + 10):
        await turns.begin(str(number))
    assert len(turns._starts) == NETWORKS


def test_patience() -> None:
    budget = ErrorBudget(2, 3, "Log in first")
    for _ in range(2):
        budget.error()
    assert budget.closing_reason == "" == budget.closing_reason
    budget.error()
    assert budget.closing_reason == "Too many errors"
    budget.restore()
    for _ in range(4):
        budget.idle()
    assert budget.closing_reason == "Log in first"
    endless = ErrorBudget(0, 0, "")
    endless.error()
    endless.idle()
    assert not endless.closing_reason


# -- the servers


async def test_pipelined_smtp_commands_let_others_run(tmp_path: Path) -> None:
    async with smtp_world(tmp_path, listen=False, max_idle_commands=0) as world:
        client = await world.greeted()
        # Each look at the clock takes half a slice: a command cannot take less.
        [session] = world.server._sessions.values()
        share = session.share
        share._reading = Reading(SLICE_SECONDS / 2)
        with Passes() as passes:
            client.send(b"NOOP\r\n" * 300)
            for _ in range(300):
                assert await reply(client) == ["250 2.0.0 OK"]
        assert passes.count > 100


async def test_a_stream_of_message_text_lets_others_run(tmp_path: Path) -> None:
    async with smtp_world(tmp_path, listen=False) as world:
        client = await world.greeted()
        [session] = world.server._sessions.values()
        share = session.share
        share._reading = Reading(SLICE_SECONDS / 2)
        with Passes() as passes:
            client.send(
                b"MAIL FROM:<a@x.test>\r\nRCPT TO:<b@demo.test>\r\n" + b"BDAT 1\r\nx" * 200 + b"BDAT 0 LAST\r\n"
            )
            for _ in range(203):
                assert (await reply(client))[-1].startswith("250")
        assert passes.count > 100


async def test_chunks_of_nothing_end_the_connection(tmp_path: Path) -> None:
    async with smtp_world(tmp_path, listen=False, max_idle_commands=30) as world:
        client = await world.greeted()
        client.send(b"MAIL FROM:<a@x.test>\r\nRCPT TO:<b@demo.test>\r\n" + b"BDAT 0\r\n" * 1000)
        said = []
        while last := await reply(client):
            said.append(last[-1])
        assert said[-1] == "421 4.7.0 Too many non-mail commands"
        assert len(said) < 40


@pytest.mark.parametrize(
    ("line", "last_reply"),
    [
        ("", "421 4.7.0 Too many errors"),
        ("GARBAGE", "421 4.7.0 Too many errors"),
        ("RCPT TO:<a@demo.test>", "421 4.7.0 Too many errors"),
        ("NOOP", "421 4.7.0 Too many non-mail commands"),
        ("RSET", "421 4.7.0 Too many non-mail commands"),
        ("EHLO again.example", "421 4.7.0 Too many non-mail commands"),
    ],
)
async def test_an_smtp_flood_is_sent_away(line: str, last_reply: str, tmp_path: Path) -> None:
    async with smtp_world(tmp_path, listen=False) as world:
        client = await world.greeted()
        client.send(f"{line}\r\n".encode() * 20_000)
        last = ""
        answers = 0
        while said := await reply(client):
            last = said[-1]
            answers += 1
        assert last == last_reply
        assert answers <= (SMTP_ERRORS + 2 if "errors" in last_reply else 202)


async def test_a_flood_of_empty_lines_ends_with_bye(tmp_path: Path) -> None:
    async with imap_world(tmp_path) as w, w.connect() as client:
        client.send(b"\r\n" * 20_000)
        said = (await client.rest()).split(b"\r\n")
        assert said[-2:] == [b"* BYE Too many errors", b""]
        assert len(said) == IMAP_ERRORS + 3


@pytest.mark.parametrize("line", [b"a NOOP", b"a CAPABILITY", b'a ID ("name" "x")'])
async def test_commands_before_login_are_counted(line: bytes, tmp_path: Path) -> None:
    async with imap_world(tmp_path) as w, w.connect() as client:
        client.send((line + b"\r\n") * 1000)
        said = (await client.rest()).split(b"\r\n")
        assert said[-2] == b"* BYE Log in first"
        assert sum(part.startswith(b"a OK") for part in said) == IMAP_EARLY_COMMANDS + 1


@pytest.mark.parametrize("line", [b"a LOGIN {0+}\r\n" + b"{0+}\r\n" * 20_000, b"a SELECT {2000000+}\r\n"])
async def test_literals_before_login_are_few_and_small(line: bytes, tmp_path: Path) -> None:
    async with imap_world(tmp_path) as w, w.connect() as client:
        client.send(line)
        assert (await client.rest()).endswith(b"* BYE [TOOBIG] Literal too large\r\n")


async def test_after_login_only_errors_in_a_row_count(tmp_path: Path) -> None:
    async with imap_world(tmp_path) as w, w.user() as client:
        for _ in range(IMAP_ERRORS * 2):
            assert (await client.command(b"GARBAGE"))[-1].split()[1] == b"BAD"
            await client.ok(b"NOOP")
        for _ in range(IMAP_ERRORS * 2):
            assert b" NO " in (await client.command(b"SELECT nowhere"))[-1]
        client.send(b"x GARBAGE\r\n" * 100)
        assert (await client.rest()).endswith(b"* BYE Too many errors\r\n")


async def test_a_long_imap_answer_lets_others_run(tmp_path: Path) -> None:
    async with imap_world(tmp_path) as w:
        for number in range(60):
            await w.deliver(b"Message-ID: <%d@x.test>\r\nSubject: x\r\n\r\ntext\r\n" % number)
        async with w.user() as client:
            [session] = w.server._sessions.values()
            session.share._reading = Reading(SLICE_SECONDS / 2)
            for command in (b"FETCH 1:* (ENVELOPE BODY.PEEK[HEADER])", b"SEARCH SUBJECT x", b"SEARCH HEADER X-A y"):
                with Passes() as passes:
                    await client.ok(command)
                assert passes.count > 20, command


async def test_wrong_logins_are_counted_as_before(tmp_path: Path) -> None:
    async with imap_world(tmp_path) as w, w.connect(tls=True) as client:
        client.send(b"a LOGIN nobody@demo.test wrong\r\n" * 10)
        assert (await client.rest()).endswith(b"* BYE Too many failed logins\r\n")
