"""Text and links of HTML bodies, and links in plain text."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from typing import Final

from selectolax.lexbor import LexborHTMLParser

#: Where a block begins or ends. Both cases are spelled out: twice as fast as IGNORECASE over words.
_BLOCK = re.compile(
    r"<(?=/?(?:[pP]|[hH][1-6rR]|[dD](?:[iI][vV]|[dltDLT])|[bB](?:[rR]|[lL][oO])|[tT](?:[rdhRDH]|[aA][bB])|[lL][iI]|[uoUO][lL])"
    r"[\s/>a-zA-Z])"
)
_HIDDEN: Final = ["script", "style", "title", "head", "noscript", "template"]
_TAG = re.compile(r"<(/?)([a-z][a-z0-9]{0,15})", re.IGNORECASE)
#: Elements that never nest: they are empty, or end where the next one begins.
_FLAT: Final = frozenset("area base br col embed hr img input li link meta option p param source td th tr wbr".split())  # noqa: SIM905
#: The parser's cost grows with the square of the depth; real mail stays far below.
_DEPTH: Final = 500
_FEW_TAGS: Final = 500
_MARKUP = re.compile(
    r"<(?:!--.*?(?:-->|\Z)|(?:script|style)\b.*?(?:</(?:script|style)|\Z)|[/!?a-z][^<>]*)>?", re.IGNORECASE | re.DOTALL
)
_LINK_ATTRIBUTE = re.compile(
    r"""\b(?:href|src)\s{0,8}=\s{0,8}(?:"([^"<>]{1,4096})|'([^'<>]{1,4096})|([^\s"'<>]{1,4096}))""", re.IGNORECASE
)
_URL = re.compile(r"""(?<![\w.@/-])(?:(?:https?|ftp)://|mailto:|www\.)[^\s<>"'\x00-\x20\x7f]{1,2048}""", re.IGNORECASE)
_SCHEME = re.compile(r"(?:(?:https?|ftp)://|mailto:|//)[^\s]", re.IGNORECASE)
_TRAILING: Final = ".,;:!?)]}>'\"*_"
_URL_SPACES = re.compile(r"[\t\r\n]")


def _deep(source: str) -> bool:
    """True if elements nest deeper than the parser may be asked to go; too much is said rather than too little."""
    if source.count("<") <= _FEW_TAGS:
        return False
    open_: dict[str, int] = {}
    depth = 0
    for closing, name in _TAG.findall(source):
        name = name.lower()  # noqa: PLW2901  # the same name in one case
        count = open_.get(name, 0)
        if closing:
            if count:
                open_[name] = count - 1
                depth -= 1
        elif name not in _FLAT:
            open_[name] = count + 1
            depth += 1
            if depth > _DEPTH:
                return True
    return False


def read_html(source: str) -> tuple[str, list[str]]:
    """What a reader sees of an HTML text, and where it leads; never fails, and the cost is linear.

    Returns:
        The text, one line for each block, and the targets of ``href`` and ``src`` that have a scheme which leads
        outside, in their order.
    """
    if _deep(source):
        text = html.unescape(_MARKUP.sub(" ", source))
        values = [html.unescape("".join(found.groups(""))) for found in _LINK_ATTRIBUTE.finditer(source)]
    else:
        tree = LexborHTMLParser(_BLOCK.sub("\n<", source))
        nodes = tree.css("[href],[src]")
        values = [value for node in nodes for key in ("href", "src") if (value := node.attributes.get(key))]
        tree.strip_tags(_HIDDEN)
        text = tree.body.text() if tree.body is not None else ""
    lines = [" ".join(line.split()) for line in text.split("\n")]
    return "\n".join([line for line in lines if line]), _outward(values)


def html_text(source: str) -> str:
    """The text of :func:`read_html`."""
    return read_html(source)[0]


def _outward(values: list[str]) -> list[str]:
    # White space goes as in browsers: https://url.spec.whatwg.org/#url-parsing
    urls = (_URL_SPACES.sub("", value).strip() for value in values)
    return [url[:2048] for url in urls if _SCHEME.match(url)]


def text_urls(text: str) -> Iterator[str]:
    """The URLs in plain text, without the punctuation that follows them."""
    for found in _URL.finditer(text):
        url = found[0]
        trimmed = url.rstrip(_TRAILING)
        # A closing bracket stays if the URL opened it.
        if url[len(trimmed) : len(trimmed) + 1] == ")" and trimmed.count("(") > trimmed.count(")"):
            trimmed += ")"
        yield trimmed
