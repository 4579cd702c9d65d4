from __future__ import annotations

import asyncio
import gzip
import time
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from inbox.app.config.loading import Config
from inbox.authentication.aggregate.parse import parse_mail
from inbox.authentication.aggregate.records import encode_observation, observation_key
from inbox.base.clock import SystemClock
from inbox.mail.content import MemoryContent
from inbox.mail.message import Message
from inbox.plugin.api.testing import MemoryResolver
from inbox.store.ports import Database, ObservationCount
from inbox.store.sqlite.database import SqliteDatabase
from tests.support.aggregate import gzipped_mail, seen, xml_report, zipped
from tests.support.cli import Cli
from tests.support.store import IDS

#: Each test takes long by itself or with its setup: `make check` leaves them out.
pytestmark = pytest.mark.slow

NOW = int(time.time())
PERIOD: dict[str, Any] = {"begin": NOW - 3 * 86_400, "end": NOW - 2 * 86_400}
YESTERDAY = (datetime.now(UTC) - timedelta(days=1)).strftime("%Y-%m-%d")


def within(cli: Cli, work: Callable[[Database], Coroutine[Any, Any, Any]]) -> Any:
    """Works on the installation's database."""

    async def whole() -> Any:
        database = SqliteDatabase(cli.folder / "data" / "inbox.db", SystemClock(), IDS)
        await database.open()
        try:
            return await work(database)
        finally:
            await database.close()

    return asyncio.run(whole())


@pytest.fixture
def demo(cli: Cli) -> Cli:
    return cli.demo()


@pytest.fixture
def dns(monkeypatch: pytest.MonkeyPatch) -> MemoryResolver:
    made = MemoryResolver()
    monkeypatch.setenv("SERVER_HOSTNAME", "mx.demo.test")
    monkeypatch.setattr("inbox.app.wiring.services.make_resolver", lambda config, clock: made)
    return made


def write(folder: Path, name: str, data: bytes) -> str:
    path = folder / name
    path.write_bytes(data)
    return str(path)


def observe(cli: Cli, *counted: tuple[Any, int]) -> None:
    async def work(db: Database) -> None:
        await db.dmarc_reports.count([
            ObservationCount(one.day, one.policy_domain, observation_key(body), body, count)
            for one, count in counted
            for body in [encode_observation(one)]
        ])  # fmt: skip

    within(cli, work)


