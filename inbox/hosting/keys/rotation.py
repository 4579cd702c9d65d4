"""Rotation of signing keys: creates the next key, activates it once the DNS shows it, and retires the previous one.

A new key is ``pending``, and nothing signs with a pending key: a signature whose key cannot be found is worse than
none. Only :meth:`Rotation.look_at` makes it ``active``, in the transaction that retires its predecessors, and only
after the DNS has shown exactly this key. Several processes may check at the same time; one of them makes the change.
"""

from __future__ import annotations

import asyncio
import base64
import string
from collections.abc import Callable, Iterable, Sequence, Set
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from inbox.authentication.dkim.record import Publication, publication, record_name
from inbox.base.clock import Clock
from inbox.base.errors import AlreadyExists, ConfigError, InboxError, NotFound
from inbox.dns.answers import DnsTemporary, NameUnfit, Resolver
from inbox.hosting.keys.signing import load_private
from inbox.mail.address import AddressError, canonical_domain
from inbox.mail.tenancy import HostedDomain
from inbox.plugin.api.services import Log, RunBlocking
from inbox.plugin.api.signing import PrivateKey
from inbox.store.ports import DkimKeyRecord, DkimKeys

#: RFC 8301 §3.2: signers should use at least 2048 bits. Some DNS providers refuse the records of longer keys.
RSA_BITS: Final = 2048
#: Seconds between two checks of the worker, before jitter.
LOOK_SECONDS: Final = 60.0
#: Maximum seconds between two checks of a key that has waited for a long time.
LONGEST_PAUSE: Final = 3600.0
#: The interval between two checks of a key as a share of its age: a record that is published at once is noticed within
#: a minute, one of the next day within an hour.
PAUSE_SHARE: Final = 1 / 20
#: Keys per check, and concurrent queries.
KEYS_PER_LOOK: Final = 500
QUESTIONS: Final = 8
#: RFC 1035 §2.3.4, without the trailing dot.
NAME_OCTETS: Final = 253


@dataclass(frozen=True, slots=True)
class KeyCheck:
    """The state of a key's DNS record (None: no answer now), and the resulting change.

    ``retired`` are the selectors of the replaced keys.
    """

    key: DkimKeyRecord
    publication: Publication | None
    activated: bool = False
    retired: tuple[str, ...] = ()


