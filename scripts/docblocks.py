"""Code blocks of hand-written pages, cut from files that the tests run.

A block of ``docs/plugins.md`` follows a comment that names the source of its text::

    <!-- cut: examples/recipes/refuse_header.py -->                      the whole file
    <!-- cut: examples/plugins/http_reputation.py :: HttpReputation.ask -->   one class, method or function of it

Several names are separated by commas. ``new/…`` and ``package/…`` are the files that ``inbox plugins new large_mail``
writes, without and with ``--package``. ``scripts/gendocs.py`` updates the text of the blocks.
"""

from __future__ import annotations

import ast
import re
import textwrap
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).resolve().parents[1]
#: Pages whose blocks are updated.
PAGES: Final = (ROOT / "docs" / "plugins.md",)
_CUT: Final = re.compile(r"^<!-- cut: (\S+)(?: :: ([^>]+?))? -->\n```\w*\n(?:.*?\n)??```$", re.MULTILINE | re.DOTALL)
_LANGUAGES: Final = {".py": "python", ".toml": "toml", ".yaml": "yaml", ".md": "markdown"}


def refreshed(page: str) -> str:
    """``page`` with the text of each cut block as it is in its file now.

    Raises:
        KeyError: a file has no class, method or function of the name that a comment gives.
        OSError: a file cannot be read.
    """
    return _CUT.sub(lambda match: _block(match[1], match[2] or ""), page)


def _block(name: str, pieces: str) -> str:
    text = _written(name)
    comment = f"<!-- cut: {name} :: {pieces} -->" if pieces else f"<!-- cut: {name} -->"
    if pieces:
        text = "\n\n\n".join(piece_of(text, piece.strip()) for piece in pieces.split(","))
    return f"{comment}\n```{_LANGUAGES.get(Path(name).suffix, 'text')}\n{text.strip()}\n```"


def _written(name: str) -> str:
    from inbox.cli.template import package_files, plugin_files

    folder, _, relative = name.partition("/")
    if folder == "new":
        return plugin_files("large_mail")[relative]
    if folder == "package":
        return package_files("large_mail")[relative]
    return (ROOT / name).read_text(encoding="utf-8")


def piece_of(source: str, name: str) -> str:
    """The source of ``name``, such as ``function``, ``Class`` or ``Class.method``, with its decorators.

    Raises:
        KeyError: there is none.
    """
    scope: list[ast.stmt] = ast.parse(source).body
    found: ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef | None = None
    for part in name.split("."):
        found = next(
            (
                node
                for node in scope
                if isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and node.name == part
            ),
            None,
        )
        if found is None:
            raise KeyError(name)
        scope = found.body
    assert found is not None, "a name has at least one part"
    first = min([found.lineno, *(decorator.lineno for decorator in found.decorator_list)])
    lines = source.splitlines()[first - 1 : found.end_lineno]
    return textwrap.dedent("\n".join(lines))
