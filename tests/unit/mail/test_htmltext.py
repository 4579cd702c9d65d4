"""Text and links of HTML."""

from __future__ import annotations

import pytest

from inbox.mail.htmltext import html_text, read_html, text_urls


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("", ""),
        ("plain", "plain"),
        ("<p>one<p>two", "one\ntwo"),
        ("a<br>b<hr>c", "a\nb\nc"),
        ("ONE<P>TWO<BR>THREE<DIV>FOUR", "ONE\nTWO\nTHREE\nFOUR"),
        ("<td>a</td><td>b</td>", "a\nb"),
        ("Hel<b>lo</b>&nbsp;&amp; you", "Hello & you"),
        ("<script>x</script><style>y</style><!-- z -->a", "a"),
        ("<html><head><title>t</title></head><body>b</body></html>", "b"),
        ("<table><tr><td>a</td><td>b</td></tr></table>", "a\nb"),
        ("a   \t b\r\n\r\n c", "a b\nc"),
    ],
)
def test_html_text(source: str, text: str) -> None:
    assert html_text(source) == text


@pytest.mark.parametrize("closing", ["", "</x>", "</p>"])
def test_depth_does_not_matter(closing: str) -> None:
    source = f"<div>{closing}" * 50_000 + "<p>a &lt; b</p><script>no()</script><a href='http://x.org/?a&amp;b'>c</a>"
    assert html_text(source) == "a < b c"
    assert read_html(source)[1] == ["http://x.org/?a&b"]


def test_many_flat_elements_are_not_deep() -> None:
    assert html_text("<tr><td>a<b>b</b>" * 1000).count("\n") > 900


def test_links() -> None:
    source = "<a href=HTTPS://a.org/>x</a><img src='cid:1'><a href='mailto:b@c'><a href='/local'><a name=x>"
    assert read_html(source)[1] == ["HTTPS://a.org/", "mailto:b@c"]


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
