"""spam_rules: every variable, every action, mistakes in rules, and messages that try to be too much."""

from __future__ import annotations

from dataclasses import dataclass
from email.message import EmailMessage
from enum import StrEnum
from io import BytesIO
from typing import Any
from zipfile import ZipFile

import pytest
from hypothesis import given
from hypothesis import strategies as st
from inbox_plugins._spam_rules_language import VARIABLES, condition
from inbox_plugins.spam_rules import RulesTooSlow, Settings, SpamRules
from pydantic import ValidationError

from inbox.mail.address import Address
from inbox.mail.content import MemoryContent
from inbox.mail.message import Message
from inbox.plugin import (
    AddHeader,
    Discard,
    DkimFact,
    Door,
    Identity,
    Opinion,
    Quarantine,
    Reject,
    Score,
    Shadow,
    SpfFact,
    Tls,
    Transaction,
    VirusFact,
)
from inbox.plugin.testing import FakeClock, PluginTest
from inbox.policy.mistakes import PolicyMistakes
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
        'urls.exists(u, u.startsWith("https://evil.example/")) && "http://click.example/a?b=1" in urls',
        'attachments.size() == 1 && attachments[0].name == "Invoice.ZIP"',
        'attachments[0].content_type == "application/zip"',
        "attachments.all(a, a.size == 1000)",
        'attachments.exists(a, a["size"] == 1000)',
        'peer == "192.0.2.7" && peer.within("192.0.2.0/24")',
        '!peer.within("2001:db8::/32") && !peer.within("rubbish") && !subject.within("192.0.2.0/24")',
        'helo == "mx.example.net" && tls && identity == "bob@acme.test" && tenant == "acme" && door == "submission"',
        'facts.virus.status == "clean" && facts.virus.signature == null && facts.spf == null && has(facts.virus)',
        '"X-Mailer" in headers && headers["X-Mailer"][0] == "Bulk 1.0"',
        "date.getFullYear() == 1970 && now.getFullYear() > 2000",
        'links.exists(l, l.kind == "link" && l.host == "evil.example" && l.shown == "here" && l.port == -1)',
        'links.all(l, l.userinfo == "" && l.scheme in ["http", "https"] && l.shown_host == l.host && l.url in urls)',
        'parts.exists(p, p.content_type == "text/html" && p.charset == "utf-8") && parts.all(p, p.language == "")',
        'attachments.all(a, a.archive == "" && a.files == [] && !a.encrypted && a.listed_completely)',
        'attachments.all(a, a.names == ["Invoice.ZIP"] && a.extensions == ["zip"] && a.disposition == "attachment")',
        "examined_completely && read_completely && attachments.all(a, !a.reordered)",
        "!(true && false) || rules == rules",
        'from.domain() == "example.net" && "ann@Sub.Example.co.uk".org_domain() == "example.co.uk"',
        'from.upper() == "BOB@EXAMPLE.NET" && subject.lower().startsWith("your") && " x ".trim() == "x"',
        'subject.split(" ")[1] == "Rechnung" && subject.replace("Your ", "") == "Rechnung für November"',
        '"P\u0430yPal".fold() == "paypal" && "rnicr0soft".looks_like("Microsoft") && subject.fold().contains("fur")',
        '"192.0.2.1".org_domain() == "192.0.2.1" && "x".domain() == ""',
        '"x@B\u00fc.de".domain() == "xn--b-eha.de"',
    ],
)
async def test_every_variable_has_its_value(when: str) -> None:
    assert await applies(when)
    assert not await applies(f"!({when})")


def test_every_variable_is_tested_above() -> None:
    (parameters,) = test_every_variable_has_its_value.pytestmark  # type: ignore[attr-defined]  # pytest puts it there
    conditions = [condition(one) for one in parameters.args[1]]
    assert {name for one in conditions for name in one.names} == set(VARIABLES)


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
        ('facts.spf.result == "fail"', "no plugin gave facts.spf for this message, which came in over smtp"),
        ("to[7] == ''", "Index"),
        ("text.matches(header['X-Pattern'])", "missing"),
    ],
)
async def test_a_rule_that_cannot_be_evaluated_is_recorded_and_the_others_continue(when: str, why: str) -> None:
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
        ({"when": 'subjct == "x"'}, ("when",), "rule BAD: unknown variable 'subjct'; did you mean 'subject'"),
        ({"when": "nothing(1)"}, ("when",), "rule BAD: unknown function 'nothing'"),
        ({"when": "subject =="}, ("when",), "rule BAD: Syntax error"),
        ({"when": 'subject.matches("[")'}, ("when",), "rule BAD: .*missing"),
        (
            {"when": "attachments.exists(a, a.extention == '')"},
            ("when",),
            "rule BAD: unknown field of a 'extention'; did you mean 'extension'",
        ),
        ({"when": "facts.dkim.reslt == ''"}, ("when",), "unknown field of facts.dkim 'reslt'; did you mean 'result'"),
        ({"when": "facts.dkim.result == 'passed'"}, ("when",), "unknown value of facts.dkim.result 'passed'; did you"),
        ({"when": "facts.dkim.result == 5"}, ("when",), "compares values of one type; here it has text and number"),
        ({"when": "facts.dkim.signatures.exists(s, s.bit < 9)"}, ("when",), "unknown field of s 'bit'; did you mean"),
        ({"when": "facts.dkim.signatures.exists(s, s.bits < '9')"}, ("when",), "here it has number and text"),
        ({"when": "links.exists(l, l.kind == 'links')"}, ("when",), "unknown value of l.kind 'links'; did you mean"),
        ({"when": "rules.GOD"}, ("when",), "rule BAD: unknown rule 'GOD'; did you mean 'GOOD'"),
        ({"when": "!rules.BAD"}, ("when",), "rule BAD: rules depend on one another in a circle: BAD → BAD"),
        ({"when": "subject"}, ("when",), "rule BAD: it is a string"),
        ({"when": 7}, ("when",), "a condition must be a string"),
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


