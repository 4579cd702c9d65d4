"""The inputs of a hosted domain's DNS records, read from database, settings and certificate."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from ipaddress import ip_address
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from inbox.app.config.loading import Config
from inbox.app.config.settings import Server, Smtp
from inbox.app.serve.tls import Certificates
from inbox.authentication.dkim.record import record_text
from inbox.base.clock import Clock
from inbox.base.errors import ConfigError
from inbox.hosting.dns.records import IPAddress, KeyUse, Needs, Service, ShownKey
from inbox.hosting.keys.signing import SigningKeyring, load_private
from inbox.hosting.keys.states import RECORD_STAYS
from inbox.identity.directory import AddressDirectory
from inbox.mail.tenancy import HostedDomain
from inbox.store.ports import Database

#: The local part to which the plugin ``dmarc_reports`` listens unless a policy says otherwise.
REPORTS: Final = "dmarc-reports"
#: States of ``dkim_key`` whose record belongs into the DNS.
_USES: dict[str, KeyUse] = {"active": "signs", "pending": "waiting", "retired": "leaving"}


async def domain_needs(
    database: Database,
    config: Config,
    hosted: HostedDomain,
    clock: Clock,
    *,
    addresses: Sequence[IPAddress] = (),
    reports: str = "",
) -> Needs:
    """For :func:`inbox.hosting.dns.records.wanted_records`. ``addresses`` are those that mail leaves from; without any,
    SERVER_BIND_ADDR if it is one of the world's.

    Raises:
        StoreUnavailable
        ConfigError: a signing key or the certificate cannot be used.
    """
    certificate, trusted = _certificate(config, clock)
    filed = f"{REPORTS}@{hosted.fqdn}"
    known = await database.accounts.targets(hosted.organization.id, filed)
    return Needs(
        hosted.fqdn,
        config.server.hostname,
        await _keys(database, config, hosted, clock),
        _services(config),
        tuple(addresses) or _bound(config.server.bind_addr),
        certificate,
        trusted,
        reports,
        filed if known else "",
    )


async def _keys(database: Database, config: Config, hosted: HostedDomain, clock: Clock) -> tuple[ShownKey, ...]:
    rows = await database.dkim_keys.all(hosted.organization.id, hosted.fqdn)
    directory = AddressDirectory(database.tenants, database.accounts, clock)
    signing = SigningKeyring(directory, database.dkim_keys, config.dkim, clock).of(hosted, rows)
    # The installation's key may be of another domain: its record is in that domain.
    keys = [
        ShownKey(placed.key.selector, placed.key.domain, record_text(placed.key.private))
        for placed in signing
        if placed.place != "dkim_key"
    ]
    for row in rows:
        if row.state == "retired" and clock.now() >= row.retired_at + RECORD_STAYS:
            continue
        text = record_text(load_private(row.private_key_b64_pkcs8))
        keys.append(ShownKey(row.selector, row.domain, text, _USES[row.state]))
    fields = hosted.overrides
    if fields.dkim_selector and fields.dkim_private_key_b64_pkcs8 and not any(p.place == "has_domain" for p in signing):
        text = record_text(load_private(fields.dkim_private_key_b64_pkcs8))
        keys.append(ShownKey(fields.dkim_selector, hosted.fqdn, text, "leaving"))
    return tuple(keys)


def _services(config: Config) -> tuple[Service, ...]:
    """The endpoints of mail programs; without TLS from the first octet only submission, which many of them expect
    (RFC 8314 §3.3). DAV and what is needed to set programs up are on 443, whatever port a proxy passes it on to."""
    found = [
        Service("_imaps._tcp", config.server.imaps_port, Server.is_used("imaps_port")),
        Service("_submissions._tcp", config.smtp.submissions_port, Smtp.is_used("submissions_port")),
        Service("_submission._tcp", config.smtp.submission_port, Smtp.is_used("submission_port")),
    ]
    if config.server.http_port:
        served = Server.is_used("http_port")
        found += [Service("_caldavs._tcp", 443, served), Service("_carddavs._tcp", 443, served)]
    return tuple(service for service in found if service.port)


def _bound(bind_address: str) -> tuple[IPAddress, ...]:
    address = ip_address(bind_address)
    return (address,) if address.is_global else ()


def _certificate(config: Config, clock: Clock) -> tuple[bytes | None, bool]:
    certificates = Certificates(config.tls, config.folders.data_dir, config.server.hostname, clock)
    if certificates.self_signed and not certificates.cert_file.exists():
        return None, False  # The server makes one when it starts.
    info = certificates.info()
    try:
        leaf = x509.load_pem_x509_certificates(info.path.read_bytes())[0]
    except (OSError, ValueError) as error:
        raise ConfigError(f"TLS_CERT_FILE: {info.path}: {error}") from error
    key = leaf.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    name = config.server.hostname
    covered = any(n == name or (n.startswith("*.") and n[2:] == name.partition(".")[2]) for n in info.names)
    return hashlib.sha256(key).digest(), covered and not info.self_signed
