"""The DNS records that a hosted domain needs, as values, as a zone file and as rows.

Names are A-labels in lower case without the last dot. :func:`in_zone` distinguishes records outside the domain's own
zone (the TLSA record of a host of another domain, a PTR record).
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address, IPv6Address
from typing import Final, Literal

from inbox.authentication.dkim.record import record_name, zone_strings

#: Seconds for which records may be cached: with a whole day, an error would last a day.
TTL: Final = 3600
#: RFC 8461 §3.2: "policies should live weeks"; most publish one week.
STS_MAX_AGE: Final = 604_800
IPAddress = IPv4Address | IPv6Address


class Need(StrEnum):
    """The importance of a record for mail. ``later``: for a service that has no listener yet."""

    REQUIRED = "required"
    RECOMMENDED = "recommended"
    OPTIONAL = "optional"
    LATER = "later"


@dataclass(frozen=True, slots=True)
class WantedRecord:
    """``record`` is its purpose: ``mx``, ``spf``, ``dkim``, … ``value`` is as in a zone file, but for a TXT record it
    is the text. A row of type ``FILE`` is a text to be served at the URL in its name."""

    record: str
    name: str
    type: str
    value: str
    need: Need
    note: str = ""


#: ``waiting``: published before it signs. ``leaving``: no longer signs, but mail with its signature is still in
#: transit.
KeyUse = Literal["signs", "waiting", "leaving"]


@dataclass(frozen=True, slots=True)
class ShownKey:
    """A DKIM key whose record must be in the DNS; ``text`` is that record (RFC 6376 §3.6.1)."""

    selector: str
    domain: str
    text: str
    use: KeyUse = "signs"


@dataclass(frozen=True, slots=True)
class Service:
    """A service that mail programs look up (RFC 6186, RFC 6764): ``_imaps._tcp``, and the port; ``served`` is False
    if nothing listens on it in this version."""

    name: str
    port: int
    served: bool = True


@dataclass(frozen=True, slots=True)
class Needs:
    """The inputs of a domain's records.

    ``hostname`` is SERVER_HOSTNAME. ``addresses`` are the known sending addresses. ``certificate`` is the SHA-256 of
    the public key (SubjectPublicKeyInfo) of the certificate in force; None without one. ``trusted``: that certificate
    is not self-signed and for ``hostname``. ``reports``: receives reports; ``dmarc_reports``: receives those about
    DMARC, if the domain has a separate address for them.
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
        """True if a key signs that is aligned with the domain (RFC 9989 §4.4.1, relaxed)."""
        return any(key.use == "signs" and f".{self.domain}".endswith(f".{key.domain}") for key in self.keys)


def wanted_records(needs: Needs) -> list[WantedRecord]:
    """All wanted records, those first without which no mail arrives."""
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
            "other servers report when TLS to this server fails",
        ),
        *_tlsa(needs),
        *_services(needs),
    ]


def in_zone(record: WantedRecord, domain: str) -> bool:
    """Whether the record is in the domain's own zone; a host's address and a file are not."""
    return record.type not in {"FILE", "PTR"} and (record.name == domain or record.name.endswith(f".{domain}"))


def zone_lines(records: Iterable[WantedRecord], domain: str) -> list[str]:
    """A zone file (RFC 1035 §5.1), without SOA and NS. Records of other zones, and those for later, are comments."""
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
        WantedRecord(
            "mx", needs.domain, "MX", f"10 {needs.hostname}.", Need.REQUIRED, "mail is delivered to this server"
        )
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
                "set by the provider of the address; many servers refuse mail without it",
            )
        )
    return records


def _key(key: ShownKey) -> WantedRecord:
    notes: dict[KeyUse, tuple[Need, str]] = {
        "signs": (Need.REQUIRED, "mail is signed with this key"),
        "waiting": (Need.RECOMMENDED, "mail is signed with this key once its record is there"),
        "leaving": (Need.RECOMMENDED, "no longer signs; must stay until mail that it signed has arrived"),
    }
    need, note = notes[key.use]
    return WantedRecord("dkim", record_name(key.selector, key.domain), "TXT", key.text, need, note)


def _dmarc(needs: Needs) -> list[WantedRecord]:
    policy, note = "reject", "other servers refuse mail that claims to be from here and is not"
    if not needs.signed:
        # Forwarded mail passes only by its signature: reject would lose it.
        policy, note = "none", "p=reject once mail is signed with a key of the domain's own"
    text = f"v=DMARC1; p={policy}; rua=mailto:{needs.dmarc_reports_to}"
    records = [WantedRecord("dmarc", f"_dmarc.{needs.domain}", "TXT", text, Need.REQUIRED, note)]
    to = needs.dmarc_reports_to.rpartition("@")[2]
    if to != needs.domain:
        # RFC 9990 §4: without it, reporters send no reports to another domain.
        name = f"{needs.domain}._report._dmarc.{to}"
        records.append(WantedRecord("dmarc", name, "TXT", "v=DMARC1;", Need.RECOMMENDED, f"{to} accepts the reports"))
    return records


def _mta_sts(needs: Needs) -> list[WantedRecord]:
    """RFC 8461. The id is derived from the policy: it changes with the policy, as §3.1 requires."""
    policy = policy_text(needs.hostname, "enforce" if needs.trusted else "testing")
    identity = hashlib.sha256(policy.encode()).hexdigest()[:20]
    note = "senders insist on TLS" if needs.trusted else "needs a publicly trusted certificate"
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
        note = "mail programs discover the service" if service.served else "this version has no listener for it"
        value = f"0 1 {service.port} {needs.hostname}."
        records.append(WantedRecord("srv", f"{service.name}.{needs.domain}", "SRV", value, need, note))
    # The names of DAV are there if the server listens for HTTP.
    has_web = any(service.name == "_caldavs._tcp" for service in needs.services)
    for name in ("autoconfig", "autodiscover") if has_web else ():
        target, note = f"{needs.hostname}.", "mail programs configure themselves"
        records.append(WantedRecord("autoconfig", f"{name}.{needs.domain}", "CNAME", target, Need.OPTIONAL, note))
    return records
