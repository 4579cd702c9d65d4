"""URLs as browsers parse them (https://url.spec.whatwg.org), as far as it determines the target of a link.

All texts for which a browser opens the same URL give an equal :class:`WebUrl`, regardless of tabs, line ends,
backslashes, upper-case letters, percent-encoding in the host, full-width letters, and IPv4 addresses written as one
number. A text that a browser refuses to open gives None.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import AddressValueError, IPv6Address
from typing import Final

import idna

#: Maximum characters of one URL, and of its host. A longer host cannot be looked up (RFC 1035
#: §2.3.4 allows 253 octets, but soft hyphens and percent-encoding make the text longer); punycode takes quadratic time.
URL_CHARACTERS: Final = 4096
_HOST_CHARACTERS: Final = 1024
#: Maximum characters of a label that is not ASCII (RFC 1035 §2.3.4). Browsers accept longer ones, which cannot exist in
#: the DNS.
_LABEL_CHARACTERS: Final = 63
_SHOWN_CHARACTERS: Final = 2048
#: Special schemes and their default ports.
_PORTS: Final = {"http": 80, "https": 443, "ws": 80, "wss": 443, "ftp": 21, "file": None}
_EDGES: Final = "".join(map(chr, range(33)))
_BREAKS = re.compile("[\t\n\r]")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_FORBIDDEN = re.compile(r"[\x00-\x20#%/:<>?@\[\\\]^`{|}\x7f]")
_FORBIDDEN_OPAQUE = re.compile(r"[\x00\t\n\r #/:<>?@\[\\\]^|]")
_PERCENT = re.compile(rb"%([0-9A-Fa-f]{2})")
_SURROGATES = re.compile("[\ud800-\udfff]")
_DIGITS = re.compile(r"[0-9]+\Z")
_PLAIN_HOST = re.compile(r"[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63}){0,20}\Z")
_NUMBER = re.compile(r"(?:0[xX][0-9A-Fa-f]*|[0-9]+)\Z")
#: Percent-encode sets: everything that is not printable ASCII, and these.
_IN_PATH: Final = frozenset(' "#<>?^`{}')
_IN_QUERY: Final = frozenset(" \"#<>'")
_IN_FRAGMENT: Final = frozenset(' "<>`')
_IN_USERINFO: Final = _IN_PATH | frozenset("/:;=@[\\]^|")
_DIGIT: Final = "abcdefghijklmnopqrstuvwxyz0123456789"
_JOINERS: Final = frozenset("\u200c\u200d")
_SINGLE: Final = frozenset({".", "%2e"})
_DOUBLE: Final = frozenset({"..", ".%2e", "%2e.", "%2e%2e"})


@dataclass(frozen=True, slots=True)
class WebUrl:
    """A normalised URL. ``host`` has lower-case A-labels (``xn--…``), or is an IP address; empty if there is
    none. ``userinfo`` is the part before the ``@`` of the authority. ``port`` is None for the scheme's own.
    ``opaque`` means that ``path`` is not hierarchical: ``mailto:``, ``data:``, ``javascript:``."""

    scheme: str
    host: str = ""
    userinfo: str = ""
    port: int | None = None
    path: str = ""
    query: str | None = None
    fragment: str | None = None
    opaque: bool = False

    @property
    def shown_host(self) -> str:
        """The host as a reader may see it: with U-labels."""
        return shown_host(self.host)

    def __str__(self) -> str:
        """The URL as a browser would copy it (WHATWG: URL serializer), at most 2,048 characters of it."""
        text = self.scheme + ":"
        if self.host or self.scheme == "file":
            text += "//" + (self.userinfo + "@" if self.userinfo else "") + self.host
            text += f":{self.port}" if self.port is not None else ""
        text += self.path
        text += f"?{self.query}" if self.query is not None else ""
        text += f"#{self.fragment}" if self.fragment is not None else ""
        return text[:_SHOWN_CHARACTERS]


def parse_url(text: str, base: WebUrl | None = None) -> WebUrl | None:
    """The URL that a browser opens for ``text``; None if it opens none.

    Args:
        base: the base URL of relative references.
    """
    text = _SURROGATES.sub("\ufffd", _BREAKS.sub("", text[:URL_CHARACTERS].strip(_EDGES)))
    found = _SCHEME.match(text)
    if found is None:
        return None if base is None else _relative(text, base)
    scheme, rest = found[1].lower(), text[found.end() :]
    if scheme in _PORTS:
        same = base is not None and base.scheme == scheme
        if scheme != "file" and (not same or (rest[:1] in {"/", "\\"} and rest[1:2] in {"/", "\\"})):
            return _with_authority(scheme, rest.lstrip("/\\"))
        if base is not None and same and scheme != "file":
            return _relative(rest, base)
        return _file(rest)
    if rest.startswith("//"):
        return _with_authority(scheme, rest[2:])
    body, query, fragment = _split(rest)
    opaque = not body.startswith("/")
    path = _encoded(body, frozenset()) if opaque else _path(body, "", special=False)
    return WebUrl(scheme, path=path, query=_query(query, special=False), fragment=_fragment(fragment), opaque=opaque)


def shown_host(host: str) -> str:
    """``host`` with U-labels in place of its A-labels; a label that does not decode stays."""
    if "xn--" not in host:
        return host
    return ".".join(_shown_label(label) for label in host.split("."))


def _shown_label(label: str) -> str:
    if not label.startswith("xn--"):
        return label
    try:
        return label[4:].encode("ascii").decode("punycode")
    except (UnicodeError, ValueError, OverflowError):
        return label


def _relative(text: str, base: WebUrl) -> WebUrl | None:
    special = base.scheme in _PORTS
    if base.opaque:
        return None if text[:1] != "#" else WebUrl(
            base.scheme, path=base.path, query=base.query, fragment=_fragment(text[1:]), opaque=True
        )  # fmt: skip
    slashes = {"/", "\\"} if special else {"/"}
    if text[:1] in slashes and text[1:2] in slashes:
        rest = text[2:]
        return _with_authority(base.scheme, rest.lstrip("/\\") if special else rest)
    body, query, fragment = _split(text)
    if body:
        folder = "" if body[:1] in slashes else base.path[: base.path.rfind("/") + 1]
        path, new_query = _path(body, folder, special=special), _query(query, special=special)
    else:
        path = base.path
        new_query = base.query if query is None else _query(query, special=special)
    return WebUrl(base.scheme, base.host, base.userinfo, base.port, path, new_query, _fragment(fragment))


def _file(rest: str) -> WebUrl:
    body, query, fragment = _split(rest.replace("\\", "/") if "?" not in rest and "#" not in rest else rest)
    host = ""
    if body[:2] in {"//", "\\\\"}:
        name, slash, body = body[2:].replace("\\", "/").partition("/")
        host, body = parse_host(name) or "", slash + body
    return WebUrl("file", "" if host == "localhost" else host, path=_path(body, "", special=True),
                  query=_query(query, special=True), fragment=_fragment(fragment))  # fmt: skip


def _with_authority(scheme: str, rest: str) -> WebUrl | None:
    special = scheme in _PORTS
    end = re.search(r"[/\\?#]" if special else r"[/?#]", rest)
    authority, rest = (rest, "") if end is None else (rest[: end.start()], rest[end.start() :])
    userinfo, at, place = authority.rpartition("@")
    name, port = _name_and_port(place)
    if special:
        host = parse_host(name)
        if not host:
            return None
    else:
        if (not name and (at or port)) or (_FORBIDDEN_OPAQUE.search(name) and not name.startswith("[")):
            return None
        host = (parse_host(name) or "") if name.startswith("[") else _encoded(name, frozenset())
    number = _port(port, scheme)
    if number is False:
        return None
    body, query, fragment = _split(rest)
    path = _path(body, "", special=special) if body or special else ""
    return WebUrl(scheme, host, _userinfo(userinfo), None if number is True else number, path,
                  _query(query, special=special), _fragment(fragment))  # fmt: skip


def _name_and_port(place: str) -> tuple[str, str]:
    if place.startswith("["):
        name, bracket, rest = place.partition("]")
        return name + bracket, rest.removeprefix(":")
    name, _, port = place.partition(":")
    return name, port


def _port(text: str, scheme: str) -> int | bool:
    """The port; True if it is the scheme's own, False if there is no such port."""
    if not text:
        return True
    if not text.isascii() or not _DIGITS.match(text) or len(text.lstrip("0")) > 5:
        return False
    number = int(text)
    if number > 65535:
        return False
    return True if _PORTS.get(scheme) == number else number


