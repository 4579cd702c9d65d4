"""``inbox queue list|show|stats`` and the jobs of ``inbox explain``."""

from __future__ import annotations

import pytest

from inbox.store.ports.queue import AttemptRecord, JobRecipient, RecipientState
from tests.support.cli import Cli
from tests.support.queued import finish, queued

#: Each test takes long by itself or with its setup: `make check` leaves them out.
pytestmark = pytest.mark.slow

LATER = AttemptRecord(
    1_000_000_000.0, 1.5, "mx1.x.test", "192.0.2.7", "TLSv1.3 TLS_AES_256_GCM_SHA384", "rcpt", 451, "4.3.0",
    "busy \x1b[2J",
)  # fmt: skip
PENDING = RecipientState("pending", 451, "4.3.0", "busy", 1_000_000_001.0)


@pytest.fixture
def demo(cli: Cli) -> Cli:
    cli.demo()
    cli("tenant", "add", "other")
    return cli


def ids(cli: Cli, *options: str) -> list[str]:
    ran = cli("queue", "list", "--json", *options)
    assert ran.code == 0, ran.err
    return [row["id"] for row in ran.json]


def test_jobs_are_filtered(demo: Cli) -> None:
    first, bulk, old = queued(
        demo, "demo", {}, {"domain": "y.test", "job_class": "bulk", "sender": ""}, {"created_at": 1000.0}
    )
    (theirs,) = queued(demo, "other", {})
    assert sorted(ids(demo)) == sorted([f"demo/{first}", f"demo/{bulk}", f"demo/{old}", f"other/{theirs}"])
    assert ids(demo, "--tenant", "other") == [f"other/{theirs}"]
    assert ids(demo, "--destination", "Y.test.") == [f"demo/{bulk}"]
    assert ids(demo, "--sender", "<>") == [f"demo/{bulk}"]
    assert ids(demo, "--older-than", "1h") == [f"demo/{old}"]
    assert ids(demo, "--status", "dead") == []
    assert demo("queue", "hold", bulk).code == 0
    assert ids(demo, "--status", "held") == [f"demo/{bulk}"]
    assert f"demo/{bulk}" not in ids(demo, "--status", "queued")
    finish(demo, LATER, PENDING, delay=3600, limit=9)
    assert ids(demo, "--error", "BUSY", "--tenant", "demo", "--destination", "x.test") == [
        f"demo/{one}" for one in sorted([first, old])
    ]


def test_the_list_is_read_in_pages(demo: Cli) -> None:
    queued(demo, "demo", *({} for _ in range(5)))
    queued(demo, "other", {})
    everything = ids(demo)
    pages: list[str] = []
    more = True
    while more:
        after = ("--after", pages[-1]) if pages else ()
        ran = demo("queue", "list", "--limit", "2", "--json", *after)
        pages += [row["id"] for row in ran.json]
        more = "there are more" in ran.err
        assert not more or f"--after {pages[-1]}" in ran.err
    assert pages == everything
    # The last job of a page may be gone when the next one is read.
    assert demo("queue", "drop", everything[1], "--yes").code == 0
    assert ids(demo, "--after", everything[1]) == everything[2:]


def test_an_empty_queue_and_wrong_options(demo: Cli) -> None:
    assert demo("queue", "list").out == "the queue is empty\n"
    assert demo("queue", "list", "--tenant", "demo").out == "no matching jobs\n"
    assert demo("queue", "stats").out == "the queue is empty\n"
    assert demo("queue", "list", "--tenant", "nobody").code == 1
    assert "--older-than soon" in demo("queue", "list", "--older-than", "soon").err
    assert "not TENANT/ID" in demo("queue", "list", "--after", "x").err
    missing = demo("queue", "show", "06h07td1g1cmr2t5bdts")
    assert (missing.code, "no job 06h07td1g1cmr2t5bdts: " in missing.err) == (1, True)


