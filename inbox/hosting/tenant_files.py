"""The policy file of a tenant that is renamed or removed."""

from __future__ import annotations

from pathlib import Path

from inbox.app.config.loading import Config
from inbox.base.errors import ConfigError
from inbox.policy.edit import write_atomically
from inbox.policy.snapshot import PolicySet


def copy_policy(config: Config, tenant: str, name: str) -> Path | None:
    """Gives the tenant's policy to another name, too; the new file, or None if the tenant has none.

    Raises:
        ConfigError: it cannot be read or written, or the other name has another policy already.
    """
    old, new = _file(config, tenant), _file(config, name)
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


def remove_policy(config: Config, tenant: str) -> None:
    """Removes the tenant's policy file, if there is one. Raises ConfigError."""
    path = _file(config, tenant)
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise ConfigError(f"INBOX_POLICY_DIR: cannot remove {path}: {error.strerror}") from error


def set_policy_aside(config: Config, tenant: str) -> Path | None:
    """Renames the policy file of a removed tenant, so that a later tenant of that name does not inherit it; where it is
    now, or None if there was none. Raises ConfigError."""
    path = _file(config, tenant)
    aside = path.with_name(f"{path.name}.removed")
    try:
        path.replace(aside)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigError(f"INBOX_POLICY_DIR: cannot rename {path}: {error.strerror}") from error
    return aside


def _file(config: Config, tenant: str) -> Path:
    return config.folders.policy_dir / PolicySet.relative_name(tenant)
