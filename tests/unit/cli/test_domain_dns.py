"""``inbox domain records``, over an installation of its own."""

from __future__ import annotations

import dns.zone
import pytest

from tests.support.cli import Cli


@pytest.fixture
def demo(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> Cli:
    monkeypatch.setenv("SERVER_HOSTNAME", "mx.hoster.example")
    return cli.demo()


def test_records_as_a_table(demo: Cli) -> None:
    assert demo("domain", "dkim", "rotate", "demo.test", "--selector", "s1").code == 0
    ran = demo("domain", "records", "Demo.test")
    assert ran.code == 0
    assert ran.out.splitlines()[0].split() == ["NAME", "TYPE", "RECORD", "NEED", "NOTE", "VALUE"]
    assert "10 mx.hoster.example." in ran.out
    assert "s1-rsa._domainkey.demo.test" in ran.out
    assert "https://mta-sts.demo.test/.well-known/mta-sts.txt:\n  version: STSv1\n  mode: testing\n" in ran.out
    assert "mx.hoster.example needs address records" in ran.out
    assert "publish the records of its DKIM keys" in ran.err


def test_records_as_json(demo: Cli) -> None:
    ran = demo("domain", "records", "demo.test", "--json", "--address", "192.0.2.1", "--reports", "r@other.example")
    assert ran.code == 0
    assert "inbox domain dkim rotate demo.test" in ran.err
    rows = {(row["record"], row["type"]): row for row in ran.json}
    assert rows["mx", "MX"] == {
        "name": "demo.test",
        "type": "MX",
        "record": "mx",
        "need": "required",
        "note": "mail is delivered to this server",
        "value": "10 mx.hoster.example.",
    }
    assert "v=DMARC1; p=none; rua=mailto:r@other.example" in [row["value"] for row in ran.json]
    assert rows["ptr", "PTR"]["name"] == "1.2.0.192.in-addr.arpa"
    assert rows["mta-sts", "FILE"]["value"].endswith("\r\n")


def test_records_as_a_zone_file(demo: Cli) -> None:
    demo("domain", "dkim", "rotate", "demo.test", "--selector", "s1")
    ran = demo("domain", "records", "demo.test", "--zone")
    assert ran.code == 0
    zone = dns.zone.from_text(ran.out, "demo.test", check_origin=False)
    assert {"@", "_dmarc", "s1-rsa._domainkey", "s1-ed25519._domainkey"} <= {str(name) for name in zone}


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (["other.test"], 1, "no tenant hosts other.test"),
        (["demo..test"], 2, "not a domain"),
        (["demo.test", "--address", "localhost"], 2, "--address localhost: not an IP address"),
        (["demo.test", "--reports", "nobody"], 2, "not an address"),
    ],
)
def test_records_that_cannot_be_shown(demo: Cli, arguments: list[str], code: int, told: str) -> None:
    ran = demo("domain", "records", *arguments)
    assert ran.code == code
    assert told in ran.err


def test_a_name_that_is_not_the_worlds(cli: Cli) -> None:
    assert "mail.localhost is not a public name" in cli.demo()("domain", "records", "demo.test").err
