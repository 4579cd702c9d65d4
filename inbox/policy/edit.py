"""Editing a policy file while its comments stay: switching a plugin on or off for one tenant."""

from __future__ import annotations

import io
import os
import tempfile
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap
from ruamel.yaml.error import YAMLError

from inbox.base.errors import PolicyError
from inbox.policy.snapshot import PolicySet

_NEW = "# Policy of the tenant {tenant}. What is left out is inherited from default.yaml.\n"


def with_plugin(text: str, plugin: str, *, enabled: bool, tenant: str) -> str:
    """``text`` (empty for a new file) with ``plugin`` switched on or off; everything else stays as it is.

    A plugin that is not named yet comes last. Switching on removes ``enabled: false`` where it stands; it says
    ``enabled: true`` so that the tenant's wish holds against default.yaml.

    Raises:
        PolicyError: the text is not a policy that can be edited.
    """
    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4096  # Lines are not folded anew.
    yaml.indent(mapping=2, sequence=4, offset=2)
    try:
        root = yaml.load(text)
    except (YAMLError, ValueError, RecursionError) as error:
        raise PolicyError(f"the policy of {tenant} cannot be edited: {error}") from error
    if root is None:
        root, head = CommentedMap(), text or _NEW.format(tenant=tenant)
    else:
        head = ""
    plugins = _mapping(root, "plugins", tenant)
    entry = _mapping(plugins, plugin, tenant)
    entry["enabled"] = enabled
    out = io.StringIO()
    yaml.dump(root, out)
    return head + out.getvalue()


def _mapping(parent: Any, key: str, tenant: str) -> Any:
    if not isinstance(parent, CommentedMap):
        raise PolicyError(f"the policy of {tenant} cannot be edited: a mapping is missing around {key!r}")
    value = parent.get(key)
    if value is None:
        value = parent[key] = CommentedMap()
        if parent.fa.flow_style():
            value.fa.set_flow_style()
    if not isinstance(value, CommentedMap):
        raise PolicyError(f"the policy of {tenant} cannot be edited: {key!r} is not a mapping")
    return value


def set_plugin(policies: PolicySet, tenant: str, plugin: str, *, enabled: bool) -> Path:
    """Switches ``plugin`` on or off for ``tenant`` in its file, after checking what the file will be.

    Returns:
        The file, which may be new.

    Raises:
        PolicyMistakes: the edited policy would be wrong; the file is as it was.
        PolicyError: the file cannot be edited.
        OSError: it cannot be read or written.
    """
    path = policies.tenant_file(tenant)
    try:
        before = path.read_text("utf-8")
    except FileNotFoundError:
        before = ""
    after = with_plugin(before, plugin, enabled=enabled, tenant=tenant)
    policies.reload([policies.relative_name(tenant)], {policies.relative_name(tenant): after.encode()})
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
