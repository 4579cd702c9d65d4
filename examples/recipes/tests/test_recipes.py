"""Each recipe, without a server."""

from __future__ import annotations

import base64
import io
import zipfile
from pathlib import Path

import pytest

from inbox.plugin import (
    Accept,
    AddFlags,
    AddHeader,
    AddRecipient,
    Delivery,
    DnsTemporary,
    Door,
    FileInto,
    Identity,
    Quarantine,
    Redirect,
    Reject,
    Result,
    SpfFact,
    Stage,
    VirusFact,
)
from inbox.plugin.testing import PluginTest, PolicyMistakes

RECIPES = Path(__file__).parents[1]


def attached(name: str, content: bytes = b"x") -> bytes:
    """A message with one attachment."""
    return (
        b"Subject: look\r\nMIME-Version: 1.0\r\nContent-Type: application/octet-stream\r\n"
        b"Content-Transfer-Encoding: base64\r\n"
        + f'Content-Disposition: attachment; filename="{name}"\r\n\r\n'.encode()
        + base64.b64encode(content)
        + b"\r\n"
    )


# --- refuse_header ---


async def test_a_header_is_refused() -> None:
    test = PluginTest(RECIPES / "refuse_header.py", {"name": "X-Mailer", "pattern": "(?i)mass ?mailer"})
    refused = await test.data(b"X-Mailer: fine\r\nX-Mailer: MassMailer 3\r\n\r\nbuy\r\n")
    assert refused.verdict == Reject(550, "5.7.1", "Messages with this X-Mailer are not accepted here")
    assert (await test.data(b"X-Mailer: mutt\r\n\r\nhello\r\n")).verdict == Accept()


@pytest.mark.parametrize("settings", [{"name": "X Y", "pattern": "x"}, {"name": "X", "pattern": "("}, {"name": "X"}])
def test_a_wrong_pattern_is_refused(settings: dict[str, str]) -> None:
    with pytest.raises(PolicyMistakes):
        PluginTest(RECIPES / "refuse_header.py", settings)


# --- attachment_score ---


async def test_an_attachment_is_scored() -> None:
    test = PluginTest(RECIPES / "attachment_score.py", {"points": {"exe": 6}}, groups={"attachments": {"cap": 4}})
    outcome = await test.data(attached("Invoice.EXE"))
    assert outcome.symbols == {"DANGEROUS_ATTACHMENT": 6}
    assert outcome.total == 4, "the policy caps the group"
    assert (await test.data(attached("Invoice.exe.pdf"))).symbols == {"DANGEROUS_ATTACHMENT": 6}
    assert (await test.data(attached("holiday.jpg"))).symbols == {}
    assert (await test.data()).symbols == {}


# --- file_into ---


async def test_a_list_has_its_folder() -> None:
    test = PluginTest(RECIPES / "file_into.py", {"lists": {"Dev.lists.example.org": "Lists/Dev"}})
    outcome = await test.store(b"List-Id: Developers <dev.lists.example.org>\r\n\r\nhello\r\n")
    assert outcome.edits == [FileInto("Lists/Dev"), AddFlags(("$list",))]
    assert (await test.store(b"List-Id: <other.example.org>\r\n\r\n")).edits == []
    assert (await test.store()).edits == []


async def test_junk_stays_junk() -> None:
    test = PluginTest(RECIPES / "file_into.py", {"lists": {"dev.test": "Lists/Dev"}})
    delivery: Delivery = test.delivery(eml=b"List-Id: <dev.test>\r\n\r\n")
    delivery.mailbox = "Junk"
    assert (await test.run(Stage.STORE, delivery=delivery)).edits == []


# --- quarantine_impostor ---


async def test_an_impostor_is_held() -> None:
    test = PluginTest(RECIPES / "quarantine_impostor.py", {"people": {"Ann Boss": "ann@acme.test"}})
    forged = await test.data(b"From: Ann BOSS <ceo@elsewhere.test>\r\n\r\npay now\r\n")
    assert forged.verdict == Quarantine("ann boss does not write from ceo@elsewhere.test")
    assert (await test.data(b"From: Ann Boss <ann@acme.test>\r\n\r\nhello\r\n")).verdict == Accept()


async def test_who_logged_in_is_no_impostor() -> None:
    test = PluginTest(RECIPES / "quarantine_impostor.py", {"people": {"Ann Boss": "ann@acme.test"}})
    tx = test.transaction(eml=b"From: Ann Boss <ann@home.test>\r\n\r\n", door=Door.SUBMISSION)
    tx.session.identity = Identity("ann@acme.test", "a1", "demo", "demo")
    assert (await test.run(Stage.DATA, tx=tx)).verdict == Accept()


