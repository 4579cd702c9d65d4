"""The DNS records that a hosted domain needs, as values, as a zone file and as rows.

Names are A-labels in lower case without the last dot. What is not in the domain's own zone (the TLSA record of a host
of another domain, a PTR record) is distinguished by :func:`in_zone`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address
from typing import Final, Literal

from inbox.authentication.dkim.record import record_name, zone_strings

#: Seconds for which records may be cached: a day's mistake would last a day.
TTL: Final = 3600
#: RFC 8461 §3.2: "policies should live weeks"; one week is what most publish.
STS_MAX_AGE: Final = 604_800
IPAddress = IPv4Address | IPv6Address


class Need(StrEnum):
    """The importance of a record for mail. ``later``: it is for a service without a listener so far."""

    REQUIRED = "required"
    RECOMMENDED = "recommended"
    OPTIONAL = "optional"
    LATER = "later"


@dataclass(frozen=True, slots=True)
class WantedRecord:
    """``record`` says what it is for: ``mx``, ``spf``, ``dkim``, … ``value`` is as in a zone file, except that a TXT
    record's is its text. A row of the type ``FILE`` is a text to be served at the URL that is its name."""

    record: str
    name: str
    type: str
    value: str
    need: Need
    note: str = ""


#: ``waiting``: published before it signs. ``leaving``: signs no more, but mail that it signed is still on its way.
KeyUse = Literal["signs", "waiting", "leaving"]


@dataclass(frozen=True, slots=True)
class ShownKey:
    """A DKIM key whose record belongs into the DNS; ``text`` is that record (RFC 6376 §3.6.1)."""

    selector: str
    domain: str
    text: str
    use: KeyUse = "signs"


@dataclass(frozen=True, slots=True)
class Service:
    """Something that mail programs look for (RFC 6186, RFC 6764): ``_imaps._tcp``, and the port; ``served`` is False
    if nothing listens on it in this version."""

    name: str
    port: int
    served: bool = True


@dataclass(frozen=True, slots=True)
class Needs:
    """The inputs of a domain's records.

    ``hostname`` is SERVER_HOSTNAME. ``addresses`` are those that mail leaves from, as far as they are known.
    ``certificate`` is the SHA-256 of the public key (SubjectPublicKeyInfo) of the certificate in force; None if there
    is none. ``trusted``: that certificate is not self-signed and for ``hostname``. ``reports``: receives reports;
    ``dmarc_reports``: receives those about DMARC, if the domain has an address of its own for them.
    """

    domain: str
    hostname: str
    keys: tuple[ShownKey, ...] = ()
    services: tuple[Service, ...] = ()
    addresses: tuple[IPAddress, ...] = ()
    certificate: bytes | None = None
    trusted: bool = False
    reports: str = ""
    dmarc_reports: str = ""

    @property
    def reports_to(self) -> str:
        """``reports``, or the address that every domain has (RFC 2142 §5)."""
        return self.reports or f"postmaster@{self.domain}"

    @property
    def dmarc_reports_to(self) -> str:
        """``reports`` if set, else ``dmarc_reports``."""
        return self.reports or self.dmarc_reports or self.reports_to

    @property
    def signed(self) -> bool:
        """True if a key signs that DMARC counts as the domain's (RFC 9989 §4.4.1, relaxed)."""
        return any(key.use == "signs" and f".{self.domain}".endswith(f".{key.domain}") for key in self.keys)


def wanted_records(needs: Needs) -> list[WantedRecord]:
    """All of them, those first without which no mail arrives."""
    return [
        *_hosts(needs),
        WantedRecord(
            "spf", needs.domain, "TXT", "v=spf1 mx -all", Need.REQUIRED, "the hosts of MX may send, others not"
        ),
        *(_key(key) for key in needs.keys),
        *_dmarc(needs),
        *_mta_sts(needs),
        WantedRecord(
            "tls-rpt",
            f"_smtp._tls.{needs.domain}",
            "TXT",
            f"v=TLSRPTv1; rua=mailto:{needs.reports_to}",
            Need.RECOMMENDED,
            "others report when TLS to us fails",
        ),
        *_tlsa(needs),
        *_services(needs),
    ]


def in_zone(record: WantedRecord, domain: str) -> bool:
    """Whether the record is of the domain's own zone; a host's address and a file are not."""
    return record.type not in {"FILE", "PTR"} and (record.name == domain or record.name.endswith(f".{domain}"))


def zone_lines(records: Iterable[WantedRecord], domain: str) -> list[str]:
    """A zone file (RFC 1035 §5.1), without SOA and NS. What does not belong into it, or not yet, is a comment."""
    own, others = [], []
    for record in records:
        if record.type == "FILE":
            others += [f"; at {record.name}:", *(f";   {line}" for line in record.value.splitlines())]
            continue
        line = f"{record.name}. {TTL} IN {record.type} {_data(record)}"
        if not in_zone(record, domain):
            others.append(f"; in another zone: {line}")
        elif record.need is Need.LATER:
            others.append(f"; {record.note}: {line}")
        else:
            own.append(line)
    return [f"; mail of {domain}", *own, *others]


