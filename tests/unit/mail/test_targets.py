"""Every place in HTML that leads somewhere, with its kind."""

from __future__ import annotations

import pytest
from selectolax.lexbor import LexborHTMLParser

from inbox.mail.htmltext import read_html
from inbox.mail.targets import TARGETS, Target, targets_of_markup, targets_of_tree


def found(source: str) -> list[tuple[str, str]]:
    return [(one.kind, one.value) for one in targets_of_tree(LexborHTMLParser(source))]


@pytest.mark.parametrize(
    ("source", "kind"),
    [
        ('<a href="U">x</a>', "link"),
        ('<A HREF=U>x</A>', "link"),
        ('<map><area href="U"></map>', "link"),
        ('<form action="U"></form>', "form"),
        ('<button formaction="U">x</button>', "form"),
        ('<input type=submit formaction="U">', "form"),
        ('<base href="U">', "base"),
        ('<meta http-equiv="Refresh" content="0; url=U">', "refresh"),
        ("<meta http-equiv=refresh content=\"5;URL='U'\">", "refresh"),
        ('<meta http-equiv=refresh content="0,U">', "refresh"),
        ('<img src="U">', "image"),
        ('<input type=image src="U">', "image"),
        ('<table><td background="U">x</table>', "image"),
        ('<body background="U">', "image"),
        ('<video poster="U"></video>', "image"),
        ('<iframe src="U"></iframe>', "frame"),
        ('<embed src="U">', "frame"),
        ('<object data="U"></object>', "frame"),
        ('<link rel=stylesheet href="U">', "resource"),
        ('<script src="U"></script>', "resource"),
        ('<video src="U"></video>', "resource"),
        ('<svg><a xlink:href="U"><text>x</text></a></svg>', "link"),
        ('<svg><a href="U">x</a></svg>', "link"),
        ('<svg><image xlink:href="U"/></svg>', "image"),
        ('<div style="background: url(U)">x</div>', "style"),
        ("<div style=\"background: URL( 'U' )\">x</div>", "style"),
        ('<div style="background: u\\72l(U)">x</div>', "style"),
        ("<style>@import 'U';</style>", "style"),
        ('<v:roundrect href="U">x</v:roundrect>', "link"),
        ('<iframe srcdoc="&lt;a href=U&gt;x&lt;/a&gt;"></iframe>', "link"),
    ],
)  # fmt: skip
def test_places_and_their_kinds(source: str, kind: str) -> None:
    assert found(source) == [(kind, "U")]


def test_escapes_of_html_are_read() -> None:
    assert found('<a href="ht&#116;p&colon;//x.test/?a&amp;b">x</a>') == [("link", "http://x.test/?a&b")]


def test_each_candidate_of_a_set_of_images() -> None:
    assert found('<img srcset="a.png, b.png 2x,c.png 3x">') == [
        ("image", "a.png"),
        ("image", "b.png"),
        ("image", "c.png"),
    ]


@pytest.mark.parametrize(
    "source", ["", "<a>x</a>", "<meta name=x content='0;url=U'>", "<a name=x href=''>", "<a class=U>"]
)
def test_no_address_resolves(source: str) -> None:
    assert found(source) == []


def test_the_text_that_a_link_shows() -> None:
    (target,) = targets_of_tree(LexborHTMLParser("<a href=U> <b>Your</b>\n bank </a>"))
    assert target == Target("link", "U", "Your bank")


def test_conditional_comments_of_outlook() -> None:
    source = '<p><!--[if mso]><v:rect href="http://mso.test/"><![endif]--> <!-- <a href="http://no.test/"> --><!--[if'
    assert [one.value for one in targets_of_markup(source, within_comments=True)] == ["http://mso.test/"]
    kinds = [one.kind for one in targets_of_markup("<a href=a><img src=b><form action=c>")]
    assert kinds == ["link", "image", "form"]


@pytest.mark.parametrize(
    "piece",
    [
        "<a href=x>y</a>",
        "<p style='a:url(x)'>",
        "<img srcset='" + "a," * 500 + "'>",
        "<svg><a href=x>",
        "<style>url(x",
        "<a href=>",
        "<p title=x>",
    ],
)
def test_the_number_is_bounded(piece: str) -> None:
    source = piece * (250_000 // len(piece))
    assert len(read_html(source)[1]) <= TARGETS
    assert len(targets_of_markup(source)) <= TARGETS
