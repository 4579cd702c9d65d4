"""The page of log events: each event that the code logs, with its levels, its fields and its module."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

ROOT = Path(__file__).resolve().parents[1]
LEVELS: Final = ("debug", "info", "warning", "error")
#: Functions that log the event that they are called with, and its level.
_PASSED_ON: Final = {"_try": "warning"}
#: Modules whose calls pass on events of others.
_FILTERS: Final = {"inbox/app/serve/quietlog.py", "inbox/store/sweeper.py"}
_MORE: Final = "…"


@dataclass
class Event:
    """All places that log one event."""

    levels: set[str] = field(default_factory=set)
    fields: set[str] = field(default_factory=set)
    modules: set[str] = field(default_factory=set)


def events() -> dict[str, Event]:
    """All events by name; a part of a name that differs by protocol is ``*``.

    Raises:
        ValueError: a call logs an event whose name cannot be read from the code.
    """
    found: dict[str, Event] = {}
    for path in sorted([*(ROOT / "inbox").rglob("*.py"), *(ROOT / "plugins").rglob("*.py")]):
        module = str(path.relative_to(ROOT))
        tree = ast.parse(path.read_text(encoding="utf-8"))
        aliases = set(_aliases(tree))
        for node in ast.walk(tree):
            for name, levels, call in _logged(node, module, aliases):
                event = found.setdefault(name, Event())
                event.levels.update(levels)
                event.modules.add(module)
                if isinstance(call, ast.Call):
                    event.fields.update(keyword.arg or _MORE for keyword in call.keywords)
                else:
                    event.fields.update(_text(key) for key in call.keys if key is not None)
    return found


def _aliases(tree: ast.AST) -> Iterator[str]:
    """Names of variables that are a method of a log: ``log = self._log.info if … else self._log.warning``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name):
            methods = [each for each in ast.walk(node.value) if isinstance(each, ast.Attribute)]
            if any(each.attr in LEVELS and _is_log(each.value) for each in methods):
                yield node.targets[0].id


def _logged(
    node: ast.AST, module: str, aliases: set[str]
) -> Iterator[tuple[str, tuple[str, ...], ast.Call | ast.Dict]]:
    if isinstance(node, ast.Dict):
        names = dict(zip([_text(key) for key in node.keys if key is not None], node.values, strict=False))
        if {"event", "level"} <= names.keys():
            yield _text(names["event"]), (_text(names["level"]),), node
    if not isinstance(node, ast.Call) or not node.args:
        return
    called, first = node.func, node.args[0]
    if isinstance(called, ast.Name) and called.id in aliases:
        yield _name(first, module), ("info", "warning"), node
    elif isinstance(called, ast.Attribute) and called.attr in LEVELS and _is_log(called.value):
        if module not in _FILTERS or not isinstance(first, ast.Name):
            yield _name(first, module), (called.attr,), node
    elif isinstance(called, ast.Attribute) and called.attr in _PASSED_ON and _text(first):
        yield _text(first), (_PASSED_ON[called.attr],), ast.Dict([ast.Constant("key"), ast.Constant("error")], [])
    elif isinstance(called, ast.Attribute) and called.attr == "log" and _is_log(called.value):
        yield _name(node.args[1], module), LEVELS[1:], node


def _is_log(value: ast.expr) -> bool:
    text = ast.unparse(value)
    return text.endswith("log") or "get_logger(" in text


def _name(value: ast.expr, module: str) -> str:
    """The name of an event; ``*`` stands for what an f-string fills in."""
    if isinstance(value, ast.JoinedStr):
        return "".join(_text(part) or "*" for part in value.values)
    if not _text(value):
        raise ValueError(f"{module}:{value.lineno}: write the name of the event where it is logged")
    return _text(value)


def _text(value: ast.expr) -> str:
    return value.value if isinstance(value, ast.Constant) and isinstance(value.value, str) else ""


def event_page(note: str) -> str:
    """The page; ``note`` is below its title."""
    from scripts.pluginpages import row

    lines = [
        "# Log events\n\n" + note,
        "What the server and the shipped plugins write into the log, one JSON object for each event. "
        "[Operations](../operations.md#logs) explains those that an operator acts on. Each line also has `event`, "
        "`level` and `timestamp`; `exc_info` becomes `exception`, a traceback. `…` stands for fields that depend on "
        "the case, `*` for the name of a protocol. Lines of the level `debug` are not written.\n",
        "| event | level | fields | logged by |\n|---|---|---|---|",
    ]
    for name, event in sorted(events().items()):
        levels = ", ".join(level for level in LEVELS if level in event.levels)
        named = sorted(event.fields - {_MORE, "event", "level"}) + ([_MORE] if _MORE in event.fields else [])
        fields = ", ".join(f"`{each}`" if each != _MORE else each for each in named)
        lines.append(row(f"`{name}`", levels, fields, ", ".join(f"`{module}`" for module in sorted(event.modules))))
    return "\n".join(lines) + "\n"
