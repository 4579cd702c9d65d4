"""``inbox completion``: the script that makes a shell complete commands and options."""

from __future__ import annotations

from enum import StrEnum

import typer

#: Set by the script when the shell asks for completions.
VARIABLE = "_INBOX_COMPLETE"


class Shell(StrEnum):
    """Shells that can complete."""

    BASH = "bash"
    ZSH = "zsh"
    FISH = "fish"


def script(shell: Shell) -> str:
    """The completion script of a shell."""
    from typer.completion import get_completion_script  # type: ignore[attr-defined]  # public, not re-exported

    return get_completion_script(prog_name="inbox", complete_var=VARIABLE, shell=shell.value) + "\n"


def completion(shell: Shell) -> None:
    """Print the completion script of a shell.

    For bash: inbox completion bash > /usr/share/bash-completion/completions/inbox
    """
    typer.echo(script(shell), nl=False)


def register(app: typer.Typer) -> None:
    """Adds the command."""
    app.command("completion")(completion)
