"""Text of HTML."""

from __future__ import annotations

import pytest

from inbox.mail.htmltext import html_text, read_html


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
    assert [one.value for one in read_html(source)[1]] == ["http://x.org/?a&b"]


def test_many_flat_elements_are_not_deep() -> None:
    assert html_text("<tr><td>a<b>b</b>" * 1000).count("\n") > 900


@pytest.mark.parametrize("source", ["<p>a</p>", "<div>" * 600 + "a"])
def test_text_and_targets_are_read_together(source: str) -> None:
    text, targets = read_html(source + '<a href="http://x.test/">b</a><script src="http://y.test/">c</script>')
    assert text.split() == ["a", "b"] or text == "ab"
    assert {one.value for one in targets} == {"http://x.test/", "http://y.test/"}
