"""URLs as browsers read them; node's own implementation of the WHATWG standard is the oracle."""

from __future__ import annotations

import json
import random
import shutil
import subprocess

import pytest

from inbox.mail.weburl import parse_host, parse_url, shown_host


@pytest.mark.parametrize(
    ("text", "url", "host"),
    [
        ("HTTP://EVIL.Test", "http://evil.test/", "evil.test"),
        ("http://ev%69l.test/x", "http://evil.test/x", "evil.test"),
        ("http://b\u00fccher.example/", "http://xn--bcher-kva.example/", "xn--bcher-kva.example"),
        ("http://\uff45\uff56\uff49\uff4c\u3002test", "http://evil.test/", "evil.test"),
        ("http://ev\u00adil.te\u200bst", "http://evil.test/", "evil.test"),
        ("http://bank.test@evil.test/", "http://bank.test@evil.test/", "evil.test"),
        ("http://2130706433/", "http://127.0.0.1/", "127.0.0.1"),
        ("http://0x7f.1/", "http://127.0.0.1/", "127.0.0.1"),
        ("http://0177.0.0.01/", "http://127.0.0.1/", "127.0.0.1"),
        ("http://[::FFFF:7f00:1]/", "http://[::ffff:7f00:1]/", "[::ffff:7f00:1]"),
        ("http:\\\\evil.test\\a\\..\\b", "http://evil.test/b", "evil.test"),
        ("http:evil.test", "http://evil.test/", "evil.test"),
        (" h\tt\ntp:/\t/e\rvil.test ", "http://evil.test/", "evil.test"),
        ("\x00\x1fhttps://evil.test:443", "https://evil.test/", "evil.test"),
        ("https://evil.test:8443/%7euser?\u00e4#\u00e4", "https://evil.test:8443/%7euser?%C3%A4#%C3%A4", "evil.test"),
        ("JaVaScRiPt:alert(1)", "javascript:alert(1)", ""),
        ("data:text/html,<b>", "data:text/html,<b>", ""),
        ("mailto:A@B.test", "mailto:A@B.test", ""),
        ("foo://Bar/x", "foo://Bar/x", "Bar"),
        ("file:///etc/passwd", "file:///etc/passwd", ""),
    ],
)
def test_one_spelling(text: str, url: str, host: str) -> None:
    found = parse_url(text)
    assert found is not None
    assert (str(found), found.host) == (url, host)


@pytest.mark.parametrize(
    "text",
    [
        "", "evil.test/x", "/x", "//evil.test", "http://", "http:///", "http://a b/", "http://a%00b/", "http://a:99999/",
        "http://a:x/", "http://1.2.3.4.5/", "http://256.256.256.256/", "http://[::1/", "http://[fe80::1%25eth0]/",
        "http://xn--a/", "http://" + "a" * 5000, "http://\u0301x.test/", "http://a\u200db.test/", "1http://x.test",
    ],
)  # fmt: skip
def test_urls_that_a_browser_does_not_open(text: str) -> None:
    assert parse_url(text) is None


@pytest.mark.parametrize(
    ("text", "url"),
    [
        ("x", "http://base.test/a/x"), ("/x", "http://base.test/x"), ("//evil.test/x", "http://evil.test/x"),
        ("/\\evil.test/x", "http://evil.test/x"), ("../x", "http://base.test/x"), ("?x", "http://base.test/a/b?x"),
        ("#x", "http://base.test/a/b?q#x"), ("", "http://base.test/a/b?q"), ("http:x", "http://base.test/a/x"),
        ("https:x.test", "https://x.test/"), ("%2e%2E/x", "http://base.test/x"),
    ],
)  # fmt: skip
def test_references(text: str, url: str) -> None:
    assert str(parse_url(text, parse_url("http://base.test/a/b?q#f"))) == url


def test_hosts_are_shown_with_their_own_letters() -> None:
    assert shown_host("xn--bcher-kva.example") == "b\u00fccher.example"
    assert shown_host("plain.test") == "plain.test"
    assert shown_host("xn--999999999999.test") == "xn--999999999999.test"
    assert parse_host("B\u00dcCHER.example") == "xn--bcher-kva.example"


