"""The Author Domain: the only domain in From (RFC 9989 §5.3.1).

DMARC must judge the domain that a reader sees. Mail clients read malformed fields in different ways, so
:func:`author_of` collects every domain that some client may show as the author's. If there is exactly one, it is the
Author Domain, however malformed the field is; if there are several, DMARC judges none of them, and none can pass.

A display name never counts: where one angle address ends the field, that address is the author's, regardless of the
name before it (``form@visitor.test <a@shop.test>``, which web forms and mailing lists send). A comma, a second angle
bracket, or an unterminated quoted string or comment makes it unclear which part is the name. Then each part counts:
``"ceo@bank.test <a@evil.test>`` names two domains, since some clients show the first one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from inbox.base.limits import FIELD_OCTETS
from inbox.mail.address import AddressError, canonical_domain
from inbox.mail.addresslist import MISSING_DOMAIN, SYNTAX_ERROR, parse_addresses
from inbox.mail.asides import QUOTED_PAIR, end_of_aside, with_closed_asides
from inbox.mail.encoded import decode_value

#: Spellings of one domain that are tried; a field with more is not read further.
_SPELLINGS: Final = 20
_DOMAIN_CHARACTERS: Final = 255
_CONTROLS: Final = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")
_SPACE: Final = rb"[ \t\r\n]"
#: RFC 2047 §2; of the characters that a phrase (§5) must not contain, only "@" is accepted, because real senders use
#: it.
_WORD: Final = rb'=\?[^?\s<>()",;:]{1,64}\?[bqBQ]\?[^?\s<>()",;:]*+\?='
_ENCODED_WORD: Final = re.compile(_WORD)
#: The same with characters that broken senders leave unencoded: clients differ in whether they decode such words.
_BROKEN_WORD: Final = re.compile(rb'=\?[^?\s<>()",;:]{1,64}\?[bqBQ]\?[^?"<>]*+\?=')
#: An encoded-word where an address begins, which RFC 2047 §5 (3) forbids: some readers decode it, and show an address.
_ENCODED_ADDRESS: Final = re.compile(rb"<[ \t\r\n]*+=\?")
_NAME_BEGINS: Final = re.compile(rb'["(]|%b(?>(?:%b++%b)*)' % (_WORD, _SPACE, _WORD))
#: Marks in the flattened field, which has no other control characters: a name with an "@", another name.
_NAME_WITH_AT, _NAME = b"\x01", b"\x02"
#: After a name may follow the rest of the display name up to an angle bracket, or the "@" of a quoted local part.
_OF_AN_ADDRESS: Final = re.compile(rb"[^,;:<>@]*+<|[ \t\r\n]*+@")
_OPENING: Final = re.compile(rb"<(?>(?:%b*+<)+)" % _SPACE)
_CLOSING: Final = re.compile(rb">(?>(?:%b*+>)+)" % _SPACE)
#: RFC 5322 §4.4, obs-route: it is ignored.
_ROUTE: Final = re.compile(rb"<%b*+(?>(?:@[^<>@:,]*+[, \t\r\n]*+)+):" % _SPACE)
#: A display name, if any, and one angle address.
_ONE_ADDRESS: Final = re.compile(rb"[^<>,;:]*+<[^<>,;:]*+>%b*+" % _SPACE)
_SEGMENT: Final = re.compile(rb"([^<>,;:]*+)([<>,;:]|\Z)")
_DOMAIN: Final = re.compile(rb'\[[^\]]*+\]|[^\s<>()@,;:\\"\[\]\x01\x02]++')
_LABELS: Final = re.compile(rb"[-.\w\x80-\xff]*+")
_GLUE: Final = re.compile(rb"[ \t\r\n\x01\x02]++")
#: Without these characters a name can only be read as a name.
_SEPARATES: Final = re.compile(r"[<>,;]")
_WRITTEN: Final = re.compile(r"@\s*+([-.\w]+)")


@dataclass(frozen=True, slots=True)
class Author:
    """``domain`` is an A-label domain in lower case; empty if there is not exactly one; ``problem`` is the reason."""

    domain: str = ""
    problem: str = ""


def author_of(fields: Sequence[bytes]) -> Author:
    """The Author Domain of a message with these From fields (raw values). Never fails; the cost is linear in their
    size.

    RFC 5322 §3.6 requires one field. Several addresses, and groups (RFC 6854), are allowed as long as all of them
    have one domain.
    """
    if len(fields) != 1:
        return Author(problem="there are several From fields" if fields else "there is no From field")
    value = fields[0]
    if len(value) > FIELD_OCTETS:
        return Author(problem=f"From has more than {FIELD_OCTETS} octets")
    if _CONTROLS.search(value):
        return Author(problem="From has control characters")
    spellings: set[str] = set()
    domains: set[str] = set()
    try:
        for text in _domains(value):
            if text in spellings:
                continue
            spellings.add(text)
            domains.add(a_labels(text))
            if len(domains) > 1 or len(spellings) > _SPELLINGS:
                return Author(problem="From names several domains")
    except AddressError:
        return Author(problem="From names a malformed domain")
    if not domains:
        return Author(problem="From names no domain")
    domain = domains.pop()
    if domain[0] == "[":
        return Author(problem="From names an address literal instead of a domain")
    return Author(domain)


class MessageAuthor:
    """The author of one message, computed once for all tenants: 64 KB of comments take 50 ms."""

    def __init__(self) -> None:
        self._author: Author | None = None

    def of(self, fields: Sequence[bytes]) -> Author:
        """Like :func:`author_of`; ``fields`` must always be the same."""
        if self._author is None:
            self._author = author_of(fields)
        return self._author


def a_labels(text: str) -> str:
    """A domain as lower-case A-labels, by IDNA 2008 (RFC 5891; RFC 9989 §5.3.1 points to RFC 5890 §2.3).

    IDNA 2003 would map ``straße`` to ``strasse``, so DMARC would judge another domain than the displayed one.

    Raises:
        AddressError: ``text`` is not a domain.
    """
    if len(text) > _DOMAIN_CHARACTERS:
        raise AddressError(f"a domain of more than {_DOMAIN_CHARACTERS} characters")
    if not text.isascii():
        import idna

        try:
            labels = idna.uts46_remap(text, std3_rules=False).split(".")
            text = ".".join(each if each.isascii() else idna.alabel(each).decode("ascii") for each in labels)
        except UnicodeError as error:
            raise AddressError("a domain with malformed labels") from error
    return canonical_domain(text.removesuffix("."))


class _Name(NamedTuple):
    """A quoted string or encoded-words: the text, and its form in readers that decode encoded-words before they look
    for addresses, or that do not know quoted pairs; empty if both are equal."""

    text: str
    careless: str

    @classmethod
    def of(cls, raw: bytes) -> _Name:
        if raw[:1] == b"=":
            text = decode_value(raw)
            return cls(text, text)
        text = decode_value(QUOTED_PAIR.sub(rb"\1", raw[1:-1]))
        if b'\\"' in raw:
            return cls(text, decode_value(raw.replace(b"\\", b"")))
        return cls(text, text if b"=?" in raw else "")


def _domains(value: bytes) -> Iterator[str]:
    """The domains of all addresses, and all others that a reader could take for the author's."""
    if _ENCODED_ADDRESS.search(value):
        raise AddressError("an encoded-word in the place of an address")
    if any(address.host is SYNTAX_ERROR for address in parse_addresses(_ENCODED_WORD.sub(b"=", value))):
        raise AddressError("an address that is cut off")
    for found in _BROKEN_WORD.finditer(value):
        yield from _within_name(decode_value(found[0]))
    names: list[_Name] = []
    closed = with_closed_asides(value)
    text = _ROUTE.sub(b"<", _CLOSING.sub(b">", _OPENING.sub(b"<", _flat(closed, names))))
    yield from _in_names(text, names)
    # Of ``a@evil.test (" ) <b@bank.test> ( ")`` a reader that looks for quoted strings first sees no angle address.
    ambiguous = closed != value or (b'"' in value and b"(" in value) or _ONE_ADDRESS.fullmatch(text) is None
    before = b""
    for segment in _SEGMENT.finditer(text):
        pieces = segment[1].split(b"@")[1:]
        if before == b"<" and len(pieces) > 1:
            raise AddressError("an address with several domains")
        if segment[2] != b"<":
            for piece in pieces:
                yield from _in_address(piece)
        elif ambiguous:
            for piece in pieces:
                yield from _in_phrase(piece)
        before = segment[2]


