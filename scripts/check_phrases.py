#!/usr/bin/env python3
"""Counts the retired phrases of scripts/phrases in the program's texts and in the pages.

    scripts/check_phrases.py            counts by folder; exit code 1 where a count is above its ceiling
    scripts/check_phrases.py --list     each occurrence: file:line, the phrase, and what to write instead
    scripts/check_phrases.py --lower    lowers the ceilings to the counts of today

Paths after the options restrict the search: scripts/check_phrases.py --list inbox/flow README.md
"""

from __future__ import annotations

import argparse
import ast
import io
import re
import signal
import sys
import tokenize
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PHRASES = ROOT / "scripts" / "phrases"
#: Folders and files that are searched.
SEARCHED = (
    "inbox", "plugins", "policies", "examples", "benchmarks", "scripts", "tests",
    "docs", "README.md", "CONTRIBUTING.md",
)  # fmt: skip
#: Not searched: generated pages (they repeat docstrings), installed packages, samples of mail and of phrases.
GENERATED = (
    "docs/reference/", "docs/share/", "tests/data/", "tests/support/nodemailer/", "tests/support/graphql-http/",
    "tests/support/surreal/", "tests/unit/scripts/", "tests/unit/mail/dsn/",
)  # fmt: skip
#: Folders whose subfolders are counted one by one.
SPLIT = ("inbox",)


@dataclass(frozen=True, slots=True)
class Phrase:
    """A retired phrase. ``at_start``: it is retired only as the beginning of a docstring or a ``#:`` comment."""

    pattern: re.Pattern[str]
    instead: str
    at_start: bool


@dataclass(frozen=True, slots=True)
class Text:
    """A piece of prose. ``line`` is the number of its first line; ``described``: it describes a name (docstring)."""

    line: int
    content: str
    described: bool = False


@dataclass(frozen=True, slots=True)
class Occurrence:
    """One retired phrase in a file."""

    path: str
    line: int
    found: str
    instead: str

    def __str__(self) -> str:
        return f"{self.path}:{self.line}: {' '.join(self.found.split())!r} => {self.instead}"


def read_list(path: Path = PHRASES) -> tuple[list[Phrase], dict[str, int]]:
    """The phrases and the ceilings by folder.

    Raises:
        ValueError: a line is malformed; the text names file and line.
    """
    phrases: list[Phrase] = []
    ceilings: dict[str, int] = {}
    section = ""
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        if not line.strip() or line.startswith("#"):
            continue
        if line in {"[phrases]", "[ceilings]"}:
            section = line
        elif section == "[phrases]" and " => " in line:
            expression, _, instead = line.partition(" => ")
            source = expression.removeprefix("^").replace(" ", r"\s+")
            phrases.append(Phrase(re.compile(source, re.IGNORECASE), instead.strip(), expression.startswith("^")))
        elif section == "[ceilings]" and re.fullmatch(r"\S+ \d+", line):
            folder, count = line.split()
            ceilings[folder] = int(count)
        else:
            raise ValueError(f"{path}:{number}: neither a phrase with ' => ' nor a folder with its ceiling: {line}")
    return phrases, ceilings


def texts_of(path: Path) -> Iterator[Text]:
    """The prose of a file."""
    source = path.read_text("utf-8")
    if path.suffix == ".py":
        yield from _python(source)
    elif path.suffix == ".md":
        yield from _page(source)
    else:
        yield from _comments(source)


def _python(source: str) -> Iterator[Text]:
    described = _descriptions(source)
    block: list[tokenize.TokenInfo] = []
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type == tokenize.COMMENT:
            if block and token.start != (block[-1].start[0] + 1, block[-1].start[1]):
                yield _joined(block)
                block = []
            block.append(token)
        elif token.type not in {tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT}:
            if block:
                yield _joined(block)
                block = []
            if token.type == tokenize.STRING:
                yield from _literal(token, token.start in described)
            elif tokenize.tok_name[token.type] == "FSTRING_MIDDLE":  # Python 3.12 and later
                yield Text(token.start[0], token.string)
    if block:
        yield _joined(block)


def _descriptions(source: str) -> set[tuple[int, int]]:
    """Line and column of each docstring, those behind attributes among them."""
    found: set[tuple[int, int]] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            texts = (one for one in node.body if isinstance(one, ast.Expr) and isinstance(one.value, ast.Constant))
            found.update((one.lineno, one.col_offset) for one in texts)
    return found


def _joined(block: Sequence[tokenize.TokenInfo]) -> Text:
    lines = [token.string.lstrip("#:").strip() for token in block]
    return Text(block[0].start[0], "\n".join(lines), block[0].string.startswith("#:"))


