"""The tables of docs/api.md: operations, fields, answers and the GraphQL schema, from the code of the API."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any

_PART = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end of generated: \2 -->)", re.DOTALL)


def filled(page: str) -> str:
    """``page`` with its generated parts as the code has them."""
    parts: dict[str, Callable[[], str]] = {
        "operations": operations, "fields": fields, "attachments": attachments, "answers": answers, "schema": schema,
    }  # fmt: skip
    return _PART.sub(lambda found: f"{found[1]}\n{parts[found[2]]()}\n\n{found[3]}", page)


def _document() -> dict[str, Any]:
    from inbox.server.http.api.openapi import document

    return document()


def operations() -> str:
    """A row for each operation of REST."""
    rows = [
        (f"`{method.upper()} {path}`", operation["summary"], operation.get("description", ""))
        for path, methods in _document()["paths"].items()
        for method, operation in methods.items()
    ]
    return _table(("request", "operation", ""), rows)


def fields() -> str:
    """A row for each field of a message."""
    return _fields("Message")


def attachments() -> str:
    """A row for each field of an attachment."""
    return _fields("Attachment")


def _fields(name: str) -> str:
    described = _document()["components"]["schemas"][name]
    rows = [
        (
            f"`{field}`" + (" (required)" if field in described["required"] else ""),
            _bound(of),
            of.get("description", ""),
        )
        for field, of in described["properties"].items()
    ]
    return _table(("field", "limit", "meaning"), rows)


def _bound(of: dict[str, Any]) -> str:
    for key, words in (("maxLength", "characters"), ("maxItems", "entries"), ("maxProperties", "fields")):
        if key in of and key == "maxLength" and of.get("contentEncoding"):
            return "18 MiB"
        if key in of:
            return f"{of[key]:,} {words}"
    several = [each["maxItems"] for each in of.get("anyOf", ()) if "maxItems" in each]
    return f"{several[0]:,} addresses" if several else ""


def answers() -> str:
    """A row for each status."""
    found: dict[int, str] = {}
    for methods in _document()["paths"].values():
        for operation in methods.values():
            for status, response in operation["responses"].items():
                found.setdefault(int(status), response["description"])
    return _table(
        ("status", "meaning"),
        [(f"{status} {HTTPStatus(status).phrase}", found[status]) for status in sorted(found)],
    )


def schema() -> str:
    """The schema in GraphQL's language."""
    from inbox.server.http.api.schema import SCHEMA

    return f"```graphql\n{SCHEMA.as_str().strip()}\n```"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in row)} |" for row in lines)
