"""The base subject of RFC 5256 §2.1: the part that replies and forwards of one message share."""

from __future__ import annotations

import re

_SPACES = re.compile(r"[ \t\r\n]+")
#: subj-leader = (*subj-blob subj-refwd) / WSP, with subj-refwd = ("re" / ("fw" ["d"])) *WSP [subj-blob] ":"
_LEADER = re.compile(r"(?>(?:\[[^\[\]]*+\][ \t]*+)*)(?:re|fwd?)[ \t]*+(?:\[[^\[\]]*+\][ \t]*+)?:[ \t]*+", re.IGNORECASE)
_BLOB = re.compile(r"\[[^\[\]]*+\][ \t]*+")
_FORWARD = re.compile(r"\[fwd:(.*)\]\Z", re.IGNORECASE)


def base_subject(subject: str) -> str:
    """The base subject of a decoded subject, in lower case, for threading and sorting.

    Every step removes text from one end, at a cost linear in the removed text.
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
    """Step (2): the start of the trailers."""
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
    """Steps (3) to (5): the end of the leaders. A blob is removed only if text remains after it."""
    at = 0
    while True:
        leader = _LEADER.match(text, at, end) or _BLOB.match(text, at, end)
        if leader is None or (leader.end() == end and leader[0].rstrip().endswith("]")):
            return at
        at = leader.end()
