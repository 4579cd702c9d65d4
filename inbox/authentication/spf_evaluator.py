"""check_host() of RFC 7208: pyspf, with our resolver and bounds.

pyspf interprets the record and calls ``dns()`` in the middle of it, many calls deep. The package runs as it is, in a
greenlet (:mod:`inbox.authentication.spf_greenlet`): its class is subclassed, and ``dns()`` hands the look-up to the
event loop. This costs about 10 µs for a check and 1 µs for a look-up. To run pyspf again for each answer takes
four times as long and multiplies what a hostile record costs; a thread for each check takes three times as
long, and slow name servers would hold all threads.

The subclass adds the bounds that pyspf lacks, and where pyspf departs from the RFC, the RFC's rule.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import re
import warnings
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from socket import AF_INET, AF_INET6, inet_pton
from typing import Any, Final

from inbox.authentication.results import clean
from inbox.authentication.spf_greenlet import run, wait
from inbox.authentication.spf_together import together
from inbox.base.limits import (
    SPF_EXPLANATION_OCTETS,
    SPF_MACROS,
    SPF_OCTETS,
    SPF_SECONDS,
    SPF_TERM_OCTETS,
    SPF_TERMS,
)
from inbox.dns.answers import Answer, DnsTemporary, NameUnfit, Resolver
from inbox.plugin.api.facts import Result

with warnings.catch_warnings():
    # Its regular expressions have invalid escapes, which newer Pythons warn of when they compile it.
    warnings.simplefilter("ignore")
    import spf

IPAddress = IPv4Address | IPv6Address
#: RFC 7208 §4.6.4: MX and PTR names that are looked up.
_NAMES: Final = 10
_REASON: Final = 200
_MODIFIER: Final = re.compile(r"([A-Za-z][A-Za-z0-9_.-]*)=")
#: RFC 1035 §2.3.4, without the last dot.
_NAME_OCTETS: Final = 253


@dataclass(frozen=True, slots=True)
class Evaluated:
    """The outcome of check_host().

    ``mechanism`` is the term that decided, ``reason`` what is wrong, ``explanation`` the domain's words: all three as
    printable ASCII of bounded length. ``ttl``: seconds for which the DNS says the same; 0 if it did not say.
    ``reads`` are those of ``l`` (the sender's local part), ``h`` (HELO) that the outcome depends on.
    """

    result: Result
    mechanism: str = ""
    reason: str = ""
    explanation: str = ""
    ttl: float = 0.0
    reads: frozenset[str] = frozenset()


async def check_host(
    resolver: Resolver, peer: IPAddress, domain: str, local: str, helo: str, receiver: str, seconds: float = SPF_SECONDS
) -> Evaluated:
    """RFC 7208 §4: whether ``peer`` may send for ``domain`` (A-labels).

    Any fault of a record, a name server or a sender is permerror or temperror. Raises only errors that the resolver
    raises against its contract: a defect of ours is not a fault of the domain.
    """
    evaluation = _Evaluation(resolver, peer, domain, local, helo, receiver)
    ends = asyncio.get_running_loop().time() + seconds
    explanation = ""
    try:
        async with asyncio.timeout_at(ends):
            result, _, text = await run(evaluation.check)
        if result == "fail":
            with contextlib.suppress(TimeoutError):  # The result is valid with and without an explanation.
                async with asyncio.timeout_at(ends):
                    explanation = await run(functools.partial(evaluation.explained, text))
    except TimeoutError:
        return Evaluated(Result.TEMPERROR, reason=f"no result within {seconds:g} seconds")
    # The interpreter meets a stranger's record, and fails in ways of its own (ValueError for a number of 5,000 digits).
    except Exception as error:
        if evaluation.defect is not None:
            raise
        return Evaluated(Result.PERMERROR, reason=clean(f"{type(error).__name__}: {error}", _REASON))
    result = Result(result)
    if result is Result.TEMPERROR:
        return Evaluated(result, reason=clean(text, _REASON))
    return Evaluated(
        result,
        clean(evaluation.mechanism or "", _REASON),
        clean(text, _REASON) if result is Result.PERMERROR else "",
        explanation,
        evaluation.ttl,
        frozenset(evaluation.reads),
    )


class _Explanation(str):
    """The name behind ``exp=``, standing in for its text; ``domain`` is the one whose record has it.

    pyspf looks every explanation up at once. Only the one of the record that says "fail" is wanted (§6.2).
    """

    domain: str

    def __new__(cls, name: str, domain: str) -> _Explanation:
        made = super().__new__(cls, name)
        made.domain = domain
        return made


class _Evaluation(spf.query):  # type: ignore[misc]  # the package has no types
    """One run of pyspf, with the answers of ``resolver``."""

    def __init__(self, resolver: Resolver, peer: IPAddress, domain: str, local: str, helo: str, receiver: str) -> None:
        self.reads: set[str] = set()
        self.defect: Exception | None = None
        # The number and not the text: an IPv6 address may have a zone (fe80::1%eth0).
        super().__init__(i=str(type(peer)(int(peer))), s=f"{local}@{domain}", h=helo, receiver=receiver)
        # Not as pyspf splits it: a quoted local part may hold an @.
        self.l, self.o, self.d = local, domain, domain
        self.ttl = float("inf")
        self._resolver = resolver
        self._octets = self._terms = self._macros = 0
        self._number = int(self.ipaddr)

    # What macros read of the sender and of HELO: outcomes that did not read it are the same for all senders.

    @property
    def l(self) -> str:  # noqa: E743  the macro's name (§7.2)
        self.reads.add("l")
        return self._local

    @l.setter
    def l(self, value: str) -> None:  # noqa: E743
        self._local = value

    @property
    def s(self) -> str:
        self.reads.add("l")
        return self._sender

    @s.setter
    def s(self, value: str) -> None:
        self._sender = value

    @property
    def h(self) -> str:
        self.reads.add("h")
        return self._helo

    @h.setter
    def h(self, value: str) -> None:
        self._helo = value

    # Look-ups.

    def dns(self, name: str, qtype: str, cnames: object = None, ignore_void: bool = False) -> list[Any]:
        """pyspf's look-up. Raises spf.TempError and spf.PermError (void look-ups, §4.6.4)."""
        del cnames
        records = wait(self._records(name, qtype))
        if records is None:
            return []  # §4.3, §4.8: a name that cannot exist matches nothing.
        if not records and not ignore_void:
            self.void_lookups += 1
            if self.void_lookups > spf.MAX_VOID_LOOKUPS:
                raise spf.PermError(f"more than {spf.MAX_VOID_LOOKUPS} void look-ups")
        return records

    async def _records(self, name: str, qtype: str) -> list[Any] | None:
        """The records in pyspf's shapes; None for a name that cannot be asked. Raises spf.TempError."""
        name = _shortened(name.rstrip("."))
        if not name or not name.isascii() or "\\" in name:
            return None
        try:
            match qtype:
                case "TXT":
                    return [(text,) for text in self._kept(await self._resolver.txt(name))]
                case "A":
                    return list(self._kept(await self._resolver.a(name)))
                case "AAAA":
                    return list(self._kept(await self._resolver.aaaa(name)))
                case "MX":
                    return [(mx.preference, mx.host) for mx in self._kept(await self._resolver.mx(name))]
                case "PTR":
                    return list(self._kept(await self._resolver.ptr(self.ipaddr)))
        except NameUnfit:
            return None
        except DnsTemporary as error:
            raise spf.TempError(str(error)) from error
        except Exception as error:
            self.defect = error
            raise
        return []  # Type SPF is no more (§3.1).

    def _kept(self, answer: Answer[Any]) -> tuple[Any, ...]:
        self.ttl = min(self.ttl, answer.ttl)
        return answer.records

    def dns_spf(self, domain: str) -> str | None:
        """The domain's record, once it is known to be worth reading. Raises spf.PermError."""
        record = super().dns_spf(domain)
        return None if record is None else self._readable(record)

    def _readable(self, record: str) -> str:
        """The record with names of modifiers in lower case (ABNF knows no case) and without repeated unknown ones (§6).

        Raises spf.PermError for one that would take long to read.
        """
        self._octets += len(record)
        terms = record.split(" ")
        self._terms += len(terms)
        self._macros += record.count("%")
        if self._octets > SPF_OCTETS or self._terms > SPF_TERMS or max(map(len, terms)) > SPF_TERM_OCTETS:
            raise spf.PermError("the record is too long")
        if self._macros > SPF_MACROS:
            raise spf.PermError("the record has too many macros")
        if "=" not in record[6:]:
            return record
        seen: set[str] = set()
        return " ".join([term for term in map(_lowered, terms) if not _is_repeated(term, seen)])

    def dns_mx(self, domain: str) -> list[Any]:
        """The addresses of all exchanges, asked for at once. One without addresses is no void look-up: the term's own
        query had an answer."""
        exchanges = [host for _, host in self.dns(domain, "MX") if host]
        if len(exchanges) > _NAMES:
            raise spf.PermError(f"more than {_NAMES} MX records")
        found = wait(together(self._records(host, self.A) for host in exchanges))
        return [address for addresses in found for address in addresses or ()]

    def validated_ptrs(self) -> list[str]:
        """§5.5: the names of the peer that resolve to its address. Names that cannot be looked up now are skipped."""
        try:
            names = self.dns_ptr(self.i)[:_NAMES]
        except spf.TempError:
            return []
        found = wait(together(self._addresses(name) for name in names))
        return [name for name, mine in zip(names, found, strict=True) if self.cidrmatch(mine, self.cidrmax)]

    async def _addresses(self, name: str) -> list[Any]:
        try:
            return await self._records(name, self.A) or []
        except spf.TempError:
            return []

    def cidrmatch(self, addresses: Iterable[str | IPAddress], prefix: int) -> bool:
        """Whether the peer is in one of the networks. Raises spf.PermError for a text that is not an address."""
        shift = self.cidrmax - prefix
        version = self.ipaddr.version
        for each in addresses:
            if isinstance(each, str):
                number = self._number_of(each)
            elif each.version == version:
                number = int(each)
            else:
                continue
            if not (number ^ self._number) >> shift:
                return True
        return False

    def _number_of(self, text: str) -> int:
        """An address of the peer's family, as a record has it. ``ip_address`` takes five times as long."""
        family = AF_INET if self.cidrmax == 32 else AF_INET6
        try:
            return int.from_bytes(inet_pton(family, text))
        except (OSError, ValueError) as error:
            raise spf.PermError(f"{text} is not an IP address") from error

    # Explanations.

    def get_explanation(self, name: str) -> str | None:
        """Remembers where the text is; :meth:`explained` fetches it if it is wanted."""
        return _Explanation(name, self.d) if name else None

    def explained(self, text: str) -> str:
        """The domain's words about a fail (§6.2), or none: errors do as if there were no ``exp=``."""
        if not isinstance(text, _Explanation):
            return ""
        try:
            found = wait(self._records(text, "TXT"))
            if found is None or len(found) != 1 or len(found[0][0]) > 2 * SPF_EXPLANATION_OCTETS:
                return ""
            self.d = text.domain
            expanded = self.expand(spf.to_ascii(found[0][0]), stripdot=False)
        # As in check_host(): a stranger's text may fail in any way; the result is valid without it.
        except Exception:  # noqa: BLE001  §6.2 says what follows: nothing
            return ""
        return clean(expanded, SPF_EXPLANATION_OCTETS)


def _shortened(name: str) -> str:
    """§7.3: of a name that is too long, labels are taken from the left."""
    if len(name) <= _NAME_OCTETS:
        return name
    rest = name[-_NAME_OCTETS - 1 :]
    return rest.partition(".")[2]


def _lowered(term: str) -> str:
    found = _MODIFIER.match(term)
    return term if found is None else term[: found.end()].lower() + term[found.end() :]


def _is_repeated(term: str, seen: set[str]) -> bool:
    """Whether ``term`` is an unknown modifier that occurred before. ``redirect`` and ``exp`` are an error then."""
    found = _MODIFIER.match(term)
    if found is None or found[1] in {"redirect", "exp"}:
        return False
    if found[1] in seen:
        return True
    seen.add(found[1])
    return False
