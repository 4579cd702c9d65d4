"""Collect the inputs of a hosted domain's DNS records: its keys and addresses, and its mail host."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from inbox.authentication.dkim.record import record_text
from inbox.base.clock import Clock
from inbox.hosting.dns.records import IPAddress, KeyUse, Needs, Service, ShownKey
from inbox.hosting.keys.signing import InstallationSigning, SigningKeyring, load_private
from inbox.hosting.keys.states import RECORD_STAYS
from inbox.identity.directory import AddressDirectory
from inbox.mail.tenancy import HostedDomain
from inbox.store.ports import Database

#: The default local part of the plugin ``dmarc_reports``.
REPORTS: Final = "dmarc-reports"
#: States of ``dkim_key`` whose record must be in the DNS.
_USES: dict[str, KeyUse] = {"active": "signs", "pending": "waiting", "retired": "leaving"}


@dataclass(frozen=True, slots=True)
class MailHost:
    """The host that serves the domain's mail, as clients and other servers see it.

    ``hostname`` is SERVER_HOSTNAME. ``addresses`` are the public ones that the listeners are bound to. ``certificate``
    is the SHA-256 of the certificate's public key (SubjectPublicKeyInfo), None if there is no certificate yet.
    ``trusted``: the certificate is for ``hostname`` and not self-signed.
    """

    hostname: str
    services: tuple[Service, ...] = ()
    addresses: tuple[IPAddress, ...] = ()
    certificate: bytes | None = None
    trusted: bool = False
    signing: InstallationSigning = field(default_factory=InstallationSigning)


async def domain_needs(
    database: Database,
    host: MailHost,
    hosted: HostedDomain,
    clock: Clock,
    *,
    addresses: Sequence[IPAddress] = (),
    reports: str = "",
) -> Needs:
    """Returns the input of :func:`inbox.hosting.dns.records.wanted_records`. ``addresses`` are those that send its
    mail; without any, those of ``host``.

    Raises:
        StoreUnavailable
        ConfigError: a signing key cannot be used.
    """
    dmarc_reports = f"{REPORTS}@{hosted.fqdn}"
    known = await database.accounts.targets(hosted.tenant.id, dmarc_reports)
    return Needs(
        hosted.fqdn,
        host.hostname,
        await _keys(database, host.signing, hosted, clock),
        host.services,
        tuple(addresses) or host.addresses,
        host.certificate,
        host.trusted,
        reports,
        dmarc_reports if known else "",
    )


async def _keys(
    database: Database, own: InstallationSigning, hosted: HostedDomain, clock: Clock
) -> tuple[ShownKey, ...]:
    rows = await database.dkim_keys.all(hosted.tenant.id, hosted.fqdn)
    directory = AddressDirectory(database.tenants, database.accounts, clock)
    signing = SigningKeyring(directory, database.dkim_keys, own, clock).of(hosted, rows)
    # The installation's key may belong to another domain: its record is in that domain.
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
