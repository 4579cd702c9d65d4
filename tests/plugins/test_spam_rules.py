"""spam_rules: every variable, every action, mistakes in rules, and messages that try to be too much."""

from __future__ import annotations

from dataclasses import dataclass
from email.message import EmailMessage
from enum import StrEnum
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from inbox_plugins import _spam_rules_values
from inbox_plugins.spam_rules import RulesTooSlow, Settings, SpamRules
from pydantic import ValidationError

from inbox.mail.address import Address
from inbox.mail.content import MemoryContent
from inbox.mail.message import Message
from inbox.plugin import (
    AddHeader,
    Discard,
    Door,
    Identity,
    Opinion,
    Quarantine,
    Reject,
    Score,
    Shadow,
    Tls,
    Transaction,
    VirusFact,
)
from inbox.plugin.testing import FakeClock, PluginTest
from tests.support.plugin_services import services, session, transaction


def mail(**headers: str) -> EmailMessage:
    made = EmailMessage()
    made["Subject"] = "Your Rechnung für November"
    made["From"] = '"Bob Example" <Bob@Example.net>'
    made["To"] = "Ann <ann@acme.test>, team@acme.test"
    made["Cc"] = "carl@acme.test"
    for name, value in headers.items():
        made[name.replace("_", "-")] = value
    made.set_content("Dear Ann,\nsee http://click.example/a?b=1 for grüße.\n")
    made.add_alternative('<p>Dear <b>Ann</b> <a href="https://evil.example/x">here</a></p>', subtype="html")
    made.add_attachment(b"PK" + bytes(998), maintype="application", subtype="zip", filename="Invoice.ZIP")
    return made


def plugin(*rules: dict[str, object], **settings: object) -> SpamRules:
    return SpamRules(Settings.model_validate({"rules": list(rules)} | settings), services())


def raw_mail() -> bytes:
    return mail(X_Mailer="Bulk 1.0").as_bytes()


async def judge(*rules: dict[str, object], raw: bytes | None = None, **settings: object) -> list[Opinion]:
    return await plugin(*rules, **settings).data(transaction(raw_mail() if raw is None else raw, to=("ann@acme.test",)))


def connected() -> Transaction:
    """A transaction in which every variable has a value."""
    given = session(
        Door.SUBMISSION,
        "192.0.2.7",
        helo="mx.example.net",
        tls=Tls("TLSv1.3", "x"),
        identity=Identity("bob@acme.test", "a1", "t1", "acme"),
    )
    tx = transaction(raw_mail(), session=given, to=("ann@acme.test", "team@acme.test"))
    tx.facts.put(VirusFact("clean", scanner="clamav"))
    return tx


async def applies(when: str, tx: Transaction | None = None) -> bool:
    opinions = await plugin({"name": "R", "when": when, "score": 1}).data(tx or connected())
    assert opinions in ([], [Score("R", 1.0)]), opinions
    return bool(opinions)


@pytest.mark.parametrize(
    "when",
    [
        'subject.matches("(?i)rechnung") && attachments.exists(a, a.extension in ["zip", "iso"])',
        'subject == "Your Rechnung für November"',
        'from == "bob@example.net"',
        'sender == "bob@example.net"',
        'recipients == ["ann@acme.test", "team@acme.test"]',
        'to == ["ann@acme.test", "team@acme.test"] && cc == ["carl@acme.test"]',
        '"x-mailer" in headers && headers["x-mailer"][0] == "Bulk 1.0" && header["X-Mailer"].contains("Bulk")',
        'header["X-None"] == "" && !("x-none" in headers)',
        "size > 1000 && size < 10000",
        'text.contains("grüße") && text.contains("Dear")',
        'html.contains("<b>Ann</b>")',
        'urls.exists(u, u.startsWith("https://evil.example")) && "http://click.example/a?b=1" in urls',
        'attachments.size() == 1 && attachments[0].name == "Invoice.ZIP"',
        'attachments[0].content_type == "application/zip"',
        "attachments.all(a, a.size == 1000)",
        'attachments.exists(a, a["size"] == 1000)',
        'peer == "192.0.2.7" && peer.within("192.0.2.0/24")',
        '!peer.within("2001:db8::/32") && !peer.within("rubbish") && !subject.within("192.0.2.0/24")',
        'helo == "mx.example.net" && tls && identity == "bob@acme.test" && tenant == "acme" && door == "submission"',
        'facts.virus.status == "clean" && facts.virus.signature == null && facts.spf == null && has(facts.virus)',
    ],
)
async def test_every_variable_has_its_value(when: str) -> None:
    assert await applies(when)
    assert not await applies(f"!({when})")


