"""What the conditions of spam rules may speak of: the variables, and how their values are found."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Any, Final

from inbox.mail.addresslist import parse_addresses
from inbox.mail.message import Message
from inbox.plugin import Transaction
from inbox.policy.expressions import Expression, Language, Method

#: Octets of text, number of URLs and of attachments that rules see.
TEXT_OCTETS: Final = 256 * 1024
URLS: Final = 500
ATTACHMENTS: Final = 1000
#: Depth to which a fact's fields are shown, and items of one of its lists.
_FACT_DEPTH: Final = 4
_FACT_ITEMS: Final = 1000
_INT64: Final = 2**63

VARIABLES: Final[Mapping[str, str]] = {
    "subject": "string",
    "from": "string",
    "sender": "string",
    "recipients": "list<string>",
    "to": "list<string>",
    "cc": "list<string>",
    "header": "map<string,string>",
    "headers": "map<string,list<string>>",
    "size": "int",
    "text": "string",
    "html": "string",
    "urls": "list<string>",
    "attachments": "list<map<string,dyn>>",
    "peer": "string",
    "helo": "string",
    "tls": "bool",
    "identity": "string",
    "tenant": "string",
    "door": "string",
    "facts": "map<string,dyn>",
}
#: What has to be dug out of the body: only when an evaluation cannot do without it.
_DEEP: Final = frozenset({"text", "html", "urls", "attachments"})
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
#: ``a.size`` and ``a["size"]``, but not the function ``size()``.
_ASKS_FOR_SIZE = re.compile(r"\bsize\b(?!\s*\()")


@lru_cache(maxsize=1024)
def _network(text: str) -> IPv4Network | IPv6Network | None:
    try:
        return ip_network(text, strict=False)
    except ValueError:
        return None


def _within(address: str, network: str) -> bool:
    """False, too, if one of them is none."""
    known = _network(network)
    try:
        return known is not None and ip_address(address) in known
    except ValueError:
        return False


@lru_cache(maxsize=1)
def _language() -> Language:
    return Language(
        VARIABLES,
        [Method("within", ("string", "string"), "bool", _within)],
        {"attachments": frozenset({"name", "extension", "content_type", "size"})},
    )


@lru_cache(maxsize=4096)
def condition(source: str) -> Expression:
    """The compiled condition; many tenants' policies hold the same one. Raises ExpressionError."""
    return _language().compile(source)


class Wanted:
    """What a set of rules refers to, found out once."""

    def __init__(self, conditions: Collection[Expression]) -> None:
        self.names = frozenset(name for one in conditions for name in one.names)
        #: Whether the outcome of some rule may depend on the body.
        self.deep = bool(self.names & _DEEP)
        #: The names that are looked up in ``facts``: null where nobody found it out; and in ``header``.
        self.facts = _looked_up("facts", conditions)
        self.header = _looked_up("header", conditions)
        #: Whether some rule asks for the size of an attachment: it has to be decoded for that.
        self.sizes = any("attachments" in one.names and _ASKS_FOR_SIZE.search(one.source) for one in conditions)


def _looked_up(variable: str, conditions: Iterable[Expression]) -> frozenset[str]:
    return frozenset(name for one in conditions for owner, name in one.members if owner == variable)


class Values:
    """The variables of one message, found out as far as they are asked for."""

    def __init__(self, tx: Transaction, message: Message, wanted: Wanted) -> None:
        self._tx, self._message, self._wanted = tx, message, wanted
        self._known: dict[str, object] = {}
        self.scope = _language().scope(self._known)
        self.add(name for name in wanted.names if name not in _DEEP)

    def add(self, names: Iterable[str]) -> bool:
        """Finds these out; False if all of them were known."""
        new = [name for name in names if name not in self._known]
        for name in new:
            self._known[name] = _FINDERS[name](self)
        if new:
            self.scope = _language().scope(self._known)
        return bool(new)

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

    def _attachments(self) -> list[dict[str, object]]:
        found: list[dict[str, object]] = []
        for part in self._message.attachments[:ATTACHMENTS]:
            shown: dict[str, object] = {
                "name": well_formed(part.file_name),
                "extension": well_formed(part.extension),
                "content_type": well_formed(part.content_type),
            }
            if self._wanted.sizes:
                shown["size"] = part.decoded_size
            found.append(shown)
        return found

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
    "urls": lambda of: [well_formed(url) for url in of._message.urls(URLS)],
    "attachments": lambda of: of._attachments(),
    "peer": lambda of: str(of._tx.session.peer),
    "helo": lambda of: well_formed(of._tx.session.helo or ""),
    "tls": lambda of: of._tx.session.tls is not None,
    "identity": lambda of: of._tx.session.identity.address if of._tx.session.identity else "",
    "tenant": lambda of: of._tx.tenant_name,
    "door": lambda of: of._tx.session.door.value,
    "facts": lambda of: of._all_facts(),
}


def fact_name(kind: type) -> str:
    """What rules call a fact: ``SpfFact`` is ``spf``, ``FooBarFact`` is ``foo_bar``."""
    return _CAMEL.sub("_", kind.__name__.removesuffix("Fact")).lower()


def well_formed(text: str) -> str:
    """Without halves of surrogate pairs: CEL's texts are UTF-8."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def plain(value: object, depth: int = _FACT_DEPTH) -> object:
    """A fact as maps, lists, texts and numbers."""
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
        return ((one.name, getattr(value, one.name)) for one in fields(value))
    if isinstance(value, Mapping):
        return ((well_formed(str(key)), one) for key, one in list(value.items())[:_FACT_ITEMS])
    return None
