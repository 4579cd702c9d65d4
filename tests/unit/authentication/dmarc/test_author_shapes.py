"""From fields as real mail has them: the domain that is judged, and the mailbox that ENVELOPE shows."""

from __future__ import annotations

import pytest

from inbox.authentication.dmarc.author import a_labels, author_of
from inbox.mail.addresslist import MISSING_DOMAIN, SYNTAX_ERROR, addr_spec, parse_addresses

#: No single author: such mail is refused, or judged by no policy.
NOBODY = ""
LONG = b"bounce+" + b"x" * 200

#: (value, the domain that is judged, the mailbox that is shown first).
SHAPES: list[tuple[bytes, str, str]] = [
    # As RFC 5322 §3.4 has it.
    (b"bob@a.test", "a.test", "bob@a.test"),
    (b"<bob@a.test>", "a.test", "bob@a.test"),
    (b"Bob <bob@a.test>", "a.test", "bob@a.test"),
    (b"Bob B. Bee <bob@a.test>", "a.test", "bob@a.test"),
    (b'"Bee, Bob" <bob@a.test>', "a.test", "bob@a.test"),
    (b'"Bob \\"Bobby\\" Bee" <bob@a.test>', "a.test", "bob@a.test"),
    (b'"Bob \\\\ Bee" <bob@a.test>', "a.test", "bob@a.test"),
    (b"bob@a.test (Bob)", "a.test", "bob@a.test"),
    (b"Bob (Sales) <bob@a.test>", "a.test", "bob@a.test"),
    (b"Bob <bob@a.test> (Sales (EMEA))", "a.test", "bob@a.test"),
    (b'"a b"@a.test', "a.test", "a b@a.test"),
    (b"a@a.test, Bob <b@A.TEST>", "a.test", "a@a.test"),
    (b"Team: a@a.test, b@a.test;", "a.test", "a@a.test"),
    # Display names that should be quoted, and are not.
    (b"Bob [EXT] <bob@a.test>", "a.test", "bob@a.test"),
    (b"[Shop] <a@x.test>", "x.test", "a@x.test"),
    (b"Bob @ Work <a@x.test>", "x.test", "a@x.test"),
    (b"Bob@Work <a@x.test>", "x.test", "a@x.test"),
    (b"Bob @ Work @ Home <a@x.test>", "x.test", "a@x.test"),
    (b"@bob <a@x.test>", "x.test", "a@x.test"),
    (b"Bob @ <a@x.test>", "x.test", "a@x.test"),
    (b"Bob @ Example Inc. <a@x.test>", "x.test", "a@x.test"),
    (b"Bee, Bob <bob@a.test>", "a.test", "bob@a.test"),
    (b"Example, Inc. <bob@a.test>", "a.test", "bob@a.test"),
    (b"Bob; Sales <bob@a.test>", "a.test", "bob@a.test"),
    (b"Sales: Bob <bob@a.test>", "a.test", "bob@a.test"),
    (b"Re: [EXT] Bob <bob@a.test>", "a.test", "bob@a.test"),
    (b"Bob :) <bob@a.test>", "a.test", "bob@a.test"),
    (b"Bob :-( <bob@a.test>", "a.test", "bob@a.test"),
    (b"Bob (Sales <bob@a.test>", "a.test", "bob@a.test"),
    (b"Bob Sales) <bob@a.test>", "a.test", "bob@a.test"),
    (b"Bob\\Domain <bob@a.test>", "a.test", "bob@a.test"),
    (b"Bob & Co. | News <bob@a.test>", "a.test", "bob@a.test"),
    (b"http://a.test/ <bob@a.test>", "a.test", "bob@a.test"),
    (b"* Bob * <bob@a.test>", "a.test", "bob@a.test"),
    (b"a.test <bob@a.test>", "a.test", "bob@a.test"),
    (b".Bob. <bob@a.test>", "a.test", "bob@a.test"),
    (b'"Bob" [EXT] <bob@a.test>', "a.test", "bob@a.test"),
    (b"'Bob' via List <list@x.test>", "x.test", "list@x.test"),
    (b"'bob@x.test' <bob@x.test>", "x.test", "bob@x.test"),
    (b"bob@x.test via List <list@x.test>", "x.test", "list@x.test"),
    (b"\"'bob@y.test' via List\" <list@x.test>", "x.test", "list@x.test"),
    (b"bob@x.test <bob@x.test>", "x.test", "bob@x.test"),
    (b"<bob@x.test> <bob@x.test>", "x.test", "bob@x.test"),
    (b'"bob@y.test" <bob@x.test>', "x.test", "bob@x.test"),
    (b'"Bob <bob@y.test>" <bob@x.test>', "x.test", "bob@x.test"),
    (b'"Bob" <bob@x.test> "Sales"', "x.test", "bob@x.test"),
    # Display names that hold another address: the only angle address is the author's.
    (b"form@visitor.test <a@shop.test>", "shop.test", "a@shop.test"),
    (b"form @ visitor . test <a@shop.test>", "shop.test", "a@shop.test"),
    (b"form@vis itor.test <a@shop.test>", "shop.test", "a@shop.test"),
    (b"form@vis(x)itor.test <a@shop.test>", "shop.test", "a@shop.test"),
    (b"form@visitor.test [EXT] <a@shop.test>", "shop.test", "a@shop.test"),
    (b"'form@visitor.test' <a@shop.test>", "shop.test", "a@shop.test"),
    (b"[form@visitor.test] <a@shop.test>", "shop.test", "a@shop.test"),
    (b"form@visitor.test x@y.test <a@shop.test> (web)", "shop.test", "a@shop.test"),
    (b"form@visitor.test <@r.test:a@shop.test>\r\n ", "shop.test", "a@shop.test"),
    # Marks that are missing, or doubled.
    (b'"Bob <bob@a.test>', "a.test", "bob@a.test"),
    (b'Bob" <bob@a.test>', "a.test", "bob@a.test"),
    (b'"Bee, Bob <bob@a.test>', "a.test", "bob@a.test"),
    (b"<<bob@a.test>>", "a.test", "bob@a.test"),
    (b"Bob <<bob@a.test>>", "a.test", "bob@a.test"),
    (b"Bob < bob@a.test >", "a.test", "bob@a.test"),
    (b"Bob <bob@a.test>>", "a.test", "bob@a.test"),
    (b"Bob<bob@a.test>", "a.test", "bob@a.test"),
    (b"bob@a.test,", "a.test", "bob@a.test"),
    (b", bob@a.test", "a.test", "bob@a.test"),
    (b"bob@a.test,, ,", "a.test", "bob@a.test"),
    (b"bob@a.test;", "a.test", "bob@a.test"),
    (b"Bob <bob@a.test>;", "a.test", "bob@a.test"),
    (b"Bob <bob@a.test.>", "a.test", "bob@a.test."),
    # Obsolete syntax (RFC 5322 §4.4).
    (b"bob @ a . test", "a.test", "bob@a.test"),
    (b"bob(x)@(y)a(z).(u)test", "a.test", "bob@a.test"),
    (b"Bob <@r.test,@s.test:bob@a.test>", "a.test", "bob@a.test"),
    (b"<@r.test:bob@a.test>", "a.test", "bob@a.test"),
    (b"(Sales) Bob (x) < (y) bob@a.test (z) >", "a.test", "bob@a.test"),
    (b"J. R. Bob <bob@a.test>", "a.test", "bob@a.test"),
    # Local parts of all kinds.
    (b"user..name@a.test", "a.test", "user..name@a.test"),
    (b"<.user@a.test>", "a.test", ".user@a.test"),
    (b"<user.@a.test>", "a.test", "user.@a.test"),
    (LONG + b"@a.test", "a.test", LONG.decode() + "@a.test"),
    # Folding, white space, length.
    (b"Bob\r\n\t<bob@a.test>", "a.test", "bob@a.test"),
    (b"\tBob\t<bob@a.test>\t", "a.test", "bob@a.test"),
    (b"Bob [EXT]\r\n <bob@a.test>", "a.test", "bob@a.test"),
    (b"Bob " * 2000 + b"[EXT] <bob@a.test>", "a.test", "bob@a.test"),
    # Other alphabets.
    (b"=?utf-8?q?Bob_=5BEXT=5D?= <bob@a.test>", "a.test", "bob@a.test"),
    (b"=?utf-8?q?Bee=2C_Bob?= <bob@a.test>", "a.test", "bob@a.test"),
    (b'"=?utf-8?q?B=C3=B6b?=" <bob@a.test>', "a.test", "bob@a.test"),
    (b"=?utf-8?q?Bee, Bob?= <bob@a.test>", "a.test", "bob@a.test"),
    (b"=?utf-8?q?B=C3=B6b?= [EXT] <bob@a.test>", "a.test", "bob@a.test"),
    (b"=?utf-8?q?Bob_=3Cbob=40a.test=3E?= <bob@a.test>", "a.test", "bob@a.test"),
    (b"=?utf-8?q?Bee=2C_Bob_=28bob=40y.test=29?= <list@x.test>", "x.test", "list@x.test"),
    (b"=?nonsense?x?Bob?= <bob@a.test>", "a.test", "bob@a.test"),
    ("Böb [Büro] <bob@a.test>".encode(), "a.test", "bob@a.test"),
    ("Böb [Büro] <bob@a.test>".encode("latin-1"), "a.test", "bob@a.test"),
    ("Böb <böb@bücher.test>".encode(), "xn--bcher-kva.test", "böb@bücher.test"),
    ("ボブ【公式】 <bob@a.test>".encode(), "a.test", "bob@a.test"),
    ("„Bob“ <bob@a.test>".encode(), "a.test", "bob@a.test"),
    # Nobody's, or unclear.
    (b"undisclosed:;", NOBODY, ""),
    (b"undisclosed-recipients:;", NOBODY, ""),
    (b"Bob", NOBODY, ""),
    (b"Bob <>", NOBODY, ""),
    (b"Bob <bob>", NOBODY, ""),
    (b"Bob <bob@>", NOBODY, ""),
    (b"Bob <bob@a.test", NOBODY, ""),
    (b"bob@[192.0.2.1]", NOBODY, "bob@[192.0.2.1]"),
    (b"Bob <bob@[IPv6:2001:db8::1]>", NOBODY, "bob@[ipv6:2001:db8::1]"),
    (b"Bob <bob@a@b.test>", NOBODY, ""),
    (b"Bob <bob@a.test, b@a.test>", NOBODY, "b@a.test"),
    (b"bob@exam ple.test", NOBODY, "bob@exam"),
    (b"bob@exam(x)ple.test", NOBODY, "bob@exam"),
    # Two readers may see two authors.
    (b"ceo@bank.test, <a@evil.test>", NOBODY, "ceo@bank.test"),
    (b"ceo@bank.test; <a@evil.test>", NOBODY, "ceo@bank.test"),
    (b"Sales: ceo@bank.test <a@evil.test>", NOBODY, "a@evil.test"),
    (b"ceo@bank.test <a@evil.test> b@evil.test", NOBODY, "a@evil.test"),
    (b"ceo@bank.test <a@evil.test>, <b@evil.test>", NOBODY, "a@evil.test"),
    (b'ceo@bank.test (" ) <a@evil.test> ( ")', NOBODY, "a@evil.test"),
    (b'ceo@bank.test "(" <a@evil.test> ")"', NOBODY, "a@evil.test"),
    (b'ceo@bank.test " <a@evil.test>', NOBODY, "a@evil.test"),
    (b"<ceo@bank.test> <a@evil.test>", NOBODY, "ceo@bank.test"),
    (b"<<ceo@bank.test> a@evil.test>", NOBODY, "ceo@bank.test"),
    (b"a@evil.test <>, ceo@bank.test", NOBODY, "ceo@bank.test"),
    (b'"ceo@bank.test", <a@evil.test>', NOBODY, "a@evil.test"),
    (b'"ceo@bank.test": <a@evil.test>', NOBODY, "a@evil.test"),
    (b'"ceo@bank.test" a@evil.test', NOBODY, ""),
    (b'"x\\" <ceo@bank.test> \\"" <a@evil.test>', NOBODY, "a@evil.test"),
    (b'"ceo@bank.test <a@evil.test>', NOBODY, "a@evil.test"),
    (b"(ceo@bank.test <a@evil.test>", NOBODY, "a@evil.test"),
    (b"=?utf-8?q?ceo=40bank=2Etest?=, a@evil.test", NOBODY, "a@evil.test"),
    (b"=?utf-8?q?=3Cceo=40bank=2Etest=3E?= <a@evil.test>", NOBODY, "a@evil.test"),
    (b"=?utf-8?b?PGNlb0BiYW5rLnRlc3Q+?= <a@evil.test>", NOBODY, "a@evil.test"),
    (b"=?utf-8?q?ceo=40?= =?utf-8?q?bank=2Etest=2C?= <a@evil.test>", NOBODY, "a@evil.test"),
    (b'"=?utf-8?q?ceo=40bank=2Etest=2C?=" <a@evil.test>', NOBODY, "a@evil.test"),
    (b"=?utf-8?q?ceo=40bank.test, x?= <a@evil.test>", NOBODY, "a@evil.test"),
    (b"a@evil.test; ceo@bank.test", NOBODY, "a@evil.test"),
    (b"a@evil.test\r\n\t,ceo@bank.test", NOBODY, "a@evil.test"),
    (b"Bob <a@evil.test> on behalf of ceo@bank.test", NOBODY, "a@evil.test"),
]


@pytest.mark.parametrize(("value", "domain", "shown"), SHAPES, ids=[ascii(shape[0])[2:50] for shape in SHAPES])
def test_shape(value: bytes, domain: str, shown: str) -> None:
    author = author_of([value])
    assert (author.domain, bool(author.problem)) == (domain, not domain)
    addresses = parse_addresses(value)
    assert addr_spec(addresses) == shown
    if domain:  # What ENVELOPE shows is what was judged.
        hosts = {one.host for one in addresses} - {None, MISSING_DOMAIN, SYNTAX_ERROR}
        assert {a_labels(host.decode()) for host in hosts if host is not None} == {domain}


def test_several_fields_have_no_author() -> None:
    assert not author_of([b"bob@a.test", b"bob@a.test"]).domain
