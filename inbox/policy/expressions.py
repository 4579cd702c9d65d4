"""Conditions in policies: CEL (https://cel.dev), checked for names and types when they are read.

The library is ``cel-expr-python``, Google's C++ implementation, behind this module alone. It was chosen by measurement
(CPython 3.11, one core of a shared machine, so read the figures as ratios) against the two others that can be
installed:

==================================================  ==================  =============================  ===============
what                                                cel-expr-python     common-expression-language     cel-python
==================================================  ==================  =============================  ===============
compile the design's example                        121 µs              36 µs                          697 µs
evaluate it                                         18 µs               77 µs                          866 µs
100 rules (half of them regex) on a 4 KB mail       0.8 ms              1.6 ms                         52 ms
unknown name, wrong type                            when compiled       when evaluated, if reached     when evaluated
comprehensions in comprehensions                    end at 10,000 turns do not end                     do not end
10,000 parentheses                                  an error            an error                       RecursionError
``a.b.b.b…`` 20,000 times                           an error            the process dies               RecursionError
``(?:x{1,1000}){1,20}``                             refused (RE2)       runs for more than 15 s        refused (RE2)
==================================================  ==================  =============================  ===============

It lets other threads run while it evaluates (the GIL is released). A variable without a value is an error only when an
evaluation cannot do without it (``false && text.contains("x")`` is false): what is expensive to find out may be left
out at first, and added when :meth:`Expression.holds` raises.

Bounds: 4,000 characters of source, 32 levels of nesting, 10,000 turns of a comprehension, regular expressions in linear
time (RE2). ``map`` is not there: nothing that a condition can build is much larger than what it was given.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from inbox.base.limits import EXPRESSION_CHARACTERS

_WITHOUT_MAP: Final = "stdlib:\n  exclude_macros:\n  - map\n"
_MISTAKE = re.compile(r"ERROR: <input>:(-?\d+):(-?\d+): ([^\n]*)")
#: What CEL puts in front of its messages ("INVALID_ARGUMENT: …") and behind them.
_STATUS = re.compile(r"\A[A-Z_]+: | \[[A-Z_]+\]\Z| \(in container ''\)")
_TOKEN = re.compile(
    r"""(?P<comment>//[^\n]*)
    |(?P<string>[bB]?[rR][bB]?(?:\"\"\".*?\"\"\"|'''.*?'''|"[^"\n]*"|'[^'\n]*')
        |[bB]?(?:\"\"\"(?:\\.|[^\\])*?\"\"\"|'''(?:\\.|[^\\])*?'''|"(?:\\.|[^"\\\n])*"|'(?:\\.|[^'\\\n])*'))
    |(?P<name>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<other>[^\sA-Za-z_])""",
    re.VERBOSE | re.DOTALL,
)
#: Everything below the space besides tab and line ends, and halves of surrogate pairs.
_CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
_MACROS = frozenset({"all", "exists", "exists_one", "filter"})


class ExpressionError(ValueError):
    """A condition that is none. ``line`` and ``column`` (from 1) are places in its own source."""

    def __init__(self, what: str, line: int = 1, column: int = 1) -> None:
        super().__init__(f"{what} (line {line}, column {column} of the expression)")
        self.what, self.line, self.column = what, line, column


class EvaluationError(Exception):
    """A condition has no value for these variables; the text says why in a few words, fit for a record."""


@dataclass(frozen=True, slots=True)
class Method:
    """A function of ours, called as ``value.name(arguments)``; ``takes`` begins with the type of ``value``."""

    name: str
    takes: tuple[str, ...]
    returns: str
    function: Callable[..., object]


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    at: int


class Expression:
    """A compiled condition. Immutable; equal to another one if the source is the same."""

    __slots__ = ("_program", "members", "names", "source")

    def __init__(self, source: str, program: Any, names: Iterable[str], members: Iterable[tuple[str, str]]) -> None:
        self.source = source
        self._program = program
        #: The variables that it refers to.
        self.names = frozenset(names)
        #: What it selects from variables by a fixed name: ``facts.spf`` and ``facts["spf"]`` are ``("facts", "spf")``.
        self.members = frozenset(members)

    def holds(self, scope: Scope) -> bool:
        """Whether the condition is true.

        Raises:
            EvaluationError: it has no value: a key is missing, a fact unknown, the bound on turns is reached.
        """
        try:
            result = self._program.eval(scope.activation)
        except RuntimeError as error:
            raise EvaluationError(_plain(str(error))) from error
        value = result.value()
        if isinstance(value, bool):
            return value
        raise EvaluationError(_plain(str(value)) if result.type().name() == "ERROR" else "it is neither true nor false")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Expression) and other.source == self.source

    def __hash__(self) -> int:
        return hash(self.source)

    def __repr__(self) -> str:
        return f"Expression({self.source!r})"

    def __copy__(self) -> Expression:
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> Expression:
        return self


@dataclass(frozen=True, slots=True)
class Scope:
    """The values of one message, ready for any number of conditions of one language."""

    activation: Any


class Language:
    """Which variables and methods there are, by name and type (``string``, ``list<string>``, ``map<string,dyn>`` …).

    Args:
        variables: name to type.
        methods: functions of ours.
        fields: for a variable that is a list of maps, the keys that each of them has: another key is refused when
            the condition is read.
    """

    def __init__(
        self,
        variables: Mapping[str, str],
        methods: Sequence[Method] = (),
        fields: Mapping[str, frozenset[str]] | None = None,
    ) -> None:
        # 16 ms to import: only who has conditions pays for it.
        from cel_expr_python import cel

        self._variables = frozenset(variables)
        self._fields = fields or {}
        self._bool = cel.Type.BOOL
        self._dyn = cel.Type.DYN
        self._error = cel.Type.ERROR
        self._env = cel.NewEnv(
            config=cel.NewEnvConfigFromYaml(_WITHOUT_MAP),
            variables={name: cel.Type(kind) for name, kind in variables.items()},
            functions=[
                cel.FunctionDecl(
                    method.name,
                    [
                        cel.Overload(
                            f"{method.name}_{number}",
                            return_type=cel.Type(method.returns),
                            parameters=[cel.Type(kind) for kind in method.takes],
                            is_member=True,
                            impl=method.function,
                        )
                    ],
                )
                for number, method in enumerate(methods)
            ],
        )

    def compile(self, source: str) -> Expression:
        """Checks and compiles a condition, about 150 µs.

        Raises:
            ExpressionError: its syntax, a name, a type or a regular expression in it is wrong.
        """
        if len(source) > EXPRESSION_CHARACTERS:
            raise ExpressionError(f"longer than {EXPRESSION_CHARACTERS} characters")
        if _CONTROLS.search(source):
            raise ExpressionError("it holds control characters")
        try:
            program = self._env.compile(source)
        except RuntimeError as error:
            raise _mistake(str(error)) from error
        if program.return_type() not in (self._bool, self._dyn):
            raise ExpressionError(f"it is a {program.return_type().name().lower()}, not a condition")
        tokens = list(_tokens(source))
        self._check_patterns(source, tokens)
        self._check_fields(source, tokens)
        names = [(at, token.text) for at, token in _names(tokens) if token.text in self._variables]
        members = (
            (name, member) for at, name in names if (member := self._member(tokens[at + 1 : at + 4])) is not None
        )
        return Expression(source, program, {name for _, name in names}, members)

    def scope(self, values: Mapping[str, object]) -> Scope:
        """Binds values: str, int, float, bool, bytes, None, and lists and dicts of these. Not all need to be there."""
        return Scope(self._env.Activation(values))

    def _member(self, after: list[_Token]) -> str | None:
        """What is selected by the tokens after a variable: ``.name`` or ``["name"]``."""
        match [(one.kind, one.text) for one in after]:
            case [(_, "."), ("name", name), *_]:
                return name
            case [(_, "["), ("string", literal), (_, "]")]:
                return str(self._env.compile(literal).eval(self._env.Activation({})).value())
        return None

    def _check_patterns(self, source: str, tokens: list[_Token]) -> None:
        """CEL compiles a regular expression when it meets it: literal ones are tried now."""
        for at, token in enumerate(tokens[:-3]):
            call, pattern = tokens[at + 1], tokens[at + 2]
            if token.text != "matches" or call.text != "(" or pattern.kind != "string" or tokens[at + 3].text != ")":
                continue
            tried = self._env.compile(f'"".matches({pattern.text})').eval(self._env.Activation({}))
            if tried.type() == self._error:
                raise ExpressionError(_plain(str(tried.value())), *_place(source, pattern.at))

    def _check_fields(self, source: str, tokens: list[_Token]) -> None:
        """``attachments.exists(a, a.extention == …)``: a key that no element has is a mistake, not a missing value."""
        elements: dict[str, frozenset[str]] = {}
        for at in range(len(tokens) - 4):
            listed, dot, macro, call, element = tokens[at : at + 5]
            if listed.text in self._fields and dot.text == "." and macro.text in _MACROS and call.text == "(":
                elements[element.text] = self._fields[listed.text]
        for at, token in enumerate(tokens[:-2]):
            dot, selected = tokens[at + 1 : at + 3]
            known = elements.get(token.text)
            if known and dot.text == "." and selected.kind == "name" and selected.text not in known:
                what = f"no such field: {selected.text}; there are {', '.join(sorted(known))}"
                raise ExpressionError(what, *_place(source, selected.at))


def _tokens(source: str) -> Iterator[_Token]:
    for found in _TOKEN.finditer(source):
        kind = found.lastgroup or ""
        if kind != "comment":
            yield _Token(kind, found.group(), found.start())


def _names(tokens: list[_Token]) -> Iterator[tuple[int, _Token]]:
    """The names that stand alone, not behind a dot."""
    for at, token in enumerate(tokens):
        if token.kind == "name" and (at == 0 or tokens[at - 1].text != "."):
            yield at, token


def _place(source: str, at: int) -> tuple[int, int]:
    before = source[:at]
    return before.count("\n") + 1, at - before.rfind("\n")


def _mistake(text: str) -> ExpressionError:
    """What CEL says about a source, in one line with its place."""
    found = _MISTAKE.search(text)
    if "recursion" in text:
        return ExpressionError("nested too deeply, more than 32 levels")
    if found is None:
        return ExpressionError(_plain(text))
    line, column, what = found.groups()
    return ExpressionError(_plain(what), max(1, int(line)), max(1, int(column)))


def _plain(text: str) -> str:
    """CEL's message as one short printable line."""
    first = _STATUS.sub("", text.strip().split("\n", 1)[0])
    first = first.replace("Applying SELECT to non-message type", "a fact that it reads is not known")
    return "".join(one if one.isprintable() else "?" for one in first[:200]).strip() or "it cannot be evaluated"