def test_every_variable_is_tested_above() -> None:
    (parameters,) = test_every_variable_has_its_value.pytestmark  # type: ignore[attr-defined]  # pytest puts it there
    conditions = [_spam_rules_values.condition(one) for one in parameters.args[1]]
    assert {name for one in conditions for name in one.names} == set(_spam_rules_values.VARIABLES)


async def test_a_bounce_has_an_empty_sender_and_no_login_an_empty_identity() -> None:
    tx = transaction(raw_mail(), sender=None)
    assert await applies('sender == "" && identity == "" && helo == "" && !tls && door == "smtp"', tx)


async def test_rules_that_do_not_apply_say_nothing() -> None:
    assert await judge({"name": "A", "when": "size > 1000000", "score": 3}) == []
    assert await judge() == []
    assert await plugin({"name": "A", "when": "true", "score": 3}).data(transaction()) == []


async def test_scores_come_in_the_rules_order_with_group_and_reason() -> None:
    opinions = await judge(
        {"name": "B", "when": "true", "score": 1.5, "group": "g", "why": "because"},
        {"name": "A", "when": "true", "score": -2},
        common_rules=[{"name": "C", "when": "true", "score": 1}],
    )
    assert opinions == [Score("C", 1.0), Score("B", 1.5, "because", "g"), Score("A", -2.0)]


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        ("reject", Reject(550, "5.7.1", "The message was refused by a rule of the recipient's domain")),
        ("quarantine", Quarantine("rule A: because")),
        ("discard", Discard("rule A: because")),
        ("tag", AddHeader("X-Spam-Flag", "YES")),
    ],
)
async def test_actions_come_with_the_score(action: str, expected: Opinion) -> None:
    rule = {"name": "A", "when": "true", "score": 2, "action": action, "why": "because"}
    assert await judge(rule) == [Score("A", 2.0, "because"), expected]
    assert await judge(rule | {"when": "false"}) == []


async def test_a_rule_in_shadow_mode_is_recorded_and_counts_nothing() -> None:
    rule = {"name": "A", "when": "true", "score": 2, "action": "reject", "mode": "shadow", "why": "trying"}
    score, refusal = await judge(rule)
    assert score == Shadow(Score("A", 2.0, "trying"))
    assert isinstance(refusal, Shadow)
    assert isinstance(refusal.opinion, Reject)


async def test_a_rule_that_is_off_is_not_evaluated() -> None:
    assert await judge({"name": "A", "when": 'headers["none"] == []', "score": 2, "mode": "off"}) == []


async def test_weights_multiply_rules_and_groups() -> None:
    opinions = await judge(
        {"name": "A", "when": "true", "score": 2, "group": "g"},
        {"name": "B", "when": "true", "score": 2, "group": "g"},
        {"name": "C", "when": "true", "score": 2},
        weights={"g": 0.5, "B": 3},
    )
    assert [one.points for one in opinions if isinstance(one, Score)] == [1.0, 3.0, 2.0]


@pytest.mark.parametrize(
    ("when", "why"),
    [
        ('headers["none"][0] == "x"', "Key not found"),
        ('facts.spf.result == "fail"', "a fact that it reads is not known"),
        ("to[7] == ''", "Index"),
        ("text.matches(header['X-Pattern'])", "missing"),
    ],
)
async def test_a_rule_that_cannot_be_evaluated_is_recorded_and_the_others_go_on(when: str, why: str) -> None:
    raw = b"X-Pattern: (\r\nTo: a@b.test\r\n\r\nhello"
    broken, other = await judge(
        {"name": "A", "when": when, "score": 5, "action": "reject", "group": "g"},
        {"name": "B", "when": "true", "score": 1},
        raw=raw,
    )
    assert isinstance(broken, Score)
    assert (broken.symbol, broken.points, broken.group) == ("A", 0.0, "g")
    assert broken.why.startswith("not evaluated: ")
    assert why in broken.why
    assert other == Score("B", 1.0)


@pytest.mark.parametrize(
    ("rule", "where", "what"),
    [
        ({"when": 'subjct == "x"'}, ("when",), "rule BAD: undeclared reference to 'subjct' \\(line 1, column 1"),
        ({"when": "nothing(1)"}, ("when",), "rule BAD: undeclared reference to 'nothing'"),
        ({"when": "subject =="}, ("when",), "rule BAD: Syntax error"),
        ({"when": 'subject.matches("[")'}, ("when",), "rule BAD: .*missing"),
        ({"when": "attachments.exists(a, a.extention == '')"}, ("when",), "rule BAD: no such field: extention"),
        ({"when": "subject"}, ("when",), "rule BAD: it is a string"),
        ({"when": 7}, ("when",), "a condition is a text"),
        ({"when": "true", "score": "many"}, ("score",), "number"),
        ({"when": "true", "score": float("nan")}, ("score",), "finite"),
        ({"when": "true", "action": "explode"}, ("action",), "reject"),
        ({"when": "true", "mode": "maybe"}, ("mode",), "shadow"),
        ({"when": "true", "typo": 1}, ("typo",), "not permitted"),
        ({"score": 1}, ("when",), "required"),
        ({"when": "true", "name": "two words"}, ("name",), "pattern"),
    ],
)
def test_mistakes_in_a_rule_name_it_and_their_place(rule: dict[str, object], where: tuple[str], what: str) -> None:
    good = {"name": "GOOD", "when": "true"}
    with pytest.raises(ValidationError, match=what) as caught:
        Settings.model_validate({"rules": [good, {"name": "BAD"} | rule]})
    assert caught.value.errors()[0]["loc"] == ("rules", 1, *where)