def test_a_tenants_filter_never_shows_another(demo: Cli) -> None:
    (mine,), (theirs,) = queued(demo, "demo", {"transaction": "t" * 20}), queued(demo, "other", {})
    for args in (
        ("queue", "show", theirs, "--tenant", "demo"),
        ("queue", "show", f"other/{theirs}", "--tenant", "demo"),
        ("queue", "show", f"demo/{theirs}"),
        ("queue", "drop", theirs, "--tenant", "demo", "--yes"),
        ("queue", "hold", mine, theirs, "--tenant", "demo"),
        ("explain", mine, "--tenant", "other"),
        ("explain", "t" * 20, "--tenant", "other"),
    ):
        ran = demo(*args)
        assert (ran.code, ran.out) == (1, ""), args
    assert ids(demo, "--status", "held") == []
    assert theirs not in demo("queue", "list", "--tenant", "demo").out
    assert [row["tenant"] for row in demo("queue", "stats", "--tenant", "demo", "--json").json] == ["demo"]
    assert ids(demo, "--tenant", "demo", "--after", f"other/{theirs}") == []


def test_show_has_the_attempts_and_the_states(demo: Cli) -> None:
    two = (JobRecipient("bob@x.test"), JobRecipient("eve@x.test"))
    (job,) = queued(demo, "demo", {"recipients": two, "transaction": "t" * 20})
    gone = RecipientState("failed", 550, "5.1.1", "no such user", 1_000_000_001.0, "address", reported=True)
    finish(demo, LATER, PENDING, gone, delay=3600)
    shown = demo("queue", "show", job)
    for text in (
        f"job demo/{job} to x.test: queued",
        "2001-09-09T01:46:40Z at mx1.x.test [192.0.2.7] with TLSv1.3 TLS_AES_256_GCM_SHA384",
        "reply     451 4.3.0 busy \\x1b[2J after rcpt, 1.5 s",
        "<bob@x.test>: pending at 2001-09-09T01:46:41Z: 451 4.3.0 busy",
        "<eve@x.test>: failed (address) at 2001-09-09T01:46:41Z: 550 5.1.1 no such user",
        "inbox explain " + "t" * 20,
    ):
        assert text in shown.out
    assert "\x1b" not in shown.out
    whole = demo("queue", "show", f"demo/{job}", "--json").json
    assert (whole["status"], whole["attempts"], whole["history"][0]["host"]) == ("queued", 1, "mx1.x.test")
    assert [one["status"] for one in whole["recipients"]] == ["pending", "failed"]


def test_stats_count_by_destination(demo: Cli) -> None:
    queued(demo, "demo", {}, {}, {"domain": "y.test"})
    rows = demo("queue", "stats", "--json").json
    assert [(row["destination"], row["queued"]) for row in rows] == [("x.test", 2), ("y.test", 1)]
    assert "1 more rows with 1 jobs" in demo("queue", "stats", "--limit", "1").err


def test_explain_tells_the_life_of_a_delivered_message(demo: Cli) -> None:
    transaction = "t" * 20
    (sent, other) = queued(demo, "demo", {"transaction": transaction}, {"transaction": transaction, "domain": "y.test"})
    demo("queue", "hold", other, "--reason", "looks odd")
    done = RecipientState("delivered", 250, "2.0.0", "250 2.0.0 queued as 7", 1_000_000_001.0, reported=True)
    finish(demo, AttemptRecord(1_000_000_000.0, 0.2, "mx1.x.test", "192.0.2.7", "", "dot", 250, "2.0.0", "OK"), done)
    for which in (transaction, sent, f"demo/{sent}"):
        shown = demo("explain", which)
        assert shown.code == 0, shown.err
        assert f"job demo/{sent} to x.test: delivered" in shown.out
        assert "<bob@x.test>: delivered at 2001-09-09T01:46:41Z: 250 2.0.0 queued as 7" in shown.out
        assert "at mx1.x.test [192.0.2.7] without TLS" in shown.out
        assert f"job demo/{other} to y.test: held" in shown.out
        assert "looks odd" in shown.out
    assert sorted(job["status"] for job in demo("explain", transaction, "--json").json["jobs"]) == ["delivered", "held"]
    gone = demo("queue", "retry", sent)
    assert (gone.code, "was delivered" in gone.err) == (1, True)


def test_explain_shows_a_job_without_a_decision(demo: Cli) -> None:
    (job,) = queued(demo, "demo", {"job_class": "dsn", "sender": ""})
    assert f"job demo/{job} to x.test: queued" in demo("explain", job).out
