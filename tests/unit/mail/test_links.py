"""Links: normalised, shown, and found in texts."""

from __future__ import annotations

import pytest

from inbox.mail.links import KINDS, Link, links_of, named_host, text_urls
from inbox.mail.targets import Target

TOP = frozenset({"com", "org", "zip", "md", "de"})


def links(text: str = "", *targets: Target) -> tuple[Link, ...]:
    return links_of([(text, list(targets))], 100, TOP)


@pytest.mark.parametrize(
    ("text", "urls"),
    [
        ("see http://a.org/b.", ["http://a.org/b"]),
        ("(http://a.org/b(c))", ["http://a.org/b(c)"]),
        ("<https://a.org> ftp://b www.c.org!", ["https://a.org", "ftp://b", "www.c.org"]),
        ("x@www.a.org awww.b.org", []),
        ("http://", []),
        ("", []),
    ],
)
def test_text_urls(text: str, urls: list[str]) -> None:
    assert list(text_urls(text)) == urls


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("HTTP://EVIL.test/X", [("text", "http://evil.test/X")]),
        ("WWW.evil.test/x", [("text", "http://www.evil.test/x")]),
        ("see evil.com for more", [("domain", "http://evil.com/")]),
        ("see Evil.COM/path?x.", [("domain", "http://evil.com/path?x")]),
        ("evil\u3002com and \uff45\uff56\uff49\uff4c.com:8080/x", [("domain", "http://evil.com/"), ("domain", "http://evil.com:8080/x")]),
        ("b\u00fccher.de", [("domain", "http://xn--bcher-kva.de/")]),
        ("invoice.zip readme.md", []),
        ("invoice.zip/x", [("domain", "http://invoice.zip/x")]),
        ("ann@evil.com e.g. 1.2.3 a.unknown end.Of sentence", []),
        ("http://a.com/b.com", [("text", "http://a.com/b.com")]),
        ("https:\\\\evil.test\\x", [("text", "https://evil.test/x")]),
    ],
)  # fmt: skip
def test_links_in_texts(text: str, found: list[tuple[str, str]]) -> None:
    assert [(link.kind, link.url) for link in links(text)] == found


def test_a_link_has_its_host_in_two_forms() -> None:
    (link,) = links("", Target("link", "https://bank.test@B\u00dcCHER.de:8443/x", "Click"))
    assert link == Link(
        "link", "https://bank.test@xn--bcher-kva.de:8443/x", "xn--bcher-kva.de", "b\u00fccher.de", "https", "bank.test",
        8443, "Click",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("shown", "host"),
    [("https://bank.com/login", "bank.com"), ("www.Bank.test", "www.bank.test"), ("Go to Bank.com now", "bank.com"),
     ("Click here", ""), ("ann@bank.com", "")],
)  # fmt: skip
def test_the_host_that_a_link_shows(shown: str, host: str) -> None:
    assert named_host(shown, TOP) == host
    (link,) = links("", Target("link", "http://evil.test/", shown))
    assert (link.host, link.named_host) == ("evil.test", host)


@pytest.mark.parametrize(
    ("base", "reference", "url"),
    [
        ("http://evil.test/a/", "b", "http://evil.test/a/b"),
        ("//evil.test", "/b", "http://evil.test/b"),
        (None, "//evil.test/x", "http://evil.test/x"),
        (None, "\\/evil.test/x", "http://evil.test/x"),
        (None, "/\t/evil.test", "http://evil.test/"),
    ],
)
def test_references_follow_the_base(base: str | None, reference: str, url: str) -> None:
    targets = [Target("link", reference)] + ([] if base is None else [Target("base", base)])
    assert links("", *targets)[0].url == url


@pytest.mark.parametrize("reference", ["b", "/b", "#b", "", "?b", "cid:image001", "http://", "http://a b/", "/"])
def test_links_without_a_target(reference: str) -> None:
    assert links("", Target("link", reference)) == ()


def test_javascript_and_data_are_links() -> None:
    found = links("", Target("link", " java\nscript:alert(1)"), Target("frame", "data:text/html,x"))
    assert [(link.kind, link.scheme, link.host) for link in found] == [
        ("link", "javascript", ""),
        ("frame", "data", ""),
    ]


def test_links_are_listed_once_and_bounded() -> None:
    text = " ".join(f"http://h{number % 150}.test/" for number in range(300))
    assert len(links_of([(text, [])], 1000)) == 150
    assert len(links_of([(text, []), (text, [])], 100)) == 100
    assert {link.kind for link in links("http://a.test b.com")} <= set(KINDS)


@pytest.mark.parametrize(
    "piece", ["a", "a.", "a-", "\u00ad", "a.com/", "www.", "http://a.com", "a.b.c.d.e.", ".com", "http:\\\\"]
)
def test_texts_of_any_kind_take_linear_time(piece: str) -> None:
    # A quadratic step would trip the test's time-out.
    assert len(links(piece * (256_000 // len(piece)))) <= 100


def test_names_that_are_no_hosts_are_given_up() -> None:
    # Without a bound this would map 60,000 names, and trip the test's time-out.
    assert links(" ".join(f"http://\u00e4{number}<x" for number in range(40_000)) + " http://last.test") != ()
    assert links(" ".join(f"http://xn--a{number}" for number in range(40_000)) + " http://last.test") == ()
    assert links(" ".join(f"\u00e4{number}.\u00e4x{number}" for number in range(20_000))) == ()
