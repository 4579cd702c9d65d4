"""The policy file of a tenant that is renamed or removed. ``folder`` is INBOX_POLICY_DIR."""

from __future__ import annotations

from pathlib import Path

from inbox.base.errors import ConfigError
from inbox.policy.edit import write_atomically
from inbox.policy.snapshot import PolicySet


def copy_policy(folder: Path, tenant: str, name: str) -> Path | None:
    """Copy the tenant's policy file to another tenant's name. Returns the new file, or None if there is no old one.

    Raises:
        ConfigError: a file cannot be read or written, or the other name has a different policy already.
    """
    old, new = _file(folder, tenant), _file(folder, name)
    try:
        text = old.read_text("utf-8")
    except FileNotFoundError:
        return None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"INBOX_POLICY_DIR: cannot read {old}: {error}") from error
    try:
        if new.exists() and new.read_text("utf-8") != text:
            raise ConfigError(f"INBOX_POLICY_DIR: {new} is another tenant's policy: move it away first")
        write_atomically(new, text)
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"INBOX_POLICY_DIR: cannot write {new}: {error}") from error
    return new


def remove_policy(folder: Path, tenant: str) -> None:
    """Remove the tenant's policy file, if there is one. Raises ConfigError."""
    path = _file(folder, tenant)
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigError(f"INBOX_POLICY_DIR: cannot remove {path}: {error.strerror}") from error


def set_policy_aside(folder: Path, tenant: str) -> Path | None:
    """Rename the policy file of a removed tenant, so that a later tenant of that name does not inherit it. Returns the
    new path, or None if there was no file. Raises ConfigError."""
    path = _file(folder, tenant)
    aside = path.with_name(f"{path.name}.removed")
    try:
        path.replace(aside)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"INBOX_POLICY_DIR: cannot rename {path}: {error.strerror}") from error
    return aside


def _file(folder: Path, tenant: str) -> Path:
    return folder / PolicySet.relative_name(tenant)
