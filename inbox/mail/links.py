"""Links of a message: normalised URLs for comparison by rules, and the text that the reader sees."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

from inbox.mail.targets import Target
from inbox.mail.weburl import WebUrl, parse_host, parse_url

#: Schemes of URLs in text that mail programs turn into links.
_URL = re.compile(
    r"""(?<![\w.@/-])(?:(?:https?|ftp):[/\\]{2}|mailto:|www[.\u3002\uff0e\uff61])[^\s<>"'\x00-\x20\x7f]{1,2048}""",
    re.IGNORECASE,
)
_TRAILING: Final = ".,;:!?)]}>'\"*_"
#: A name with dots, optionally a port and a path. The dots are those of IDNA (RFC 3490 §3.1).
_BARE = re.compile(
    r"""(?<![\w.@/\\:%=-])[^\W_][\w\u00ad-]{0,62}(?:[.\u3002\uff0e\uff61][\w\u00ad-]{1,63}){1,8}"""
    r"""(?![\w@-])(?::\d{1,5})?(?:[/?#][^\s<>"'\x00-\x20\x7f]{0,2048})?""",
)
#: Top-level domains that are more often the ends of file names: a name with one of them and without a path is not
#: treated as a domain.
_FILE_ENDS: Final = frozenset("as bz cab cc do gdn in java md mov name ph pl pm ps py rs sc sh so st tf zip".split())  # noqa: SIM905
_DOTS = re.compile("[.\u3002\uff0e\uff61]")
_END_OF_NAME = re.compile("[:/?#]")
#: URLs and bare names of one text that are tried: those that are not links do not count towards the limit of links.
_TRIED: Final = 2000
_HTTP: Final = WebUrl("http")
#: Kinds in the order of :class:`Link`; ``text`` and ``domain`` come from texts.
KINDS: Final = ("link", "form", "refresh", "frame", "image", "style", "resource", "base", "text", "domain")


@dataclass(frozen=True, slots=True)
class Link:
    """One link target of a message.

    ``kind`` is one of KINDS: those of :class:`inbox.mail.targets.Target`, ``text`` for a URL in a text, ``domain`` for
    a bare domain name in a text. ``url`` is normalised as browsers do; ``host`` has lower-case A-labels and
    ``shown_host`` U-labels. ``shown`` is the text that the reader sees, and ``named_host`` the host in this text, in
    the form of ``host``; both are empty for most links.
    """

    kind: str
    url: str
    host: str
    shown_host: str
    scheme: str
    userinfo: str
    port: int
    shown: str = ""
    named_host: str = ""


def links_of(texts: Iterable[tuple[str, list[Target]]], limit: int, top_level: Container[str] = ()) -> tuple[Link, ...]:
    """The first ``limit`` different links of (text, targets of its markup).

    Args:
        top_level: top-level domains that exist; bare domain names below them are links.
    """
    found: dict[tuple[str, str, str], Link] = {}
    for text, targets in texts:
        for link in _of_one(text, targets, top_level):
            found.setdefault((link.kind, link.url, link.shown), link)
            if len(found) >= limit:
                return tuple(found.values())
    return tuple(found.values())


def _of_one(text: str, targets: list[Target], top_level: Container[str]) -> Iterator[Link]:
    base = next((url for one in targets if one.kind == "base" and (url := parse_url(one.value, _HTTP))), None)
    base = base if base is not None and base.host else None
    for target in targets:
        url = _followed(target.value, base)
        if url is not None:
            yield _link(target.kind, url, target.shown, named_host(target.shown, top_level))
    for written in islice(text_urls(text), _TRIED):
        url = parse_url(written if ":" in written[:8] else f"http://{written}")
        if url is not None:
            yield _link("text", url)
    for written in islice(_bare(text, top_level), _TRIED):
        url = parse_url(f"http://{written}")
        if url is not None:
            yield _link("domain", url)


def _followed(value: str, base: WebUrl | None) -> WebUrl | None:
    url = parse_url(value, base)
    if url is None and base is None:
        # A message has no base URL, so only URLs with a host are links.
        without = value.lstrip("".join(map(chr, range(33))))
        url = (
            parse_url(value, _HTTP)
            if without[:1] in {"/", "\\"} and without[1:2] in {"/", "\\", "\t", "\n", "\r"}
            else None
        )
    if url is None or url.scheme == "cid":
        return None
    return url if url.host or url.opaque else None


def _link(kind: str, url: WebUrl, shown: str = "", named: str = "") -> Link:
    port = -1 if url.port is None else url.port
    return Link(kind, str(url), url.host, url.shown_host, url.scheme, url.userinfo, port, shown, named)


def named_host(shown: str, top_level: Container[str]) -> str:
    """The first host in a text, as a URL or a bare name; empty if there is none."""
    for written in text_urls(shown):
        url = parse_url(written if ":" in written[:8] else f"http://{written}")
        if url is not None and url.host:
            return url.host
    for written in _bare(shown, top_level):
        url = parse_url(f"http://{written}")
        if url is not None:
            return url.host
    return ""


def text_urls(text: str) -> Iterator[str]:
    """The URLs in plain text, as written, without the punctuation that follows them."""
    for found in _URL.finditer(text):
        yield _trimmed(found[0])


def _trimmed(url: str) -> str:
    trimmed = url.rstrip(_TRAILING)
    # A closing bracket belongs to the URL if the URL opened it.
    if url[len(trimmed) : len(trimmed) + 1] == ")" and trimmed.count("(") > trimmed.count(")"):
        trimmed += ")"
    return trimmed


def _bare(text: str, top_level: Container[str]) -> Iterator[str]:
    for found in _BARE.finditer(text):
        written = _trimmed(found[0])
        name = _END_OF_NAME.split(written, maxsplit=1)[0]
        last = _DOTS.split(name)[-1].lower()
        # Most names are excluded here, because mapping a host that is not ASCII takes long.
        if (last.isascii() and last not in top_level) or name[:4].lower() == "www.":
            continue
        host = parse_host(name)
        last = host.rpartition(".")[2] if host is not None else ""
        if last in top_level and (last not in _FILE_ENDS or len(name) < len(written)):
            yield written