def policy_text(hostname: str, mode: str) -> str:
    """An MTA-STS policy (RFC 8461 §3.2)."""
    return f"version: STSv1\r\nmode: {mode}\r\nmx: {hostname}\r\nmax_age: {STS_MAX_AGE}\r\n"


def _data(record: WantedRecord) -> str:
    return f"( {zone_strings(record.value)} )" if record.type == "TXT" else record.value


def _hosts(needs: Needs) -> list[WantedRecord]:
    records = [
        WantedRecord("mx", needs.domain, "MX", f"10 {needs.hostname}.", Need.REQUIRED, "mail comes to this server")
    ]
    for address in needs.addresses:
        kind = "A" if address.version == 4 else "AAAA"
        records.append(WantedRecord("host", needs.hostname, kind, str(address), Need.REQUIRED, "this server"))
        records.append(
            WantedRecord(
                "ptr",
                address.reverse_pointer,
                "PTR",
                f"{needs.hostname}.",
                Need.REQUIRED,
                "set by whom the address is from; many servers refuse mail without it",
            )
        )
    return records


def _key(key: ShownKey) -> WantedRecord:
    notes: dict[KeyUse, tuple[Need, str]] = {
        "signs": (Need.REQUIRED, "mail is signed with this key"),
        "waiting": (Need.RECOMMENDED, "mail is signed with this key once its record is there"),
        "leaving": (Need.RECOMMENDED, "signs no more; has to stay until mail that it signed has arrived"),
    }
    need, note = notes[key.use]
    return WantedRecord("dkim", record_name(key.selector, key.domain), "TXT", key.text, need, note)


def _dmarc(needs: Needs) -> list[WantedRecord]:
    policy, note = "reject", "others refuse mail that says to be from here and is not"
    if not needs.signed:
        # Forwarded mail passes by its signature only: to have it refused would be to lose it.
        policy, note = "none", "p=reject once mail is signed with a key of the domain's own"
    text = f"v=DMARC1; p={policy}; rua=mailto:{needs.dmarc_reports_to}"
    records = [WantedRecord("dmarc", f"_dmarc.{needs.domain}", "TXT", text, Need.REQUIRED, note)]
    to = needs.dmarc_reports_to.rpartition("@")[2]
    if to != needs.domain:
        # RFC 9990 §4: without it, nobody sends reports to another domain.
        name = f"{needs.domain}._report._dmarc.{to}"
        records.append(WantedRecord("dmarc", name, "TXT", "v=DMARC1;", Need.RECOMMENDED, f"{to} wants the reports"))
    return records


def _mta_sts(needs: Needs) -> list[WantedRecord]:
    """RFC 8461. The id is made of the policy: it changes when that does, as §3.1 asks for."""
    policy = policy_text(needs.hostname, "enforce" if needs.trusted else "testing")
    identity = hashlib.sha256(policy.encode()).hexdigest()[:20]
    note = "senders insist on TLS" if needs.trusted else "needs a certificate that others trust"
    host = f"mta-sts.{needs.domain}"
    url = f"https://{host}/.well-known/mta-sts.txt"
    return [
        WantedRecord("mta-sts", f"_mta-sts.{needs.domain}", "TXT", f"v=STSv1; id={identity}", Need.OPTIONAL, note),
        WantedRecord("mta-sts", host, "CNAME", f"{needs.hostname}.", Need.OPTIONAL, "the web server with the policy"),
        WantedRecord("mta-sts", url, "FILE", policy, Need.OPTIONAL, "the policy, served as text/plain"),
    ]


def _tlsa(needs: Needs) -> list[WantedRecord]:
    """RFC 7672 §3.1: DANE-EE(3), SPKI(1), SHA2-256(1) survives a renewal that keeps the key."""
    if needs.certificate is None:
        return []
    note = "only in a zone that is signed (DNSSEC); publish the next key's before changing keys"
    return [
        WantedRecord(
            "tlsa", f"_25._tcp.{needs.hostname}", "TLSA", f"3 1 1 {needs.certificate.hex()}", Need.OPTIONAL, note
        )
    ]


def _services(needs: Needs) -> list[WantedRecord]:
    records = []
    for service in needs.services:
        need = Need.OPTIONAL if service.served else Need.LATER
        note = "mail programs find it" if service.served else "nothing listens for it in this version"
        value = f"0 1 {service.port} {needs.hostname}."
        records.append(WantedRecord("srv", f"{service.name}.{needs.domain}", "SRV", value, need, note))
    web: Sequence[Service] = [service for service in needs.services if service.name == "_caldavs._tcp"]
    for name in ("autoconfig", "autodiscover") if web else ():
        served = web[0].served
        records.append(
            WantedRecord(
                "autoconfig",
                f"{name}.{needs.domain}",
                "CNAME",
                f"{needs.hostname}.",
                Need.OPTIONAL if served else Need.LATER,
                "mail programs set themselves up" if served else "nothing listens for it in this version",
            )
        )
    return records