def test_names_are_there_once_and_weights_have_something_to_weigh() -> None:
    rule = {"name": "A", "when": "true"}
    with pytest.raises(ValidationError, match="two rules named A"):
        Settings.model_validate({"rules": [rule], "common_rules": [rule]})
    with pytest.raises(ValidationError, match="weight for B"):
        Settings.model_validate({"rules": [rule], "weights": {"B": 1}})
    with pytest.raises(ValidationError, match="not between 0 and 100"):
        Settings.model_validate({"rules": [rule], "weights": {"A": -1}})


def test_rules_are_not_without_number() -> None:
    rules = [{"name": f"R{number}", "when": "true"} for number in range(300)]
    others = [{"name": f"S{number}", "when": "true"} for number in range(201)]
    with pytest.raises(ValidationError, match="more than 500 rules"):
        Settings.model_validate({"rules": rules, "common_rules": others})


def test_settings_survive_their_own_dump() -> None:
    settings = Settings.model_validate({"rules": [{"name": "A", "when": "size > 1", "score": 1}]})
    dumped = settings.model_dump(mode="json")
    assert dumped["rules"][0]["when"] == "size > 1"
    assert Settings.model_validate(dumped) == settings
    assert Settings.model_validate(settings.model_dump()) == settings
    assert Settings.model_json_schema()["$defs"]["Rule"]["properties"]["when"]["type"] == "string"


class Watched(Message):
    """A message that knows whether somebody looked into its body."""

    looked = False

    @property
    def attachments(self) -> Any:
        self.looked = True
        return super().attachments

    def text(self, limit: int = 0) -> str:
        self.looked = True
        return super().text(limit)


@pytest.mark.parametrize(
    ("when", "looks"),
    [
        ('subject.contains("nothing") && text.contains("x")', False),
        ('size > 0 || attachments.exists(a, a.name == "x")', False),
        ('subject.contains("Rechnung") && text.contains("x")', True),
        ("attachments.size() > 3", True),
    ],
)
async def test_the_body_is_looked_into_only_if_the_outcome_depends_on_it(when: str, looks: bool) -> None:
    tx = transaction()
    tx.message = message = Watched(MemoryContent(raw_mail()))
    await plugin({"name": "A", "when": when, "score": 1}).data(tx)
    assert message.looked is looks


async def test_large_messages_are_looked_into_elsewhere() -> None:
    kinds: list[str] = []

    async def elsewhere(kind: str, function: Any, *args: Any) -> Any:
        kinds.append(kind)
        return function(*args)

    deep = {"name": "A", "when": 'text.contains("needle")', "score": 1}
    shallow = {"name": "A", "when": "size > 1", "score": 1}
    large = b"Subject: x\r\n\r\nneedle " + b"x" * 70_000
    for rule, raw in ((shallow, large), (deep, b"Subject: x\r\n\r\nneedle"), (deep, large)):
        judging = SpamRules(Settings.model_validate({"rules": [rule]}), services(run_blocking=elsewhere))
        assert await judging.data(transaction(raw)) == [Score("A", 1.0)]
    assert kinds == ["rules"]


async def test_texts_and_links_are_bounded() -> None:
    long = b"Subject: x\r\n\r\n" + b"a" * 600_000 + b" needle"
    assert await judge({"name": "A", "when": 'text.contains("needle")', "score": 1}, raw=long) == []
    links = b"Subject: x\r\n\r\n" + b"\r\n".join(b"http://h%d.example/" % n for n in range(2000))
    assert await judge({"name": "A", "when": "urls.size() == 500", "score": 1}, raw=links) == [Score("A", 1.0)]


async def test_rules_that_take_too_long_are_an_error_of_the_plugin() -> None:
    class Slow(FakeClock):
        def monotonic(self) -> float:
            self.advance(0.3)
            return super().monotonic()

    rules = [{"name": f"R{number}", "when": "true"} for number in range(10)]
    judging = SpamRules(Settings.model_validate({"rules": rules, "time_limit": 1}), services(clock=Slow()))
    with pytest.raises(RulesTooSlow, match="before rule R3"):
        await judging.data(transaction(b"x"))


