"""Questions, replies that are accepted, and the cost of a reply."""

from __future__ import annotations

import struct
from ipaddress import ip_address

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import pytest

from inbox.base.limits import DNS_RECORDS, DNS_REPLY_RECORDS, DNS_TEXT_OCTETS
from inbox.dns.answers import Mx
from inbox.dns.message import PAYLOAD, Reply, ReplyUnfit, Truncated, name_octets, question, read_reply
from tests.support.dns_script import Script, reply, truncated

EXAMPLE = name_octets("example.test")


def read(script: Script, kind: str = "A", name: bytes = EXAMPLE) -> Reply:
    asked = question(b"id", name, kind)
    (wire,) = script(dns.message.from_wire(asked))
    return read_reply(wire, asked, kind)


def test_a_question_is_one_to_others() -> None:
    asked = dns.message.from_wire(question(b"id", name_octets("Mail.Example.test"), "TLSA"))
    assert asked.question[0].to_text() == "mail.example.test. IN TLSA"
    assert asked.id == int.from_bytes(b"id", "big")
    assert asked.flags == dns.flags.RD | dns.flags.AD
    assert (asked.edns, asked.ednsflags, asked.payload) == (0, 0, PAYLOAD)


def test_the_root_can_be_asked_for() -> None:
    assert dns.message.from_wire(question(b"id", name_octets(""), "NS")).question[0].to_text() == ". IN NS"
    assert read(reply(". 60 IN NS a.test.", flags=dns.flags.AD), "NS", b"\0").authentic


@pytest.mark.parametrize("code", ["SERVFAIL", "REFUSED", "FORMERR", "NOTIMP"])
def test_a_failure_is_named_even_without_the_question(code: str) -> None:
    def script(asked: dns.message.Message) -> list[bytes]:
        return [asked.to_wire()[:2] + struct.pack("!5H", 0x8000 | dns.rcode.from_text(code), 0, 0, 0, 0)]

    assert read(script).rcode == code
    assert read(reply(rcode=dns.rcode.from_text(code))).rcode == code


def test_an_rcode_of_twelve_bits() -> None:
    assert read(reply(rcode=dns.rcode.BADVERS)).rcode == "RCODE16"


def test_a_ttl_with_its_first_bit_set_counts_as_zero() -> None:
    def script(asked: dns.message.Message) -> list[bytes]:
        (wire,) = reply("example.test. 1234567 IN A 192.0.2.1")(asked)
        return [wire.replace((1234567).to_bytes(4, "big"), b"\xff" * 4)]

    assert read(script).ttl == 0


def test_records_of_other_names_types_and_classes_are_not_the_answer() -> None:
    mixed = reply("other.test. 60 IN A 192.0.2.1", "example.test. 60 IN TXT x", "example.test. 60 IN A 192.0.2.3")
    assert read(mixed).records == (ip_address("192.0.2.3"),)

    def chaos(asked: dns.message.Message) -> list[bytes]:
        (wire,) = reply("example.test. 60 IN A 192.0.2.1")(asked)
        return [wire.replace(b"\0\1\0\1\0\0\0\x3c", b"\0\1\0\3\0\0\0\x3c")]

    assert read(chaos).records == ()


def test_each_record_counts_once() -> None:
    def script(asked: dns.message.Message) -> list[bytes]:
        (wire,) = reply("example.test. 60 IN A 192.0.2.1")(asked)
        start = wire.index(b"\xc0\x0c")
        record = wire[start : start + 16]
        return [wire[:6] + b"\0\2" + wire[8:start] + record * 2 + wire[start + 16 :]]

    assert read(script).records == (ip_address("192.0.2.1"),)


def test_a_reply_that_was_cut_off() -> None:
    with pytest.raises(Truncated):
        read(truncated)
    with pytest.raises(Truncated):
        read(lambda asked: [truncated(asked)[0][:12]])


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"id" + b"\0" * 9,
        b"id" + struct.pack("!5H", 0x0100, 1, 0, 0, 0),
        b"no" + struct.pack("!5H", 0x8000, 1, 0, 0, 0),
        b"id" + struct.pack("!5H", 0x8000, 0, 0, 0, 0),
        b"id" + struct.pack("!5H", 0x8000, 2, 0, 0, 0),
        b"id" + struct.pack("!5H", 0x8000, 1, 1, 0, 0),
        b"id" + struct.pack("!5H", 0x8000, 1, 0, 1, 0),
        b"id" + struct.pack("!5H", 0x8000, 1, 0, 0, 1),
        b"id" + struct.pack("!5H", 0x8000, 1, DNS_REPLY_RECORDS + 1, 0, 0),
    ],
)
def test_invalid_replies(header: bytes) -> None:
    with pytest.raises(ReplyUnfit):
        read(lambda _: [header + EXAMPLE + b"\0\1\0\1"])


def test_more_octets_than_anybody_needs() -> None:
    with pytest.raises(ReplyUnfit, match="40012 octets"):
        read(lambda _: [b"id" + struct.pack("!5H", 0x8000, 1, 0, 0, 0) + b"\0" * 40_000])


