"""The program ``inbox``: its commands, and how errors end it.

Exit codes: 0 done; 1 the thing asked about is not so, or it failed; 2 wrong usage or a wrong setting.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from inbox import __version__
from inbox.base.errors import ConfigError, InboxError, PolicyError, ProtocolError
from inbox.cli import (
    accounts,
    completion,
    decisions,
    doctor,
    domains,
    hosting_import,
    mailboxes,
    plugins,
    policy,
    quarantine,
    serve,
    tenants,
)
from inbox.cli.bulk import BadFile
from inbox.cli.context import WrongUsage
from inbox.cli.output import choose_colour, escaped, warn

Colour = Literal["auto", "always", "never"]


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
        Colour, typer.Option(help="Colours: auto has them on a terminal, unless NO_COLOR is set.")
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
    del version, env_file  # Their callbacks have done all.
    choose_colour(color)


serve.register(app)
decisions.register(app)
doctor.register(app)
hosting_import.register(domains.app, accounts.aliases)
completion.register(app)
for group in (
    plugins.app,
    policy.app,
    decisions.app,
    quarantine.app,
    tenants.app,
    domains.app,
    accounts.app,
    accounts.aliases,
    mailboxes.app,
):
    app.add_typer(group)


def main() -> None:
    """The console script."""
    if completion.VARIABLE in os.environ:
        from typer.completion import completion_init  # type: ignore[attr-defined]  # public, not re-exported

        completion_init()
    try:
        try:
            app()
        finally:
            sys.stdout.flush()
    except (ConfigError, WrongUsage, ProtocolError) as error:
        _end(error, 2)
    except PolicyError as error:
        # Already one line for each mistake, each with file:line:column.
        print(error, file=sys.stderr)
        sys.exit(1)
    except BadFile as error:
        print("\n".join(escaped(line) for line in str(error).split("\n")), file=sys.stderr)
        sys.exit(1)
    except InboxError as error:
        _end(error, 1)
    except BrokenPipeError:
        # The reader of our output went away (``| head``). What is left in the buffer has to go somewhere at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def _end(error: InboxError, code: int) -> None:
    warn(str(error))
    sys.exit(code)
