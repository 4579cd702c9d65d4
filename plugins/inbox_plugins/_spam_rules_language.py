"""Language of spam rules: the variables, functions and fields that conditions may use, and their compilation."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from functools import lru_cache
from ipaddress import IPv4Network, IPv6Network, ip_address, ip_network
from typing import Final, NamedTuple

from inbox.authentication.dmarc.public_suffix import shipped
from inbox.mail.links import KINDS
from inbox.mail.lookalikes import fold, looks_like
from inbox.mail.weburl import parse_host
from inbox.plugin import ArcFact, BimiFact, DkimFact, DmarcFact, SpfFact, VirusFact
from inbox.plugin.expressions import FLAG, NUMBER, TEXT, TEXTS, Expression, Language, Method, Shape, shape_of

#: Characters that ``replace`` returns at most, and pieces of ``split``.
_TEXT_CHARACTERS: Final = 256 * 1024
_PIECES: Final = 1000
#: Facts that shipped plugins give; rules may name them whether or not those plugins are installed.
FACTS: Final[tuple[type, ...]] = (ArcFact, BimiFact, DkimFact, DmarcFact, SpfFact, VirusFact)
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")


class Variable(NamedTuple):
    """One variable: its CEL type and its meaning."""

    type: str
    meaning: str


VARIABLES: Final[Mapping[str, Variable]] = {
    "subject": Variable("string", "The first Subject field, decoded; empty if there is none."),
    "from": Variable("string", "The first address in From, in lower case; empty if there is none."),
    "to": Variable("list<string>", "The addresses in To, in lower case."),
    "cc": Variable("list<string>", "The addresses in Cc, in lower case."),
    "date": Variable("timestamp", "The time in the Date field; 1970-01-01T00:00:00Z if none can be read."),
    "header": Variable("map<string,string>", "The first field of a name, decoded; empty if there is none. The name "
                       "must be a literal; its case does not matter."),
    "headers": Variable("map<string,list<string>>", "All fields by name, each with all its values, decoded. The case "
                        "of a literal name does not matter."),
    "sender": Variable("string", "The sender of the envelope (MAIL FROM); empty for bounces."),
    "recipients": Variable("list<string>", "The recipients of the envelope, only those of this tenant."),
    "size": Variable("int", "Octets of the message."),
    "text": Variable("string", "The readable text: text parts and the text of HTML parts, at most 256 KiB."),
    "html": Variable("string", "The source of the HTML parts, at most 256 KiB."),
    "urls": Variable("list<string>", "The URLs of links, each once."),
    "links": Variable("list<map<string,dyn>>", "The first 500 links, with their hosts and kinds."),
    "attachments": Variable("list<map<string,dyn>>", "The parts that are declared attachments or have a file name."),
    "parts": Variable("list<map<string,dyn>>", "All parts that contain no other parts: texts and attachments."),
    "examined_completely": Variable("bool", "False if the message has more parts, or nests deeper, than is examined: "
                                    "parts and attachments are then incomplete."),
    "read_completely": Variable("bool", "False if a limit cut `text`, `html` or `links` short."),
    "peer": Variable("string", "The client's IP address."),
    "helo": Variable("string", "The name in HELO or EHLO; empty if the client sent none."),
    "tls": Variable("bool", "Whether the connection was encrypted."),
    "identity": Variable("string", "The address of the user who logged in; empty without login."),
    "tenant": Variable("string", "The tenant's name."),
    "door": Variable("string", "The way in of the message: smtp, submission, lmtp, imap, api or local."),
    "now": Variable("timestamp", "The time of the evaluation."),
    "facts": Variable("map<string,dyn>", "The facts that plugins gave, by name; null if no plugin gave the fact."),
    "rules": Variable("map<string,bool>", "Whether other rules of this plugin apply, by their names."),
}  # fmt: skip


_OF_A_PART: Final[Mapping[str, tuple[Shape, str]]] = {
    "name": (TEXT, "File name, decoded, without folders; empty if there is none."),
    "names": (TEXTS, "All names that some mail program may show: `filename`, `name`, and other readings of them."),
    "extension": (
        TEXT,
        "The part after the last dot of the name, in lower case. Spaces and dots at the end do not count.",
    ),
    "extensions": (TEXTS, "The part after every dot of every name: `pdf` and `exe` of `a.pdf.exe`."),
    "reordered": (FLAG, "A name contains characters that change its display order (U+202E and others)."),
    "content_type": (TEXT, "Such as `application/zip`, in lower case."),
    "disposition": (TEXT, "`attachment`, `inline`, or empty."),
    "charset": (TEXT, "The declared charset, in lower case; empty if there is none."),
    "language": (TEXT, "The first tag of Content-Language, in lower case; empty if there is none."),
    "size": (NUMBER, "Octets, decoded."),
}
_OF_AN_ATTACHMENT: Final[Mapping[str, tuple[Shape, str]]] = {
    **_OF_A_PART,
    "archive": (TEXT, "The format of an archive, recognised by its first octets: `zip` (office documents, too), "
                "`gzip`, `tar`, `rar`, `7z`, `iso`, `cab`, `xz`, `bzip2` …; empty for other files."),
    "files": (TEXTS, "Names in a zip, tar or gzip archive; in a nested archive, after its name and a slash."),
    "encrypted": (FLAG, "A file in a zip archive needs a password."),
    "listed_completely": (FLAG, "`files` is complete. False for archives of unsupported formats and beyond the "
                          "limits; true for files that are not archives."),
}  # fmt: skip
_OF_A_LINK: Final[Mapping[str, tuple[Shape, str]]] = {
    "url": (TEXT, "In the spelling to which browsers normalize it."),
    "scheme": (TEXT, "`http`, `https`, `mailto`, `javascript`, `data` …"),
    "host": (TEXT, "In lower case, with A-labels (`xn--…`), or an IP address; empty for `mailto` and similar schemes."),
    "shown_host": (TEXT, "The same with U-labels, as a reader sees it."),
    "port": (NUMBER, "-1 for the default port of the scheme."),
    "userinfo": (TEXT, "The text before an `@` in front of the host; almost always empty in honest links."),
    "kind": (Shape("string", choices=KINDS),
             "Where the link is: `link` (a, area), `form`, `refresh` (meta), `frame` (iframe, object), `image`, "
             "`style`, `resource`, `base`, `text` (a URL in a text), `domain` (a bare domain name in a text)."),
    "shown": (TEXT, "The text of a link, at most 200 characters."),
    "named_host": (TEXT, "The host that the text of a link names; empty if it names none."),
}  # fmt: skip
#: Fields of the maps in a list, by variable.
FIELDS: Final[Mapping[str, Mapping[str, tuple[Shape, str]]]] = {
    "attachments": _OF_AN_ATTACHMENT, "parts": _OF_A_PART, "links": _OF_A_LINK,
}  # fmt: skip


@lru_cache(maxsize=1024)
def _network(text: str) -> IPv4Network | IPv6Network | None:
    try:
        return ip_network(text, strict=False)
    except ValueError:
        return None


def _within(address: str, network: str) -> bool:
    known = _network(network)
    try:
        return known is not None and ip_address(address) in known
    except ValueError:
        return False


def _domain(address: str) -> str:
    _, at, domain = address.strip().strip("<>").rpartition("@")
    return (parse_host(domain) or domain.lower()) if at else ""


def _org_domain(name: str) -> str:
    domain = _domain(name) if "@" in name else parse_host(name.strip()) or name.strip().lower()
    return domain if not domain or _is_address(domain) else shipped().organizational_domain(domain)


def _is_address(host: str) -> bool:
    try:
        return bool(ip_address(host.strip("[]")))
    except ValueError:
        return False


def _split(text: str, separator: str) -> list[str]:
    return text.split(separator, _PIECES - 1) if separator else list(text[:_PIECES])


def _replace(text: str, old: str, new: str) -> str:
    if not old:
        return text
    if len(text) + text.count(old) * (len(new) - len(old)) > max(len(text), _TEXT_CHARACTERS):
        raise ValueError(f"the result of replace would have more than {_TEXT_CHARACTERS} characters")
    return text.replace(old, new)


class Function(NamedTuple):
    """One function beyond those of CEL: its signature and the meaning of its result."""

    method: Method
    meaning: str


_S: Final = "string"
FUNCTIONS: Final = (
    Function(Method("domain", (_S,), _S, _domain, "TEXT.domain()"),
             "The domain of an address, in lower case with A-labels; empty if there is no `@`."),
    Function(Method("org_domain", (_S,), _S, _org_domain, "TEXT.org_domain()"),
             "The organizational domain of a domain or an address by the public suffix list: `example.co.uk` for "
             "`a.b.example.co.uk`. An IP address stays as it is."),
    Function(Method("within", (_S, _S), "bool", _within, 'TEXT.within("NETWORK")'),
             "Whether an IP address is in a network; false if one of them is invalid."),
    Function(Method("lower", (_S,), _S, str.lower, "TEXT.lower()"), "In lower case."),
    Function(Method("upper", (_S,), _S, str.upper, "TEXT.upper()"), "In upper case."),
    Function(Method("trim", (_S,), _S, str.strip, "TEXT.trim()"), "Without white space at both ends."),
    Function(Method("split", (_S, _S), "list<string>", _split, 'TEXT.split("SEPARATOR")'),
             "The pieces between separators, at most 1,000; with an empty separator, the characters."),
    Function(Method("replace", (_S, _S, _S), _S, _replace, 'TEXT.replace("OLD", "NEW")'),
             "With every OLD replaced by NEW; the result has at most 256 Ki characters."),
    Function(Method("fold", (_S,), _S, fold, "TEXT.fold()", 8),
             "For comparison: without case, accents and invisible characters; full-width, mathematical and circled "
             "letters become ordinary ones, and characters of other scripts become the ASCII letter or digit that "
             "they look like."),
    Function(Method("looks_like", (_S, _S), "bool", looks_like, 'TEXT.looks_like("NAME")', 10),
             "Whether a text contains something that looks like NAME: both are folded, and 0 counts as o; 1, | and i "
             "as l; 5 as s; `rn` as m; `vv` as w."),
)  # fmt: skip


def fact_name(kind: type) -> str:
    """The name of a fact in rules: ``spf`` for ``SpfFact``, ``foo_bar`` for ``FooBarFact``."""
    return _CAMEL.sub("_", kind.__name__.removesuffix("Fact")).lower()


@lru_cache(maxsize=1)
def language() -> Language:
    """The language of conditions."""
    return Language(
        {name: variable.type for name, variable in VARIABLES.items()},
        [function.method for function in FUNCTIONS],
        {
            name: Shape(element=Shape(fields={key: one[0] for key, one in found.items()}))
            for name, found in FIELDS.items()
        },
        ["headers"],
    )


def _record(fields: Mapping[str, tuple[Shape, str]]) -> Shape:
    return Shape(fields={name: shape for name, (shape, _) in fields.items()})


@lru_cache(maxsize=64)
def _facts(kinds: tuple[type, ...] | None) -> Shape:
    """The shape of ``facts``; without ``kinds``, unknown facts are allowed."""
    known = {fact_name(kind): shape_of(kind) for kind in (*FACTS, *(kinds or ()))}
    return Shape(fields=known, what="fact", is_open=kinds is None)


@lru_cache(maxsize=4096)
def condition(source: str, kinds: tuple[type, ...] | None = None) -> Expression:
    """The compiled condition, cached: policies of many tenants contain the same ones.

    Args:
        kinds: the facts that installed plugins give; None if they are unknown.

    Raises:
        ExpressionError: it is invalid.
    """
    return language().compile(source, {"facts": _facts(kinds)})


def looked_up(variable: str, conditions: Iterable[Expression]) -> frozenset[str]:
    """The names that conditions look up in a variable."""
    return frozenset(name for one in conditions for owner, name in one.members if owner == variable)