# --- known_senders ---


async def test_a_changed_list_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "known.txt"
    path.write_text("# friends\nbob@example.net\n\npartner.test  # all of them\n")
    test = PluginTest(RECIPES / "known_senders.py", {"path": str(path)})
    assert (await test.data(sender="Bob@example.net")).symbols == {"KNOWN_SENDER": -3}
    assert (await test.data(sender="anybody@partner.test")).symbols == {"KNOWN_SENDER": -3}
    assert (await test.data(sender=None)).symbols == {}
    path.write_text("carl@example.net\n")
    assert (await test.data(sender="carl@example.net")).symbols == {}, "not read again yet"
    test.clock.advance(60)
    assert (await test.data(sender="carl@example.net")).symbols == {"KNOWN_SENDER": -3}


async def test_a_list_that_is_gone_stays_in_force(tmp_path: Path) -> None:
    path = tmp_path / "known.txt"
    path.write_text("partner.test\n")
    test = PluginTest(RECIPES / "known_senders.py", {"path": str(path)})
    await test.data()
    path.unlink()
    test.clock.advance(60)
    assert (await test.data(sender="bob@partner.test")).symbols == {"KNOWN_SENDER": -3}
    assert test.log.named("known_senders_not_read")[0]["path"] == str(path)


async def test_a_list_that_was_never_there_is_a_failure(tmp_path: Path) -> None:
    test = PluginTest(RECIPES / "known_senders.py", {"path": str(tmp_path / "none")}, errors="outcome")
    outcome = await test.data()
    assert outcome.verdict == Accept()
    assert "No such file" in outcome.trace.why


# --- seal ---


