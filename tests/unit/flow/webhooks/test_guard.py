"""URLs to which no webhook may post."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest

from inbox.dns.answers import Answer
from inbox.flow.webhooks.guard import UrlRefused, is_allowed, parse, resolve
from inbox.policy.model import WebhookSettings

STRICT = WebhookSettings()
LENIENT = WebhookSettings.model_validate({"networks": ["10.1.0.0/16", "fd00:1::/32"], "http": ["demo"], "ports": [443]})


class Names:
    """A resolver of A and AAAA records; each question gets the next answer of its list."""

    def __init__(self, *answers: tuple[str, ...]) -> None:
        self._answers = [[ip_address(text) for text in answer] for answer in answers]
        self.asked: list[str] = []

    async def aaaa(self, name: str) -> Answer[IPv6Address]:
        self.asked.append(name)
        return Answer(tuple(one for one in self._answers[0] if isinstance(one, IPv6Address)))

    async def a(self, name: str) -> Answer[IPv4Address]:
        found = self._answers.pop(0)
        return Answer(tuple(one for one in found if isinstance(one, IPv4Address)))


def test_a_url_is_taken_apart() -> None:
    target = parse("https://Hooks.Example.com/a%20b?x=1&y", STRICT, "demo")
    assert (target.scheme, target.host, target.port, target.path) == ("https", "hooks.example.com", 443, "/a%20b?x=1&y")
    assert target.authority == "hooks.example.com"
    other = parse("https://hooks.example.com:8443", STRICT, "demo")
    assert (other.authority, other.path) == ("hooks.example.com:8443", "/")
    assert parse("https://[2606:4700::1]/", STRICT, "demo").authority == "[2606:4700::1]"


@pytest.mark.parametrize(
    ("url", "host"),
    [
        ("https://bücher.example/", "xn--bcher-kva.example"),
        ("https://hooks。example.com/", "hooks.example.com"),
        ("https://HOOKS.EXAMPLE.COM./", "hooks.example.com"),
    ],
)
def test_international_names_become_a_labels(url: str, host: str) -> None:
    assert parse(url, STRICT, "demo").host == host


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://hooks.example.com/", "not https"),
        ("ftp://hooks.example.com/", "https://"),
        ("file:///etc/passwd", "https://"),
        ("hooks.example.com", "https://"),
        ("https:///path", "not a valid host"),
        ("https://user:secret@hooks.example.com/", "credentials"),
        ("https://user@hooks.example.com/", "credentials"),
        ("https://@hooks.example.com/", "credentials"),
        ("https://hooks.example.com/#x", "fragment"),
        ("https://hooks.example.com:22/", "port 22"),
        ("https://hooks.example.com:0/", "port 0"),
        ("https://hooks.example.com:99999/", "not valid"),
        ("https://hooks.example.com/a b", "space"),
        ("https://hooks.example.com/\r\nX: y", "control"),
        ("https://hooks.example.com\\@127.0.0.1/", "backslash"),
        ("https://hooks.example.com/ä", "ASCII"),
        ("https://localhost/", "full host name"),
        ("https://2130706433/", "full host name"),
        ("https://127.1/", "full host name"),
        ("https://0x7f000001/", "full host name"),
        ("https://0177.0.0.1/", "full host name"),
        ("https://127.0.0.1/", "neither public"),
        ("https://[::1]/", "neither public"),
        ("https://[::ffff:10.0.0.1]/", "neither public"),
        ("https://①②⑦.⓪.⓪.①/", "full host name"),
        ("https://" + "a" * 64 + ".example/", "not a valid host"),
        ("https://hooks.example.com/" + "a" * 2000, "at most 2000"),
    ],
)
def test_a_url_that_is_not_allowed(url: str, reason: str) -> None:
    with pytest.raises(UrlRefused, match=reason):
        parse(url, STRICT, "demo")


def test_http_is_for_the_tenants_that_the_policy_names() -> None:
    assert parse("http://hooks.example.com:8080/", LENIENT, "demo").port == 8080
    assert parse("http://hooks.example.com/", LENIENT, "demo").port == 80
    with pytest.raises(UrlRefused, match="not https"):
        parse("http://hooks.example.com/", LENIENT, "other")
    with pytest.raises(UrlRefused, match="port 8443"):
        parse("https://hooks.example.com:8443/", LENIENT, "demo")


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.255.255.254", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254",
        "100.64.0.1", "192.0.2.1", "198.51.100.1", "203.0.113.1", "198.18.0.1", "224.0.0.1", "239.1.1.1", "240.0.0.1",
        "255.255.255.255", "192.0.0.1", "::", "::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "::7f00:1", "::a00:1",
        "fe80::1", "fc00::1", "fd12::1", "fec0::1", "ff02::1", "ff0e::1", "2001:db8::1", "64:ff9b::7f00:1",
        "64:ff9b::a9fe:a9fe", "64:ff9b:1::1", "2002:7f00:1::", "2002:a9fe:a9fe::1",
        "2001:0:4136:e378:8000:63bf:3fff:fdd2",
        "100::1", "3fff::1",
    ],
)  # fmt: skip
def test_an_address_that_is_not_public(address: str) -> None:
    assert not is_allowed(ip_address(address), STRICT)


@pytest.mark.parametrize(
    "address", ["8.8.8.8", "2606:4700::1", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1"]
)
def test_a_public_address(address: str) -> None:
    assert is_allowed(ip_address(address), STRICT)


def test_the_policy_adds_networks() -> None:
    for address in ("10.1.2.3", "fd00:1::5", "::ffff:10.1.2.3"):
        assert is_allowed(ip_address(address), LENIENT)
    for address in ("10.2.0.1", "fd00:2::5", "127.0.0.1"):
        assert not is_allowed(ip_address(address), LENIENT)


async def test_a_name_is_used_only_if_all_its_addresses_are_allowed() -> None:
    target = parse("https://hooks.example.com/", STRICT, "demo")
    found = await resolve(target, Names(("8.8.8.8", "2606:4700::1")), STRICT)  # type: ignore[arg-type]
    assert [str(one) for one in found] == ["2606:4700::1", "8.8.8.8"]
    for answer, reason in ((("8.8.8.8", "10.0.0.1"), r"10\.0\.0\.1"), (("::1",), "::1"), ((), "no address")):
        with pytest.raises(UrlRefused, match=reason):
            await resolve(target, Names(answer), STRICT)  # type: ignore[arg-type]
