"""The first words of a message, for lists."""

from __future__ import annotations

import re
from typing import Final

from inbox.mail.bodies import body_text
from inbox.mail.content import Buffer
from inbox.mail.htmltext import html_text
from inbox.mail.mime import Part

CHARACTERS: Final = 120
_TEXT_OCTETS: Final = 768
_HTML_OCTETS: Final = 8192
_SPACES = re.compile(r"[\s\x00-\x20\x7f-\x9f\u200b-\u200f\u2028\u2029\u2060\ufeff\u00ad\u034f\ud800-\udfff]+")


def snippet_of(root: Part, buffer: Buffer) -> str:
    """At most 120 characters of the first text/plain part, else of the first text/html part."""
    plain, html = _first_texts(root)
    if plain is not None:
        text = _shown(body_text(plain, buffer, _TEXT_OCTETS))
        if text:
            return text
    return "" if html is None else _shown(html_text(body_text(html, buffer, _HTML_OCTETS)))


def _shown(text: str) -> str:
    words = " ".join(text.split())
    if not words[:CHARACTERS].isprintable():
        words = _SPACES.sub(" ", words).strip(" ")
    return words[:CHARACTERS].rstrip(" ")


def _first_texts(part: Part) -> tuple[Part | None, Part | None]:
    if not part.children:
        if part.lower != b"text" or part.fields.get(b"content-disposition", b"")[:10].lower() == b"attachment":
            return None, None
        return (None, part) if part.subtype == b"html" else (part, None)
    plain: Part | None = None
    html: Part | None = None
    for child in part.children:
        child_plain, child_html = _first_texts(child)
        plain, html = plain or child_plain, html or child_html
        if plain is not None and html is not None:
            break
    return plain, html