def test_reports_are_imported_and_shown(demo: Cli, tmp_path: Path) -> None:
    files = [
        write(tmp_path, "a.xml", xml_report(**PERIOD)),
        write(tmp_path, "b.xml.gz", gzip.compress(xml_report(report_id="id-2", organization="Zebra", **PERIOD))),
        write(tmp_path, "c.zip", zipped(xml_report(rows=5, report_id="id-3", **PERIOD))),
        write(tmp_path, "d.eml", gzipped_mail(report_id="id-4", **PERIOD).replace(b"\r\n", b"\n")),
        write(tmp_path, "again.eml", gzipped_mail(**PERIOD)),
    ]
    ran = demo("domain", "reports", "import", *files, "--json")
    assert (ran.code, ran.err) == (0, "")
    assert [row["result"] for row in ran.json] == ["filed"] * 4 + ["already known"]
    assert ran.json[2] == {
        "file": files[2], "domain": "demo.test", "reporter": "Reporter Inc.", "report_id": "id-3", "messages": 15,
        "result": "filed",
    }  # fmt: skip
    shown = demo("domain", "reports", "DEMO.test", "--json")
    assert shown.code == 0
    assert [(row["reporter"], row["report_id"]) for row in shown.json] == [
        ("Reporter Inc.", "id-1"), ("Reporter Inc.", "id-3"), ("Reporter Inc.", "id-4"), ("Zebra", "id-2"),
    ]  # fmt: skip
    assert [(row["messages"], row["passed"], row["failed"]) for row in shown.json] == [
        (3, 1, 2), (15, 1, 14), (3, 1, 2), (3, 1, 2),
    ]  # fmt: skip
    assert shown.json[0]["end"] == datetime.fromtimestamp(PERIOD["end"], UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    assert shown.json == demo("domain", "reports", "show", "demo.test", "--json").json
    assert shown.json == demo("domain", "reports", "--json", "demo.test").json
    table = demo("domain", "reports", "demo.test", "--limit", "1").out.splitlines()
    assert table[0].split()[:3] == ["REPORTER", "BEGIN", "END"]
    assert len(table) == 2


def test_the_senders_are_shown_the_busiest_first(demo: Cli, tmp_path: Path) -> None:
    demo("domain", "reports", "import", write(tmp_path, "a.xml", xml_report(rows=3, **PERIOD)))
    rows = demo("domain", "reports", "demo.test", "--rows", "--json").json
    assert [(row["source_ip"], row["count"]) for row in rows] == [("192.0.2.2", 3), ("192.0.2.1", 2), ("192.0.2.0", 1)]
    assert rows[2]["dkim"] == "pass (demo.test: pass)"
    assert rows[0]["dkim"] == "fail (demo.test: pass)"
    assert rows[0]["spf"] == "fail (b.example.org: fail)"
    assert (rows[0]["reporter"], rows[0]["disposition"]) == ("Reporter Inc.", "none")
    assert "192.0.2.2" in demo("domain", "reports", "demo.test", "--rows").out


def test_nothing_to_show(demo: Cli, tmp_path: Path) -> None:
    assert demo("domain", "reports", "demo.test").out == "no reports about demo.test in 90 days\n"
    assert demo("domain", "reports", "demo.test", "--json").json == []
    ran = demo("domain", "reports", "elsewhere.test")
    assert (ran.code, "no tenant hosts elsewhere.test" in ran.err) == (1, True)
    assert demo("domain", "reports", "not..one").code == 2
    demo("domain", "reports", "import", write(tmp_path, "old.xml", xml_report()))
    assert demo("domain", "reports", "demo.test", "--json").json == []
    assert len(demo("domain", "reports", "demo.test", "--days", "3650", "--json").json) == 1


def test_a_report_is_its_owners(demo: Cli, tmp_path: Path) -> None:
    demo("tenant", "add", "other")
    demo("domain", "add", "other", "other.test")
    demo("domain", "reports", "import", write(tmp_path, "a.xml", xml_report(domain="other.test", **PERIOD)))
    assert demo("domain", "reports", "demo.test", "--json").json == []
    assert len(demo("domain", "reports", "other.test", "--json").json) == 1


def test_unreadable_files_are_named_and_the_others_are_imported(demo: Cli, tmp_path: Path) -> None:
    files = [
        write(tmp_path, "good.xml", xml_report(**PERIOD)),
        write(tmp_path, "letter.eml", b"Subject: hello\n\nDear\n"),
        write(tmp_path, "foreign.xml", xml_report(domain="elsewhere.test", **PERIOD)),
        write(tmp_path, "cut.xml.gz", gzip.compress(xml_report())[:-99]),
        write(tmp_path, "future.xml", xml_report(begin=NOW, end=NOW + 40 * 86_400)),
        str(tmp_path / "none.xml"),
    ]
    ran = demo("domain", "reports", "import", *files, "--json")
    assert (ran.code, ran.err) == (1, "inbox: 5 of 6 were not filed\n")
    assert [row["result"] for row in ran.json] == [
        "filed", "no attachment is a DMARC aggregate report", "no tenant hosts the domain", "the archive is truncated",
        "the period of report id-1 ends in the future", "cannot be read: No such file or directory",
    ]  # fmt: skip
    assert demo("domain", "reports", "import").code == 2


def test_a_stranger_cannot_write_to_the_terminal(demo: Cli, tmp_path: Path) -> None:
    odd = xml_report(organization="a&#x202e;b&#x9b;31m", **PERIOD)
    assert demo("domain", "reports", "import", write(tmp_path, "a.xml", odd)).code == 0
    assert demo("domain", "reports", "demo.test").out.isascii()


def test_reports_of_a_day_are_built(demo: Cli, dns: MemoryResolver, tmp_path: Path) -> None:
    dns.txt_records["b.test._report._dmarc.collector.invalid"] = [b"v=DMARC1"]
    dns.fails.add("b.test._report._dmarc.down.invalid")
    ask = (("p", "none"), ("rua", "mailto:d@a.test"))
    out = "mailto:c@collector.invalid,mailto:v@victim.invalid,mailto:x@down.invalid"
    observe(
        demo,
        (seen(day=YESTERDAY, policy_domain="a.test", published=ask), 4),
        (seen(day=YESTERDAY, policy_domain="b.test", published=(("p", "none"), ("rua", out))), 2),
        (seen(day=YESTERDAY, policy_domain="c.test", published=(("p", "none"),)), 1),
    )
    folder = tmp_path / "out" / "reports"
    ran = demo("domain", "reports", "build", "--date", YESTERDAY, "--out", str(folder), "--json")
    assert (ran.code, ran.err) == (0, "")
    assert [(row["domain"], row["messages"], row["destination"], row["left_out"]) for row in ran.json] == [
        ("a.test", 4, "d@a.test", ""),
        ("b.test", 2, "c@collector.invalid", ""),
        ("b.test", 2, "v@victim.invalid", "external, and victim.invalid does not consent"),
        ("b.test", 2, "x@down.invalid", "a DNS look-up failed; try again later"),
        ("c.test", 1, "", "its DMARC record names no address for reports"),
    ]
    written = [Path(row["file"]) for row in ran.json if row["file"]]
    assert sorted(folder.iterdir()) == sorted(written)
    assert [path.stat().st_size for path in written] == [row["octets"] for row in ran.json if row["file"]]
    report = parse_mail(Message(MemoryContent(written[0].read_bytes())))
    assert (report.domain, report.rows[0].count) == ("a.test", 4)
    again = demo("domain", "reports", "build", "--date", YESTERDAY, "--out", str(folder), "--json")
    assert [row["file"] for row in again.json] == [row["file"] for row in ran.json]
    assert "d@a.test" in demo("domain", "reports", "build", "--date", YESTERDAY, "--out", str(folder)).out


def test_one_domain_and_who_reports(demo: Cli, dns: MemoryResolver, tmp_path: Path) -> None:
    for domain in ("a.test", "b.test"):
        rua = f"mailto:d@{domain}"
        observe(demo, (seen(day=YESTERDAY, policy_domain=domain, published=(("p", "none"), ("rua", rua))), 1))
    ran = demo(
        "domain", "reports", "build", "--date", YESTERDAY, "--out", str(tmp_path / "o"), "--domain", "B.test",
        "--from", "dmarc@demo.test", "--organization", "Demo AG", "--json",
    )  # fmt: skip
    (row,) = ran.json
    message = Message(MemoryContent(Path(row["file"]).read_bytes()))
    assert message.from_address == "dmarc@demo.test"
    assert parse_mail(message).organization == "Demo AG"


def test_the_caps_are_settings(demo: Cli, dns: MemoryResolver, tmp_path: Path) -> None:
    for n in range(3):
        published = (("p", "none"), ("rua", f"mailto:d@d{n}.test"))
        observe(demo, (seen(day=YESTERDAY, policy_domain=f"d{n}.test", published=published), n + 1))
    ran = demo("domain", "reports", "build", "--date", YESTERDAY, "--out", str(tmp_path / "o"), "--most", "2", "--json")
    assert [row["left_out"] for row in ran.json] == ["", "", "more than 2 reports in a day"]


@pytest.mark.parametrize("date", ["today", "2026-1-1", "2026-02-30", "20260101", "9999-12-31", "2026-W01-1"])
def test_an_invalid_day_or_one_that_is_not_over(demo: Cli, dns: MemoryResolver, tmp_path: Path, date: str) -> None:
    ran = demo("domain", "reports", "build", "--date", date, "--out", str(tmp_path / "o"))
    assert ran.code == 2
    assert f"--date {date}" in ran.err


def test_today_is_not_over(demo: Cli, dns: MemoryResolver, tmp_path: Path) -> None:
    today = (datetime.now(UTC) + timedelta(seconds=60)).strftime("%Y-%m-%d")
    assert "not over" in demo("domain", "reports", "build", "--date", today, "--out", str(tmp_path / "o")).err


def test_a_server_without_a_name_is_reported(demo: Cli, dns: MemoryResolver, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.delenv("SERVER_HOSTNAME")
    ran = demo("domain", "reports", "build", "--date", YESTERDAY, "--out", str(tmp_path / "o"))
    assert (ran.code, "set SERVER_HOSTNAME" in ran.err) == (0, True)


def test_a_day_without_mail(demo: Cli, dns: MemoryResolver, tmp_path: Path) -> None:
    ran = demo("domain", "reports", "build", "--date", YESTERDAY, "--out", str(tmp_path / "o"))
    assert (ran.code, ran.out) == (0, f"nothing was observed on {YESTERDAY}\n")
    assert not (tmp_path / "o").exists()


def test_a_folder_that_cannot_be_written(demo: Cli, dns: MemoryResolver, tmp_path: Path) -> None:
    observe(demo, (seen(day=YESTERDAY), 1))
    blocked = write(tmp_path, "file", b"")
    ran = demo("domain", "reports", "build", "--date", YESTERDAY, "--out", f"{blocked}/x")
    assert (ran.code, "Not a directory" in ran.err) == (1, True)


def test_the_group_explains_itself(cli: Cli) -> None:
    for args in ((), ("--help",)):
        ran = cli("domain", "reports", *args)
        said = ran.out + ran.err
        assert "inbox domain reports DOMAIN" in said
        assert "import" in said
        assert "build" in said
    assert "--rows" in cli("domain", "reports", "demo.test", "--help").out


def test_a_database_is_needed(cli: Cli) -> None:
    assert "no database" in cli("domain", "reports", "demo.test").err


def test_the_resolver_of_the_configuration_is_asked(demo: Cli, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[str | None] = []

    def make(config: Config, clock: object) -> MemoryResolver:
        asked.append(config.server.dns_resolver)
        return MemoryResolver()

    monkeypatch.setattr("inbox.app.wiring.services.make_resolver", make)
    monkeypatch.setenv("DNS_RESOLVER", "127.0.0.1:5311")
    assert demo("domain", "reports", "build", "--date", YESTERDAY, "--out", str(tmp_path / "o")).code == 0
    assert asked == ["127.0.0.1:5311"]
