"""Permissions of files: plugins that others can write run their code, and keys that others can read are exposed."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from inbox.app.config.loading import Config

#: A finding, and whether doctor fails because of it.
Fault = tuple[bool, str]
_ROOT = 0


def faults(config: Config) -> Iterator[Fault]:
    """Unsafe permissions of the installation's files."""
    folders = config.folders
    # Root may run the check; the data folder belongs to the server's user.
    data = _stat(folders.data_dir)
    owners = {_ROOT, os.geteuid(), *((data.st_uid,) if data is not None else ())}
    for path in (folders.plugins, *_files(folders.plugins, "*.py")):
        yield from _writable(path, owners, "its author runs code as the server")
    tenants = folders.policy_dir / "tenants"
    for path in (folders.policy_dir, tenants, *_files(folders.policy_dir, "*.yaml"), *_files(tenants, "*.yaml")):
        yield from _writable(path, owners, "its author decides about all mail")
    yield from _writable(folders.data_dir, owners, "anyone can replace the database")
    yield from _readable(config.tls.key_file or config.tls.cert_file or folders.data_dir / "self-signed.pem")
    for name in ("inbox.db", "inbox.db-wal"):
        yield from _readable(folders.data_dir / name)


def _files(folder: Path, pattern: str) -> list[Path]:
    return sorted(folder.glob(pattern)) if folder.is_dir() else []


def _writable(path: Path, owners: set[int], consequence: str) -> Iterator[Fault]:
    found = _stat(path)
    if found is None:
        return
    if found.st_mode & stat.S_IWOTH:
        # A sticky folder such as /tmp prevents others from replacing files, not from adding some.
        yield True, f"{path} can be written by every user: {consequence} (chmod o-w {path})"
    elif found.st_uid not in owners:
        yield True, f"{path} belongs to user {found.st_uid}: {consequence} (chown it to root or to the server's user)"


def _readable(path: Path) -> Iterator[Fault]:
    found = _stat(path)
    if found is not None and found.st_mode & stat.S_IROTH:
        yield False, f"{path} can be read by every user, and holds keys or mail (chmod o-r {path})"


def _stat(path: Path) -> os.stat_result | None:
    """None if the file is missing or inaccessible: other checks report that."""
    try:
        return path.stat()
    except OSError:
        return None
