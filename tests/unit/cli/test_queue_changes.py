"""``inbox queue retry|hold|release|drop|flush``."""

from __future__ import annotations

import pytest

from inbox.cli import queue_changes, queue_jobs
from inbox.store.ports.queue import AttemptRecord, RecipientState
from tests.support.cli import Cli
from tests.support.queued import finish, queued

#: Each test takes long by itself or with its setup: `make check` leaves them out.
pytestmark = pytest.mark.slow

REFUSED = AttemptRecord(1_000_000_000.0, 0.1, "mx1.x.test", "192.0.2.7", "", "rcpt", 550, "5.1.1", "no such user")
FAILED = RecipientState("failed", 550, "5.1.1", "no such user", 1_000_000_001.0, reported=True)
LATER = RecipientState("pending", 451, "4.3.0", "busy", 1_000_000_001.0)


@pytest.fixture
def demo(cli: Cli) -> Cli:
    cli.demo()
    cli("tenant", "add", "other")
    return cli


def states(cli: Cli) -> dict[str, str]:
    return {row["id"].partition("/")[2]: row["status"] for row in cli("queue", "list", "--json").json}


def changed(cli: Cli, *args: str) -> int:
    ran = cli("queue", *args, "--json")
    assert ran.code == 0, ran.err
    number: int = ran.json["changed"]
    return number


def test_dead_jobs_are_tried_again(demo: Cli) -> None:
    (job,) = queued(demo, "demo", {})
    finish(demo, REFUSED, FAILED)
    assert states(demo) == {job: "dead"}
    assert changed(demo, "flush") == 0, "flush is for waiting jobs"
    assert changed(demo, "retry", "--status", "dead", "--error", "NO SUCH") == 1
    shown = demo("queue", "show", job, "--json").json
    assert (shown["status"], shown["attempts"], shown["recipients"][0]["status"]) == ("queued", 0, "pending")


def test_flush_makes_waiting_jobs_due(demo: Cli) -> None:
    (job, elsewhere) = queued(demo, "demo", {}, {"domain": "y.test"})
    finish(demo, REFUSED, LATER, delay=3600, limit=9)
    before = demo("queue", "show", elsewhere, "--json").json["next"]
    assert changed(demo, "flush", "--destination", "x.test") == 1
    assert demo("queue", "show", elsewhere, "--json").json["next"] == before
    assert demo("queue", "show", job, "--json").json["next"] < before


def test_hold_and_release(demo: Cli) -> None:
    mine = queued(demo, "demo", {}, {"domain": "y.test"})
    queued(demo, "other", {})
    assert changed(demo, "hold", "--tenant", "demo", "--reason", "looks odd") == 2
    assert {states(demo)[one] for one in mine} == {"held"}
    assert "looks odd" in demo("queue", "list").out
    assert changed(demo, "release", mine[0]) == 1
    assert changed(demo, "release", "--all") == 1
    assert set(states(demo).values()) == {"queued"}


def test_drop_asks_first_and_removes_what_matches(demo: Cli) -> None:
    keep, drop = queued(demo, "demo", {}, {"domain": "y.test"})
    refused = demo("queue", "drop", "--destination", "y.test")
    assert (refused.code, "--yes is needed" in refused.err) == (2, True)
    planned = demo("queue", "drop", "--destination", "y.test", "--dry-run", "--json").json
    assert (planned["dry_run"], planned["matched"]) == (True, 1)
    assert set(states(demo)) == {keep, drop}
    assert changed(demo, "drop", "--destination", "y.test", "--yes") == 1
    assert set(states(demo)) == {keep}


@pytest.mark.parametrize("name", ["retry", "hold", "release", "drop"])
def test_nothing_is_changed_without_a_choice(demo: Cli, name: str) -> None:
    (job,) = queued(demo, "demo", {})
    ran = demo("queue", name)
    assert (ran.code, f"{name}: give the ids of jobs, options that choose jobs, or --all" in ran.err) == (2, True)
    both = demo("queue", name, job, "--destination", "x.test")
    assert (both.code, "not both" in both.err) == (2, True)
    assert states(demo) == {job: "queued"}


def test_one_wrong_id_changes_nothing(demo: Cli) -> None:
    (job,) = queued(demo, "demo", {})
    assert demo("queue", "hold", job, "06h07td1g1cmr2t5bdts").code == 1
    assert states(demo) == {job: "queued"}


def test_a_large_choice_is_changed_in_pages(demo: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue_jobs, "PAGE", 3)
    monkeypatch.setattr(queue_changes, "PAGE", 3)
    jobs = queued(demo, "demo", *({} for _ in range(10)))
    queued(demo, "other", {}, {})
    assert changed(demo, "hold", *jobs) == 10
    assert changed(demo, "hold", "--all") == 12
    assert changed(demo, "drop", "--tenant", "demo", "--yes") == 10
    assert len(states(demo)) == 2
