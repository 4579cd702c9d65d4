"""The pages about plugins: one for each that ships, made from its docstring, its facts and its settings model."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from inbox.plugin.engine.describe import FactDescription, FieldDescription, PluginDescription, describe
from inbox.plugin.engine.registry import Registry

ROOT = Path(__file__).resolve().parents[1]
FOLDER = "plugins"
#: Lines of a list of labels: ``Returns at: data (Reject).``; what is indented below one belongs to it. The first shows
#: by its spaces that it is not a sentence.
_FIRST_LABEL = re.compile(r"[A-Z][A-Za-z ]*: {2,}\S")
_LABEL = re.compile(r"([A-Z][A-Za-z ]*): +(.*)$")
_CODE = re.compile(r"``(.+?)``|:[a-z]+:`(.+?)`", re.DOTALL)
_ENGINE = (
    ("enabled", "`false` switches the plugin off here; it is not even made."),
    (
        "mode",
        "`enforce` is the default. `shadow`: it runs, and what it says is recorded and changes nothing. `off`: it does "
        "not run.",
    ),
    (
        "on_error",
        "What follows when the plugin fails, is late or answers nonsense: `defer`, `accept`, `quarantine` or `reject`; "
        "for all of its stages, or a mapping by stage.",
    ),
    ("timeout", "Seconds that one call may take."),
)


def plugin_modules() -> list[str]:
    """The names of the plugins that ship."""
    return sorted(path.stem for path in (ROOT / "plugins" / "inbox_plugins").glob("[!_]*.py"))


def plugin_pages(note: str) -> dict[str, str]:
    """The index and the page of each plugin, by file name; ``note`` is below each title."""
    found = Registry(environment={}, points=()).discover()
    described = [describe(found.plugins[name]) for name in plugin_modules()]
    pages = {f"{FOLDER}/{plugin.name}.md": _page(plugin, note) for plugin in described}
    return {"plugins.md": _index(described, note), **pages}


def _index(plugins: Sequence[PluginDescription], note: str) -> str:
    lines = [
        f"# Plugins\n\n{note}",
        "Each is one file of `plugins/inbox_plugins/`. `inbox plugins info NAME` prints what is there.\n",
        "| plugin | what it does | called at | gives | when it fails |\n|---|---|---|---|---|",
    ]
    for plugin in plugins:
        what = plugin.summary.partition(": ")[2] or plugin.summary
        name = f"[{plugin.name}]({FOLDER}/{plugin.name}.md)"
        lines.append(row(name, markup(what), ", ".join(plugin.stages), _names(plugin.gives), _outcomes(plugin)))
    lines.append("\n## Settings of every plugin\n\n| setting | meaning |\n|---|---|")
    lines += [row(f"`{name}`", meaning) for name, meaning in _ENGINE]
    return "\n".join(lines) + "\n"


def _page(plugin: PluginDescription, note: str) -> str:
    lines = [f"# {plugin.name}\n\n{note}", *prose(plugin.documentation), "## At a glance\n\n| | |\n|---|---|"]
    facts = {
        "stages": ", ".join(plugin.stages),
        "gives": _names(plugin.gives),
        "needs": _names(plugin.needs),
        "runs after plugins that give": _names(plugin.after),
        "runs in a policy that is off": "yes" if plugin.essential else "",
        "when it fails": _outcomes(plugin),
        "time-out": f"{plugin.timeout:g} s",
        "source": f"[`plugins/inbox_plugins/{plugin.name}.py`](../../../plugins/inbox_plugins/{plugin.name}.py)",
    }
    lines += [row(name, value) for name, value in facts.items() if value]
    lines.append("")
    for fact in plugin.facts:
        lines += _fact(fact)
    lines.append("## Settings\n")
    lines.append("Besides [those of every plugin](../plugins.md#settings-of-every-plugin).\n")
    if not plugin.settings:
        lines.append("It has none of its own.\n")
    for field in plugin.settings:
        lines += _setting(field)
    return "\n".join(lines)


def _fact(fact: FactDescription) -> Iterator[str]:
    yield f"## {fact.name}\n"
    yield from prose(fact.documentation)
    if fact.fields:
        yield "| field | type |\n|---|---|"
        yield from (row(f"`{name}`", kind) for name, kind in fact.fields)
        yield ""


def _setting(field: FieldDescription) -> Iterator[str]:
    yield f"### {field.name}\n\n{markup(field.description)}\n"
    yield f"- takes: {field.type}" + (f"; {field.bounds}" if field.bounds else "")
    yield "- default: " + ("none, it has to be given" if field.default is None else _code(field.default))
    if field.env:
        yield f"- default from the environment: [`{field.env}`](../environment.md)"
    if field.domain_field:
        yield f"- last word: the domain's override field `{field.domain_field}` (`inbox domain set`)"
    if field.example:
        yield f"- example: {_code(field.example)}"
    yield ""
    if field.fields:
        yield "A mapping in it has:\n"
        yield "| field | takes | default | meaning | example |\n|---|---|---|---|---|"
        for one in field.fields:
            takes = one.type + (f"; {one.bounds}" if one.bounds else "")
            default = "required" if one.default is None else _code(one.default)
            yield row(f"`{one.name}`", takes, default, markup(one.description), _code(one.example))
        yield ""


# -- docstrings as Markdown ---------------------------------------------------------------------------------------


def prose(documentation: str) -> Iterator[str]:
    """A docstring as Markdown: labels as a list, literal blocks and tables fenced, double backticks as single ones."""
    lines = documentation.splitlines()
    while lines:
        if not lines[0].strip():
            lines.pop(0)
            continue
        block = _take(lines, lambda line: bool(line.strip()))
        if block[0].startswith("==="):
            yield _fenced(block, "text")
            continue
        literal = block[-1].endswith("::")
        if literal:
            block[-1] = block[-1][:-1]
        if _FIRST_LABEL.match(block[0]) and not literal:
            yield _labelled(block)
        else:
            yield markup("\n".join(block)) + "\n"
        if literal:
            while lines and not lines[0].strip():
                lines.pop(0)
            body = _take(lines, lambda line: not line.strip() or line.startswith(" "))
            yield _fenced(body, "yaml" if body and body[0].strip().endswith(":") else "text")


def _take(lines: list[str], belongs: Callable[[str], bool]) -> list[str]:
    taken = []
    while lines and belongs(lines[0]):
        taken.append(lines.pop(0))
    return taken


def _labelled(block: Sequence[str]) -> str:
    items: list[tuple[str, list[str]]] = []
    for line in block:
        found = _LABEL.match(line)
        if found:
            items.append((found[1], [found[2]]))
        else:
            items[-1][1].append(line.strip())
    return "\n".join(f"- **{label}:** {markup(' '.join(text).strip())}" for label, text in items) + "\n"


def _fenced(block: Sequence[str], language: str) -> str:
    while block and not block[-1].strip():
        block = block[:-1]
    indent = min((len(line) - len(line.lstrip()) for line in block if line.strip()), default=0)
    return "\n".join([f"```{language}", *(line[indent:] for line in block), "```\n"])


def markup(text: str) -> str:
    """Text of a docstring as Markdown: ``code`` and :role:`names` become code, all else is escaped."""
    done, end = "", 0
    for found in _CODE.finditer(text):
        done += _escaped(text[end : found.start()]) + _code(found[1] or found[2])
        end = found.end()
    return done + _escaped(text[end:])


def _escaped(text: str) -> str:
    return re.sub(r"([<*_\\])", r"\\\1", text)


def _code(text: str) -> str:
    if not text:
        return ""
    fence = "``" if "`" in text else "`"
    return f"{fence}{text}{fence}"


def _outcomes(plugin: PluginDescription) -> str:
    on_error: str | Mapping[str, str] = plugin.on_error
    if isinstance(on_error, str):
        return on_error
    return ", ".join(f"{outcome} at {stage}" for stage, outcome in on_error.items())


def _names(names: Sequence[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def row(*cells: str) -> str:
    """A row of a table."""
    return "| " + " | ".join(" ".join(cell.replace("|", "\\|").split()) for cell in cells) + " |"
