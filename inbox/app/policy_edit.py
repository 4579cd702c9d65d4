"""Switches a plugin in the text of a policy file. Every other character stays: comments, order, quotes, spaces.

A YAML library that writes a whole document anew would move comments and change quotes. Here the parser only tells
where things stand, and the text is changed there.
"""

from __future__ import annotations

from typing import Any

import yaml

from inbox.base.errors import PolicyError

_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NULL = "tag:yaml.org,2002:null"


def switched(text: str, plugin: str, *, on: bool) -> str:
    """``text`` with ``enabled: true`` or ``enabled: false`` for the plugin; ``mode: off`` goes when it is switched on.

    Raises:
        PolicyError: the text is no YAML, or not shaped like a policy.
    """
    after = _switched(text, plugin, "true" if on else "false", on)
    wanted = _data(text) or {}
    entry = (wanted.get("plugins") or {}).get(plugin) or {}
    if on and _is_off(entry.get("mode")):
        entry = {**entry, "mode": "enforce"}
    wanted["plugins"] = {**(wanted.get("plugins") or {}), plugin: {**entry, "enabled": on}}
    if _data(after) != wanted:
        raise PolicyError(f"cannot be edited without rewriting it; set enabled: {str(on).lower()} by hand")
    return after


def _switched(text: str, plugin: str, value: str, on: bool) -> str:
    root = _compose(text)
    if root is None:
        return f"{_with_newline(text)}plugins:\n  {plugin}: {{enabled: {value}}}\n"
    _must_be_mapping(root, "the file")
    plugins = _get(root, "plugins")
    if plugins is None:
        return _added(text, root, "plugins", f"{{{plugin}: {{enabled: {value}}}}}")
    if _is_null(plugins):
        return _replaced(text, plugins, f" {{{plugin}: {{enabled: {value}}}}}")
    _must_be_mapping(plugins, "plugins")
    entry = _get(plugins, plugin)
    if entry is None:
        return _added(text, plugins, plugin, f"{{enabled: {value}}}")
    if _is_null(entry):
        return _replaced(text, entry, f" {{enabled: {value}}}")
    _must_be_mapping(entry, plugin)
    enabled, mode = _get(entry, "enabled"), _get(entry, "mode")
    # From the end to the beginning, so that the first change does not move the place of the second.
    changes = [(enabled, f" {value}")] if enabled is not None else []
    if on and mode is not None and _is_off(_scalar(mode)):
        changes.append((mode, " enforce"))
    for node, new in sorted(changes, key=lambda change: change[0].start_mark.index, reverse=True):
        text = _replaced(text, node, new)
    return text if enabled is not None else _added(text, entry, "enabled", value)


def _added(text: str, mapping: Any, key: str, value: str) -> str:
    """One more pair at the mapping's end."""
    if mapping.flow_style:
        end = mapping.end_mark.index - 1
        comma = ", " if mapping.value and not text[:end].rstrip().endswith(",") else ""
        return f"{text[:end]}{comma}{key}: {value}{text[end:]}"
    indent = " " * mapping.value[0][0].start_mark.column
    end = _end(mapping)
    if text[end - 1 : end] != "\n":
        line_end = text.find("\n", end)
        end = len(text) if line_end < 0 else line_end + 1
    before = _with_newline(text[:end])
    return f"{before}{indent}{key}: {value}\n{text[end:]}"


def _end(node: Any) -> int:
    """Where a node's own text ends: a block's mark stands behind the comments that follow it."""
    if isinstance(node, yaml.MappingNode) and not node.flow_style:
        return _end(node.value[-1][1])
    if isinstance(node, yaml.SequenceNode) and not node.flow_style:
        return _end(node.value[-1])
    return int(node.end_mark.index)


def _replaced(text: str, node: Any, new: str) -> str:
    """``new`` begins with a blank, for a value that is empty and so has none in front of it."""
    start, end = node.start_mark.index, node.end_mark.index
    return f"{text[:start]}{new if start == end else new.lstrip()}{text[end:]}"


def _get(mapping: Any, key: str) -> Any:
    return next((value for name, value in mapping.value if _scalar(name) == key), None)


def _scalar(node: Any) -> Any:
    return node.value if isinstance(node, yaml.ScalarNode) else None


def _is_null(node: Any) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == _NULL


def _is_off(mode: object) -> bool:
    # YAML 1.1, as this parser has it, reads ``off`` as false.
    return mode is False or mode == "off"


def _must_be_mapping(node: Any, what: str) -> None:
    if not isinstance(node, yaml.MappingNode):
        raise PolicyError(f"{what}: has to be a mapping")


def _with_newline(text: str) -> str:
    return text if not text or text.endswith("\n") else f"{text}\n"


def _compose(text: str) -> Any:
    try:
        return yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise PolicyError(" ".join(str(error).split())) from error


def _data(text: str) -> Any:
    try:
        return yaml.load(text, Loader=_LOADER)  # noqa: S506  it is the safe loader, in C where there is one
    except (yaml.YAMLError, ValueError) as error:
        raise PolicyError(" ".join(str(error).split())) from error
