"""Parse the text of a policy file into plain data, with the place of every key and value.

YAML 1.2 core schema (https://yaml.org/spec/1.2.2/#103-core-schema): ``no`` and ``12:30`` are text. Duplicate keys,
anchors, aliases and tags (except ``!!str``) are mistakes. PyYAML's C parser delivers the events; its own resolver
and constructor (YAML 1.1, silent about duplicates) are not used. Events, not nodes: libyaml's composer works
recursively and in quadratic time on ``[[[[…``, whereas a reader of events can stop at the nesting limit.
"""

from __future__ import annotations

import re
from typing import Any, Final

import yaml
from yaml.error import MarkedYAMLError, YAMLError
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
    StreamEndEvent,
)

from inbox.base.limits import POLICY_DEPTH, POLICY_FILE_OCTETS
from inbox.policy.mistakes import Mistake, Place, PolicyMistakes

#: libyaml is part of PyYAML's wheels; a build without it has a slower Python equivalent.
_Parser: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

_UNPRINTABLE = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_CONSTANTS: Final = {
    "": None, "~": None, "null": None, "Null": None, "NULL": None,
    "true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False,
}  # fmt: skip
#: At most 64 bits: longer decimal numbers become floats, as JSON parsers of other languages do.
_INTEGER = re.compile(r"[-+]?[0-9]{1,18}\Z|0o[0-7]{1,20}\Z|0x[0-9a-fA-F]{1,15}\Z")
_FLOAT = re.compile(
    r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?\Z|[-+]?\.(?:inf|Inf|INF)\Z|\.(?:nan|NaN|NAN)\Z"
)
_TEXT_TAGS: Final = frozenset({"!", "tag:yaml.org,2002:str"})


class Node:
    """A value in a file: ``value`` is plain data (dict, list, str, int, float, bool, None).

    ``children`` are the nodes of a mapping by key or of a list by index; ``keys`` are the places of a
    mapping's keys. Lines and columns count from 1.
    """

    __slots__ = ("children", "column", "keys", "line", "value")

    def __init__(self, value: Any, line: int, column: int) -> None:
        self.value = value
        self.line = line
        self.column = column
        self.children: dict[str, Node] | list[Node] | None = None
        self.keys: dict[str, tuple[int, int]] = _NO_KEYS

    def child(self, key: str | int) -> Node | None:
        """The node under a mapping's key or a list's index."""
        if isinstance(self.children, dict):
            return self.children.get(str(key))
        if isinstance(self.children, list) and isinstance(key, int) and 0 <= key < len(self.children):
            return self.children[key]
        return None

    def place(self, file: str) -> Place:
        """The place of the value."""
        return Place(file, self.line, self.column)

    def key_place(self, file: str, key: str) -> Place:
        """The place of the key, or of the mapping if it has no such key."""
        return Place(file, *self.keys.get(key, (self.line, self.column)))


_NO_KEYS: Final[dict[str, tuple[int, int]]] = {}


def decode(data: bytes, file: str) -> str:
    """The text of a file.

    Raises:
        PolicyMistakes: too large, not UTF-8, or with characters that YAML forbids.
    """
    if len(data) > POLICY_FILE_OCTETS:
        raise _mistake(Place(file, 1, 1), f"larger than {POLICY_FILE_OCTETS} octets")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        before = data[: error.start].decode("utf-8-sig", "replace")
        raise _mistake(_place_after(before, file), "not UTF-8 text") from error
    found = _UNPRINTABLE.search(text)
    if found is not None:
        raise _mistake(_place_after(text[: found.start()], file), f"control character {found.group()!r}")
    return text


def load(text: str, file: str) -> Node:
    """The document of ``text``; an empty one is an empty mapping.

    Raises:
        PolicyMistakes: the first mistake in the file's syntax.
    """
    try:
        return _Builder(text, file).build()
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = Place(file, mark.line + 1, mark.column + 1) if mark else Place(file, 1, 1)
        reason = ", ".join(part for part in (error.context, error.problem) if part)
        raise _mistake(place, f"not YAML: {reason}") from error
    except YAMLError as error:
        raise _mistake(Place(file, 1, 1), f"not YAML: {error}") from error


