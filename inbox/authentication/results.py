"""Authentication-Results (RFC 8601): parsing, rendering, and recognition of forged fields.

Parsing is strict: a field counts only if it follows the grammar (§2.2) completely. Recognition is generous: a field
counts as this server's if any reader might take it so, because it will be removed.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from types import MappingProxyType
from typing import Final, NoReturn

from inbox.base.limits import AUTHENTICATION_RESULTS, AUTHENTICATION_RESULTS_OCTETS
from inbox.mail.encoded import decode_words
from inbox.mail.headers import Headers
from inbox.plugin.api.facts import Result

#: The field's name.
NAME: Final = "Authentication-Results"
#: Characters of one text in a rendered field.
_MOST: Final = 255

_FOLD: Final = re.compile(r"[ \t\r\n]+")
_IN_COMMENT: Final = re.compile(r"[()]|\\.?", re.DOTALL)
#: Delimiters of a comment, or of a quoted string, which may contain parentheses.
_OUTSIDE: Final = re.compile(r'[()"]|\\.?', re.DOTALL)
_KEYWORD: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9_-]*[A-Za-z0-9])?")
_NUMBER: Final = re.compile(r"[0-9]{1,9}(?![A-Za-z0-9._-])")
#: RFC 2045 §5.1, and beyond it the unquoted values of real fields: ``header.b=AbC/d+=``, ``header.i=@example.org``.
_BARE: Final = re.compile(r'[^\s();"\\\x00-\x1f\x7f]+')
_QUOTED: Final = re.compile(r'"([^"\\\r\n]*(?:(?:\\[^\r\n]|\r?\n[ \t])[^"\\\r\n]*)*)"')
_TOKEN: Final = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`{|}~-]+\Z")
#: ``pvalue`` without quotes (§2.2): a token, or an address of one.
_PLAIN: Final = re.compile(r"(?:[A-Za-z0-9!#$%&'*+.^_`{|}~-]*@)?[A-Za-z0-9!#$%&'*+.^_`{|}~-]+\Z")
_UNPRINTABLE: Final = re.compile(r"[^\x20-\x7e]+")
#: Characters that do not belong to a name, and those that lenient readers drop from within one.
_SPECIALS: Final = re.compile(r"[\x00-,/:-@\[-^`{-\x7f\s]+")
_DROPPED: Final = re.compile(r'[\s\\"]+')
#: An instance, which ARC puts before the authserv-id.
_INSTANCE: Final = re.compile(r"\A\s*i\s*=\s*[0-9]{1,3}\s*;", re.IGNORECASE)
#: Characters that nameprep maps to nothing (RFC 3454 B.1), and the dots of RFC 3490 §3.1.
_IGNORED: Final = MappingProxyType(
    dict.fromkeys([0xAD, 0x34F, 0x1806, *range(0x180B, 0x180E), *range(0x200B, 0x200E), 0x2060, *range(0xFE00, 0xFE10)])
    | {0xFEFF: None, 0x3002: ".", 0xFF0E: ".", 0xFF61: "."}
)


@dataclass(frozen=True, slots=True)
class MethodResult:
    """The result of one method: ``spf=pass smtp.mailfrom=example.org``.

    ``method`` and ``result`` are in lower case. ``properties`` are ``("smtp.mailfrom", "example.org")``, names in
    lower case, in their order. ``comment`` is only written.
    """

    method: str
    result: str
    properties: tuple[tuple[str, str], ...] = ()
    reason: str = ""
    comment: str = ""

    @property
    def known(self) -> Result | None:
        """The result as a value, or None if RFC 8601 §2.7 does not define it (§2.7.7: then it is ignored)."""
        try:
            return Result(self.result)
        except ValueError:
            return None

    def get(self, name: str, default: str = "") -> str:
        """The first property of this name (``smtp.mailfrom``)."""
        return next((value for key, value in self.properties if key == name), default)


@dataclass(frozen=True, slots=True)
class AuthenticationResults:
    """One field. ``authserv_id`` is as it was written; ``results`` is empty for ``none``."""

    authserv_id: str
    results: tuple[MethodResult, ...] = ()
    version: int = 1


class _Malformed(Exception):
    """The text does not follow the grammar."""


# -- parsing ------------------------------------------------------------------------------------------------------


def parse(value: bytes | str) -> AuthenticationResults | None:
    """The field with this value (folded or not), or None if it is malformed, of another version, or too long."""
    text = value if isinstance(value, str) else value.decode("utf-8", "replace")
    if len(text) > AUTHENTICATION_RESULTS_OCTETS:
        return None
    try:
        return _Reader(text).field()
    except _Malformed:
        return None


def believed(headers: Headers, authserv_id: str) -> dict[str, list[MethodResult]]:
    """Results of the topmost field with this ``authserv_id``, by method; empty if there is none, or it is malformed.

    Only for callers that are configured to trust it: anyone can write such a field. A lower field never replaces a
    malformed one above it.
    """
    for value in headers.raw_all(NAME):
        if not may_be(value, authserv_id):
            continue
        field = parse(value)
        if field is None or field.authserv_id.lower() != authserv_id.lower():
            return {}
        found: dict[str, list[MethodResult]] = {}
        for result in field.results:
            found.setdefault(result.method, []).append(result)
        return found
    return {}


class _Reader:
    """Recursive descent over one field. It reads each character a bounded number of times."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0

    def field(self) -> AuthenticationResults:
        self._space()
        identity = self._value()
        version = 1
        if self._space() and (number := self._take(_NUMBER)):
            version = int(number)
            self._space()
        if version != 1:  # RFC 8601 §2.6: unknown versions are ignored.
            raise _Malformed
        results: list[MethodResult] = []
        while self._at < len(self._text):
            if len(results) == AUTHENTICATION_RESULTS:
                raise _Malformed
            self._mark(";")
            self._space()
            result = self._result(first=not results)
            if result is None:
                break
            results.append(result)
        else:
            if not results:
                raise _Malformed
        return AuthenticationResults(identity, tuple(results), version)

    def _result(self, *, first: bool) -> MethodResult | None:
        """``resinfo`` after its semicolon; None for ``none``, and for the trailing semicolon that many servers
        write."""
        if self._at == len(self._text) and not first:
            return None
        method = self._keyword()
        self._space()
        if first and method == "none" and self._at == len(self._text):
            return None
        if self._peek("/"):
            self._mark("/")
            self._space()
            if self._take(_NUMBER) is None:
                raise _Malformed
            self._space()
        self._mark("=")
        self._space()
        result = self._keyword()
        reason, properties = "", []
        while self._space() and not self._peek(";") and self._at < len(self._text):
            name = self._keyword()
            self._space()
            if name == "reason" and self._peek("="):
                self._mark("=")
                self._space()
                reason = self._value()
                continue
            self._mark(".")
            self._space()
            name = f"{name}.{self._keyword()}"
            self._space()
            self._mark("=")
            self._space()
            properties.append((name, self._value()))
        return MethodResult(method, result, tuple(properties), reason)

    def _space(self) -> bool:
        """Skips white space and comments (CFWS). True if there was any, or at the end of the field."""
        start = self._at
        while True:
            if (found := _FOLD.match(self._text, self._at)) is not None:
                self._at = found.end()
            elif self._peek("("):
                self._at = _end_of_comment(self._text, self._at)
            else:
                return self._at > start or self._at == len(self._text) or self._peek(";")

    def _keyword(self) -> str:
        return (self._take(_KEYWORD) or self._fail()).lower()

    def _value(self) -> str:
        """A token or a quoted string, or several adjacent ones (``"a b"@example.org``)."""
        pieces: list[str] = []
        while True:
            if (bare := self._take(_BARE)) is not None:
                pieces.append(bare)
            elif (quoted := _QUOTED.match(self._text, self._at)) is not None:
                self._at = quoted.end()
                pieces.append(re.sub(r"\\(.)", r"\1", re.sub(r"\r?\n", "", quoted[1])))
            elif pieces:
                return "".join(pieces)
            else:
                self._fail()

    def _take(self, pattern: re.Pattern[str]) -> str | None:
        found = pattern.match(self._text, self._at)
        if found is None:
            return None
        self._at = found.end()
        return found[0]

    def _peek(self, mark: str) -> bool:
        return self._text.startswith(mark, self._at)

    def _mark(self, mark: str) -> None:
        if not self._peek(mark):
            raise _Malformed
        self._at += 1

    def _fail(self) -> NoReturn:
        raise _Malformed


