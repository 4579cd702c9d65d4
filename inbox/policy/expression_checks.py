"""Check a condition before CEL compiles it, and translate CEL's errors into terms of the existing names."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from inbox.policy.mistakes import unknown
from inbox.policy.shapes import ANY, Shape

_MISTAKE = re.compile(r"ERROR: <input>:(-?\d+):(-?\d+): ([^\n]*)")
_UNDECLARED = re.compile(r"undeclared reference to '([^']+)'")
_OVERLOAD = re.compile(r"found no matching overload for '([^']+)' applied to '\((.*)\)'")
_SELECT = re.compile(r"expression of type '([^']+)' cannot be the operand of a select")
#: Prefixes ("INVALID_ARGUMENT: …") and suffixes of CEL's messages.
_STATUS = re.compile(r"\A[A-Z_]+: | \[[A-Z_]+\]\Z| \(in container ''\)")
_TOKEN = re.compile(
    r"""(?P<comment>//[^\n]*)
    |(?P<string>[bB]?[rR][bB]?(?:\"\"\".*?\"\"\"|'''.*?'''|"[^"\n]*"|'[^'\n]*')
        |[bB]?(?:\"\"\"(?:\\.|[^\\])*?\"\"\"|'''(?:\\.|[^\\])*?'''|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'))
    |(?P<name>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<other>[^\sA-Za-z_])""",
    re.VERBOSE | re.DOTALL,
)
MACROS: Final = frozenset({"all", "exists", "exists_one", "filter"})
#: CEL's own functions that conditions use, as authors write them.
FUNCTIONS: Final[Mapping[str, str]] = {
    "contains": "TEXT.contains(TEXT)", "startsWith": "TEXT.startsWith(TEXT)", "endsWith": "TEXT.endsWith(TEXT)",
    "matches": "TEXT.matches(PATTERN)", "size": "VALUE.size()", "exists": "LIST.exists(name, CONDITION)",
    "all": "LIST.all(name, CONDITION)", "exists_one": "LIST.exists_one(name, CONDITION)",
    "filter": "LIST.filter(name, CONDITION)", "has": "has(VALUE.FIELD)", "int": "int(VALUE)",
    "double": "double(VALUE)", "string": "string(VALUE)", "bool": "bool(VALUE)", "type": "type(VALUE)",
    "dyn": "dyn(VALUE)", "timestamp": "timestamp(TEXT)", "duration": "duration(TEXT)", "getHours": "TIME.getHours()",
    "getMinutes": "TIME.getMinutes()", "getDayOfWeek": "TIME.getDayOfWeek()", "getFullYear": "TIME.getFullYear()",
    "getMonth": "TIME.getMonth()", "getDate": "TIME.getDate()",
}  # fmt: skip
#: A name for a value of each known type, no longer than the shortest selection (``a.b``).
PLACEHOLDERS: Final = {"string": "_s", "int": "_i", "double": "_d", "bool": "_b", "list<string>": "_l"}


class ExpressionError(ValueError):
    """An invalid condition. ``line`` and ``column`` (from 1) are places in its own source."""

    def __init__(self, what: str, line: int = 1, column: int = 1) -> None:
        super().__init__(f"{what} (line {line}, column {column} of the expression)")
        self.what, self.line, self.column = what, line, column


@dataclass(frozen=True, slots=True)
class Token:
    """A word, a literal or one character of a condition; ``at`` is its offset."""

    kind: str
    text: str
    at: int

    @property
    def end(self) -> int:
        return self.at + len(self.text)


def tokens_of(source: str) -> list[Token]:
    """The tokens, without comments and white space."""
    found = ((match.lastgroup or "", match) for match in _TOKEN.finditer(source))
    return [Token(kind, match.group(), match.start()) for kind, match in found if kind != "comment"]


def free_names(tokens: Sequence[Token]) -> Iterator[tuple[int, Token]]:
    """The names that do not follow a dot, with their indexes in the list."""
    for at, token in enumerate(tokens):
        if token.kind == "name" and (at == 0 or tokens[at - 1].text != "."):
            yield at, token


def place_of(source: str, at: int) -> tuple[int, int]:
    """Line and column, from 1, of an offset."""
    before = source[:at]
    return before.count("\n") + 1, at - before.rfind("\n")


class FieldChecker:
    """Follows selections such as ``facts.spf.result`` through the shapes of variables.

    Args:
        shapes: those of variables.
        literal: the value of a string literal.
    """

    def __init__(self, shapes: Mapping[str, Shape], literal: Callable[[str], str]) -> None:
        self._shapes = shapes
        self._literal = literal

    def check(self, source: str, tokens: Sequence[Token]) -> str:
        """``source`` with placeholders for the selections whose type is known, so that CEL checks their types. All
        offsets stay the same.

        Raises:
            ExpressionError: a field does not exist, or a text is compared with a value that it can never have.
        """
        bound: dict[str, Shape] = dict(self._shapes)
        masked = source
        for at, token in free_names(tokens):
            if token.text not in bound:
                continue
            shape, end, plain = self._follow(source, tokens, at, bound)
            self._check_choices(source, tokens, at, end, shape)
            first, last = tokens[at], tokens[end - 1]
            in_has = at >= 2 and (tokens[at - 2].text, tokens[at - 1].text) == ("has", "(")
            placeholder = PLACEHOLDERS.get(shape.type)
            if plain and end - at >= 3 and placeholder and not in_has:
                width = last.end - first.at
                masked = masked[: first.at] + placeholder.ljust(width) + masked[last.end :]
        return masked

    def _follow(
        self, source: str, tokens: Sequence[Token], at: int, bound: dict[str, Shape]
    ) -> tuple[Shape, int, bool]:
        """The shape of the selection that begins at ``at``, the place after it, and whether it has dots only.

        A name that a macro at its end binds is added to ``bound``.
        """
        shape, here, plain = bound[tokens[at].text], at + 1, True
        path = tokens[at].text
        while here + 1 < len(tokens):
            mark, following = tokens[here], tokens[here + 1]
            if mark.text == "." and following.kind == "name":
                if here + 2 < len(tokens) and tokens[here + 2].text == "(":
                    self._bind(tokens, here, shape, bound)
                    break
                shape = _field(source, shape, following.text, path, following)
                path, here = f"{path}.{following.text}", here + 2
            elif mark.text == "[":
                close = _closing(tokens, here)
                if close is None:
                    break
                plain = False
                if close == here + 2 and following.kind == "string":
                    name = self._literal(following.text)
                    shape = _field(source, shape, name, path, following)
                    path = f"{path}.{name}"
                else:
                    shape, path = shape.element or ANY, f"{path}[]"
                here = close + 1
            else:
                break
        return shape, here, plain

    def _bind(self, tokens: Sequence[Token], here: int, shape: Shape, bound: dict[str, Shape]) -> None:
        if tokens[here + 1].text in MACROS and here + 4 < len(tokens) and tokens[here + 4].text == ",":
            name = tokens[here + 3].text
            if shape.element is not None:
                bound[name] = shape.element
            elif name in bound and name not in self._shapes:
                del bound[name]

    def _check_choices(self, source: str, tokens: Sequence[Token], at: int, end: int, shape: Shape) -> None:
        if not shape.choices:
            return
        operator = "".join(token.text for token in tokens[end : end + 2])
        compared: list[Token] = []
        if operator in {"==", "!="}:
            compared = list(tokens[end + 2 : end + 3])
        elif operator == "in[":
            close = _closing(tokens, end + 1)
            compared = list(tokens[end + 2 : close])
        for token in compared:
            if token.kind == "string" and (value := self._literal(token.text)) not in shape.choices:
                selected = "".join(one.text for one in tokens[at:end])
                what = unknown(f"value of {selected}", value, shape.choices)
                raise ExpressionError(what, *place_of(source, token.at))


def _field(source: str, shape: Shape, name: str, path: str, token: Token) -> Shape:
    if shape.fields is None:
        return ANY
    found = shape.fields.get(name)
    if found is None and shape.is_open:
        return ANY
    if found is None:
        what = _suggest(shape.what or f"field of {path}", name, list(shape.fields))
        raise ExpressionError(what, *place_of(source, token.at))
    return found


def _closing(tokens: Sequence[Token], at: int) -> int | None:
    """The place of the bracket that closes the one at ``at``."""
    depth = 0
    for place in range(at, len(tokens)):
        if tokens[place].text in {"[", "(", "{"}:
            depth += 1
        elif tokens[place].text in {"]", ")", "}"}:
            depth -= 1
            if depth == 0:
                return place
    return None


def mistake(text: str, source: str, variables: Sequence[str], functions: Mapping[str, str]) -> ExpressionError:
    """CEL's error about ``source`` as one line with its place and a correction.

    Args:
        functions: name to usage, such as ``TEXT.contains(TEXT)``; CEL's and ours.
    """
    found = _MISTAKE.search(text)
    if "recursion" in text:
        return ExpressionError("nested too deeply, more than 32 levels")
    if found is None:
        return ExpressionError(plain(text))
    line, column, what = max(1, int(found[1])), max(1, int(found[2])), found[3]
    if (name := _UNDECLARED.search(what)) is not None:
        return ExpressionError(_undeclared(name[1], source, line, column, variables, functions), line, column)
    if (overload := _OVERLOAD.search(what)) is not None:
        return ExpressionError(_mismatch(overload[1], overload[2], functions), line, column)
    if (selected := _SELECT.search(what)) is not None:
        return ExpressionError(f"a {_type(selected[1])} has no fields", line, column)
    return ExpressionError(plain(what), line, column)


def _undeclared(
    name: str, source: str, line: int, column: int, variables: Sequence[str], functions: Mapping[str, str]
) -> str:
    rest = source.split("\n")[line - 1][column - 1 :]
    called = rest.startswith("(") or rest.lstrip(".")[len(name) :].lstrip().startswith("(")
    if name in functions:
        return f"{name} is used as {functions[name]}; here it has other arguments"
    if called:
        return _suggest("function", name, list(functions))
    return _suggest("variable", name, list(variables))


def _suggest(what: str, name: str, known: Sequence[str]) -> str:
    text = unknown(what, name, known)
    return text if "; known here: " in text else f"{text} There are: {', '.join(sorted(known))}"


_OPERATOR = re.compile(r"\A_([^\s_?]+)_\Z|\A@(in)\Z|\A(-|!)_\Z|\A(_\?_:_)\Z|\A(_\[_\])\Z")
_NEEDS: Final = {
    "&&": "needs a condition (true or false) on both sides", "||": "needs a condition (true or false) on both sides",
    "!": "needs a condition (true or false)", "in": "needs a list or a map on its right",
    "==": "compares values of one type", "!=": "compares values of one type",
}  # fmt: skip


def _mismatch(name: str, given: str, functions: Mapping[str, str]) -> str:
    types = [_type(one.strip()) for one in _arguments(given)]
    found = _OPERATOR.match(name)
    if found is not None:
        operator = found[1] or found[2] or found[3] or ("? :" if found[4] else "[ ]")
        needs = _NEEDS.get(operator, "does not take these types")
        return f"{operator} {needs}; here it has {' and '.join(types)}"
    usage = functions.get(name, f"{name}(…)")
    return f"{name} is used as {usage}; here it has {' and '.join(types) or 'nothing'}"


def _arguments(given: str) -> Iterator[str]:
    """The types in CEL's list, which nest: ``map(string, dyn), int``."""
    depth, start = 0, 0
    for at, character in enumerate(given):
        depth += (character == "(") - (character == ")")
        if character == "," and depth == 0:
            yield given[start:at]
            start = at + 1
    if given:
        yield given[start:]


def _type(name: str) -> str:
    """CEL's name of a type as the documentation has it."""
    if name.startswith("list("):
        return f"list of {_type(name[5:-1])}s"
    if name.startswith("map("):
        return "map"
    return {"string": "text", "int": "number", "double": "decimal number", "bool": "condition", "null_type": "null",
            "google.protobuf.Timestamp": "time", "google.protobuf.Duration": "duration",
            "dyn": "value"}.get(name, name)  # fmt: skip


def plain(text: str) -> str:
    """CEL's message as one short printable line."""
    first = _STATUS.sub("", text.strip().split("\n", 1)[0])
    first = first.replace("Applying SELECT to non-message type", "a fact that it reads is not known")
    return "".join(one if one.isprintable() else "?" for one in first[:200]).strip() or "it cannot be evaluated"
