"""The project's own files, parsed once in a process: several tests look through all of them."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

ROOT = Path(__file__).parents[2]


@cache
def modules() -> tuple[Path, ...]:
    """The modules of the program and of the shipped plugins."""
    return tuple(path for folder in ("inbox", "plugins") for path in sorted((ROOT / folder).rglob("*.py")))


def nodes_of(path: Path) -> tuple[ast.AST, ...]:
    """All nodes of a module's syntax tree, the module itself first. They are shared: nobody changes them."""
    return _nodes(path.read_text("utf-8"))


@cache
def _nodes(text: str) -> tuple[ast.AST, ...]:
    return tuple(ast.walk(ast.parse(text)))