def _userinfo(text: str) -> str:
    name, colon, password = text.partition(":")
    name, password = _encoded(name, _IN_USERINFO), _encoded(password, _IN_USERINFO)
    return f"{name}:{password}" if colon and password else name


def _split(rest: str) -> tuple[str, str | None, str | None]:
    rest, mark, fragment = rest.partition("#")
    path, question, query = rest.partition("?")
    return path, query if question else None, fragment if mark else None


def _query(text: str | None, *, special: bool) -> str | None:
    return None if text is None else _encoded(text, _IN_QUERY if special else _IN_QUERY - {"'"})


def _fragment(text: str | None) -> str | None:
    return None if text is None else _encoded(text, _IN_FRAGMENT)


def _path(body: str, folder: str, *, special: bool) -> str:
    """``folder`` and ``body`` joined, without dot segments."""
    text = folder + (body.replace("\\", "/") if special else body)
    kept: list[str] = []
    segments = text.removeprefix("/").split("/")
    for number, segment in enumerate(segments):
        lowered, last = segment.lower(), number == len(segments) - 1
        if lowered in _DOUBLE:
            del kept[-1:]
        if lowered in _DOUBLE or lowered in _SINGLE:
            if last:
                kept.append("")
        else:
            kept.append(_encoded(segment, _IN_PATH))
    return "/" + "/".join(kept)


def _encoded(text: str, unsafe: frozenset[str]) -> str:
    if text.isascii() and text.isprintable() and not any(character in unsafe for character in text):
        return text
    return "".join(
        character if " " <= character <= "~" and character not in unsafe
        else "".join(f"%{octet:02X}" for octet in character.encode())
        for character in text
    )  # fmt: skip


