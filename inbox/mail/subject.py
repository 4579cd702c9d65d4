"""The base subject of RFC 5256 §2.1: what replies and forwards of one message have in common."""

from __future__ import annotations

import re

_SPACES = re.compile(r"[ \t\r\n]+")
#: subj-leader = (*subj-blob subj-refwd) / WSP, with subj-refwd = ("re" / ("fw" ["d"])) *WSP [subj-blob] ":"
_LEADER = re.compile(r"(?>(?:\[[^\[\]]*+\][ \t]*+)*)(?:re|fwd?)[ \t]*+(?:\[[^\[\]]*+\][ \t]*+)?:[ \t]*+", re.IGNORECASE)
_BLOB = re.compile(r"\[[^\[\]]*+\][ \t]*+")
_FORWARD = re.compile(r"\[fwd:(.*)\]\Z", re.IGNORECASE)


def base_subject(subject: str) -> str:
    """The base subject of a decoded subject, in lower case, for threading and sorting.

    Every step takes something away from one of the ends: its cost is linear in what it takes away.
    """
    text = _SPACES.sub(" ", subject).strip(" ")
    while True:
        end = _trimmed(text)
        start = _leaders(text, end)
        text = text[start:end].strip(" ")
        found = _FORWARD.match(text)
        if found is None:
            return text.lower()
        text = found[1].strip(" ")


def _trimmed(text: str) -> int:
    """Steps (2): where the trailers begin."""
    end = len(text)
    while end:
        if text[end - 1] == " ":
            end -= 1
        elif text[end - 5 : end].lower() == "(fwd)":
            end -= 5
        else:
            break
    return end


def _leaders(text: str, end: int) -> int:
    """Steps (3) to (5): where the leaders end. A blob goes only if something is left behind it."""
    at = 0
    while True:
        leader = _LEADER.match(text, at, end) or _BLOB.match(text, at, end)
        if leader is None or (leader.end() == end and leader[0].rstrip().endswith("]")):
            return at
        at = leader.end()