def _end_of_comment(text: str, start: int) -> int:
    """The end of the comment that begins at ``start``; comments nest to any depth (RFC 5322 §3.2.2)."""
    depth = 0
    for found in _IN_COMMENT.finditer(text, start):
        if found[0] == "(":
            depth += 1
        elif found[0] == ")":
            depth -= 1
            if not depth:
                return found.end()
    raise _Malformed


# -- recognition --------------------------------------------------------------------------------------------------


def may_be(value: bytes, authserv_id: str) -> bool:
    """Whether some reader might attribute a field with this value to ``authserv_id``.

    True if the id is anywhere before the first result (the first ``=``), in any case: plain, after comments in any
    reading, quoted, encoded, as U-labels, with a trailing dot, between any other characters, or with white space,
    comments or backslashes in it.
    """
    wanted = _spellings(authserv_id.lower().rstrip("."))
    raw = value.decode("utf-8", "replace")
    decoded = decode_words(raw)
    for text in (raw,) if raw == decoded else (raw, decoded):
        for reading in _readings(text):
            head = _INSTANCE.sub("", reading).lstrip(" \t\r\n=;,:.<>").partition("=")[0]
            tokens = chain(_SPECIALS.split(head), _SPECIALS.split(_DROPPED.sub("", head)))
            if any(_same(token, wanted) for token in tokens):
                return True
    return False


