"""Values of the variables in spam rules for one message, computed as far as conditions use them."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import is_dataclass
from datetime import UTC, datetime
from enum import Enum
from functools import lru_cache
from typing import Any, Final

from inbox.authentication.dmarc.public_suffix import top_level_domains
from inbox.mail.addresslist import parse_addresses
from inbox.mail.archives import MAGIC_OCTETS, Contents, archive_format, read_archive
from inbox.mail.dates import parse_date
from inbox.mail.links import Link
from inbox.mail.message import Message, PartInfo
from inbox.plugin import Transaction
from inbox.plugin.expressions import Expression, members_of
from inbox_plugins._spam_rules_language import fact_name, language, looked_up

#: Octets of text, number of links and of attachments that rules see.
TEXT_OCTETS: Final = 256 * 1024
LINKS: Final = 500
ATTACHMENTS: Final = 1000
#: Octets of all archives of one message that are decoded to list their files.
ARCHIVE_OCTETS: Final = 32 * 1024 * 1024
#: Depth of a fact's fields that rules see, and items of each of its lists.
_FACT_DEPTH: Final = 4
_FACT_ITEMS: Final = 1000
_INT64: Final = 2**63
#: Variables that need the body: computed only if an evaluation cannot do without them.
_DEEP: Final = frozenset(
    {"text", "html", "urls", "links", "attachments", "parts", "examined_completely", "read_completely"}
)
#: ``a.size`` and ``a["size"]``, but not the function ``size()``.
_ASKS_FOR_SIZE = re.compile(r"\bsize\b(?!\s*\()")
_ASKS_FOR_CONTENTS = re.compile(r"\b(?:archive|files|encrypted|listed_completely)\b")


class Wanted:
    """The names that a set of rules refers to, collected once."""

    def __init__(self, conditions: Collection[Expression]) -> None:
        self.names = frozenset(name for one in conditions for name in one.names)
        #: Whether the outcome of some rule may depend on the body.
        self.deep = bool(self.names & _DEEP)
        #: The names that are looked up in ``facts`` (null if no plugin gave the fact) and in ``header``.
        self.facts = looked_up("facts", conditions)
        self.header = looked_up("header", conditions)
        #: Whether a rule uses the size of a part, which has to be decoded for that; or the files in archives.
        self.sizes = _asked(conditions, ("attachments", "parts"), _ASKS_FOR_SIZE)
        self.contents = _asked(conditions, ("attachments",), _ASKS_FOR_CONTENTS)


def _asked(conditions: Iterable[Expression], variables: Iterable[str], pattern: re.Pattern[str]) -> bool:
    return any(not one.names.isdisjoint(variables) and pattern.search(one.source) for one in conditions)


class Values:
    """The variables of one message, computed as far as conditions use them."""

    def __init__(self, tx: Transaction, message: Message, wanted: Wanted, now: float) -> None:
        self._tx, self._message, self._wanted, self._now = tx, message, wanted, now
        self._known: dict[str, object] = {}
        self._links: tuple[Link, ...] | None = None
        self.scope = language().scope(self._known)
        self.add(name for name in wanted.names if name not in _DEEP and name != "rules")

    def add(self, names: Iterable[str]) -> bool:
        """Computes these variables; False if all of them were known."""
        new = [name for name in names if name not in self._known and name != "rules"]
        for name in new:
            self._known[name] = _FINDERS[name](self)
        if new:
            self.scope = language().scope(self._known)
        return bool(new)

    def judged(self, results: Mapping[str, bool]) -> None:
        """Lets conditions see the results of other rules."""
        self._known["rules"] = dict(results)
        self.scope = language().scope(self._known)

    def missing_fact(self, condition: Expression) -> str | None:
        """The reason why a condition has no value: the first fact that it reads and that no plugin gave."""
        facts = self._known.get("facts")
        for name in sorted(looked_up("facts", [condition])):
            if isinstance(facts, dict) and facts.get(name) is None:
                return f"no plugin gave facts.{name} for this message, which came in over {self._tx.session.door}"
        return None

    def _header(self) -> dict[str, str]:
        headers = self._message.headers
        return {name: well_formed(headers.get(name) or "") for name in self._wanted.header}

    def _headers(self) -> dict[str, list[str]]:
        headers = self._message.headers
        found: dict[str, list[str]] = {}
        for name in headers.names():
            if (key := well_formed(name.lower())) not in found:
                found[key] = [well_formed(value) for value in headers.get_all(name)]
        return found

    def _listed(self, name: str) -> list[str]:
        return [
            well_formed(f"{one.mailbox.decode('utf-8', 'replace')}@{one.host.decode('utf-8', 'replace')}".lower())
            for value in self._message.headers.raw_all(name)
            for one in parse_addresses(value)
            if one.mailbox is not None and one.host is not None
        ]

    def _date(self) -> datetime:
        seconds = parse_date(self._message.headers.get("date") or "")
        try:
            return _time(seconds or 0.0)
        except (ValueError, OverflowError):  # in the year 0 or 10000, by the sender's time zone
            return _time(0.0)

    def _found_links(self) -> tuple[Link, ...]:
        if self._links is None:
            self._links = self._message.links(LINKS, top_level_domains())
        return self._links

    def _shown_links(self) -> list[dict[str, object]]:
        return [
            {name: well_formed(value) if isinstance(value, str) else value for name, value in _fields(link).items()}
            for link in self._found_links()
        ]

    def _urls(self) -> list[str]:
        return list(dict.fromkeys(well_formed(link.url) for link in self._found_links()))

    def _parts(self) -> list[dict[str, object]]:
        return [self._part(part) for part in self._message.parts[:ATTACHMENTS]]

    def _attachments(self) -> list[dict[str, object]]:
        contents, left = Contents(), ARCHIVE_OCTETS
        found: list[dict[str, object]] = []
        for part in self._message.attachments[:ATTACHMENTS]:
            shown = self._part(part)
            if self._wanted.contents:
                left -= _add_contents(part, shown, contents, left)
            found.append(shown)
        return found

    def _part(self, part: PartInfo) -> dict[str, object]:
        shown: dict[str, object] = {
            "name": well_formed(part.file_name),
            "names": [well_formed(name) for name in part.file_names],
            "extension": well_formed(part.extension),
            "extensions": [well_formed(extension) for extension in part.extensions],
            "reordered": part.is_reordered,
            "content_type": well_formed(part.content_type),
            "disposition": well_formed(part.disposition),
            "charset": well_formed(part.charset),
            "language": well_formed(next(iter(part.languages), "")),
        }
        if self._wanted.sizes:
            shown["size"] = part.decoded_size
        return shown

    def _all_facts(self) -> dict[str, object]:
        known: dict[str, object] = dict.fromkeys(self._wanted.facts)
        for facts in (self._tx.session.facts, self._tx.facts):
            known.update((fact_name(type(fact)), plain(fact)) for fact in facts.visible())
        return known


_FINDERS: Final[Mapping[str, Callable[[Values], object]]] = {
    "subject": lambda of: well_formed(of._message.subject),
    "from": lambda of: well_formed(of._message.from_address),
    "sender": lambda of: "" if of._tx.sender is None else well_formed(str(of._tx.sender)),
    "recipients": lambda of: [well_formed(str(one.address)) for one in of._tx.recipients],
    "to": lambda of: of._listed("to"),
    "cc": lambda of: of._listed("cc"),
    "header": lambda of: of._header(),
    "headers": lambda of: of._headers(),
    "size": lambda of: of._message.size,
    "text": lambda of: well_formed(of._message.text(TEXT_OCTETS)),
    "html": lambda of: well_formed(of._message.html(TEXT_OCTETS)),
    "urls": lambda of: of._urls(),
    "links": lambda of: of._shown_links(),
    "attachments": lambda of: of._attachments(),
    "parts": lambda of: of._parts(),
    "examined_completely": lambda of: of._message.examined_completely,
    "read_completely": lambda of: of._message.read_completely(TEXT_OCTETS) and len(of._found_links()) < LINKS,
    "date": lambda of: of._date(),
    "now": lambda of: _time(of._now),
    "peer": lambda of: str(of._tx.session.peer),
    "helo": lambda of: well_formed(of._tx.session.helo or ""),
    "tls": lambda of: of._tx.session.tls is not None,
    "identity": lambda of: of._tx.session.identity.address if of._tx.session.identity else "",
    "tenant": lambda of: of._tx.tenant_name,
    "door": lambda of: of._tx.session.door.value,
    "facts": lambda of: of._all_facts(),
}


def _add_contents(part: PartInfo, shown: dict[str, object], contents: Contents, left: int) -> int:
    """Adds the contents of an attachment that is an archive, and returns the number of decoded octets."""
    kind = archive_format(part.decoded(MAGIC_OCTETS))
    before = len(contents.names)
    contents.complete, contents.encrypted = True, False
    octets = 0
    if kind:
        data = part.decoded(max(left, 0))
        octets = len(data)
        read_archive(data, contents)
        contents.complete &= octets < left
    shown |= {
        "archive": kind,
        "files": [well_formed(name) for name in contents.names[before:]],
        "encrypted": contents.encrypted,
        "listed_completely": contents.complete,
    }
    return octets


def _time(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


@lru_cache(maxsize=256)
def _members(kind: type) -> tuple[str, ...]:
    return tuple(name for name, _ in members_of(kind))


def _fields(value: Any) -> dict[str, Any]:
    kind: type = type(value)
    return {name: getattr(value, name) for name in _members(kind)}


def well_formed(text: str) -> str:
    """The text without lone surrogates: strings in CEL are UTF-8."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def plain(value: object, depth: int = _FACT_DEPTH) -> object:
    """A fact as maps, lists, strings and numbers."""
    if value is None or isinstance(value, bool | float | bytes):
        return value
    if isinstance(value, Enum):
        return plain(value.value, depth)
    if isinstance(value, int):
        return value if -_INT64 <= value < _INT64 else float(value)
    if isinstance(value, str):
        return well_formed(value)
    if depth > 0:
        inside = _inside(value)
        if inside is not None:
            return {name: plain(one, depth - 1) for name, one in inside}
        if isinstance(value, list | tuple | set | frozenset):
            return [plain(one, depth - 1) for one in list(value)[:_FACT_ITEMS]]
    return well_formed(str(value)[:200])


def _inside(value: Any) -> Iterator[tuple[str, object]] | None:
    if is_dataclass(value) and not isinstance(value, type):
        return ((name, one) for name, one in _fields(value).items())
    if isinstance(value, Mapping):
        return ((well_formed(str(key)), one) for key, one in list(value.items())[:_FACT_ITEMS])
    return None
