"""Editing a policy file: switching a plugin on or off for one tenant.

Every other character stays: comments, order, quotes, spaces. A YAML library that writes a whole document anew would
move comments and change quotes; here the parser only tells where things stand, and the text is changed there.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import Any

import yaml

from inbox.base.errors import PolicyError
from inbox.policy.catalogue import Mode
from inbox.policy.snapshot import PolicySet

_NEW = "# Policy of the tenant {tenant}. What is left out is inherited from default.yaml.\n"
_NULL = "tag:yaml.org,2002:null"


def with_plugin(text: str, plugin: str, *, enabled: bool, tenant: str) -> str:
    """``text`` (empty for a new file) with ``plugin`` switched on or off.

    A plugin that is not named yet comes last. ``enabled`` is always written, so that the tenant's wish holds against
    default.yaml; a ``mode: off`` becomes ``enforce`` when the plugin is switched on.

    Raises:
        PolicyError: the text is not a policy that can be edited.
    """
    try:
        after = _switched(text or _NEW.format(tenant=tenant), plugin, enabled)
        sound = _data(after) == _wanted(_data(text), plugin, enabled)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise PolicyError(f"the policy of {tenant} cannot be edited: {' '.join(str(error).split())}") from error
    if not sound:
        raise PolicyError(f"the policy of {tenant} cannot be edited; set enabled: {str(enabled).lower()} by hand")
    return after


def set_plugin(policies: PolicySet, tenant: str, plugin: str, *, enabled: bool) -> Path:
    """Switches ``plugin`` on or off for ``tenant`` in its file, after checking what the file will be.

    Returns:
        The file, which may be new.

    Raises:
        PolicyMistakes: the edited policy would be wrong; the file is as it was.
        PolicyError: the file cannot be edited, or a level above keeps the plugin off.
        OSError: it cannot be read or written.
    """
    path = policies.tenant_file(tenant)
    try:
        before = path.read_text("utf-8")
    except FileNotFoundError:
        before = ""
    after = with_plugin(before, plugin, enabled=enabled, tenant=tenant)
    name = policies.relative_name(tenant)
    entry = policies.reload([name], {name: after.encode()}).effective(tenant).plugin(plugin)
    if enabled and (entry is None or entry.mode is Mode.OFF):
        raise PolicyError(f"{path}: {plugin} would stay off, because a mode: off stands above it")
    write_atomically(path, after)
    return path


def write_atomically(path: Path, text: str) -> None:
    """Whoever reads ``path`` sees the old text or the new one, also after a crash. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    mode = path.stat().st_mode & 0o777 if path.exists() else 0o644
    handle, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    temporary = Path(name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fchmod(file.fileno(), mode)
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _switched(text: str, plugin: str, enabled: bool) -> str:
    value = str(enabled).lower()
    root = yaml.compose(text, Loader=yaml.SafeLoader)
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
    switch, mode = _get(entry, "enabled"), _get(entry, "mode")
    # From the end to the beginning, so that the first change does not move the place of the second.
    changes = [(switch, f" {value}")] if switch is not None else []
    if enabled and mode is not None and _is_off(_scalar(mode)):
        changes.append((mode, " enforce"))
    for node, new in sorted(changes, key=lambda change: change[0].start_mark.index, reverse=True):
        text = _replaced(text, node, new)
    return text if switch is not None else _added(text, entry, "enabled", value)


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
        raise yaml.YAMLError(f"{what} has to be a mapping")


def _with_newline(text: str) -> str:
    return text if not text or text.endswith("\n") else f"{text}\n"


def _data(text: str) -> Any:
    return yaml.safe_load(text)


def _wanted(before: Any, plugin: str, enabled: bool) -> Any:
    """The file's data as they have to be after the change."""
    data = before or {}
    plugins = data.get("plugins") or {}
    entry = plugins.get(plugin) or {}
    if enabled and _is_off(entry.get("mode")):
        entry = {**entry, "mode": "enforce"}
    return {**data, "plugins": {**plugins, plugin: {**entry, "enabled": enabled}}}
