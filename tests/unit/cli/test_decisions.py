from __future__ import annotations

import asyncio
import json
import sqlite3
from typing import Any

import pytest

from inbox.base.clock import SystemClock
from inbox.base.ids import RandomIds
from inbox.base.spans import trace_ids
from inbox.cli.decisions import LATE_SECONDS, followed
from inbox.policy.decision import Decision, PluginRecord, StageRecord, encode
from inbox.store.ports.decisions import AlreadyFiled, DecisionFilter, DecisionRecord
from inbox.store.sqlite import SqliteDatabase
from tests.support.cli import Cli

#: Each test takes long by itself or with its setup: `make check` leaves them out.
pytestmark = pytest.mark.slow

ID = "06h07td1g1cmr2t5bdts"


async def record(cli: Cli, *tenants: str, recipients: tuple[str, ...] = (), stage: str = "", **fields: Any) -> None:
    """One refused transaction, as a delivery writes it: a record for each tenant. ``fields`` are the record's."""
    clock = SystemClock()
    db = SqliteDatabase(cli.folder / "data" / "inbox.db", clock, RandomIds(clock.now))
    await db.open()
    records = []
    for name in tenants:
        organization = await db.tenants.by_name(name)
        assert organization is not None
        plugin = PluginRecord("clamav", "1.0.0", "abc", us=1234, facts=[{"kind": "VirusFact", "signature": "Eicar"}])
        decision = Decision(
            ID, 0.0, "reject", tenant=name, sender="m\x1b[2J@x.test", code=550, enhanced="5.7.1", text="Virus found",
            recipients=list(recipients), stages=[StageRecord("data", by="clamav", plugins=[plugin])], stage=stage,
        )  # fmt: skip
        records.append(
            DecisionRecord(
                ID,
                organization.id,
                0.0,
                "smtp",
                "reject",
                decision.sender,
                recipients,
                "192.0.2.1",
                encode(decision),
                **fields,
            )
        )
    await db.decisions.add(records)
    await db.close()


@pytest.fixture
def demo(cli: Cli) -> Cli:
    cli.demo()
    cli("tenant", "add", "other")
    return cli


def test_explain_names_plugin_signature_and_time(demo: Cli) -> None:
    asyncio.run(record(demo, "demo"))
    ran = demo("explain", ID.upper())
    assert ran.code == 0
    for word in (ID, "550 5.7.1 Virus found", "clamav", "Eicar", "1.2"):
        assert word in ran.out
    assert "\x1b" not in ran.out


