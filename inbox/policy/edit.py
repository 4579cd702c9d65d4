"""Edit a policy file: switch a plugin on or off for a tenant, for one of its domains, or for all tenants.

Every other character stays: comments, order, quotes, spaces. A YAML library that rewrites the whole document would
move comments and change quotes; here the parser only finds places, and the text is changed there.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from inbox.base.errors import PolicyError
from inbox.policy.catalogue import Mode
from inbox.policy.snapshot import DEFAULT_FILE, PolicySet

_NEW = "# Policy of the tenant {tenant}. What is left out is inherited from default.yaml.\n"
_NULL = "tag:yaml.org,2002:null"


def with_plugin(text: str, plugin: str, *, enabled: bool, tenant: str, domain: str | None = None) -> str:
    """``text`` (empty for a new file) with ``plugin`` switched on or off; for one ``domain`` only, if one is named.

    A plugin that is not named yet comes last. ``enabled`` is always written, so that the tenant's choice overrides
    default.yaml; a ``mode: off`` becomes ``enforce`` when the plugin is switched on.

    Raises:
        PolicyError: the text is not a policy that can be edited.
    """
    path = () if domain is None else ("domains", domain)
    name = tenant or "everybody"
    try:
        after = _switched(text or _NEW.format(tenant=tenant), path, plugin, enabled)
        sound = _data(after) == _wanted(_data(text), path, plugin, enabled)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise PolicyError(f"the policy of {name} cannot be edited: {' '.join(str(error).split())}") from error
    if not sound:
        raise PolicyError(f"the policy of {name} cannot be edited; set enabled: {str(enabled).lower()} by hand")
    return after


def set_plugin(policies: PolicySet, tenant: str, plugin: str, *, enabled: bool, domain: str | None = None) -> Path:
    """Switch ``plugin`` on or off for ``tenant`` in its file, after checking the new text.

    Args:
        tenant: its name; empty for default.yaml, which applies to all tenants.
        domain: only for this domain of the tenant.

    Returns:
        The file, which may be new.

    Raises:
        PolicyMistakes: the edited policy would be invalid; the file is unchanged.
        PolicyError: the file cannot be edited, or a level above keeps the plugin off.
        OSError: it cannot be read or written.
    """
    name = policies.relative_name(tenant) if tenant else DEFAULT_FILE
    path = policies.folder / name
    try:
        before = path.read_text("utf-8")
    except FileNotFoundError:
        before = ""
    after = with_plugin(before, plugin, enabled=enabled, tenant=tenant, domain=domain)
    entry = policies.reload([name], {name: after.encode()}).effective(tenant, domain).plugin(plugin)
    if enabled and (entry is None or entry.mode is Mode.OFF):
        raise PolicyError(f"{path}: {plugin} would stay off, because mode: off is set on an outer level")
    write_atomically(path, after)
    return path


def write_atomically(path: Path, text: str) -> None:
    """Replace the text of ``path`` atomically, also if the machine crashes. Raises OSError."""
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


def _switched(text: str, path: Sequence[str], plugin: str, enabled: bool) -> str:
    value = str(enabled).lower()
    keys = [*path, "plugins", plugin]
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    if root is None:
        return f"{_with_newline(text)}{_block(keys, value)}"
    _must_be_mapping(root, "the file")
    node = root
    for depth, key in enumerate(keys):
        inner = _get(node, key)
        missing = _flow(keys[depth + 1 :], value)
        if inner is None:
            return _added(text, node, key, missing)
        if _is_null(inner):
            return _replaced(text, inner, f" {missing}")
        _must_be_mapping(inner, key)
        node = inner
    switch, mode = _get(node, "enabled"), _get(node, "mode")
    # Change the text from its end, so that earlier places stay valid.
    if switch is None:
        text = _added(text, node, "enabled", value)
    changes = [(switch, f" {value}")] if switch is not None else []
    if enabled and mode is not None and _is_off(_scalar(mode)):
        changes.append((mode, " enforce"))
    for place, new in sorted(changes, key=lambda change: change[0].start_mark.index, reverse=True):
        text = _replaced(text, place, new)
    return text


def _flow(keys: Sequence[str], value: str) -> str:
    """``{a: {b: {enabled: value}}}``"""
    return "{" + "".join(f"{key}: {{" for key in keys) + f"enabled: {value}" + "}" * (len(keys) + 1)


def _block(keys: Sequence[str], value: str) -> str:
    """The same in block style, one line for each key, for a new file."""
    lines = [f"{'  ' * depth}{key}:" for depth, key in enumerate(keys[:-1])]
    lines.append(f"{'  ' * (len(keys) - 1)}{keys[-1]}: {{enabled: {value}}}")
    return "\n".join(lines) + "\n"


def _added(text: str, mapping: Any, key: str, value: str) -> str:
    """Add a pair at the end of a mapping."""
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
    """The end of a node's own text: YAML places the end mark of a block after the comments that follow it."""
    if isinstance(node, yaml.MappingNode) and not node.flow_style:
        return _end(node.value[-1][1])
    if isinstance(node, yaml.SequenceNode) and not node.flow_style:
        return _end(node.value[-1])
    return int(node.end_mark.index)


def _replaced(text: str, node: Any, new: str) -> str:
    """``new`` begins with a blank, because an empty value has none before it."""
    start, end = node.start_mark.index, node.end_mark.index
    return f"{text[:start]}{new if start == end else new.lstrip()}{text[end:]}"


def _get(mapping: Any, key: str) -> Any:
    return next((value for name, value in mapping.value if _scalar(name) == key), None)


def _scalar(node: Any) -> Any:
    return node.value if isinstance(node, yaml.ScalarNode) else None


def _is_null(node: Any) -> bool:
    return isinstance(node, yaml.ScalarNode) and node.tag == _NULL


def _is_off(mode: object) -> bool:
    # This parser follows YAML 1.1 and reads ``off`` as false.
    return mode is False or mode == "off"


def _must_be_mapping(node: Any, what: str) -> None:
    if not isinstance(node, yaml.MappingNode):
        raise yaml.YAMLError(f"{what} must be a mapping")


def _with_newline(text: str) -> str:
    return text if not text or text.endswith("\n") else f"{text}\n"


def _data(text: str) -> Any:
    return yaml.safe_load(text)


def _wanted(before: Any, path: Sequence[str], plugin: str, enabled: bool) -> Any:
    """The expected data of the file after the change."""
    data = before or {}
    if path:
        return {**data, path[0]: _wanted(data.get(path[0]), path[1:], plugin, enabled)}
    plugins = data.get("plugins") or {}
    entry = plugins.get(plugin) or {}
    if enabled and _is_off(entry.get("mode")):
        entry = {**entry, "mode": "enforce"}
    return {**data, "plugins": {**plugins, plugin: {**entry, "enabled": enabled}}}