def test_labels_that_no_name_server_knows_are_refused() -> None:
    assert parse_host("\u00e4" * 50 + ".test") == "xn--" + ("\u00e4" * 50).encode("punycode").decode() + ".test"
    assert parse_host("\u00e4" * 60 + ".test") is None
    assert parse_host("xn--" + "a" * 70 + ".test") is None


def test_long_texts_are_cut() -> None:
    found = parse_url("http://x.test/" + "a" * 100_000)
    assert found is not None
    assert len(str(found)) == 2048


_SCHEMES = ["http:", "HTTPS:", "ftp:", "ws:", "", "", ""]
_SEPARATORS = ["//", "//", "/", "", "\\\\", "///", "/\\", "\\/"]
_HOSTS = [
    "evil.test", "EVIL.Test", "ev%69l.test", "b\u00fccher.example", "B\u00dcCHER.example", "e\u00advil.test",
    "fa\u00df.de",
    "\uff45\uff56\uff49\uff4c\u3002test", "xn--bcher-kva.example", "0x7f.1", "2130706433",
    "0177.0.0.1", "127.1", "256.1",
    "1.2.3.4.5", "[::1]", "[::FFFF:1.2.3.4]", "a..b", "a_b.c", "\U0001f4a9.la", "a b", "a%00b", "a<b", "", "u@h.test",
    "u:p@h.test", "u:@h", "a@b@c.test", "h.test:80", "h.test:443", "h.test:8080", "h.test:99999", "h.test:x", "h:",
    "xn--", "xn--a", "0x", "1.2.3.08", "foo.0x4", "\u200bx.test", "a\u200db.test", "\u2467.com", "-a-.test", "a.test.",
    "%E2%98%83.test", "%ff.test", "\u0663.com", "x\u0301.com", "\u0301x.com",
]  # fmt: skip
_PATHS = ["", "/", "/a/b", "/a/../b", "/./a/%2e%2e/c", "\\a\\b", "?q=1", "#f", "/a b", "/\u00e4", "?\u00e4='\"<>",
          "#\u00e4 <`",
          "/a/..", "/..", "/%2E/", "?", "#", "/a?b#c?d", "/{}|`"]  # fmt: skip
_BASES = [None, "http://base.test/d/e?x#y", "https://base.test/d/e/"]
_NODE = """const cases = JSON.parse(require("fs").readFileSync(0));
console.log(JSON.stringify(cases.map(([text, base]) => {
  try { const url = base ? new URL(text, base) : new URL(text); return [url.href, url.hostname]; }
  catch (error) { return null; }
})))"""


def _case(rng: random.Random) -> str:
    text = rng.choice(_SCHEMES)
    if rng.random() < 0.85:
        text += rng.choice(_SEPARATORS) + rng.choice(_HOSTS)
    text += rng.choice(_PATHS)
    if rng.random() < 0.2:
        at = rng.randrange(len(text) + 1)
        text = text[:at] + rng.choice("\t\n\r ") + text[at:]
    return f" \x01{text} \n" if rng.random() < 0.1 else text


def _word(rng: random.Random) -> str:
    """Letters of one of several scripts, sometimes with others among them."""
    first = rng.choice([0x61, 0xC0, 0x391, 0x410, 0x531, 0x13A0, 0x1E00, 0x3041, 0x4E00, 0xAC00, 0xFF21])
    letters = [chr(first + at) for at in range(60) if chr(first + at).isalpha()]
    return "".join(rng.choice(letters) for _ in range(rng.randrange(1, 6))) + rng.choice(["", "", "x", "1"])


@pytest.mark.real
def test_urls_are_read_as_node_reads_them() -> None:
    node = shutil.which("node")
    if node is None:
        pytest.skip("node is not installed")
    rng = random.Random(8)
    cases = [(_case(rng), rng.choice(_BASES)) for _ in range(3000)]
    cases += [(f"http://{_word(rng)}.{_word(rng)}.test/", None) for _ in range(2000)]
    answer = subprocess.run([node, "-e", _NODE], input=json.dumps(cases), capture_output=True, text=True, check=True)
    for (text, base), expected in zip(cases, json.loads(answer.stdout), strict=True):
        url = parse_url(text, None if base is None else parse_url(base))
        assert (None if url is None else [str(url), url.host]) == expected, (text, base)
