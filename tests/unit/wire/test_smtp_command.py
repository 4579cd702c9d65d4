"""Commands and their arguments."""

from __future__ import annotations

import pytest

from inbox.mail.address import Address
from inbox.wire.smtp.command import Bdat, Mail, Rcpt, check_helo, parse_bdat, parse_command, parse_mail, parse_rcpt
from inbox.wire.smtp.errors import CommandError
from inbox.wire.smtp.state import Verb

ANN = Address("ann", "demo.test")


def test_verb_and_argument() -> None:
    command = parse_command(b"  mail   FROM:<> SIZE=1  ")
    assert (command.verb, command.word, command.argument) == (Verb.MAIL, "MAIL", "FROM:<> SIZE=1")
    assert parse_command(b"XYZZY a b").verb is None


@pytest.mark.parametrize("line", [b"", b"   ", b"NOOP\x00", b"NOOP\tx", b"\xffOOP", b"NOOP \xc3\xa9", b"NOOP \x7f"])
def test_no_command(line: bytes) -> None:
    with pytest.raises(CommandError) as caught:
        parse_command(line)
    assert (caught.value.code, caught.value.status) == (500, "5.5.2")


def test_mail() -> None:
    assert parse_mail("FROM:<ann@demo.test>") == Mail(ANN, {}, 0)
    assert parse_mail("from: <>  SIZE=12 body=8BITMIME") == Mail(None, {"SIZE": "12", "BODY": "8BITMIME"}, 12)
    assert parse_mail("FROM:<j\u00fcrgen@demo.test> SMTPUTF8").utf8
    assert parse_mail('FROM:<"a> SIZE=1 \\"b"@demo.test>').sender == Address('a> SIZE=1 "b', "demo.test")


def test_rcpt() -> None:
    assert parse_rcpt("TO:<ann@demo.test>", "mx.test", utf8=False) == Rcpt(ANN, frozenset(), None)
    rcpt = parse_rcpt("TO:<ann@demo.test> NOTIFY=failure,delay ORCPT=rfc822;a+2Bb@x.test", "mx.test", utf8=False)
    assert rcpt == Rcpt(ANN, frozenset({"FAILURE", "DELAY"}), "rfc822;a+2Bb@x.test")
    assert parse_mail(f"FROM:<{'a' * 300}@demo.test>").sender == Address("a" * 300, "demo.test")
    assert parse_mail("FROM:<.user..name.@demo.test>").sender == Address(".user..name.", "demo.test")
    assert parse_rcpt("TO:<PostMaster>", "mx.test", utf8=False).address == Address("PostMaster", "mx.test")
    long = f"{'a' * 600}@demo.test"  # a relay repeats the recipient in ORCPT
    assert parse_rcpt(f"TO:<{long}> ORCPT=rfc822;{long}", "mx.test", utf8=False).orcpt == f"rfc822;{long}"
    assert parse_rcpt("TO:<@a.test,@b.test:ann@demo.test>", "mx.test", utf8=False).address == ANN


@pytest.mark.parametrize(
    "argument",
    [
        "TO:<ann@demo.test> NOTIFY=NEVER,SUCCESS",
        "TO:<ann@demo.test> NOTIFY=SOMETIMES",
        "TO:<ann@demo.test> ORCPT=rfc822;",
        "TO:<ann@demo.test> ORCPT=rfc822;a+2b",
        "TO:<ann@demo.test> ORCPT=rfc822;" + "a" * 1000,
        "TO:<ann@demo.test> =x",
        "TO:<ann@demo.test>NOTIFY=NEVER",
        "TO:<ann@demo.test> extra words",
        "TO:<ann@demo.test>>",
        "TO:<ann@>",
        "TO:<" + "a" * 900 + "@demo.test>",
        "TO:<" + "a@" * 5000 + ">",
        "TO:<" + '"' * 5000 + ">",
        "TO:" + "<" * 1000,
    ],
)
def test_rcpt_refused(argument: str) -> None:
    with pytest.raises(CommandError) as caught:
        parse_rcpt(argument, "mx.test", utf8=False)
    assert caught.value.code in (501, 555)


def test_envid_has_a_bound() -> None:
    parse_mail("FROM:<> ENVID=" + "a" * 100)
    with pytest.raises(CommandError):
        parse_mail("FROM:<> ENVID=" + "a" * 101)


def test_bdat() -> None:
    assert parse_bdat("12") == Bdat(12, last=False)
    assert parse_bdat("0 last") == Bdat(0, last=True)
    for wrong in ("", "-1", "1 2", "1 LAST x", "LAST", "\u0663", "1" * 21):
        with pytest.raises(CommandError):
            parse_bdat(wrong)


@pytest.mark.parametrize("name", ["client.example", "[192.0.2.1]", "[IPv6:2001:db8::1]", "localhost"])
def test_helo_of_the_rfc(name: str) -> None:
    check_helo(name, strict=True)
    check_helo(name, strict=False)


@pytest.mark.parametrize("name", ["my_host", "192.0.2.1:25", "-x.example", "[300.1.1.1]", "[IPv6:zz]", "a..b"])
def test_helo_that_is_only_taken_when_lenient(name: str) -> None:
    check_helo(name, strict=False)
    with pytest.raises(CommandError):
        check_helo(name, strict=True)


@pytest.mark.parametrize("name", ["", "two words", "x" * 256])
def test_helo_that_is_never_taken(name: str) -> None:
    with pytest.raises(CommandError):
        check_helo(name, strict=False)
