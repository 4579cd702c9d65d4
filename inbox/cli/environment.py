"""``--env-file``: settings from a file, so that a command sees what the service sees."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from dotenv.parser import parse_stream

from inbox.cli.context import WrongUsage
from inbox.cli.output import warn


def read_env_file(path: Path) -> None:
    """Put the variables of a file into the environment of this process and its children.

    The file has a line ``NAME=value`` for each variable, as for systemd's ``EnvironmentFile`` and docker's
    ``--env-file``; it overrides what the shell has exported. Values are taken literally: ``$NAME`` is not replaced.

    Raises:
        WrongUsage: the file cannot be read, or a line is not ``NAME=value``.
    """
    try:
        mode = path.stat().st_mode
        with path.open(encoding="utf-8") as file:
            bindings = [*parse_stream(file)]
    except (OSError, UnicodeDecodeError) as error:
        raise WrongUsage(f"--env-file: cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    for binding in bindings:
        if binding.error:
            line = binding.original.line + binding.original.string.removesuffix("\n").count("\n")
            raise WrongUsage(f"--env-file: {path}:{line}: not NAME=value: {binding.original.string.strip()[:40]}")
    values = {binding.key: binding.value for binding in bindings if binding.key is not None}
    incomplete = [name for name, value in values.items() if value is None]
    if incomplete:
        raise WrongUsage(f"--env-file: {path} has no value for {incomplete[0]}; write {incomplete[0]}=")
    if mode & (stat.S_IROTH | stat.S_IWOTH):
        warn(f"every user may read {path} (mode {stat.S_IMODE(mode):04o}); if it contains secrets: chmod 640 {path}")
    os.environ.update({name: value for name, value in values.items() if value is not None})
