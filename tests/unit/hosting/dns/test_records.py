"""The records that a domain needs, and their zone file."""

from __future__ import annotations

import base64
from dataclasses import replace
from ipaddress import ip_address

import dns.rdatatype
import dns.zone

from inbox.authentication.dkim.record import record_text
from inbox.hosting.dns.records import (
    Need,
    Needs,
    Service,
    ShownKey,
    WantedRecord,
    in_zone,
    policy_text,
    wanted_records,
    zone_lines,
)
from tests.support.rsa_keys import rsa_key

ED25519 = "v=DKIM1; k=ed25519; p=" + base64.b64encode(bytes(32)).decode()
RSA = record_text(rsa_key(0, 4096))
NEEDS = Needs(
    "xn--bcher-kva.example",
    "mx.hoster.example",
    keys=(
        ShownKey("s1", "xn--bcher-kva.example", RSA),
        ShownKey(
            "s2", "xn--bcher-kva.example", "v=DKIM1; k=ed25519; p=" + base64.b64encode(bytes(32)).decode(), "waiting"
        ),
        ShownKey("s0", "xn--bcher-kva.example", RSA, "leaving"),
    ),
    services=(Service("_imaps._tcp", 993), Service("_submissions._tcp", 465, served=False)),
    addresses=(ip_address("192.0.2.1"), ip_address("2001:db8::1")),
    certificate=bytes(range(32)),
    trusted=True,
)


def found(needs: Needs, record: str) -> list[WantedRecord]:
    return [each for each in wanted_records(needs) if each.record == record]


def values(needs: Needs, record: str) -> list[tuple[str, str, str]]:
    return [(each.name, each.type, each.value) for each in found(needs, record)]


def test_mail_comes_to_this_server_and_leaves_from_it() -> None:
    assert values(NEEDS, "mx") == [(NEEDS.domain, "MX", "10 mx.hoster.example.")]
    assert values(NEEDS, "spf") == [(NEEDS.domain, "TXT", "v=spf1 mx -all")]
    assert values(NEEDS, "host") == [
        ("mx.hoster.example", "A", "192.0.2.1"),
        ("mx.hoster.example", "AAAA", "2001:db8::1"),
    ]
    assert values(NEEDS, "ptr") == [
        ("1.2.0.192.in-addr.arpa", "PTR", "mx.hoster.example."),
        ("1." + "0." * 23 + "8.b.d.0.1.0.0.2.ip6.arpa", "PTR", "mx.hoster.example."),
    ]


def test_every_key_that_mail_is_or_was_or_will_be_signed_with() -> None:
    assert [(each.name, each.need) for each in found(NEEDS, "dkim")] == [
        ("s1._domainkey.xn--bcher-kva.example", Need.REQUIRED),
        ("s2._domainkey.xn--bcher-kva.example", Need.RECOMMENDED),
        ("s0._domainkey.xn--bcher-kva.example", Need.RECOMMENDED),
    ]


def test_dmarc_asks_for_more_once_mail_is_signed() -> None:
    assert values(NEEDS, "dmarc") == [
        (f"_dmarc.{NEEDS.domain}", "TXT", f"v=DMARC1; p=reject; rua=mailto:postmaster@{NEEDS.domain}")
    ]
    waiting = replace(NEEDS, keys=NEEDS.keys[1:], reports="reports@other.example")
    assert values(waiting, "dmarc")[0][2] == "v=DMARC1; p=none; rua=mailto:reports@other.example"
    # RFC 9990 §4: a receiver of reports about other domains must consent.
    assert values(waiting, "dmarc")[1] == (f"{NEEDS.domain}._report._dmarc.other.example", "TXT", "v=DMARC1;")
    assert values(waiting, "tls-rpt")[0][2] == "v=TLSRPTv1; rua=mailto:reports@other.example"


def test_senders_are_asked_to_insist_on_tls_only_where_the_certificate_is_trusted() -> None:
    record, host, file = found(NEEDS, "mta-sts")
    assert (host.type, host.value) == ("CNAME", "mx.hoster.example.")
    assert file.name == f"https://mta-sts.{NEEDS.domain}/.well-known/mta-sts.txt"
    assert file.value == policy_text("mx.hoster.example", "enforce")
    assert file.value == "version: STSv1\r\nmode: enforce\r\nmx: mx.hoster.example\r\nmax_age: 604800\r\n"
    untrusted = found(replace(NEEDS, trusted=False), "mta-sts")
    assert "mode: testing" in untrusted[2].value
    # The id tells senders that there is another policy.
    assert untrusted[0].value != record.value
    assert record.value.removeprefix("v=STSv1; id=").isalnum()


def test_tlsa_is_about_the_certificates_key() -> None:
    assert values(NEEDS, "tlsa") == [("_25._tcp.mx.hoster.example", "TLSA", f"3 1 1 {bytes(range(32)).hex()}")]
    assert values(replace(NEEDS, certificate=None), "tlsa") == []


def test_services_without_a_listener_are_for_later() -> None:
    assert [(each.name.split(".")[0], each.value, each.need) for each in found(NEEDS, "srv")] == [
        ("_imaps", "0 1 993 mx.hoster.example.", Need.OPTIONAL),
        ("_submissions", "0 1 465 mx.hoster.example.", Need.LATER),
    ]
    assert found(NEEDS, "autoconfig") == []


def test_programs_that_set_themselves_up_need_a_web_server() -> None:
    web = replace(NEEDS, services=(Service("_caldavs._tcp", 443, False), Service("_carddavs._tcp", 443, False)))
    assert {each.name.split(".")[0] for each in found(web, "srv")} == {"_caldavs", "_carddavs"}
    assert {each.name.split(".")[0] for each in found(web, "autoconfig")} == {"autoconfig", "autodiscover"}
    assert {each.need for each in found(web, "autoconfig")} == {Need.OPTIONAL}


def test_a_zone_file_holds_all_that_is_the_zones_own() -> None:
    lines = zone_lines(wanted_records(NEEDS), NEEDS.domain)
    # To be a zone, it needs what no mail server knows: SOA and NS.
    text = f"$ORIGIN {NEEDS.domain}.\n" + "\n".join(lines)
    zone = dns.zone.from_text(text, NEEDS.domain, relativize=False, check_origin=False)
    wanted = [each for each in wanted_records(NEEDS) if in_zone(each, NEEDS.domain) and each.need is not Need.LATER]
    assert sum(len(rdataset) for _, rdataset in zone.iterate_rdatasets()) == len(wanted)
    for each in wanted:
        (rdata,) = zone.find_rdataset(f"{each.name}.", each.type)
        if rdata.rdtype == dns.rdatatype.TXT:
            assert b"".join(rdata.strings).decode() == each.value
            assert all(len(string) <= 255 for string in rdata.strings)
        else:
            assert rdata.to_text() == each.value
    comments = "\n".join(line for line in lines if line.startswith(";"))
    for told in (
        "_25._tcp.mx.hoster.example. 3600 IN TLSA",
        "in-addr.arpa. 3600 IN PTR",
        "mode: enforce",
        "IN SRV 0 1 465",
    ):
        assert told in comments


def test_a_host_of_the_domains_own_is_in_its_zone() -> None:
    own = replace(NEEDS, hostname=f"mx.{NEEDS.domain}")
    lines = zone_lines(wanted_records(own), own.domain)
    assert f"mx.{own.domain}. 3600 IN A 192.0.2.1" in lines
    assert f"_25._tcp.mx.{own.domain}. 3600 IN TLSA 3 1 1 {bytes(range(32)).hex()}" in lines