def test_explain_names_the_trace_if_it_is_exported(demo: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    asyncio.run(record(demo, "demo", stage="data"))
    assert "trace" not in demo("explain", ID).out
    monkeypatch.setenv("OTEL_ENABLED", "true")
    trace = f"{trace_ids(ID).trace:032x}"
    assert demo("explain", ID).out.splitlines()[-1] == f"trace: {trace}"
    assert demo("explain", ID, "--json").json["trace"] == trace
    monkeypatch.setenv("OTEL_SAMPLE_RATIO", "0")
    assert "trace" not in demo("explain", ID).out


def test_explain_names_no_trace_of_a_refused_command(demo: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    asyncio.run(record(demo, "demo", stage="rcpt"))
    monkeypatch.setenv("OTEL_ENABLED", "true")
    assert "trace" not in demo("explain", ID).out


def test_explain_names_the_copy_that_a_retry_was_recognised_by(demo: Cli) -> None:
    first = AlreadyFiled("ann@demo.test", "Archive", 12, "06h07td1g1cmr2t5bdtz", 60.0)
    asyncio.run(record(demo, "demo", recipients=("ann@demo.test", "bob@demo.test"), already_filed=(first,)))
    shown = demo("explain", ID).out.splitlines()
    assert [line.strip() for line in shown if "recipient" in line] == [
        "recipient   <ann@demo.test>: already filed as 06h07td1g1cmr2t5bdtz in Archive, UID 12, "
        "at 1970-01-01 00:01:00 UTC",
        "recipient   <bob@demo.test>",
    ]
    assert demo("explain", ID, "--json").json["already_filed"] == [
        {"recipient": "ann@demo.test", "mailbox": "Archive", "uid": 12, "id": "06h07td1g1cmr2t5bdtz", "at": 60.0}
    ]


def test_a_damaged_record_is_shown_as_far_as_it_can_be_read(demo: Cli) -> None:
    asyncio.run(record(demo, "demo", "other"))
    with sqlite3.connect(demo.folder / "data" / "inbox.db") as connection:
        connection.execute("UPDATE decision SET body = x'01ffffff', recipients = 'x' WHERE rowid = 1")
    connection.close()
    assert [row["by"] for row in demo("decisions", "list", "--json").json] == ["clamav", "(unreadable)"]
    assert [row["by"] for row in demo("decisions", "list", "--json", "--sender", "x.test").json] == [
        "clamav",
        "(unreadable)",
    ]
    assert demo("decisions", "list", "--recipient", "ann").code == 0
    shown = demo("explain", ID)
    assert shown.code == 0
    assert "the rest of this record cannot be read" in shown.out
    assert shown.out.count("Virus found") == 1


def test_one_record_is_one_object(demo: Cli) -> None:
    asyncio.run(record(demo, "demo"))
    shown = demo("explain", ID, "--json").json
    assert shown["outcome"] == "reject"
    assert shown["stages"][0]["plugins"][0]["plugin"] == "clamav"


def test_several_tenants_have_a_record_each(demo: Cli) -> None:
    asyncio.run(record(demo, "demo", "other"))
    assert [part["tenant"] for part in demo("explain", ID, "--json").json] == ["demo", "other"]
    assert demo("explain", ID, "--tenant", "other", "--json").json["tenant"] == "other"
    assert demo("explain", ID).out.count("Virus found") == 2


def test_unknown_ids(demo: Cli) -> None:
    asyncio.run(record(demo, "demo"))
    assert demo("explain", "nope").code == 1
    assert demo("explain", ID, "--tenant", "other").code == 1
    assert demo("explain", ID, "--tenant", "nobody").code == 1


def test_the_latest_come_first(demo: Cli) -> None:
    asyncio.run(record(demo, "demo"))
    (row,) = demo("decisions", "list", "--json").json
    assert row["id"] == ID
    assert row["at"] == "1970-01-01T00:00:00Z"
    assert "\\x1b[2J" in demo("decisions", "list").out


def test_decisions_are_filtered(demo: Cli) -> None:
    asyncio.run(record(demo, "demo"))

    def ids(*options: str) -> list[str]:
        return [row["id"] for row in demo("decisions", "list", *options, "--json").json]

    assert ids("--outcome", "reject", "--tenant", "demo", "--sender", "X.TEST", "--since", "1970-01-01T00:00Z") == [ID]
    assert ids("--outcome", "defer") == []
    assert ids("--tenant", "other") == []
    assert ids("--recipient", "ann") == []
    assert ids("--since", "2h") == []
    assert demo("decisions", "list", "--outcome", "defer").out == "no matching decisions\n"
    (row,) = demo("decisions", "list", "--json").json
    assert row["by"] == "clamav"


@pytest.mark.parametrize("option", [("--outcome", "rejected"), ("--since", "yesterday"), ("--since", "5")])
def test_a_filter_that_makes_no_sense_is_wrong_usage(demo: Cli, option: tuple[str, str]) -> None:
    ran = demo("decisions", "list", *option)
    assert ran.code == 2
    assert ran.err.count("\n") == 1
    assert option[1] in ran.err


def test_an_unknown_id_says_what_to_do(demo: Cli) -> None:
    assert "an id has 20 letters and digits" in demo("explain", "nope").err
    assert "keep_days" in demo("explain", ID).err
    assert "of tenant other" in demo("explain", ID, "--tenant", "other").err


def at(number: int, when: float) -> DecisionRecord:
    return DecisionRecord(f"{number:020d}", "t", when, "smtp", "reject", "a@x.test", (), "192.0.2.1", b"{}")


async def test_new_records_are_followed_once_including_late_ones() -> None:
    looks = [
        [at(2, 20.0), at(1, 10.0)],  # the page that was asked for
        [at(2, 20.0), at(1, 10.0), at(0, 9.0)],  # the window of what may still be late: 0 was there before
        [at(2, 20.0), at(1, 10.0), at(0, 9.0)],
        [at(4, 30.0), at(3, 15.0), at(2, 20.0)],  # 3 was written after 2, which is later
        [at(4, 30.0), at(3, 15.0)],
        [at(5, 200.0), at(4, 30.0)],
    ]
    asked: list[float] = []
    pauses: list[float] = []

    async def search(wanted: DecisionFilter, limit: int) -> list[DecisionRecord]:
        asked.append(wanted.since)
        if not looks:
            raise asyncio.CancelledError
        return looks.pop(0)

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    shown = []
    with pytest.raises(asyncio.CancelledError):
        async for record in followed(search, DecisionFilter(outcome="reject"), 2, sleep):
            shown.append(int(record.id))
    assert shown == [1, 2, 3, 4, 5]
    assert len(pauses) == 5
    # The cursor moves along with the newest.
    assert asked[-1] == 200.0 - LATE_SECONDS


def test_following_ends_with_ctrl_c(demo: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    asyncio.run(record(demo, "demo"))

    async def interrupted(_: float) -> None:
        raise asyncio.CancelledError

    monkeypatch.setattr("inbox.cli.decisions.asyncio.sleep", interrupted)
    ran = demo("decisions", "list", "--follow", "--json")
    assert ran.code == 0
    (line,) = ran.out.splitlines()
    assert json.loads(line)["id"] == ID
    ran = demo("decisions", "list", "-f")
    assert (ran.code, ran.err) == (0, "")
    assert [line.split()[0] for line in ran.out.splitlines()] == ["ID", ID]


async def record_count(cli: Cli) -> None:
    """A record that counts refusals, as the server writes it."""
    clock = SystemClock()
    db = SqliteDatabase(cli.folder / "data" / "inbox.db", clock, RandomIds(clock.now))
    await db.open()
    decision = Decision(
        ID, 120.0, "reject", door="smtp", peer="192.0.2.7", recipients=["x@demo.test"], count=9990, first=60.0,
        reasons={"rcpt: 550 5.1.1 No such user": 9990},
    )  # fmt: skip
    record = DecisionRecord(ID, "", 120.0, "smtp", "reject", "", ("x@demo.test",), "192.0.2.7", encode(decision))
    await db.decisions.add([record])
    await db.close()


def test_refusals_that_are_counted_are_listed_and_explained(demo: Cli) -> None:
    asyncio.run(record_count(demo))
    [listed] = demo("decisions", "list", "--recipient", "x@demo.test", "--json").json
    assert listed["by"] == "9990 refusals counted"
    ran = demo("explain", ID)
    assert ran.code == 0
    for words in ("9990 refusals of one peer", "192.0.2.7", "1970-01-01 00:01:00 UTC", "550 5.1.1 No such user"):
        assert words in ran.out
