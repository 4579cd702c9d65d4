"""DMARC records: what is read of them, and what a broken one is worth."""

from __future__ import annotations

import pytest

from inbox.authentication.dmarc.records import Policy, Record, is_record, parse_record
from inbox.base.limits import DMARC_RECORD_OCTETS, DMARC_REPORT_URIS


def parsed(text: str) -> Record:
    assert is_record(text.encode())
    return parse_record(text.encode())


@pytest.mark.parametrize(
    ("text", "is_one"),
    [
        (b"v=DMARC1", True),
        (b"v=DMARC1;", True),
        (b"V = DMARC1 ;p=none", True),
        (b"v=dmarc1; p=none", False),
        (b"v=DMARC12; p=none", False),
        (b"v=DMARC1 p=none", False),
        (b" v=DMARC1; p=none", False),
        (b"p=none; v=DMARC1", False),
        (b"v=spf1 -all", False),
        (b"", False),
    ],
)
def test_the_version_comes_first_and_as_it_is_written(text: bytes, is_one: bool) -> None:
    assert is_record(text) is is_one


def test_all_tags() -> None:
    record = parsed(
        "v=DMARC1; p=Reject; sp=quarantine; np=none; adkim=S; aspf=s; psd=n; t=y; pct=42; fo=1:d; ri=3600; rf=afrf;"
        "rua=mailto:a@example.com!10m , https://reports.example/x; ruf=mailto:f@example.com"
    )
    assert (record.p, record.sp, record.np) == (Policy.REJECT, Policy.QUARANTINE, Policy.NONE)
    assert record.strict_dkim and record.strict_spf and record.testing
    assert (record.psd, record.pct) == ("n", 42)
    assert record.rua == ("mailto:a@example.com", "https://reports.example/x")
    assert record.ruf == ("mailto:f@example.com",)
    assert dict(record.published) == {
        "p": "reject", "sp": "quarantine", "np": "none", "adkim": "s", "aspf": "s", "psd": "n", "t": "y", "pct": "42",
        "fo": "1:d", "ri": "3600", "rf": "afrf", "rua": "mailto:a@example.com!10m,https://reports.example/x",
        "ruf": "mailto:f@example.com",
    }  # fmt: skip


def test_defaults() -> None:
    assert parsed("v=DMARC1") == Record(published=(("p", "none"),))
    record = parsed("v=DMARC1;p=quarantine")
    assert (record.psd, record.pct, record.testing, record.strict_dkim) == ("u", 100, False, False)


@pytest.mark.parametrize(
    ("tags", "existing", "missing"),
    [
        ("p=reject", "reject", "reject"),
        ("p=reject; sp=none", "none", "none"),
        ("p=reject; np=none", "reject", "none"),
        ("p=none; sp=quarantine; np=reject", "quarantine", "reject"),
    ],
)
def test_the_policy_of_subdomains(tags: str, existing: str, missing: str) -> None:
    record = parsed(f"v=DMARC1; {tags}")
    assert record.policy_below(exists=True) == existing
    assert record.policy_below(exists=False) == missing


@pytest.mark.parametrize("broken", ["p=rejec", "p=", "p=reject; sp=no", "p=reject; np=none none", "p=none; p=reject"])
def test_a_malformed_policy_is_not_applied(broken: str) -> None:
    assert "malformed" in parsed(f"v=DMARC1; {broken}").problem
    # RFC 9989 §4.10.1: with an address for reports, it counts as p=none.
    reporting = parsed(f"v=DMARC1; {broken}; rua=mailto:a@example.com")
    assert reporting.problem == ""
    assert (reporting.p, reporting.sp, reporting.np) == (Policy.NONE, None, None)
    assert parsed(f"v=DMARC1; {broken}; rua=mailto:nobody").problem


@pytest.mark.parametrize(
    "broken",
    [
        "pct=101", "pct=-1", f"pct={'9' * 3900}", "pct=5; pct=6", "adkim=x", "aspf=", "psd=yes", "t=1", "fo=7",
        "ri=1 day", "rua=nonsense", "rua=mailto:", "=", "==", "\x00", "unknown=tag", "ünknown=tag", "p", ";;;",
    ],
)  # fmt: skip
def test_other_malformed_tags_count_as_absent(broken: str) -> None:
    assert parsed(f"v=DMARC1; p=reject; {broken}") == parsed("v=DMARC1; p=reject")


def test_a_record_may_have_any_octets_and_many_tags() -> None:
    everything = b"v=DMARC1; p=reject; " + bytes(range(256)) + b"; sp=none"
    assert parse_record(everything).sp is Policy.NONE
    assert parse_record(b"v=DMARC1" + b";" * 4000).problem == ""
    assert parse_record(b"v=DMARC1;p=" + b" " * 4000 + b"x").problem


def test_a_record_of_8_kb_is_not_applied() -> None:
    text = b"v=DMARC1; p=none; rua=mailto:a@example.com; " + b"x" * 8192
    assert str(DMARC_RECORD_OCTETS) in parse_record(text).problem


def test_addresses_are_bounded() -> None:
    many = ",".join(f"mailto:r{number}@example.com" for number in range(100))
    assert len(parsed(f"v=DMARC1; p=none; rua={many}").rua) == DMARC_REPORT_URIS


@pytest.mark.parametrize(("policy", "lowered"), [("reject", "quarantine"), ("quarantine", "none"), ("none", "none")])
def test_one_step_milder(policy: str, lowered: str) -> None:
    assert Policy(policy).lowered == lowered