def test_a_rule_uses_the_results_of_others() -> None:
    settings = Settings.model_validate(
        {
            "rules": [
                {"name": "BOTH", "when": "rules.FIRST && rules.SECOND"},
                {"name": "FIRST", "when": "!rules.SECOND || true"},
                {"name": "SECOND", "when": "true"},
            ]
        }
    )
    assert settings.order() == ["SECOND", "FIRST", "BOTH"]
    circle = [
        {"name": "A", "when": "rules.B"},
        {"name": "B", "when": "rules.C"},
        {"name": "C", "when": "rules.D || rules.B"},
        {"name": "D", "when": "true"},
    ]
    with pytest.raises(ValidationError, match="in a circle: B → C → B") as caught:
        Settings.model_validate({"rules": circle})
    assert caught.value.errors()[0]["loc"] == ("rules", 0, "when")


def test_a_long_row_of_rules_is_sorted() -> None:
    rules = [{"name": f"R{number}", "when": f"rules.R{number + 1}"} for number in range(400)]
    settings = Settings.model_validate({"rules": [*rules, {"name": "R400", "when": "true"}]})
    assert settings.order() == [f"R{number}" for number in range(400, -1, -1)]


async def test_results_of_other_rules_are_theirs_whatever_they_count() -> None:
    rules: list[dict[str, object]] = [
        {"name": "ALL", "when": "rules.A && rules.S && rules.C && !rules.OFF && !rules.B", "score": 5},
        {"name": "A", "when": 'text.contains("Dear")'},
        {"name": "B", "when": "false"},
        {"name": "S", "when": "true", "mode": "shadow"},
        {"name": "OFF", "when": "true", "mode": "off"},
    ]
    opinions = await judge(*rules, common_rules=[{"name": "C", "when": "true"}])
    assert Score("ALL", 5.0) in opinions
    broken: list[dict[str, object]] = [
        {"name": "USES", "when": "rules.BROKEN"},
        {"name": "BROKEN", "when": "to[7] == ''"},
    ]
    (first, second) = await judge(*broken)
    assert isinstance(first, Score)
    assert isinstance(second, Score)
    assert first.why == "not evaluated: rule BROKEN was not evaluated"
    assert second.why.startswith("not evaluated: Index")


def test_facts_are_those_of_the_installed_plugins() -> None:
    def check(when: str, facts: tuple[type, ...]) -> None:
        Settings.model_validate({"rules": [{"name": "R", "when": when}]}, context={"facts": facts})

    check('facts.foo_bar.colour == "red"', (FooBarFact,))
    check("facts.dkim == null", ())
    for when, what in (
        ("facts.dkimm == null", "unknown fact 'dkimm'; did you mean 'dkim'"),
        ("facts['dkimm'] == null", "unknown fact 'dkimm'; did you mean 'dkim'"),
        ("facts.foo_bar.color == 'red'", "unknown field of facts.foo_bar 'color'; did you mean 'colour'"),
        ("facts.foo_bar.colour == 'reed'", "unknown value of facts.foo_bar.colour 'reed'"),
        ("facts.foo_bar.address.locl == ''", "unknown field of facts.foo_bar.address 'locl'"),
    ):
        with pytest.raises(ValidationError, match=what):
            check(when, (FooBarFact,))
    with pytest.raises(PolicyMistakes, match=r"default\.yaml:1:.*unknown fact 'dkimm'"):
        PluginTest("spam_rules", {"rules": [{"name": "R", "when": "facts.dkimm == null"}]})


