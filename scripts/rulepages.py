"""The tables of docs/rules.md: variables, fields, functions and facts, from the code of the plugin."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from functools import partial

_PART = re.compile(r"(<!-- generated: (\w+) -->\n).*?(<!-- end of generated: \2 -->)", re.DOTALL)
#: CEL's types as the page calls them.
_TYPES = {
    "string": "text", "int": "number", "double": "decimal number", "bool": "condition", "timestamp": "time",
    "list<string>": "list of texts", "list<map<string,dyn>>": "list", "map<string,string>": "map",
    "map<string,list<string>>": "map", "map<string,dyn>": "map", "map<string,bool>": "map", "dyn": "",
}  # fmt: skip


def filled(page: str) -> str:
    """``page`` with its generated parts as the code has them."""
    parts: dict[str, Callable[[], str]] = {"variables": variables, "functions": functions, "facts": facts,
             **{name: partial(fields, name) for name in ("attachments", "parts", "links")}}  # fmt: skip
    return _PART.sub(lambda found: f"{found[1]}\n{parts[found[2]]()}\n\n{found[3]}", page)


def variables() -> str:
    """A row for each variable."""
    from inbox_plugins._spam_rules_language import VARIABLES

    return _table(("variable", "type", "what it holds"), (
        (f"`{name}`", _TYPES[variable.type], variable.meaning) for name, variable in VARIABLES.items()
    ))  # fmt: skip


def fields(variable: str) -> str:
    """A row for each field of the elements of a list."""
    from inbox_plugins._spam_rules_language import FIELDS

    return _table(("field", "type", "what it holds"), (
        (f"`{name}`", _TYPES[shape.type], meaning) for name, (shape, meaning) in FIELDS[variable].items()
    ))  # fmt: skip


def functions() -> str:
    """A row for each function: ours, then CEL's."""
    from inbox_plugins._spam_rules_language import FUNCTIONS

    from inbox.policy.expression_checks import FUNCTIONS as OF_CEL

    ours = [(f"`{function.method.usage}`", _TYPES[function.method.returns], function.meaning) for function in FUNCTIONS]
    return _table(("function", "gives", "what it gives"), ours) + "\n\nCEL's own: " + ", ".join(
        f"`{usage}`" for usage in OF_CEL.values()
    ) + "."  # fmt: skip


def facts() -> str:
    """A row for each field of the facts of shipped plugins that are there when rules run."""
    from inbox_plugins._spam_rules_language import FACTS, fact_name

    from inbox.policy.shapes import Shape, shape_of

    rows: list[tuple[str, ...]] = []
    for kind in FACTS:
        found: Mapping[str, Shape] = shape_of(kind).fields or {}
        for name, shape in found.items():
            choices = ", ".join(f"`{choice}`" for choice in shape.choices)
            inside = f"list of maps: {', '.join(f'`{one}`' for one in (shape.element.fields or {}))}" if (
                shape.element is not None and shape.element.fields) else ""  # fmt: skip
            rows.append((f"`facts.{fact_name(kind)}.{name}`", inside or _TYPES[shape.type], choices))
    return _table(("field", "type", "values"), rows)


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> str:
    lines = [head, tuple("---" for _ in head), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)