@pytest.mark.parametrize("asked", ["other.test. IN A", "example.test. IN TXT", "example.test. CH A"])
def test_a_reply_to_another_question(asked: str) -> None:
    def script(_: dns.message.Message) -> list[bytes]:
        name, group, kind = asked.split()
        other = dns.message.make_query(name, kind, group)
        other.id = int.from_bytes(b"id", "big")
        return reply()(other)

    with pytest.raises(ReplyUnfit, match="another question"):
        read(script)


def raw(*records: bytes) -> Script:
    """An answer of these records as octets."""

    def script(asked: dns.message.Message) -> list[bytes]:
        begin = asked.to_wire()[: 12 + len(EXAMPLE) + 4]
        return [begin[:2] + struct.pack("!5H", 0x8180, 1, len(records), 0, 0) + begin[12:] + b"".join(records)]

    return script


def record(kind: int, data: bytes, owner: bytes = b"\xc0\x0c", size: int | None = None) -> bytes:
    return owner + struct.pack("!HHIH", kind, 1, 60, len(data) if size is None else size) + data


@pytest.mark.parametrize(
    ("kind", "octets"),
    [
        ("A", record(1, b"\1\2\3")),
        ("A", record(1, b"\1\2\3\4\5")),
        ("A", record(1, b"\1\2\3\4", size=400)),
        ("AAAA", record(28, b"\1\2\3\4")),
        ("MX", record(15, b"\0")),
        ("MX", record(15, b"\0\1")),
        ("MX", record(15, b"\0\1\3abc")),
        ("MX", record(15, b"\0\1\3abc\0x")),
        ("MX", record(15, b"\0\1\xc0\xff")),
        ("PTR", record(12, b"\x40" + b"a" * 64 + b"\0")),
        ("PTR", record(12, (b"\x3f" + b"a" * 63) * 4 + b"\0")),
        ("TXT", record(16, b"")),
        ("TXT", record(16, b"\5abc")),
        ("TLSA", record(52, b"\3\1\1")),
        ("A", record(1, b"\1\2\3\4", owner=b"\xc0\x1e")),
        ("A", record(1, b"\1\2\3\4", owner=b"\xff\xff")),
        ("A", record(1, b"\1\2\3\4", owner=b"\x80a\0")),
        ("CNAME", record(5, b"\xc0\x0c\0")),
    ],
)
def test_malformed_records(kind: str, octets: bytes) -> None:
    with pytest.raises(ReplyUnfit):
        read(raw(octets), kind)


def test_a_name_is_at_most_255_octets_however_it_is_written() -> None:
    label = b"\x3e" + b"a" * 62
    start = 12 + len(EXAMPLE) + 4 + 12
    # The second record's name continues with the first one's: 2 * 126 + 14 octets.
    first = record(12, label * 2 + b"\xc0\x0c")
    second = record(12, label * 2 + struct.pack("!H", 0xC000 | start))
    assert len(read(raw(first), "PTR").records[0]) == 138
    with pytest.raises(ReplyUnfit, match="malformed name"):
        read(raw(first, second), "PTR")


def test_pointers_to_pointers_come_to_an_end() -> None:
    start = 12 + len(EXAMPLE) + 4 + 12
    chain = b"\xc0\x0c" + b"".join(struct.pack("!H", 0xC000 | (start + 2 * each)) for each in range(2000))
    with pytest.raises(ReplyUnfit, match="malformed name"):
        read(raw(record(99, chain), record(1, b"\1\2\3\4", owner=struct.pack("!H", 0xC000 | (start + 4000)))))


def test_bounds_of_an_answer() -> None:
    addresses = [record(1, each.to_bytes(4, "big")) for each in range(DNS_RECORDS + 1)]
    assert len(read(raw(*addresses[:-1])).records) == DNS_RECORDS
    with pytest.raises(ReplyUnfit, match="101 records"):
        read(raw(*addresses))
    text = record(16, (b"\xff" + b"x" * 255) * 32 + b"\x20" + b"x" * 32)
    assert len(read(raw(text), "TXT").records[0]) == DNS_TEXT_OCTETS
    with pytest.raises(ReplyUnfit, match="8193 octets of text"):
        read(raw(text, record(16, b"\1x")), "TXT")


def test_aliases_without_end() -> None:
    with pytest.raises(ReplyUnfit, match="too many aliases"):
        read(reply("example.test. 60 IN CNAME b.test.", "b.test. 60 IN CNAME example.test."))


def test_an_alias_without_targets() -> None:
    soa = ("test. 900 IN SOA a.test. h.test. 1 2 3 4 300",)
    assert read(reply("example.test. 60 IN CNAME b.test.", authority=soa)) == Reply("NOERROR", (), 60)
    assert read(reply("example.test. 999 IN CNAME b.test.", authority=soa, rcode=3)) == Reply("NXDOMAIN", (), 300)


def test_records_of_a_name_that_does_not_exist() -> None:
    with pytest.raises(ReplyUnfit, match="does not exist"):
        read(reply("example.test. 60 IN A 192.0.2.1", rcode=3))


def test_names_are_in_lower_case_with_odd_octets_escaped() -> None:
    answer = read(reply("example.test. 60 IN MX 10 Mx\\.1\\032\\000\\255\\(a\\).Example.test."), "MX")
    assert answer.records == (Mx(10, "mx\\.1\\032\\000\\255\\(a\\).example.test"),)