def _flat(value: bytes, names: list[_Name]) -> bytes:
    """``value`` without comments, and with a mark for each quoted string and run of encoded-words. ``names`` gets the
    text of those that hold an "@", in their order."""
    pieces: list[bytes] = []
    start = 0
    while (found := _NAME_BEGINS.search(value, start)) is not None:
        end = found.end() if found[0][:1] == b"=" else end_of_aside(value, found.start())
        pieces.append(value[start : found.start()])
        if end is None:  # No address follows it, otherwise the caller would have removed it.
            return b"".join(pieces)
        start = end
        if found[0] == b"(":
            pieces.append(b" ")
            continue
        name = _Name.of(value[found.start() : end])
        pieces.append(_NAME_WITH_AT if "@" in name.text else _NAME)
        if "@" in name.text:
            names.append(name)
    pieces.append(value[start:])
    return b"".join(pieces)


def _in_names(text: bytes, names: list[_Name]) -> Iterator[str]:
    """Domains in quoted strings and encoded-words that some readers show as an address."""
    if len(names) > _SPELLINGS:
        raise AddressError("too many names with addresses in them")
    for mark, name in zip(re.finditer(_NAME_WITH_AT, text), names, strict=True):
        if _OF_AN_ADDRESS.match(text, mark.end()) is None:
            yield from _dotted(
                name.text
            )  # ``"ceo@bank.test", <a@evil.test>``: the name is not the address that follows.
        else:
            yield from _within_name(name.careless)


