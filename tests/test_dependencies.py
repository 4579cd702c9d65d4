"""The dependencies in pyproject.toml and the imports of the program are the same."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
#: Distributions that a declared one pins and whose exceptions it raises.
#: Modules that need an extra, and are imported only where a setting asks for it.
OPTIONAL = {
    ROOT / "inbox/app/serve/otlp.py": {"opentelemetry-sdk", "opentelemetry-exporter-otlp-proto-http", "requests"}
}
PARTS = {"botocore": "boto3", "pydantic_core": "pydantic"}


def normal(name: str) -> str:
    """A distribution's name as the packaging specifications compare it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def declared() -> list[str]:
    return [normal(found[0]) for text in PROJECT["dependencies"] if (found := re.match(r"[\w.-]+", text))]


def optional() -> set[str]:
    """The distributions of the extras."""
    texts = [text for extra in PROJECT["optional-dependencies"].values() for text in extra]
    return {normal(found[0]) for text in texts if (found := re.match(r"[\w.-]+", text))}


def import_names() -> dict[str, set[str]]:
    """The import names of each distribution that is installed."""
    found: dict[str, set[str]] = {}
    for module, distributions in metadata.packages_distributions().items():
        for each in distributions:
            found.setdefault(normal(each), set()).add(module)
    return found


def imported() -> set[str]:
    """Top-level modules that the program and the plugins that ship import, at any place of their code."""
    found: set[str] = set()
    for folder in ("inbox", "plugins"):
        for path in (ROOT / folder).rglob("*.py"):
            if path in OPTIONAL:
                continue
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, ast.Import):
                    found.update(alias.name.partition(".")[0] for alias in node.names)
                elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                    found.add(node.module.partition(".")[0])
    return found


@pytest.mark.slow
def test_the_program_imports_what_it_declares_and_declares_what_it_imports() -> None:
    names, used = import_names(), imported()
    # What is not installed is for another platform.
    unused = [name for name in declared() if name in names and not names[name] & used]
    assert unused == [], "remove them from pyproject.toml until something imports them"
    known = {module for name in declared() for module in names.get(name, set())}
    foreign = used - sys.stdlib_module_names - {"inbox", "inbox_plugins"} - known
    assert {module for module in foreign if PARTS.get(module) not in declared()} == set()


def test_modules_that_need_an_extra_name_what_it_declares() -> None:
    used = {name for path in OPTIONAL for name in OPTIONAL[path]}
    assert used <= optional()
    for path in OPTIONAL:
        importers = [
            other for folder in ("inbox", "plugins") for other in (ROOT / folder).rglob("*.py")
            if f"import {path.stem}" in other.read_text() or f"serve.{path.stem} import" in other.read_text()
        ]  # fmt: skip
        # At module level it would be imported by everybody.
        assert [
            other for other in importers if re.search(rf"^from .*{path.stem} import", other.read_text(), re.MULTILINE)
        ] == []
        assert importers