@lru_cache(maxsize=4096)
def parse_host(text: str) -> str | None:
    """The host of a special URL (WHATWG: host parser): lower-case A-labels, or an IP address; None for others."""
    if text.startswith("["):
        try:
            return f"[{IPv6Address(text[1:-1])}]" if text.endswith("]") and "%" not in text else None
        except AddressValueError:
            return None
    if len(text) > _HOST_CHARACTERS:
        return None
    if not _PLAIN_HOST.match(text) or "xn--" in text:
        decoded = _PERCENT.sub(lambda found: bytes((int(found[1], 16),)), text.encode("utf-8", "replace"))
        found = _domain(decoded.decode("utf-8", "replace"))
        if found is None:
            return None
        text = found
    last = text.removesuffix(".").rpartition(".")[2]
    return _ipv4(text) if _DIGITS.match(last) or _NUMBER.match(last) else text


def _domain(text: str) -> str | None:
    """Domain to ASCII (UTS #46, non-transitional, as in browsers)."""
    try:
        labels = [_label(label) for label in _mapped(text).split(".")]
    except (idna.IDNAError, UnicodeError, ValueError, OverflowError):
        return None
    domain = ".".join(labels)
    return None if not domain or _FORBIDDEN.search(domain) else domain


def _mapped(text: str) -> str:
    """``text`` mapped by UTS #46, for example to lower case. Raises IDNAError: a character is not allowed."""
    if text.isascii():
        return text.lower()
    return idna.uts46_remap(text, std3_rules=False, transitional=False)


def _label(label: str) -> str:
    """The A-label of one mapped label. Raises ValueError: UTS #46 does not allow it."""
    if label.isascii():
        if not label.startswith("xn--"):
            return label
        shown = label[4:67].encode("ascii").decode("punycode")
        if (
            len(label) > _LABEL_CHARACTERS
            or not shown
            or shown.isascii()
            or idna.uts46_remap(shown, std3_rules=False, transitional=False) != shown
        ):
            raise ValueError(f"not an A-label: {label[:80]!r}")
        return label
    idna.check_initial_combiner(label)
    if not all(idna.valid_contextj(label, at) for at in range(len(label)) if label[at] in _JOINERS):
        raise ValueError(f"a joiner that joins nothing: {label[:80]!r}")
    return "xn--" + _punycode(label)


def _punycode(label: str) -> str:
    """RFC 3492 §6.3. Raises ValueError: it is longer than a label can be.

    The codec of the standard library takes twenty times as long to reject a long label.
    """
    points = [ord(character) for character in label]
    out = [character for character in label if character.isascii()]
    handled = len(out)
    if out:
        out.append("-")
    n, delta, bias, first = 128, 0, 72, True
    for point in sorted({point for point in points if point >= 128}):
        delta += (point - n) * (handled + 1)
        n = point
        for other in points:
            if other < n:
                delta += 1
            elif other == n:
                out += _digits(delta, bias)
                bias = _adapted(delta, handled + 1, first=first)
                delta, first = 0, False
                handled += 1
                if len(out) > _LABEL_CHARACTERS - 4:
                    raise ValueError(f"longer than a label can be: {label[:80]!r}")
        delta += 1
        n += 1
    return "".join(out)


def _digits(number: int, bias: int) -> Iterator[str]:
    """A generalized variable-length integer (RFC 3492 §3.3)."""
    k = 36
    while True:
        threshold = 1 if k <= bias else 26 if k >= bias + 26 else k - bias
        if number < threshold:
            break
        number, rest = divmod(number - threshold, 36 - threshold)
        yield _DIGIT[threshold + rest]
        k += 36
    yield _DIGIT[number]


def _adapted(delta: int, handled: int, *, first: bool) -> int:
    """The next bias (RFC 3492 §6.1)."""
    delta = delta // 700 if first else delta // 2
    delta += delta // handled
    k = 0
    while delta > 455:
        delta //= 35
        k += 36
    return k + 36 * delta // (delta + 38)


def _ipv4(text: str) -> str | None:
    """An IPv4 address of one to four decimal, octal or hexadecimal numbers (WHATWG: IPv4 parser)."""
    pieces = text.removesuffix(".").split(".")
    if len(pieces) > 4 or not all(_NUMBER.match(piece) for piece in pieces):
        return None
    try:
        numbers = [_number(piece) for piece in pieces]
    except ValueError:
        return None
    *firsts, last = numbers
    if any(number > 255 for number in firsts) or last >= 256 ** (5 - len(numbers)):
        return None
    value = last + sum(number << 8 * (3 - place) for place, number in enumerate(firsts))
    return ".".join(str(value >> shift & 255) for shift in (24, 16, 8, 0))


def _number(piece: str) -> int:
    if piece[:2] in {"0x", "0X"}:
        return int(piece[2:] or "0", 16)
    return int(piece, 8) if piece[:1] == "0" and len(piece) > 1 else int(piece)
