"""Doctor's check of signing keys: the key of each domain, and the state of its DNS record."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from inbox.app.config.settings_services import Dkim
from inbox.app.wiring.hosting import make_signing
from inbox.authentication.dkim.record import Publication, key_type, record_name, record_text
from inbox.base.clock import Clock
from inbox.base.errors import ConfigError
from inbox.dns.answers import Resolver
from inbox.hosting.keys.rotation import QUESTIONS, asked
from inbox.hosting.keys.signing import PlacedKey, SigningKeyring
from inbox.identity.directory import AddressDirectory
from inbox.store.ports import Database

#: The maximum number of keys that are looked up in the DNS; an operator with more keys has a monitor.
MOST_KEYS: Final = 200
#: Time limit in seconds for all answers.
TIMEOUT_SECONDS: Final = 10.0
#: The maximum number of domains that are listed by name.
NAMED: Final = 10


@dataclass(frozen=True, slots=True)
class KeyFinding:
    """A sentence, and whether it is a warning."""

    warning: bool
    detail: str


async def key_findings(database: Database, dkim: Dkim, resolver: Resolver, clock: Clock) -> list[KeyFinding]:
    """The database is open. Without any key the DNS is not queried.

    Raises:
        StoreUnavailable
    """
    directory = AddressDirectory(database.tenants, database.accounts, clock)
    ring = SigningKeyring(directory, database.dkim_keys, make_signing(dkim), clock)
    findings: list[KeyFinding] = []
    signing: dict[tuple[str, str], PlacedKey] = {}
    signed: list[str] = []
    unsigned: list[str] = []
    for hosted in await database.tenants.domains():
        if not hosted.is_active:
            continue
        try:
            keys = ring.of(hosted, await database.dkim_keys.all(hosted.tenant.id, hosted.fqdn))
        except ConfigError as error:
            findings.append(KeyFinding(True, str(error)))
            continue
        signing.update({(placed.key.domain, placed.key.selector): placed for placed in keys})
        if not keys:
            unsigned.append(hosted.fqdn)
            continue
        signed.append(f"{hosted.fqdn} signs with {_names(keys)}")
        if {key_type(placed.key.private) for placed in keys} == {"ed25519"}:
            findings.append(
                KeyFinding(True, f"{hosted.fqdn} signs with Ed25519 only, and many verifiers support RSA only")
            )
    findings += await _published(list(signing.values()), resolver)
    findings += [KeyFinding(False, text) for text in signed[:NAMED]]
    if len(signed) > NAMED:
        findings.append(KeyFinding(False, f"{len(signed) - NAMED} more domains sign (inbox domain dkim list DOMAIN)"))
    if unsigned or not signed:
        findings.append(KeyFinding(False, f"no key signs for {_some(unsigned) or 'any domain'}"))
    return findings


async def _published(keys: Sequence[PlacedKey], resolver: Resolver) -> list[KeyFinding]:
    slots = asyncio.Semaphore(QUESTIONS)

    async def look(placed: PlacedKey) -> KeyFinding | None:
        async with slots:
            found = await asked(resolver, placed.key.selector, placed.key.domain, placed.key.private)
        if found is Publication.PUBLISHED:
            return None
        name = record_name(placed.key.selector, placed.key.domain)
        return KeyFinding(True, f"{name}: {_wrong(found)}{_remedy(found, placed)}")

    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            looked = await asyncio.gather(*(look(placed) for placed in keys[:MOST_KEYS]))
    except TimeoutError:
        return [KeyFinding(True, f"the DNS did not answer within {TIMEOUT_SECONDS:.0f} seconds about the keys")]
    findings = [one for one in looked if one is not None]
    if len(keys) > MOST_KEYS:
        findings.append(KeyFinding(False, f"the DNS was queried for {MOST_KEYS} of {len(keys)} keys"))
    return findings


def _wrong(found: Publication | None) -> str:
    match found:
        case None:
            return "the DNS does not answer"
        case Publication.MISSING:
            return "the key signs, but its record is not in the DNS"
        case Publication.AMBIGUOUS:
            return "the key signs, but the DNS has more than one record there"
        case _:
            return "the key signs, but the DNS has a different record"


def _remedy(found: Publication | None, placed: PlacedKey) -> str:
    return "" if found is None else f"; it must be the TXT record {record_text(placed.key.private)}"


def _names(keys: Sequence[PlacedKey]) -> str:
    return ", ".join(f"{placed.key.selector} ({placed.key.algorithm}, {placed.place})" for placed in keys)


def _some(names: Sequence[str]) -> str:
    more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
    return ", ".join(names[:NAMED]) + more
