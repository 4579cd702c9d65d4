"""Discovery of the DMARC record of a domain, and of organizational domains (RFC 9989 §4.10).

Three ways to find an organizational domain:

- ``tree_walk``: RFC 9989, by the records at the domain and above it.
- ``public_suffix``: RFC 7489 §3.2, by the public suffix list.
- ``both``: the tree walk, but where it ends in a name that the list calls a public suffix, and no ``psd`` tag made it
  end there, the list's answer counts. A registry that publishes a record without ``psd=y`` then does not make one
  organization of all of its customers (RFC 9989 §11.8 describes that danger).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from inbox.authentication.dmarc.public_suffix import PublicSuffixes
from inbox.authentication.dmarc.records import Record, is_record, parse_record
from inbox.base.limits import DMARC_WALK_LABELS
from inbox.dns.answers import NameUnfit, Resolver


class Method(StrEnum):
    """Ways to find organizational domains."""

    TREE_WALK = "tree_walk"
    PUBLIC_SUFFIX = "public_suffix"
    BOTH = "both"


@dataclass(frozen=True, slots=True)
class Found:
    """A record and the domain that published it."""

    domain: str
    record: Record


class Discovery:
    """Look-ups for one message; no name is queried twice.

    Args:
        suffixes: not used by the tree walk alone.
    """

    def __init__(self, dns: Resolver, method: Method, suffixes: PublicSuffixes) -> None:
        self._dns = dns
        self._method = method
        self._suffixes = suffixes
        self._records: dict[str, Record | None] = {}

    async def record(self, domain: str) -> Record | None:
        """The record that ``domain`` itself publishes; None if it has none, or several (RFC 9989 §4.10 step 2).

        Raises:
            DnsTemporary: no answer now.
        """
        if domain not in self._records:
            self._records[domain] = await self._ask(domain)
        return self._records[domain]

    async def policy(self, domain: str) -> Found | None:
        """The record to be applied to mail from ``domain`` (RFC 9989 §4.10.1): its own record, otherwise its
        organizational domain's, otherwise its public suffix domain's.

        Raises:
            DnsTemporary: no answer now.
        """
        own = await self.record(domain)
        if own is not None:
            return Found(domain, own)
        if self._method is Method.PUBLIC_SUFFIX:
            organizational = self._suffixes.organizational_domain(domain)
            record = await self.record(organizational)
            return None if record is None else Found(organizational, record)
        found = await self._walk(domain)
        if not found:
            return None
        organizational = self._choose(domain, found)
        # The last one found is the public suffix domain's, or else the organizational domain's own.
        return next((each for each in found if each.domain == organizational), found[-1])

    async def organizational_domain(self, domain: str) -> str:
        """The organizational domain of a name (RFC 9989 §4.10.2).

        Raises:
            DnsTemporary: no answer now.
        """
        if self._method is Method.PUBLIC_SUFFIX:
            return self._suffixes.organizational_domain(domain)
        return self._choose(domain, await self._walk(domain))

    async def exists(self, domain: str) -> bool:
        """False if the DNS says that there is no such name (NXDOMAIN; RFC 9989 Appendix A.4).

        Raises:
            DnsTemporary: no answer now.
        """
        if (await self._dns.a(domain)).exists:
            return True
        # An alias with a missing target gets the same answer as a missing name.
        return bool((await self._dns.cname(domain)).records)

    async def _ask(self, domain: str) -> Record | None:
        try:
            answer = await self._dns.txt(f"_dmarc.{domain}")
        except NameUnfit:  # With the prefix the name is too long, so no record exists there.
            return None
        records = [text for text in answer.records if is_record(text)]
        return parse_record(records[0]) if len(records) == 1 else None

    async def _walk(self, start: str) -> list[Found]:
        """The records at ``start`` and above it, the longest name first, up to one with a ``psd`` tag that ends the
        walk."""
        found: list[Found] = []
        for name in walked_names(start):
            record = await self.record(name)
            if record is not None:
                found.append(Found(name, record))
                if record.psd != "u":
                    break
        return found

    def _choose(self, start: str, found: list[Found]) -> str:
        if not found:
            return start if self._method is Method.TREE_WALK else self._suffixes.organizational_domain(start)
        last = found[-1]
        if last.record.psd == "y" and last.domain != start:
            below = start.split(".")[-(last.domain.count(".") + 2) :]
            return ".".join(below)
        if self._method is Method.BOTH and last.record.psd == "u" and self._suffixes.is_public(last.domain):
            return self._suffixes.organizational_domain(start)
        return last.domain


def walked_names(start: str) -> Iterator[str]:
    """The domains that a tree walk queries, in order: at most eight (RFC 9989 §4.10)."""
    yield start
    labels = start.split(".")
    for count in range(min(len(labels) - 1, DMARC_WALK_LABELS), 0, -1):
        yield ".".join(labels[-count:])
