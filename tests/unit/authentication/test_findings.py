"""Facts as results of an Authentication-Results field; tests/plugins/test_authentication_results.py has them in one."""

from __future__ import annotations

from ipaddress import ip_address

import pytest

from inbox.authentication.findings import of_arc, of_bimi, of_dkim, of_dmarc, of_spf
from inbox.authentication.results import MethodResult
from inbox.plugin.api.facts import ArcFact, BimiFact, DkimFact, DkimSignature, DmarcFact, Result, SpfFact


def test_helo_is_reported_beside_the_sender_if_it_has_a_result() -> None:
    silent = SpfFact(Result.PASS, "a.test", sender="x@a.test", helo="h.test", helo_result=Result.NONE)
    assert list(of_spf(silent)) == [MethodResult("spf", "pass", (("smtp.mailfrom", "x@a.test"),))]
    unchecked = SpfFact(Result.PASS, "a.test", sender="x@a.test", helo="h.test")
    assert list(of_spf(unchecked)) == list(of_spf(silent))
    telling = SpfFact(Result.PASS, "a.test", sender="x@a.test", helo="h.test", helo_result=Result.SOFTFAIL)
    assert list(of_spf(telling))[1:] == [MethodResult("spf", "softfail", (("smtp.helo", "h.test"),))]


def test_of_a_long_sender_only_the_domain_is_reported() -> None:
    for sender, told in ((f"{'x' * 200}@a.test", f"{'x' * 200}@a.test"), (f"{'x' * 300}@a.test", "a.test")):
        (found,) = of_spf(SpfFact(Result.PASS, "a.test", sender=sender))
        assert found.properties == (("smtp.mailfrom", told),)


def test_a_quoted_local_part_is_left_out() -> None:
    (found,) = of_spf(SpfFact(Result.PASS, "a.test", sender='"x y"@a.test'))
    assert found.properties == (("smtp.mailfrom", "a.test"),)
    signatures = tuple(DkimSignature(Result.PASS, "a.test", identity=who) for who in ('"x \\" y"@b.a.test', "x@a.test"))
    found, plain = of_dkim(DkimFact(Result.PASS, signatures))
    assert found.properties == (("header.d", "a.test"), ("header.i", "@b.a.test"))
    assert plain.properties == (("header.d", "a.test"), ("header.i", "x@a.test"))


def test_a_null_sender_has_only_helo() -> None:
    fact = SpfFact(Result.FAIL, "h.test", "helo", "", "h.test", Result.FAIL)
    assert list(of_spf(fact)) == [MethodResult("spf", "fail", (("smtp.helo", "h.test"),))]
    nameless = SpfFact(Result.NONE, "", "helo", reason="not the name of a domain")
    assert list(of_spf(nameless)) == [MethodResult("spf", "none", (), "not the name of a domain")]


@pytest.mark.parametrize(
    "found",
    [
        of_spf(SpfFact(Result.NONE, "a.test", source="exempt")),
        of_dkim(DkimFact(Result.NONE, source="exempt")),
        of_dmarc(DmarcFact(Result.NONE, "a.test", source="exempt")),
    ],
)
def test_checks_that_did_not_run_are_not_reported(found: object) -> None:
    assert list(found) == []  # type: ignore[call-overload]  # an iterator, whichever function made it


def test_properties_without_a_value_are_left_out() -> None:
    peer = ip_address("192.0.2.1")
    assert list(of_dmarc(DmarcFact(Result.PERMERROR, "", reason="no From"))) == [
        MethodResult("dmarc", "permerror", (), "no From")
    ]
    assert list(of_bimi(BimiFact(Result.NONE))) == [MethodResult("bimi", "none")]
    assert list(of_arc(ArcFact(Result.NONE), peer)) == [MethodResult("arc", "none")]
    assert list(of_arc(ArcFact(Result.FAIL, reason="two first sets"), peer)) == [
        MethodResult("arc", "fail", (("header.oldest-pass", "0"), ("smtp.remote-ip", "192.0.2.1")), "two first sets")
    ]