async def test_a_seal_replaces_a_forged_one(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("correct horse battery\n")
    test = PluginTest(RECIPES / "seal.py", {"key": {"file": str(tmp_path / "key")}})
    _, seal = (await test.data(b"X-Acme-Seal: forged\r\n\r\n")).edits
    assert isinstance(seal, AddHeader)
    assert seal.value.startswith("transaction ")
    assert "correct horse" not in repr(test.policy), "settings never show a secret"
    other = PluginTest(RECIPES / "seal.py", {"key": "another key of 16"})
    assert (await other.data()).edits[1] != seal


def test_a_short_key_is_refused() -> None:
    with pytest.raises(PolicyMistakes, match="key"):
        PluginTest(RECIPES / "seal.py", {"key": "short"})


# --- strict_unscanned ---

UNSCANNED = VirusFact("unscanned", scanner="clamav", why="encrypted")


async def test_facts_of_others_decide() -> None:
    held = await PluginTest(RECIPES / "strict_unscanned.py", facts=[UNSCANNED]).data()
    assert held.verdict == Quarantine("not scanned: encrypted")
    passed = SpfFact(Result.PASS, "example.net")
    assert (await PluginTest(RECIPES / "strict_unscanned.py", facts=[UNSCANNED, passed]).data()).verdict == Accept()
    assert (await PluginTest(RECIPES / "strict_unscanned.py", facts=[VirusFact("clean")]).data()).verdict == Accept()


def test_a_policy_without_a_scanner_is_refused() -> None:
    with pytest.raises(PolicyMistakes, match="needs VirusFact, and no enabled plugin gives it"):
        PluginTest(RECIPES / "strict_unscanned.py")


# --- newsletter ---


async def test_a_fact_is_given() -> None:
    test = PluginTest(RECIPES / "newsletter.py")
    (newsletter_fact,) = test.loaded.gives
    outcome = await test.data(b"List-Unsubscribe: <mailto:off@shop.test>\r\n\r\nbuy\r\n")
    assert outcome.fact(newsletter_fact) == newsletter_fact("bulk", False)
    assert (await test.data(b"List-Id: <a.test>\r\n\r\n")).fact(newsletter_fact) == newsletter_fact("list", False)
    assert (await test.data(b"Subject: dear Ann\r\n\r\n")).fact(newsletter_fact) is None


async def test_a_rule_sees_the_fact() -> None:
    (newsletter_fact,) = PluginTest(RECIPES / "newsletter.py").loaded.gives
    when = 'facts.newsletter != null && facts.newsletter.kind == "bulk" && !facts.newsletter.one_click'
    rules = {"rules": [{"name": "BULK_WITHOUT_EXIT", "when": when, "score": 2}]}
    test = PluginTest("spam_rules", rules, facts=[newsletter_fact("bulk", False)])
    assert (await test.data()).symbols == {"BULK_WITHOUT_EXIT": 2}
    assert (await PluginTest("spam_rules", rules, facts=[newsletter_fact("bulk", True)]).data()).symbols == {}


# --- redirect_role ---


async def test_a_role_is_redirected() -> None:
    test = PluginTest(RECIPES / "redirect_role.py", {"to": {"Sales@acme.test": "bob@acme.test"}})
    assert (await test.rcpt("sales@ACME.test")).verdict == Redirect("bob@acme.test")
    assert (await test.rcpt("ann@acme.test")).verdict == Accept()


# --- learn_traps ---


async def test_a_trap_teaches_for_a_day() -> None:
    test = PluginTest(RECIPES / "learn_traps.py", {"traps": ["old@acme.test"]})
    assert (await test.rcpt("ann@acme.test", ip="192.0.2.7")).verdict == Accept()
    assert (await test.data(ip="192.0.2.7")).symbols == {}
    assert (await test.rcpt("old@acme.test", ip="192.0.2.7")).verdict == Reject(550, "5.1.1", "No such user here")
    assert (await test.data(ip="192.0.2.250")).symbols == {"TRAPPED_NETWORK": 2}, "a neighbour"
    assert (await test.data(ip="198.51.100.1")).symbols == {}
    test.clock.advance(86_400)
    assert (await test.data(ip="192.0.2.7")).symbols == {}


async def test_a_tenants_lessons_are_its_own() -> None:
    test = PluginTest(RECIPES / "learn_traps.py", {"traps": ["old@acme.test"]})
    await test.rcpt("old@acme.test")
    tx = test.transaction(eml=b"\r\n")
    tx.tenant = "another"
    assert (await test.run(Stage.DATA, tx=tx)).symbols == {}


# --- zip_names ---


def archive(*names: str) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as zipped:
        for name in names:
            zipped.writestr(name, b"")
    return content.getvalue()


async def test_a_program_in_an_archive_is_found() -> None:
    test = PluginTest(RECIPES / "zip_names.py")
    assert (await test.data(attached("photos.zip", archive("a.jpg", "b/RUN.EXE")))).symbols == {"PROGRAM_IN_ZIP": 5}
    assert (await test.data(attached("photos.zip", archive("a.jpg")))).symbols == {}
    assert (await test.data(attached("photos.zip", b"no archive"))).symbols == {}
    assert (await test.data()).symbols == {}


# --- dns_list ---


async def test_a_listed_address_is_refused() -> None:
    test = PluginTest(RECIPES / "dns_list.py", {"zone": "bl.test"})
    test.dns.a_records["99.2.0.192.bl.test"] = ["127.0.0.2"]
    assert (await test.connect("192.0.2.99")).verdict == Reject(550, "5.7.1", "Your address is listed by bl.test")
    assert (await test.connect("192.0.2.98")).verdict == Accept()
    await test.connect("2001:db8::1")
    assert test.dns.asked[-1] == ("A", "1" + ".0" * 23 + ".8.b.d.0.1.0.0.2.bl.test")


async def test_a_list_that_does_not_answer_blocks_nobody() -> None:
    test = PluginTest(RECIPES / "dns_list.py", {"zone": "bl.test"})
    test.dns.fails.add("99.2.0.192.bl.test")
    with pytest.raises(DnsTemporary):
        await test.connect("192.0.2.99")
    lenient = PluginTest(RECIPES / "dns_list.py", {"zone": "bl.test"}, errors="outcome")
    lenient.dns.fails.add("99.2.0.192.bl.test")
    assert (await lenient.connect("192.0.2.99")).verdict == Accept()


# --- login_networks ---


async def test_logins_come_from_our_networks() -> None:
    settings = {"networks": ["10.0.0.0/8"], "everywhere": ["ann@demo.test"]}
    test = PluginTest(RECIPES / "login_networks.py", settings)
    assert (await test.auth("bob@demo.test", "10.1.2.3")).verdict == Accept()
    assert (await test.auth("ann@demo.test", "192.0.2.1")).verdict == Accept()
    refused = await test.auth("bob@demo.test", "192.0.2.1")
    assert refused.verdict == Reject(535, "5.7.8", "Logins are not allowed from your network")
    assert test.log.named("login_from_elsewhere") == [{"account": "bob@demo.test", "peer": "192.0.2.1"}]


# --- archive_copy ---


async def test_the_archive_gets_a_copy_once() -> None:
    test = PluginTest(RECIPES / "archive_copy.py", {"to": "archive@demo.test"})
    assert (await test.data()).edits == [AddRecipient("archive@demo.test")]
    assert (await test.data(to=["ann@demo.test", "archive@demo.test"])).edits == []
