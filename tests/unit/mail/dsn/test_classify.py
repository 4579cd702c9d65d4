"""Rules that classify failures."""

from __future__ import annotations

import time

import pytest

from inbox.mail.dsn.classify import CATEGORIES, classify, is_suppressible, rule, shipped


@pytest.mark.parametrize(
    ("code", "status", "text", "category"),
    [
        (550, "5.1.1", "The email account that you tried to reach does not exist.", "address"),
        (550, "5.1.10", "RESOLVER.ADR.RecipientNotFound; not found", "address"),
        (556, "5.1.10", "Domain does not accept mail (nullMX)", "domain"),
        (552, "5.2.2", "Mailbox full", "quota"),
        (552, "5.3.4", "Message size exceeds fixed limit", "content"),
        (550, "5.7.26", "Unauthenticated email from acme.test is not accepted", "policy"),
        (550, "5.7.1", "Client host blocked using zen.spamhaus.org", "reputation"),
        (421, "4.7.0", "[TSS04] Messages from 192.0.2.1 temporarily deferred due to user complaints", "reputation"),
        (451, "4.3.0", "Temporary lookup failure", "transient"),
        (0, "4.4.7", "", "transient"),
        (550, "", "", "address"),
        (550, "5.7.0", "no reason 4. whatever", "policy"),
    ],
)
def test_replies_are_classified(code: int, status: str, text: str, category: str) -> None:
    assert classify(code, status, text) == category


def test_an_operators_rule_comes_first() -> None:
    own = (rule({"category": "quota", "status": "5.1.1", "code": 550, "text": "Postfach"}),)
    assert classify(550, "5.1.1", "kein POSTFACH", own) == "quota"
    assert classify(551, "5.1.1", "kein Postfach", own) == "address"
    assert classify(550, "5.1.2", "kein Postfach", own) == "domain"


def test_the_context_decides_only_what_the_text_leaves_open() -> None:
    assert classify(0, "5.0.0", "see below", context="the mailbox is full") == "quota"
    assert classify(0, "5.0.0", "no such user", context="the mailbox is full") == "address"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        ({"category": "adress", "text": "x"}, "category 'adress' is unknown; use one of address, domain"),
        ({"category": "address"}, "a rule needs at least one of status, code and text"),
        ({"category": "address", "txt": "x"}, "'txt' is not a key of a rule; use category, status, code or text"),
        ({"category": "address", "text": "("}, "text '(' is not a regular expression"),
        ({"category": "address", "code": "abc"}, "code 'abc' is not a reply code"),
    ],
)
def test_an_invalid_rule_is_refused_with_its_reason(data: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError) as raised:
        rule(data)
    assert str(raised.value).startswith(message)


@pytest.mark.parametrize(
    ("status", "category", "yes"),
    [
        ("5.1.1", "address", True), ("5.1.2", "domain", True), ("5.1.10", "domain", True),
        ("5.7.1", "address", False), ("5.2.2", "quota", False), ("4.4.7", "transient", False),
        ("5.1.1", "reputation", False), ("5.1.10", "policy", False),
    ],
)  # fmt: skip
def test_only_what_does_not_exist_is_suppressed(status: str, category: str, yes: bool) -> None:
    assert category in CATEGORIES
    assert is_suppressible(status, category) is yes


@pytest.mark.parametrize("text", ["user " * 300, "a" * 1000, "size " * 250, "message " * 150, "not " * 300])
def test_the_shipped_patterns_do_not_backtrack(text: str) -> None:
    before = time.process_time()
    for each in shipped():
        each.matches(0, "", text)
    assert time.process_time() - before < 0.5
