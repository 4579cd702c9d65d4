"""Organizational domains by the public suffix list (RFC 7489 §3.2) of the package publicsuffixlist."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Protocol


class SuffixList(Protocol):
    """The part of ``publicsuffixlist.PublicSuffixList`` that is used."""

    def privatesuffix(self, domain: str) -> str | None: ...

    def is_public(self, domain: str) -> bool: ...


class PublicSuffixes:
    """Answers from the list, which is loaded on first use (40 ms, 10 MB).

    Args:
        load: returns the list.
    """

    def __init__(self, load: Callable[[], SuffixList]) -> None:
        self._load = load
        self._list: SuffixList | None = None

    def organizational_domain(self, domain: str) -> str:
        """The public suffix and one label more; a domain that has no such label is its own organizational domain."""
        return self._suffixes().privatesuffix(domain) or domain

    def is_public(self, domain: str) -> bool:
        """Whether unrelated parties can register domains below this one."""
        return self._suffixes().is_public(domain)

    def _suffixes(self) -> SuffixList:
        if self._list is None:
            self._list = self._load()
        return self._list


@lru_cache(maxsize=1)
def _shipped_list() -> SuffixList:
    # Imported here: only users of the list pay for it.
    from publicsuffixlist import PublicSuffixList

    return PublicSuffixList()


def shipped() -> PublicSuffixes:
    """The list of the installed publicsuffixlist, loaded once per process."""
    return PublicSuffixes(_shipped_list)


@lru_cache(maxsize=1)
def top_level_domains() -> frozenset[str]:
    """The top-level domains of the list, as A-labels."""
    from publicsuffixlist import PSLFILE

    rules = Path(PSLFILE).read_text("utf-8").splitlines()
    names = (
        line.strip() for line in rules if line.strip() and not line.startswith(("//", "!", "*")) and "." not in line
    )
    return frozenset(name if name.isascii() else "xn--" + name.encode("punycode").decode("ascii") for name in names)