def test_rules_that_read_what_is_missing_are_remarked() -> None:
    rules = [
        {"name": "A", "when": 'facts.spf.result == "fail"'},
        {"name": "B", "when": 'facts.spf != null && facts.spf.result == "fail"'},
        {"name": "C", "when": 'facts.virus.status == "clean"'},
        {"name": "D", "when": 'facts["dkim"].result == "fail"'},
        {"name": "E", "when": 'facts.virus.status == "clean"', "mode": "off"},
    ]
    settings = Settings.model_validate({"rules": rules})
    found = dict(settings.remarks(frozenset({SpfFact, DkimFact})))
    assert found.keys() == {("rules", 0, "when"), ("rules", 2, "when"), ("rules", 3, "when")}
    assert "facts.spf is null for mail that comes in over LMTP" in found["rules", 0, "when"]
    assert "no enabled plugin gives facts.virus" in found["rules", 2, "when"]
    assert "by submission or by IMAP" in found["rules", 3, "when"]


async def test_over_lmtp_a_rule_about_spf_is_not_evaluated_and_says_why() -> None:
    tx = transaction(raw_mail(), session=session(Door.LMTP))
    (score,) = await plugin({"name": "R", "when": 'facts.spf.result == "fail"', "score": 5, "action": "reject"}).data(
        tx
    )
    why = "not evaluated: no plugin gave facts.spf for this message, which came in over lmtp"
    assert score == Score("R", 0.0, why)


def zipped(*names: str) -> bytes:
    made = BytesIO()
    with ZipFile(made, "w") as archive:
        for name in names:
            archive.writestr(name, b"x")
    return made.getvalue()


async def test_rules_see_the_contents_of_archives() -> None:
    message = mail()
    message.add_attachment(zipped("a/evil.exe", "b.txt"), maintype="image", subtype="png", filename="photo.png")
    message.add_attachment(zipped("c.js"), maintype="application", subtype="zip", filename="c.zip")
    message.add_attachment(b"Rar!\x1a\x07\x01\x00", maintype="application", subtype="x", filename="d.rar")
    tx = transaction(message.as_bytes())
    assert await applies('attachments[1].files == ["a/evil.exe", "b.txt"] && attachments[1].archive == "zip"', tx)
    assert await applies('attachments[2].files == ["c.js"] && attachments[2].listed_completely', tx)
    assert await applies('attachments[3].archive == "rar" && !attachments[3].listed_completely', tx)
    assert await applies('attachments.exists(a, a.files.exists(f, f.endsWith(".exe")))', tx)


async def test_archives_are_decoded_up_to_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inbox_plugins._spam_rules_values.ARCHIVE_OCTETS", 150)
    message = EmailMessage()
    for name in ("a.zip", "b.zip"):
        message.add_attachment(zipped("c.js"), maintype="application", subtype="zip", filename=name)
    tx = transaction(message.as_bytes())
    assert await applies("attachments[0].listed_completely && !attachments[1].listed_completely", tx)


async def test_a_message_that_is_not_examined_completely() -> None:
    raw = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + b"--b\r\n\r\nx\r\n" * 1200
    assert await applies("!examined_completely", transaction(raw))


@pytest.mark.parametrize(
    ("date", "when"),
    [
        ("Thu, 01 Jan 2026 00:00:00 +0000", 'date == timestamp("2026-01-01T00:00:00Z")'),
        ("Sat, 01 Jan 2050 00:00:00 +0000", 'date > now + duration("24h")'),
        ("no date", 'date == timestamp("1970-01-01T00:00:00Z")'),
        ("Fri, 31 Dec 9999 23:59:59 -2359", "date.getFullYear() == 1970"),
    ],
)
async def test_dates(date: str, when: str) -> None:
    tx = transaction(b"Date: " + date.encode() + b"\r\n\r\n")
    judging = SpamRules(Settings.model_validate({"rules": [{"name": "R", "when": when}]}), services())
    assert await judging.data(tx) == [Score("R", 0.0)]


async def test_functions_are_bounded() -> None:
    raw = b"Subject: x\r\n\r\n" + b"ab " * 60_000
    for when, what in (
        ('text.replace("a", text) == ""', "the result of replace would have more than 262144 characters"),
        ('text.split("a").exists(x, text.fold() == x)', "fold is called too often"),
    ):
        (score,) = await judge({"name": "R", "when": when, "score": 1}, raw=raw)
        assert isinstance(score, Score)
        assert what in score.why
    assert await judge({"name": "R", "when": 'text.split("a").size() == 1000', "score": 1}, raw=raw) == [Score("R", 1)]


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
    assert await judge({"name": "A", "when": "!read_completely", "score": 1}, raw=long) == [Score("A", 1.0)]
    links = b"Subject: x\r\n\r\n" + b"\r\n".join(b"http://h%d.example/" % n for n in range(2000))
    assert await judge({"name": "A", "when": "urls.size() == 500 && !read_completely", "score": 1}, raw=links) == [
        Score("A", 1.0)
    ]


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
    names = [name for name in VARIABLES if name not in {"facts", "rules"}]
    rules = [{"name": f"R_{name}", "when": f"{name} == {name}", "score": 1} for name in names]
    assert await judge(*rules, raw=raw) == [Score(f"R_{name}", 1.0) for name in names]


@given(raw=st.binary(max_size=300))
async def test_no_message_makes_the_plugin_fail(raw: bytes) -> None:
    rules: list[dict[str, object]] = [
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
