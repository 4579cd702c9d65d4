"""The manual page inbox(1) and the completion scripts, made from the commands themselves."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import typer

#: The folder below the prefix in which the wheel installs them (``[tool.hatch.build.targets.wheel.shared-data]``).
FOLDER = "share"


def share_files() -> dict[str, str]:
    """The text of each file by its path below ``docs/share``."""
    from inbox.cli.completion import Shell, script

    return {
        "man/man1/inbox.1": manual(),
        "bash-completion/completions/inbox": script(Shell.BASH),
        "zsh/site-functions/_inbox": script(Shell.ZSH),
        "fish/vendor_completions.d/inbox.fish": script(Shell.FISH),
    }


def manual() -> str:
    """inbox(1) in man(7) macros."""
    from inbox import __version__
    from inbox.cli.main import app

    root = typer.main.get_command(app)
    lines = [
        '.\\" Written by scripts/manpages.py; change the code and run `make docs`.',
        f'.TH INBOX 1 "" "inbox {__version__}" "User Commands"',
        ".SH NAME",
        "inbox \\- mail suite in which every decision about a message can be explained",
        ".SH SYNOPSIS",
        ".B inbox",
        "[\\fIOPTION\\fR]... \\fICOMMAND\\fR [\\fIARGUMENT\\fR]...",
        ".SH DESCRIPTION",
        _text(root.help or ""),
        ".SH OPTIONS",
        *_options(typer.Context(root, info_name="inbox")),
        ".SH COMMANDS",
        *_commands(root, "inbox", None),
        ".SH EXIT STATUS",
        ".TP",
        ".B 0",
        "Done.",
        ".TP",
        ".B 1",
        "The thing asked about is not so, or the command failed.",
        ".TP",
        ".B 2",
        "Wrong usage, or a wrong setting.",
        ".SH ENVIRONMENT",
        *_environment(),
    ]
    return "\n".join(lines) + "\n"


def _commands(command: Any, name: str, parent: typer.Context | None) -> Iterator[str]:
    context = typer.Context(command, info_name=name, parent=parent)
    for child_name in sorted(command.commands):
        child = command.commands[child_name]
        if child.hidden:
            continue
        if hasattr(child, "commands"):
            yield from _commands(child, child_name, context)
            continue
        inner = typer.Context(child, info_name=child_name, parent=context)
        yield f".SS {_plain(inner.command_path)}"
        yield _text(child.help or "")
        yield from _options(inner)


def _options(context: typer.Context) -> Iterator[str]:
    for parameter in context.command.get_params(context):
        record = parameter.get_help_record(context)
        if record is not None:
            yield ".TP"
            yield f".B {_plain(record[0])}"
            yield _text(record[1])


def _environment() -> Iterator[str]:
    from inbox.app.config.loading import groups, secret_variables

    yield _text(
        "Every setting is a variable. Each of " + ", ".join(secret_variables()) + " can also be given as a file, by "
        "the same name with _FILE at its end."
    )
    for group in groups():
        for name, field in group.model_fields.items():
            yield ".TP"
            default = "" if field.default in (None, "") else f" ({_plain(str(field.default))})"
            yield f".B {_plain(group.variable(name))}{default}"
            yield _text((field.description or "").replace("``", ""))


def _text(text: str) -> str:
    """A paragraph: no line may begin with a control character of roff, and a hyphen is one that can be copied."""
    paragraphs = [" ".join(part.split()) for part in re.split(r"\n\s*\n", text.strip())]
    return "\n.PP\n".join(_plain(part) for part in paragraphs if part) or "\\&"


def _plain(text: str) -> str:
    escaped = text.replace("\\", "\\e").replace("-", "\\-")
    return f"\\&{escaped}" if escaped.startswith((".", "'")) else escaped