def _within_name(name: str) -> Iterator[str]:
    """Domains of addresses that appear in a display name if encoded-words or quoted pairs are decoded too early:
    ``=?utf-8?q?=3Cceo=40bank.test=3E?= <a@evil.test>``."""
    if "@" not in name or not _SEPARATES.search(name):
        return
    for address in parse_addresses(name.encode("utf-8", "replace") + b" <a@own>"):
        if address.host not in {None, MISSING_DOMAIN, SYNTAX_ERROR, b"own"}:
            yield from _dotted("@" + (address.host or b"").decode("utf-8", "replace"))


def _dotted(name: str) -> Iterator[str]:
    for found in _WRITTEN.finditer(name):
        if "." in found[1].strip("."):
            yield found[1]


def _in_phrase(piece: bytes) -> Iterator[str]:
    """The domain after an "@" in an unquoted display name: some readers show it, with or without the white
    space in it. A single label is not a mail domain."""
    for text in (_tidy(piece), _GLUE.sub(b"", piece)):
        found = _LABELS.match(text)
        assert found is not None  # matches the empty text too
        if b"." in found[0].strip(b"."):
            yield _text(found[0].strip(b"."))
            return


def _in_address(piece: bytes) -> Iterator[str]:
    """The domain after the "@" of an address."""
    text = _tidy(piece)
    if not text:
        return
    if _DOMAIN.fullmatch(text) is None:
        raise AddressError("an address with text behind it")
    yield _text(text)


def _tidy(piece: bytes) -> bytes:
    """Without the white space that may be around a domain and its dots (RFC 5322 §4.4)."""
    return b" ".join(piece.split()).replace(b" .", b".").replace(b". ", b".")


def _text(host: bytes) -> str:
    try:
        return host.decode("utf-8")  # RFC 6532 §3.1
    except UnicodeDecodeError:
        raise AddressError("a domain that is neither ASCII nor UTF-8") from None
