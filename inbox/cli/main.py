"""The program ``inbox``: its commands, and the handling of errors.

Exit codes: 0 done; 1 the answer is negative, or the command failed; 2 wrong usage or a wrong setting; 78 the server
does not start because default.yaml is wrong.
"""

from __future__ import annotations

import errno
import functools
import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer
from typer.core import TyperGroup

from inbox import __version__
from inbox.app.serve.sink import open_missing_streams
from inbox.base.errors import ConfigError, InboxError, PolicyError, ProtocolError
from inbox.cli import (
    accounts,
    apikeys,
    clamav,
    completion,
    decisions,
    doctor,
    domains,
    hosting_import,
    mailboxes,
    plugins,
    policy,
    quarantine,
    queue,
    queue_changes,
    send,
    serve,
    shared,
    storage,
    suppression,
    tenants,
    webhooks,
)
from inbox.cli.bulk import BadFile
from inbox.cli.context import WrongUsage
from inbox.cli.output import choose_colour, complain, discard, escaped, warn

Colour = Literal["auto", "always", "never"]
#: Errors of writing standard output: a full disk or quota, a closed terminal or descriptor, a file size limit.
_OUTPUT_FAILED = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EBADF, errno.EFBIG})


def _version(asked: bool) -> None:
    if asked:
        print(f"inbox {__version__}")
        raise typer.Exit


app = typer.Typer(
    name="inbox",
    help="A mail suite in which every decision about a message is made by a plugin and can be explained.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _env_file(path: Path | None) -> None:
    if path is not None:
        from inbox.cli.environment import read_env_file

        read_env_file(path)


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_version, help="Show the version and exit.")
    ] = False,
    color: Annotated[
        Colour, typer.Option(help="Colours: auto uses them on a terminal, unless NO_COLOR is set.")
    ] = "auto",
    env_file: Annotated[
        Path | None,
        typer.Option(
            callback=_env_file,
            is_eager=True,
            help="Read settings from this file (NAME=value lines, as systemd's EnvironmentFile); it overrides the "
            "environment.",
        ),
    ] = None,
) -> None:
    del version, env_file  # Their callbacks did the work.
    choose_colour(color)


serve.register(app)
decisions.register(app)
doctor.register(app)
hosting_import.register(domains.app, accounts.aliases)
completion.register(app)
send.register(app)
queue_changes.register(queue.app)
for group in (
    plugins.app,
    policy.app,
    decisions.app,
    quarantine.app,
    suppression.app,
    webhooks.app,
    queue.app,
    storage.app,
    clamav.app,
    tenants.app,
    domains.app,
    accounts.app,
    accounts.aliases,
    shared.app,
    apikeys.app,
    mailboxes.app,
):
    app.add_typer(group)


@functools.cache
def program() -> TyperGroup:
    """All commands, built once: building takes as long as a small command."""
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup), "it has commands"
    return group


def main() -> None:
    """The console script."""
    open_missing_streams()
    if completion.VARIABLE in os.environ:
        from typer.completion import completion_init  # type: ignore[attr-defined]  # public, not re-exported

        completion_init()
    try:
        try:
            program()()
        finally:
            sys.stdout.flush()
    except (ConfigError, WrongUsage, ProtocolError) as error:
        _end(str(error), 2)
    except PolicyError as error:
        # Already one line for each mistake, each with file:line:column.
        for line in str(error).splitlines():
            complain(line)
        sys.exit(1)
    except BadFile as error:
        print("\n".join(escaped(line) for line in str(error).split("\n")), file=sys.stderr)
        sys.exit(1)
    except InboxError as error:
        _end(str(error), 1)
    except BrokenPipeError:
        # The reader of our output closed the pipe (``| head``), because it has read enough.
        discard(sys.stdout)
        sys.exit(1)
    except OSError as error:
        # For any file: running as the wrong user is not an error of the program.
        if error.filename is not None and isinstance(error, PermissionError):
            _end(f"{error.filename}: {error.strerror}: run inbox as the user of the server", 1)
        # An error about a file has a name and is an error of the program; one about our output has no name.
        if error.filename is not None or error.errno not in _OUTPUT_FAILED:
            raise
        discard(sys.stdout)
        _end(f"standard output cannot be written: {error.strerror}", 1)


def _end(text: str, code: int) -> None:
    warn(text)
    sys.exit(code)