async def test_a_condition_that_multiplies_itself_ends() -> None:
    links = b"Subject: x\r\n\r\n" + b"\r\n".join(b"http://h%d.example/" % n for n in range(500))
    bomb = "urls.all(a, urls.all(b, urls.all(c, urls.all(d, a + b + c + d != ''))))"
    (score,) = await judge({"name": "A", "when": bomb, "score": 1}, raw=links)
    assert isinstance(score, Score)
    assert "budget" in score.why


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\r\n",
        b"\0\xff\xfe",
        b"Subject: =?utf-8?b?/////w==?=\r\nFrom: \xff\r\nTo: ,,,<>\r\n\xff: \xff\r\n\r\n\xff",
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
        b"--b\r\nContent-Disposition: attachment; filename*=x''%FF\r\n\r\n",
        b"Subject: =?utf-7?q?+2AA-?=\r\n\r\n",
    ],
)
async def test_malformed_messages_have_values_for_every_variable(raw: bytes) -> None:
    names = [name for name in _spam_rules_values.VARIABLES if name != "facts"]
    rules = [{"name": f"R_{name}", "when": f"{name} == {name}", "score": 1} for name in names]
    assert await judge(*rules, raw=raw) == [Score(f"R_{name}", 1.0) for name in names]


@given(raw=st.binary(max_size=300))
async def test_no_message_makes_the_plugin_fail(raw: bytes) -> None:
    rules = [
        {"name": "A", "when": 'subject.matches("a") || text.contains("b") || header["x"] == "y"'},
        {"name": "B", "when": "attachments.exists(a, a.size > 3) || urls.size() > 3 || to.size() + cc.size() > 3"},
    ]
    assert all(isinstance(one, Score) for one in await judge(*rules, raw=raw))


class Colour(StrEnum):
    RED = "red"


@dataclass(frozen=True)
class Inner:
    deep: tuple[object, ...]


@dataclass(frozen=True)
class FooBarFact:
    colour: Colour
    number: int
    share: float
    names: frozenset[str]
    address: Address
    table: dict[str, object]


async def test_facts_of_any_plugin_are_maps_lists_texts_and_numbers() -> None:
    tx = connected()
    fact = FooBarFact(Colour.RED, 2**70, 0.5, frozenset({"x"}), Address("a", "b.test"), {"k": Inner((1, (2, (3,))))})
    tx.session.facts.put(fact)
    assert await applies(
        'facts.foo_bar.colour == "red" && facts.foo_bar.number > 1e20 && facts.foo_bar.names == ["x"] '
        '&& facts.foo_bar.address.local == "a" && facts.foo_bar.table.k.deep[0] == 1 && facts.foo_bar.share < 1.0',
        tx,
    )


async def test_an_attacker_cannot_make_a_pattern_slow() -> None:
    # A backtracking engine would not come back before pytest's time-out.
    raw = b"Subject: x\r\n\r\n" + b"a" * 100_000 + b"b"
    assert await judge({"name": "A", "when": 'text.matches("(a+)+$")', "score": 1}, raw=raw) == []


async def test_in_the_engine_groups_thresholds_and_facts_of_others() -> None:
    rules = [
        {"name": "A", "when": 'facts.virus.status == "unscanned"', "score": 4, "group": "g"},
        {"name": "B", "when": "true", "score": 4, "group": "g"},
    ]
    unscanned = VirusFact("unscanned", why="too large")
    given: dict[str, Any] = {"thresholds": {"quarantine": 5}, "facts": [unscanned]}
    test = PluginTest("spam_rules", {"rules": rules}, **given)
    outcome = await test.data()
    assert outcome.symbols == {"A": 4.0, "B": 4.0}
    assert isinstance(outcome.verdict, Quarantine)
    test = PluginTest("spam_rules", {"rules": rules}, groups={"g": {"cap": 4.5}}, **given)
    assert (await test.data()).total == 4.5
    shadow = await PluginTest("spam_rules", {"rules": rules, "mode": "shadow"}, **given).data()
    assert shadow.total == 0
    assert [one.symbol for one in shadow.trace.opinions if isinstance(one, Score)] == ["A", "B"]
    assert all("not evaluated" not in one.why for one in shadow.trace.opinions if isinstance(one, Score))


async def test_in_the_engine_a_rule_in_shadow_mode_refuses_nothing() -> None:
    rule = {"name": "A", "when": "true", "score": 9, "action": "reject", "mode": "shadow"}
    outcome = await PluginTest("spam_rules", {"rules": [rule]}, thresholds={"reject": 5}).data()
    assert outcome.total == 0
    assert not isinstance(outcome.verdict, Reject)