def _spellings(name: str) -> frozenset[str]:
    """A name as it is, and in U-labels."""
    if "xn--" not in name:
        return frozenset({name})
    try:
        return frozenset({name, _mapped(name.encode("ascii").decode("idna"))})
    except UnicodeError:
        return frozenset({name})


def _same(token: str, wanted: frozenset[str]) -> bool:
    if token.isascii():
        return token.strip(".-").lower() in wanted
    token = token.translate(_IGNORED)
    # A long text is not a name, and normalising it may take quadratic time.
    return len(token) <= _MOST and _mapped(token).strip(".-") in wanted


def _mapped(text: str) -> str:
    """The form that nameprep (RFC 3491) compares. IDNA itself takes ten times as long, and senders choose how often."""
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", text.translate(_IGNORED)).casefold())


def _readings(text: str) -> Iterator[str]:
    """The text with its comments, without them, and without what lenient readers treat as comments."""
    yield text
    if "(" in text:
        yield _without_comments(text)
        yield _without_pairs(text)


def _without_comments(text: str) -> str:
    """Removes comments. Quoted strings may contain parentheses, and an unterminated comment extends to the end."""
    kept: list[str] = []
    last = depth = 0
    quoted = False
    for found in _OUTSIDE.finditer(text):
        mark = found[0]
        if mark == '"' and not depth:
            quoted = not quoted
        elif mark == "(" and not quoted:
            if not depth:
                kept.append(text[last : found.start()])
            depth += 1
        elif mark == ")" and depth:
            depth -= 1
            last = found.end()
    if not depth:
        kept.append(text[last:])
    return " ".join(kept)


def _without_pairs(text: str) -> str:
    """``text`` without pairs of parentheses and their content; unpaired ones stay, as do quotes."""
    opened: list[int] = []
    outermost: list[tuple[int, int]] = []
    for found in re.finditer(r"[()]", text):
        if found[0] == "(":
            opened.append(found.start())
        elif opened:
            start = opened.pop()
            while outermost and outermost[-1][0] > start:
                outermost.pop()
            outermost.append((start, found.end()))
    kept: list[str] = []
    last = 0
    for start, end in outermost:
        kept.append(text[last:start])
        last = end
    return " ".join([*kept, text[last:]])


# -- rendering ------------------------------------------------------------------------------------------------------


def render(authserv_id: str, results: Sequence[MethodResult]) -> str:
    """The field's value, on one line; ``none`` if there are no results (§2.2).

    Texts may contain anything: they are rendered as printable ASCII of bounded length, quoted where necessary.
    """
    written = [_written(result) for result in results] or ["none"]
    return "; ".join([_plain_or_quoted(authserv_id, _TOKEN), *written])


def _written(result: MethodResult) -> str:
    words = [f"{result.method}={result.result}"]
    if result.comment:
        words.append(f"({clean(result.comment, _MOST).translate(_NO_COMMENT)})")
    if result.reason:
        words.append(f"reason={_plain_or_quoted(result.reason, _TOKEN)}")
    words += [f"{name}={_plain_or_quoted(value, _PLAIN)}" for name, value in result.properties]
    return " ".join(words)


_NO_COMMENT: Final = str.maketrans("()\\", "[]/")


def _plain_or_quoted(text: str, plain: re.Pattern[str]) -> str:
    text = clean(text, _MOST)
    if plain.match(text):
        return text
    escaped = re.sub(r'(["\\])', r"\\\1", text)
    return f'"{escaped}"'


def clean(text: str, most: int) -> str:
    """``text`` as printable ASCII of at most ``most`` characters, without line breaks."""
    return _UNPRINTABLE.sub("?", text[: most * 2])[:most]
