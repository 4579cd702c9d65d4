"""Targets in HTML: every reference that a reader can follow or that a mail program may load, with its kind."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator
from typing import Final, NamedTuple

from selectolax.lexbor import LexborHTMLParser, LexborNode

#: Targets of one HTML text that are read, and characters of one target and of the text of a link.
TARGETS: Final = 2000
_VALUE_CHARACTERS: Final = 4096
_SHOWN_CHARACTERS: Final = 200
#: Characters of all link texts together: nested elements would be read once for each level.
_ALL_SHOWN: Final = 512 * 1024
#: ``srcset`` candidates and ``url()`` of one attribute or style sheet.
_OF_ONE: Final = 100
#: The kind of an attribute in any element; ``href`` and ``src`` depend on the element.
_KINDS: Final = {
    "action": "form", "formaction": "form", "background": "image", "poster": "image", "lowsrc": "image",
    "dynsrc": "image", "data": "frame", "codebase": "frame", "ping": "resource", "manifest": "resource",
    "longdesc": "link", "cite": "link",
}  # fmt: skip
_HREF: Final = {"a": "link", "area": "link", "base": "base", "link": "resource", "image": "image", "use": "image",
                "feimage": "image", "script": "resource"}  # fmt: skip
_SRC: Final = {"iframe": "frame", "frame": "frame", "embed": "frame", "script": "resource", "audio": "resource",
               "video": "resource", "source": "resource", "track": "resource", "bgsound": "resource"}  # fmt: skip
_LISTS: Final = frozenset({"srcset", "imagesrcset"})
_ATTRIBUTES: Final = (*_KINDS, "href", "src", *_LISTS, "style", "content", "srcdoc")
#: A selector by name also finds prefixed SVG attributes, such as ``xlink:href``.
_SELECTOR: Final = ",".join([*(f"[{name}]" for name in _ATTRIBUTES), "style"])
_CSS_URL = re.compile(r"""(?:url\(\s{0,8}|@import\s{0,8})["']?([^"'()\s]{1,4096})""", re.IGNORECASE)
_CSS_ESCAPE = re.compile(r"\\(?:([0-9a-fA-F]{1,6})\s?|([^\n]))")
#: The seconds, a separator, and perhaps ``url=``: https://html.spec.whatwg.org, "shared declarative refresh steps".
_REFRESH = re.compile(r"""\s{0,8}[\d.]{0,20}\s{0,8}[;,\s]\s{0,8}(?:url\s{0,8}=\s{0,8})?(["']?)(.{1,4096})\Z""",
                      re.IGNORECASE | re.DOTALL)  # fmt: skip
#: One candidate of ``srcset``: a URL, and a descriptor up to the next comma.
_CANDIDATE = re.compile(r"[\s,]*((?:[^\s,][^\s]{0,4094})?[^\s,])(?:,|\s+[^,]{0,100}|\Z)")
_MARKUP_ATTRIBUTE = re.compile(
    r"""\b(href|src|action|formaction|background)\s{0,8}=\s{0,8}(?:"([^"<>]{1,4096})|'([^'<>]{1,4096})|([^\s"'<>]{1,4096}))""",
    re.IGNORECASE,
)


class Target(NamedTuple):
    """One target. ``value`` is the reference as written, with HTML escapes decoded; ``shown`` is the text of a link.

    ``kind`` is ``link`` (a, area, …), ``form``, ``refresh`` (the page redirects by itself), ``frame`` (iframe, object,
    …), ``image``, ``style``, ``resource`` (scripts, style sheets, sound, …), or ``base``, to which other references are
    relative.
    """

    kind: str
    value: str
    shown: str = ""


def targets_of_tree(tree: LexborHTMLParser, depth: int = 1) -> list[Target]:
    """The targets of a parsed text, in order. ``srcdoc`` of a frame is read as well, one level deep."""
    found: list[Target] = []
    left = _ALL_SHOWN
    seen: set[int] = set()
    for node in tree.css(_SELECTOR):
        if node.mem_id in seen:  # A node is listed once for each selector that it matches.
            continue
        seen.add(node.mem_id)
        tag = (node.tag or "").lower()
        text = node.text() or "" if tag == "style" or (tag == "a" and left > 0) else ""
        left -= len(text)
        found.extend(_of_node(node, tag, text, depth))
        if len(found) >= TARGETS:
            break
    return found[:TARGETS]


def targets_of_markup(source: str, *, within_comments: bool = False) -> list[Target]:
    """The targets of an unparsed text: HTML that nests too deeply, and comments that only Outlook reads (``<!--[if
    …``)."""
    texts = _comments(source) if within_comments else [source]
    found: list[Target] = []
    for text in texts:
        for match in _MARKUP_ATTRIBUTE.finditer(text):
            name, *values = match.groups("")
            kind = {"href": "link", "src": "image"}.get(name.lower()) or _KINDS[name.lower()]
            found.append(Target(kind, html.unescape("".join(values))))
            if len(found) >= TARGETS:
                return found
    return found


def _comments(source: str) -> Iterator[str]:
    at = source.find("<!--[if")
    while at >= 0:
        end = source.find("-->", at)
        end = len(source) if end < 0 else end
        yield source[at:end]
        at = source.find("<!--[if", end)


def _of_node(node: LexborNode, tag: str, text: str, depth: int) -> Iterator[Target]:
    if tag == "style":
        yield from _of_style(text)
        return
    for name, value in node.attributes.items():
        name = name.lower().rpartition(":")[2]  # noqa: PLW2901  # xlink:href
        if not value:
            continue
        if name == "style":
            yield from _of_style(value)
        elif name in _LISTS:
            yield from (Target("image", match[1]) for match in _limited(_CANDIDATE, value))
        elif name == "content":
            if (node.attributes.get("http-equiv") or "").strip().lower() == "refresh":
                yield from _of_refresh(value)
        elif name == "srcdoc":
            if depth > 0:
                yield from targets_of_tree(LexborHTMLParser(value), depth - 1)
        else:
            yield from _of_reference(tag, name, value, text)


def _of_reference(tag: str, name: str, value: str, text: str) -> Iterator[Target]:
    if name == "href":
        kind = _HREF.get(tag, "link")
    elif name == "src":
        kind = _SRC.get(tag, "image")
    elif name in _KINDS:
        kind = _KINDS[name]
    else:
        return
    shown = " ".join(text[: 10 * _SHOWN_CHARACTERS].split())[:_SHOWN_CHARACTERS]
    yield Target(kind, value[:_VALUE_CHARACTERS], shown)


def _of_style(text: str) -> Iterator[Target]:
    plain = _CSS_ESCAPE.sub(_unescaped, text) if "\\" in text else text
    yield from (Target("style", match[1]) for match in _limited(_CSS_URL, plain))


def _unescaped(match: re.Match[str]) -> str:
    """One escape of CSS (https://www.w3.org/TR/css-syntax-3/#consume-escaped-code-point)."""
    if match[2]:
        return match[2]
    number = int(match[1], 16)
    return chr(number) if 0 < number < 0xD800 or 0xDFFF < number < 0x110000 else "\ufffd"


def _of_refresh(value: str) -> Iterator[Target]:
    match = _REFRESH.match(value[: 2 * _VALUE_CHARACTERS])
    if match is not None:
        quote, rest = match.groups()
        yield Target("refresh", rest.partition(quote)[0] if quote else rest)


def _limited(pattern: re.Pattern[str], text: str) -> Iterator[re.Match[str]]:
    for number, match in enumerate(pattern.finditer(text)):
        if number == _OF_ONE:
            return
        yield match
