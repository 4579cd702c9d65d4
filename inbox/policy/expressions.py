"""Conditions in policies, in CEL (https://cel.dev): names and types are checked when a policy is read.

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

It lets other threads run while it evaluates (the GIL is released). A variable without a value is an error only if an
evaluation needs it (``false && text.contains("x")`` is false): expensive values may be left
out at first and added when :meth:`Expression.holds` raises.

Bounds: 4,000 characters of source, 32 levels of nesting, 10,000 turns of a comprehension, regular expressions in linear
time (RE2), EXPRESSION_WORK for our own methods. ``map`` does not exist, and no method returns much more than its input:
no value in a condition is much larger than the input.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Final

from inbox.base.limits import EXPRESSION_CHARACTERS, EXPRESSION_WORK
from inbox.policy.expression_checks import (
    FUNCTIONS,
    PLACEHOLDERS,
    ExpressionError,
    FieldChecker,
    Token,
    free_names,
    mistake,
    place_of,
    plain,
    tokens_of,
)
from inbox.policy.shapes import Shape

__all__ = ["EvaluationError", "Expression", "ExpressionError", "Language", "Method", "Scope"]

_WITHOUT_MAP: Final = "stdlib:\n  exclude_macros:\n  - map\n"
#: Control characters except tab and line ends, and lone surrogates.
_CONTROLS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f\ud800-\udfff]")
#: The number of characters that methods may still process in the current evaluation.
_LEFT: ContextVar[list[int]] = ContextVar("expression_work")


class EvaluationError(Exception):
    """A condition has no value for these variables; the text gives the reason in a few words, for a record."""


@dataclass(frozen=True, slots=True)
class Method:
    """A function beyond those of CEL, called as ``value.name(arguments)``; ``takes`` begins with the type of ``value``.

    ``usage`` is an example of a call for error messages. ``weight`` is what one character of the arguments costs
    (EXPRESSION_WORK): a nanosecond is about 0.1. If the function raises, the condition has no value.
    """

    name: str
    takes: tuple[str, ...]
    returns: str
    function: Callable[..., object]
    usage: str = ""
    weight: int = 1


class Expression:
    """A compiled condition. Immutable; equal to another one if the source is the same."""

    __slots__ = ("_program", "members", "names", "source")

    def __init__(self, source: str, program: Any, names: Iterable[str], members: Iterable[tuple[str, str]]) -> None:
        self.source = source
        self._program = program
        #: The variables that it refers to.
        self.names = frozenset(names)
        #: Its selections from variables by a fixed name: ``facts.spf`` and ``facts["spf"]`` are ``("facts", "spf")``.
        self.members = frozenset(members)

    def holds(self, scope: Scope) -> bool:
        """Whether the condition is true.

        Raises:
            EvaluationError: it has no value: a key is missing, a fact unknown, the bound on turns is reached.
        """
        token = _LEFT.set([EXPRESSION_WORK])
        try:
            result = self._program.eval(scope.activation)
        except RuntimeError as error:
            raise EvaluationError(plain(str(error))) from error
        finally:
            _LEFT.reset(token)
        value = result.value()
        if isinstance(value, bool):
            return value
        raise EvaluationError(plain(str(value)) if result.type().name() == "ERROR" else "it is neither true nor false")

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
    """Variables and methods, by name and type (``string``, ``list<string>``, ``map<string,dyn>`` …).

    Args:
        variables: name to type.
        methods: functions beyond those of CEL.
        shapes: the fields of variables that are maps or lists of maps: another field is refused when the condition
            is read, and types are checked where they are known.
        lower_keys: variables that are maps with keys in lower case: literal keys may be written in any case.
    """

    def __init__(
        self,
        variables: Mapping[str, str],
        methods: Sequence[Method] = (),
        shapes: Mapping[str, Shape] | None = None,
        lower_keys: Iterable[str] = (),
    ) -> None:
        # Importing takes 16 ms, so it happens only if a policy has conditions.
        from cel_expr_python import cel

        self._variables = frozenset(variables)
        self._shapes = shapes or {}
        self._lower_keys = frozenset(lower_keys)
        self._bool, self._dyn, self._error = cel.Type.BOOL, cel.Type.DYN, cel.Type.ERROR
        self._usage = {**FUNCTIONS, **{method.name: method.usage or method.name for method in methods}}
        config = cel.NewEnvConfigFromYaml(_WITHOUT_MAP)
        functions = _declared(methods)
        types = {name: cel.Type(kind) for name, kind in variables.items()}
        self._env = cel.NewEnv(config=config, variables=types, functions=functions)
        typed = {name: cel.Type(kind) for kind, name in PLACEHOLDERS.items()}
        self._typed_env = cel.NewEnv(config=config, variables=types | typed, functions=functions)

    @property
    def functions(self) -> Mapping[str, str]:
        """Name to usage of all functions, CEL's and ours."""
        return self._usage

    def compile(self, source: str, shapes: Mapping[str, Shape] | None = None) -> Expression:
        """Checks and compiles a condition, about 150 µs.

        Args:
            shapes: those of variables whose fields become known only now.

        Raises:
            ExpressionError: its syntax, a name, a type, a field or a regular expression in it is wrong.
        """
        if len(source) > EXPRESSION_CHARACTERS:
            raise ExpressionError(f"longer than {EXPRESSION_CHARACTERS} characters")
        if _CONTROLS.search(source):
            raise ExpressionError("it contains control characters")
        program = self._compiled(self._env, source)
        if program.return_type() not in (self._bool, self._dyn):
            raise ExpressionError(f"it is a {program.return_type().name().lower()}, not a condition")
        tokens = tokens_of(source)
        self._check_patterns(source, tokens)
        masked = FieldChecker({**self._shapes, **(shapes or {})}, self._literal).check(source, tokens)
        if masked != source:
            self._compiled(self._typed_env, masked)
        lowered = self._with_lower_keys(source, tokens)
        if lowered != source:
            program = self._compiled(self._env, lowered)
        names = [(at, token.text) for at, token in free_names(tokens) if token.text in self._variables]
        members = (
            (name, member) for at, name in names if (member := self._member(tokens[at + 1 : at + 4])) is not None
        )
        return Expression(source, program, {name for _, name in names}, members)

    def _compiled(self, env: Any, source: str) -> Any:
        try:
            return env.compile(source)
        except RuntimeError as error:
            raise mistake(str(error), source, sorted(self._variables), self._usage) from error

    def scope(self, values: Mapping[str, object]) -> Scope:
        """Binds values: str, int, float, bool, bytes, None, and lists and dicts of these. Values may be missing."""
        return Scope(self._env.Activation(values))

    def _literal(self, text: str) -> str:
        return str(self._env.compile(text).eval(self._env.Activation({})).value())

    def _member(self, after: list[Token]) -> str | None:
        """The selection of the tokens after a variable: ``.name`` or ``["name"]``."""
        match [(one.kind, one.text) for one in after]:
            case [(_, "."), ("name", name), *_]:
                return name
            case [(_, "["), ("string", literal), (_, "]")]:
                return self._literal(literal)
        return None

    def _with_lower_keys(self, source: str, tokens: list[Token]) -> str:
        """``source`` with the literals in ``"Date" in headers`` and ``headers["Date"]`` in lower case."""
        keys: list[Token] = []
        for at, token in free_names(tokens):
            if token.text not in self._lower_keys:
                continue
            if at >= 2 and tokens[at - 1].text == "in" and tokens[at - 2].kind == "string":
                keys.append(tokens[at - 2])
            following = tokens[at + 1 : at + 4]
            if [one.text for one in following[::2]] == ["[", "]"] and following[1].kind == "string":
                keys.append(following[1])
        for token in reversed(keys):
            key = self._literal(token.text)
            if key != key.lower():
                source = source[: token.at] + _quoted(key.lower()) + source[token.end :]
        return source

    def _check_patterns(self, source: str, tokens: list[Token]) -> None:
        """CEL compiles a regular expression when it evaluates it, so literal ones are compiled here to find errors."""
        for at, token in enumerate(tokens[:-3]):
            call, pattern = tokens[at + 1], tokens[at + 2]
            if token.text != "matches" or call.text != "(" or pattern.kind != "string" or tokens[at + 3].text != ")":
                continue
            tried = self._env.compile(f'"".matches({pattern.text})').eval(self._env.Activation({}))
            if tried.type() == self._error:
                raise ExpressionError(plain(str(tried.value())), *place_of(source, pattern.at))


def _declared(methods: Sequence[Method]) -> list[Any]:
    """The declarations of methods; methods with the same name are overloads."""
    from cel_expr_python import cel

    overloads: dict[str, list[Any]] = {}
    for number, method in enumerate(methods):
        overloads.setdefault(method.name, []).append(
            cel.Overload(
                f"{method.name}_{number}",
                return_type=cel.Type(method.returns),
                parameters=[cel.Type(kind) for kind in method.takes],
                is_member=True,
                impl=_bounded(method),
            )
        )
    return [cel.FunctionDecl(name, found) for name, found in overloads.items()]


def _bounded(method: Method) -> Callable[..., object]:
    """The function with a charge for each call: a comprehension may call it 10,000 times while the event loop waits."""

    def call(*arguments: Any) -> object:
        left = _LEFT.get()
        left[0] -= method.weight * sum(len(one) + 16 for one in arguments if isinstance(one, str | list))
        if left[0] < 0:
            raise ValueError(f"{method.name} is called too often, or with too much text")
        return method.function(*arguments)

    return call


def _quoted(text: str) -> str:
    """A literal of CEL."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'
