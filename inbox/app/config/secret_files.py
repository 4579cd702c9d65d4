"""Secrets in files: ``NAME_FILE`` for each secret variable ``NAME``, and a check of the files' permissions."""

from __future__ import annotations

import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from inbox.base.errors import ConfigError
from inbox.base.secrets import read_secret

SUFFIX: Final = "_FILE"


@dataclass(frozen=True, slots=True)
class SecretFile:
    """A file that a variable (or a key of a policy) reads its secret from."""

    name: str
    path: Path


def resolved(environ: Mapping[str, str], secrets: Iterable[str]) -> tuple[dict[str, str], tuple[SecretFile, ...]]:
    """``environ`` with the value of each ``NAME_FILE`` read into ``NAME``, and the files that were read.

    Raises:
        ConfigError: one line that names each variable whose file cannot be used, or that is set both ways.
    """
    found = dict(environ)
    files: list[SecretFile] = []
    mistakes: list[str] = []
    for name in secrets:
        written = found.pop(name + SUFFIX, "")
        if not written:
            continue
        if found.get(name):
            mistakes.append(f"{name} and {name}{SUFFIX} are both set; remove one of them")
            continue
        path = Path(written)
        try:
            found[name] = read_secret(path)
        except OSError as error:
            mistakes.append(f"{name}{SUFFIX}: cannot read {path}: {error.strerror}")
        except ValueError as error:
            mistakes.append(f"{name}{SUFFIX}: {path} {error}")
        else:
            files.append(SecretFile(name + SUFFIX, path))
    if mistakes:
        raise ConfigError("; ".join(mistakes))
    return found, tuple(files)


def exposed(files: Iterable[SecretFile]) -> list[str]:
    """A sentence for each file that every user of the machine may read, and for each that every user may replace."""
    found = []
    for file in files:
        try:
            mode = stat.S_IMODE(file.path.stat().st_mode)
        except OSError:
            continue  # it was readable at the start; the next reader reports the error
        if mode & (stat.S_IROTH | stat.S_IWOTH):
            found.append(f"{file.name}: every user may read {file.path} (mode {mode:04o}); chmod 640 {file.path}")
    return found
