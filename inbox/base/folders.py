"""Creation of the program's own folders."""

from __future__ import annotations

import errno
from pathlib import Path

from inbox.base.errors import StoreUnavailable


def make_folder(path: Path, mode: int = 0o777) -> None:
    """Creates a folder and those above it, unless it exists.

    Args:
        mode: permissions of a new folder, before the umask.

    Raises:
        StoreUnavailable: it cannot be created; the text says why and what to do.
    """
    try:
        path.mkdir(parents=True, exist_ok=True, mode=mode)
    except OSError as error:
        raise StoreUnavailable(_why(path, error)) from error


def _why(path: Path, error: OSError) -> str:
    if isinstance(error, FileExistsError | NotADirectoryError):
        file = next((one for one in (path, *path.parents) if one.exists() or one.is_symlink()), path)
        kind = "a link that has no target" if not file.exists() else "a file"
        return f"{file} is {kind}, but a folder is needed there: move it away, or name another folder in the settings"
    if isinstance(error, PermissionError):
        return (
            f"the folder {path} cannot be created by this user: create it and give it to the user that runs inbox, or "
            "run inbox as the user that owns the folder above it"
        )
    if error.errno == errno.EROFS:
        return f"the folder {path} is on a file system that is mounted read-only: mount it writable"
    return f"the folder {path} cannot be created: {error.strerror}"