class Rotation:
    """The life of the keys in ``dkim_key``.

    Args:
        random: numbers from 0 to 1, for the jitter between checks of one key.
    """

    def __init__(
        self,
        keys: DkimKeys,
        resolver: Resolver,
        clock: Clock,
        log: Log,
        run_blocking: RunBlocking,
        random: Callable[[], float],
    ) -> None:
        self._keys = keys
        self._resolver = resolver
        self._clock = clock
        self._log = log
        self._run_blocking = run_blocking
        self._random = random
        self._due: dict[tuple[str, str, str], float] = {}
        self._logged: dict[tuple[str, str, str], Publication] = {}

    # -- creating keys -----------------------------------------------------------------------------------------------

    async def prepare(
        self, hosted: HostedDomain, algorithms: Sequence[str], selector: str | None = None
    ) -> list[tuple[DkimKeyRecord, bool]]:
        """A pending key for each algorithm (``rsa``, ``ed25519``), and whether it is new: an existing pending key is
        returned instead of a second one.

        Args:
            selector: the name of a new key; with several algorithms, ``-rsa`` and ``-ed25519`` are appended. Without it
                the name is derived from the date.

        Raises:
            ConfigError: ``selector`` is not a valid selector.
            AlreadyExists: the domain has a key with this selector, or a pending key with another selector.
            NotFound: the tenant no longer hosts the domain.
        """
        rows = await self._keys.all(hosted.tenant.id, hosted.fqdn)
        wanted = {name: _selector(hosted, algorithms, name, selector) if selector else None for name in algorithms}
        waiting = {row.algorithm: row for row in rows if row.state == "pending"}
        taken = {row.selector for row in rows} | {hosted.overrides.dkim_selector}
        # Checks everything before it creates a key: either both keys are created or none.
        for algorithm, name in wanted.items():
            _check_free(hosted.fqdn, algorithm, name, waiting.get(algorithm), taken)
        found = []
        for algorithm, name in wanted.items():
            there = waiting.get(algorithm)
            found.append((there, False) if there else (await self._make(hosted, algorithm, name), True))
        return found

    async def _make(self, hosted: HostedDomain, algorithm: str, name: str | None) -> DkimKeyRecord:
        text = await self._run_blocking("crypto", generate, algorithm)
        now = self._clock.now()
        names: Iterable[str] = [name] if name else _names_of_today(algorithm, now)
        for selector in names:
            if selector == hosted.overrides.dkim_selector:
                continue
            made = DkimKeyRecord(hosted.tenant.id, hosted.fqdn, selector, algorithm, text, created_at=now)
            try:
                await self._keys.add(made)
            except AlreadyExists:
                continue
            return made
        raise AlreadyExists(f"{hosted.fqdn} has a key with the selector {name or selector}; choose another one")

    # -- state in the DNS ----------------------------------------------------------------------------------------

    async def shown(self, key: DkimKeyRecord) -> Publication | None:
        """The state of a key's DNS record; None if there is no answer.

        Raises:
            ConfigError: the key itself cannot be used.
        """
        return await asked(self._resolver, key.selector, key.domain, load_private(key.private_key_b64_pkcs8))

    async def look_at(self, key: DkimKeyRecord) -> KeyCheck:
        """Activates a key if the DNS shows it. Otherwise, or without an answer, nothing changes.

        Raises:
            NotFound: the key's state has changed since ``key`` was read.
            ConfigError: the key cannot be used.
            StoreUnavailable
        """
        found = await self.shown(key)
        if found is not Publication.PUBLISHED:
            return KeyCheck(key, found)
        now = self._clock.now()
        retired = await self._keys.activate(key.tenant, key.domain, key.selector, now, was=key.state)
        self._log.info(
            "dkim_key_activated", domain=key.domain, selector=key.selector, algorithm=key.algorithm, retired=retired
        )
        return KeyCheck(key, found, True, tuple(retired))

    # -- the worker ------------------------------------------------------------------------------------------------

    async def look(self) -> list[KeyCheck]:
        """One check of the due pending keys of all tenants.

        Raises:
            StoreUnavailable: the pending keys cannot be read.
        """
        now = self._clock.monotonic()
        pending = {_name(key): key for key in await self._keys.pending()}
        self._due = {name: self._due.get(name, now) for name in pending}
        self._logged = {name: logged for name, logged in self._logged.items() if name in pending}
        due = sorted((at, name) for name, at in self._due.items() if at <= now)[:KEYS_PER_LOOK]
        slots = asyncio.Semaphore(QUESTIONS)
        looked = await asyncio.gather(*(self._look(pending[name], slots) for _, name in due))
        return [one for one in looked if one is not None]

    async def _look(self, key: DkimKeyRecord, slots: asyncio.Semaphore) -> KeyCheck | None:
        async with slots:
            age = max(0.0, self._clock.now() - key.created_at)
            pause = min(age * PAUSE_SHARE, LONGEST_PAUSE) * (0.9 + 0.2 * self._random())
            self._due[_name(key)] = self._clock.monotonic() + pause
            try:
                looked = await self.look_at(key)
            except NotFound:
                # Another process or the operator changed the key first.
                self._log.debug("dkim_key_changed_meanwhile", domain=key.domain, selector=key.selector)
                return None
            except InboxError as error:
                self._log.error("dkim_key_not_looked_at", domain=key.domain, selector=key.selector, error=str(error))
                return None
        self._log_once(looked)
        return looked

    def _log_once(self, looked: KeyCheck) -> None:
        """Logs a wrong record once, not every minute."""
        name, found = _name(looked.key), looked.publication
        if found is None or self._logged.get(name) is found:
            return
        self._logged[name] = found
        if found in {Publication.OTHER, Publication.AMBIGUOUS}:
            where = record_name(looked.key.selector, looked.key.domain)
            self._log.warning("dkim_record_wrong", name=where, shows=found.value)


async def asked(resolver: Resolver, selector: str, domain: str, private: PrivateKey) -> Publication | None:
    """The state of a key's DNS record; None if there is no answer."""
    try:
        answer = await resolver.txt(record_name(selector, domain))
    except NameUnfit:
        return Publication.MISSING
    except DnsTemporary:
        return None
    return publication(answer.records, private)


def generate(algorithm: str) -> str:
    """A new private key as PKCS8 in base64. An RSA key takes some hundredths of a second, so do not call this on the
    event loop."""
    made: PrivateKey = Ed25519PrivateKey.generate() if algorithm == "ed25519" else generate_private_key(65537, RSA_BITS)
    return base64.b64encode(made.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())).decode()


def _selector(hosted: HostedDomain, algorithms: Sequence[str], algorithm: str, given: str) -> str:
    text = given if len(algorithms) == 1 else f"{given}-{algorithm}"
    try:
        name = canonical_domain(text)
    except AddressError:
        raise ConfigError(f"not a selector: {text}") from None
    if name.startswith("[") or len(record_name(name, hosted.fqdn)) > NAME_OCTETS:
        raise ConfigError(f"not a selector: {text}")
    return name


def _check_free(
    domain: str, algorithm: str, name: str | None, waiting: DkimKeyRecord | None, taken: Set[str | None]
) -> None:
    """Raises AlreadyExists if the name is taken, or another key is pending."""
    if waiting is None and name is not None and name in taken:
        raise AlreadyExists(f"{domain} has a key with the selector {name}")
    if waiting is not None and name not in {None, waiting.selector}:
        raise AlreadyExists(
            f"{waiting.selector} is the next {algorithm} key of {domain} and waits for its record: "
            f"publish it, or: inbox domain dkim remove {domain} {waiting.selector}"
        )


def _names_of_today(algorithm: str, now: float) -> Iterable[str]:
    """``20261122-rsa``, ``20261122b-rsa``, …: the date shows which key is old."""
    day = datetime.fromtimestamp(now, UTC).strftime("%Y%m%d")
    return (f"{day}{letter}-{algorithm}" for letter in ("", *string.ascii_lowercase[1:]))


def _name(key: DkimKeyRecord) -> tuple[str, str, str]:
    return key.tenant, key.domain, key.selector