def _literal(token: tokenize.TokenInfo, described: bool) -> Iterator[Text]:
    prefix, _, rest = re.split(r"(['\"]{3}|['\"])", token.string, maxsplit=1)
    content = rest.rstrip("'\"")
    if "f" in prefix.lower():
        content = re.sub(r"\{[^{}]*\}", "…", content)
    if described or re.search(r"\S\s+\S", content):  # a word alone is a name or a key
        yield Text(token.start[0], content, described)


def _page(source: str) -> Iterator[Text]:
    def blank(match: re.Match[str]) -> str:
        return re.sub(r"[^\n]", " ", match[0])

    prose = re.sub(r"^(```|~~~).*?^\1", blank, source, flags=re.MULTILINE | re.DOTALL)
    prose = re.sub(r"^ {4}.*$", blank, prose, flags=re.MULTILINE)
    yield Text(1, prose)


def _comments(source: str) -> Iterator[Text]:
    for number, line in enumerate(source.splitlines(), 1):
        comment = re.search(r"(?:^|\s)(?:#|--)\s*(.+)", line)
        if comment:
            yield Text(number, comment[1])


def occurrences(path: Path, phrases: Sequence[Phrase], root: Path = ROOT) -> list[Occurrence]:
    """All retired phrases of a file, in order."""
    found = []
    name = str(path.relative_to(root))
    for text in texts_of(path):
        # What is marked as code is a name, not a word.
        prose = re.sub(r"``[^`]*``|`[^`\n]*`", lambda match: re.sub(r"[^\n]", "\0", match[0]), text.content)
        start = len(prose) - len(prose.lstrip())
        for phrase in phrases:
            if phrase.at_start:
                match = phrase.pattern.match(prose, start) if text.described else None
                matches = [match] if match else []
            else:
                matches = list(phrase.pattern.finditer(prose))
            for match in matches:
                line = text.line + prose.count("\n", 0, match.start())
                found.append(Occurrence(name, line, match[0], phrase.instead))
    return sorted(found, key=lambda one: one.line)


def files(names: Sequence[str] = SEARCHED, root: Path = ROOT) -> list[Path]:
    """The files that are searched below ``names``."""
    found: set[Path] = set()
    for name in names:
        path = root / name
        found |= {*path.rglob("*")} if path.is_dir() else {path}
    kinds = {".py", ".md", ".yaml", ".sql", ".surql"}
    return sorted(
        path
        for path in found
        if path.suffix in kinds
        and path.is_file()
        and "node_modules" not in path.parts
        and not str(path.relative_to(root)).startswith(GENERATED)
    )


def folder_of(name: str) -> str:
    """The folder that a file is counted under: ``inbox/flow``, ``docs``, ``README.md``."""
    parts = Path(name).parts
    return "/".join(parts[:2]) if parts[0] in SPLIT and len(parts) > 2 else parts[0]


def lowered(text: str, counts: Counter[str], ceilings: dict[str, int]) -> str:
    """The text of the list with ceilings that are no higher than the counts; new folders get theirs."""
    folders = sorted({*counts, *ceilings})
    least = {folder: min(counts[folder], ceilings.get(folder, counts[folder])) for folder in folders}
    head, heading, _ = text.partition("\n[ceilings]\n")
    return head + heading + "".join(f"{folder} {count}\n" for folder, count in least.items() if count)


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--list", action="store_true", help="show each occurrence")
    parser.add_argument("--lower", action="store_true", help="lower the ceilings to the counts of today")
    parser.add_argument("paths", nargs="*", help="search these only")
    given = parser.parse_args(arguments)
    phrases, ceilings = read_list()
    names = [str(Path(path).resolve().relative_to(ROOT)) for path in given.paths]
    found = [one for path in files(names or SEARCHED) for one in occurrences(path, phrases)]
    counts = Counter(folder_of(one.path) for one in found)
    if given.list:
        print(*found, f"{len(found)} retired phrases", sep="\n")
        return 0
    if given.lower and not names:
        PHRASES.write_text(lowered(PHRASES.read_text("utf-8"), counts, ceilings), "utf-8")
        return 0
    above = {folder: count for folder, count in counts.items() if count > ceilings.get(folder, 0)}
    for folder, count in above.items():
        print(f"{folder}: {count} retired phrases, at most {ceilings.get(folder, 0)} are allowed")
    if above:
        print(f"scripts/check_phrases.py --list {' '.join(above)} shows them, and what to write instead")
        return 1
    below = sum(ceilings.values()) - sum(counts.values())
    note = f"; {below} fewer than allowed: scripts/check_phrases.py --lower" if below and not names else ""
    print(f"{len(found)} retired phrases, no folder above its ceiling{note}")
    return 0


if __name__ == "__main__":
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)  # so that `--list | head` ends quietly
    sys.exit(main())
