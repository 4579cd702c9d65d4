"""Text of HTML bodies; :mod:`inbox.mail.targets` finds the targets of their markup."""

from __future__ import annotations

import html
import re
from typing import Final

from selectolax.lexbor import LexborHTMLParser

from inbox.mail.targets import Target, targets_of_markup, targets_of_tree

#: Tags at which a block begins or ends. Spelling out both cases is twice as fast as IGNORECASE over words.
_BLOCK = re.compile(
    r"<(?=/?(?:[pP]|[hH][1-6rR]|[dD](?:[iI][vV]|[dltDLT])|[bB](?:[rR]|[lL][oO])|[tT](?:[rdhRDH]|[aA][bB])|[lL][iI]|[uoUO][lL])"
    r"[\s/>a-zA-Z])"
)
_HIDDEN: Final = ["script", "style", "title", "head", "noscript", "template"]
_TAG = re.compile(r"<(/?)([a-z][a-z0-9]{0,15})", re.IGNORECASE)
#: Elements that never nest: they are empty, or the next one ends them.
_FLAT: Final = frozenset("area base br col embed hr img input li link meta option p param source td th tr wbr".split())  # noqa: SIM905
#: The parser's cost grows with the square of the depth; real mail stays far below.
_DEPTH: Final = 500
_FEW_TAGS: Final = 500
_MARKUP = re.compile(
    r"<(?:!--.*?(?:-->|\Z)|(?:script|style)\b.*?(?:</(?:script|style)|\Z)|[/!?a-z][^<>]*)>?", re.IGNORECASE | re.DOTALL
)


def is_deep(source: str) -> bool:
    """True if elements may nest deeper than the parser can handle."""
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


def html_text(source: str) -> str:
    """The visible text of HTML, one line for each block; never fails, and the cost is linear."""
    return _text(source, None if is_deep(source) else LexborHTMLParser(_BLOCK.sub("\n<", source)))


def read_html(source: str) -> tuple[str, list[Target]]:
    """The text of :func:`html_text`, and the targets of the markup, in order."""
    if is_deep(source):
        return _text(source, None), targets_of_markup(source)
    tree = LexborHTMLParser(_BLOCK.sub("\n<", source))
    targets = targets_of_tree(tree)
    if "<!--[if" in source:
        targets += targets_of_markup(source, within_comments=True)
    return _text(source, tree), targets


def _text(source: str, tree: LexborHTMLParser | None) -> str:
    if tree is None:
        text = html.unescape(_MARKUP.sub(" ", source))
    else:
        tree.strip_tags(_HIDDEN)
        text = tree.body.text() if tree.body is not None else ""
    lines = [" ".join(line.split()) for line in text.split("\n")]
    return "\n".join([line for line in lines if line])
