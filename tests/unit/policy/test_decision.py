"""Decision records: what is kept, that it comes back, and how it reads."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest

from inbox.base.errors import StoreError
from inbox.mail.reply import Reply
from inbox.plugin import HookResult, Plugin, Reject, Score, Shadow, Transaction, hookimpl
from inbox.policy.decision import Decision, decode, encode, stage_record
from inbox.policy.outcome import StageOutcome, Status, Trace
from inbox.policy.rendering import render
from inbox.policy.stages import Stage
from inbox.policy.verdicts import Opinion, ReplaceBody
from tests.support.engine import Engine


@dataclass(frozen=True)
class Found:
    signature: str
    tries: int = 1
    hosts: tuple[str, ...] = ("a", "b")


class Scans(Plugin):
    gives = (Found,)

    @hookimpl
    def data(self, tx: Transaction) -> HookResult:
        tx.facts.put(Found("Eicar test\x1b[31m"))
        return [Score("VIRUS", 6, "seen by the scanner", "av"), Reject(550, "5.7.1", "Malware found")]


class Watches(Plugin):
    @hookimpl
    def data(self) -> HookResult:
        return Shadow(Score("WATCHED", 1.5))


async def decision() -> Decision:
    engine = Engine(
        {"watch": Watches, "scan": Scans, "late": Scans},
        "plugins: {watch: {mode: shadow}, scan: {}, late: {}}\nthresholds: {tag: 2}\ngroups: {av: {cap: 5}}",
    )
    outcome = await engine.data()
    base = Decision(
        "01j00000000000000000", 1_800_000_000.0, "reject", tenant="demo", door="smtp", peer="192.0.2.1", helo="x.test",
        sender="a@b.test", recipients=["ann@demo.test"], size=120, stage="data",
    )  # fmt: skip
    return base.with_judgements([outcome], Reply(550, "5.7.1", "Malware found (id 01j0)"))


async def test_it_comes_back_as_it_was() -> None:
    record = await decision()
    body = encode(record)
    back = decode(body)
    assert encode(back) == body
    assert (back.symbols, back.total, back.code) == (record.symbols, 5, 550)
    assert render(back) == render(record)
    assert len(body) < 1500


async def test_it_reads_as_a_story() -> None:
    settings = {plugin.plugin: plugin.settings for plugin in (await decision()).stages[0].plugins}
    assert render(await decision()) == [
        "01j00000000000000000: reject at data",
        "  reply       550 5.7.1 Malware found (id 01j0)",
        "  at          2027-01-15 08:00:00 UTC",
        "  from peer   192.0.2.1 (x.test) through smtp",
        "  tenant      demo",
        "  sender      <a@b.test>",
        "  recipient   <ann@demo.test>",
        "  size        120 octets",
        "  score       5: VIRUS +6",
        "data: Reject 550 5.7.1 Malware found (by scan)",
        "  group av counted less than its 6 points: its cap",
        "  total 5 reached the threshold 'tag'",
        f"  watch 1  0 µs  settings {settings['watch']}  [shadow]",
        "    answer Score WATCHED +1.5 (shadow)",
        f"  scan 1  0 µs  settings {settings['scan']}",
        "    fact   Found signature='Eicar test\\x1b[31m' tries=1 hosts=[a, b]",
        "    answer Score VIRUS +6 [av]: seen by the scanner",
        "    answer Reject 550 5.7.1 Malware found",
        f"  late 1  0 µs  settings {settings['late']}  [skipped]",
        "    why    scan had already decided",
    ]


def trace(*opinions: Opinion, facts: tuple[object, ...] = (), why: str = "") -> StageOutcome:
    entry = Engine({"w": Watches}).policy().plugins[0]
    return StageOutcome(Stage.DATA, traces=(Trace(entry, Stage.DATA, Status.FAILED, opinions, facts, 1_234_567, why),))


class Odd:
    def __str__(self) -> str:
        raise RuntimeError


@dataclass(frozen=True)
class Holds:
    value: Any


@pytest.mark.parametrize(
    ("fact", "kept"),
    [
        (Holds(b"\x00"), {"kind": "Holds", "value": "AA=="}),
        (Holds({"k": {1}}), {"kind": "Holds", "value": {"k": [1]}}),
        (Holds("x" * 10_000), {"kind": "Holds", "too_large": 10_012}),
        (Holds(range(2)), {"kind": "Holds", "value": "range(0, 2)"}),
    ],
)
def test_facts_are_kept_as_plain_data_of_bounded_size(fact: object, kept: dict[str, Any]) -> None:
    assert stage_record(trace(facts=(fact,))).plugins[0].facts == [kept]


def test_unreadable_facts_are_ignored() -> None:
    found = stage_record(trace(facts=(Holds(Odd()),))).plugins[0].facts[0]
    assert (found["kind"], found["unreadable"]) == ("Holds", "RuntimeError")


def test_bodies_are_not_kept() -> None:
    assert stage_record(trace(ReplaceBody(b"12345"))).plugins[0].opinions == [{"kind": "ReplaceBody", "octets": 5}]


def test_text_that_json_cannot_carry() -> None:
    record = Decision("x", 0, "reject", helo="\udcff").with_judgements([trace(why="bad \udcff")])
    back = decode(encode(record))
    assert back.helo == "\\udcff"
    assert back.stages[0].plugins[0].why == "bad \\udcff"
    assert "1.23 s" in "\n".join(render(back))


@pytest.mark.parametrize("body", [b"", b"{}", b"[]", b'{"id": 5}', b"\xff"])
def test_invalid_records(body: bytes) -> None:
    with pytest.raises(StoreError, match="not a decision record"):
        decode(body)


@dataclass(frozen=True)
class Row:
    result: str
    domain: str = ""
    testing: bool = False


@dataclass(frozen=True)
class Rows:
    result: str
    rows: tuple[Row, ...] = ()
    reason: str = ""


def _said(fact: object) -> list[str]:
    record = stage_record(trace(facts=(fact,)))
    lines = render(Decision("1", 0.0, "accept", stages=[record]))
    return lines[next(number for number, line in enumerate(lines) if "fact" in line) :]


def test_a_fact_with_rows_is_shown_line_by_line_without_what_goes_without_saying() -> None:
    assert _said(Rows("pass", (Row("pass", "a.test"), Row("fail", testing=True)))) == [
        "    fact   Rows result=pass",
        "             rows 1: result=pass domain=a.test",
        "             rows 2: result=fail testing=True",
    ]


def test_of_a_fact_that_is_too_large_what_is_short_is_kept() -> None:
    said = _said(Rows("fail", tuple(Row("fail", "x" * 100) for _ in range(100)), "too many hops"))
    assert said[0].startswith("    fact   Rows too_large=")
    assert said[0].endswith("result=fail reason='too many hops'")
    assert len(said) == 1


@dataclass(frozen=True)
class Marked:
    status: str
    kind: str = ""
    shadow: bool = False


def test_a_field_that_is_called_kind_does_not_replace_the_name_of_the_fact() -> None:
    fact = Marked("infected", "malware", shadow=True)
    assert stage_record(trace(facts=(fact,))).plugins[0].facts == [
        {"kind": "Marked", "status": "infected", "kind_": "malware", "shadow_": True}
    ]
    assert _said(fact) == ["    fact   Marked status=infected kind=malware shadow=True"]