class _Builder:
    """Builds nodes from parser events, with an explicit stack."""

    def __init__(self, text: str, file: str) -> None:
        self._file = file
        self._parser = _Parser(text)
        self._stack: list[Node] = []
        self._key: list[str | None] = []  # For each open node: the key that waits for its value.
        self._root: Node | None = None
        self._documents = 0

    def build(self) -> Node:
        while True:
            event = self._parser.get_event()
            kind = type(event)
            if kind is ScalarEvent:
                self._scalar(event)
            elif kind is MappingStartEvent or kind is SequenceStartEvent:
                self._open(event, kind is MappingStartEvent)
            elif kind is MappingEndEvent or kind is SequenceEndEvent:
                self._stack.pop()
                self._key.pop()
            elif kind is AliasEvent:
                raise self._refuse(event, "aliases are not allowed; repeat the value")
            elif kind is DocumentStartEvent:
                self._documents += 1
                if self._documents > 1:
                    raise self._refuse(event, "a second document; a policy file has exactly one")
            elif kind is StreamEndEvent:
                return self._root or _empty()

    def _scalar(self, event: ScalarEvent) -> None:
        self._no_anchor(event)
        if event.tag is not None and event.tag not in _TEXT_TAGS:
            raise self._refuse(event, f"the tag {event.tag} is not allowed")
        if self._stack and isinstance(self._stack[-1].children, dict) and self._key[-1] is None:
            self._take_key(event)
            return
        value = _resolve(event.value) if event.tag is None and event.implicit[0] else event.value
        self._place_node(Node(value, *_at(event)))

    def _take_key(self, event: ScalarEvent) -> None:
        # Keys are literal text: a tenant may call a group 007.
        key = event.value
        node = self._stack[-1]
        if key in node.keys:
            raise self._refuse(event, f"the key {key!r} already occurs in line {node.keys[key][0]}")
        node.keys[key] = _at(event)
        self._key[-1] = key

    def _open(self, event: Any, mapping: bool) -> None:
        self._no_anchor(event)
        if event.tag is not None:
            raise self._refuse(event, f"the tag {event.tag} is not allowed")
        if len(self._stack) >= POLICY_DEPTH:
            raise self._refuse(event, f"nested more than {POLICY_DEPTH} deep")
        if self._stack and isinstance(self._stack[-1].children, dict) and self._key[-1] is None:
            raise self._refuse(event, "a key must be text")
        node = Node({} if mapping else [], *_at(event))
        node.children = {} if mapping else []
        if mapping:
            node.keys = {}
        self._place_node(node)
        self._stack.append(node)
        self._key.append(None)

    def _place_node(self, node: Node) -> None:
        if not self._stack:
            self._root = node
            return
        parent = self._stack[-1]
        if isinstance(parent.children, dict):
            key = self._key[-1] or ""
            parent.children[key] = node
            parent.value[key] = node.value
            self._key[-1] = None
        elif parent.children is not None:
            parent.children.append(node)
            parent.value.append(node.value)

    def _no_anchor(self, event: Any) -> None:
        if event.anchor is not None:
            raise self._refuse(event, "anchors are not allowed; repeat the value")

    def _refuse(self, event: Any, text: str) -> PolicyMistakes:
        return _mistake(Place(self._file, *_at(event)), text)


def _at(event: Any) -> tuple[int, int]:
    return event.start_mark.line + 1, event.start_mark.column + 1


def _resolve(text: str) -> Any:
    """A plain scalar by the core schema of YAML 1.2."""
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if text[0] not in "+-.0123456789":
        return text
    if _INTEGER.match(text):
        base = {"0o": 8, "0x": 16}.get(text[:2], 10)
        return int(text[2:] if base != 10 else text, base)
    if _FLOAT.match(text):
        return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    return text


def _empty() -> Node:
    node = Node({}, 1, 1)
    node.children = {}
    return node


def _place_after(before: str, file: str) -> Place:
    last = before.rfind("\n")
    return Place(file, before.count("\n") + 1, len(before) - last)


def _mistake(place: Place, text: str) -> PolicyMistakes:
    return PolicyMistakes([Mistake(place, " ".join(text.split()))])
