"""Passwords: argon2id, off the event loop, a few at a time.

Parameters are OWASP's for argon2id (19 MiB, 2 passes, 1 lane): about 45 ms a check. A successful check is cached for a
few minutes under a keyed hash, because mail clients log in repeatedly.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import secrets
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from inbox.base.clock import Clock
from inbox.base.errors import ConfigError
from inbox.identity.scram import verifier_of

#: OWASP's parameters of argon2id: passes, and memory in KiB.
PASSES = 2
MEMORY_KIB = 19 * 1024
#: Seconds for which a verified password is cached.
REMEMBERED_SECONDS = 300
REMEMBERED_ENTRIES = 10_000
#: NIST SP 800-63B §5.1.1.2: at least 64 must be allowed. The upper bound protects against passwords of megabytes.
MIN_PASSWORD = 8
MAX_PASSWORD_OCTETS = 1024


def check_password(password: str) -> None:
    """Raises ConfigError if the password is too short or too long."""
    if len(password) < MIN_PASSWORD:
        raise ConfigError(f"a password must have at least {MIN_PASSWORD} characters")
    if len(password.encode()) > MAX_PASSWORD_OCTETS:
        raise ConfigError(f"a password must have at most {MAX_PASSWORD_OCTETS} octets")


class Passwords:
    """Hashes and checks passwords in a separate thread pool.

    Args:
        clock: for the expiry of cached successes.
        threads: concurrent hashes; each uses 19 MiB.
    """

    def __init__(self, clock: Clock, threads: int = 2) -> None:
        self._clock = clock
        self._hasher = PasswordHasher(time_cost=PASSES, memory_cost=MEMORY_KIB, parallelism=1)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="argon2")
        self._key = secrets.token_bytes(32)
        self._remembered: OrderedDict[bytes, float] = OrderedDict()
        # Checked for unknown addresses, so that they take as long as existing ones.
        self._nobody = self._hasher.hash(secrets.token_hex(16))

    async def hash(self, password: str) -> str:
        """The hash to store, in PHC string format.

        Raises:
            ConfigError: the password is too short or too long.
        """
        check_password(password)
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._hasher.hash, password)

    async def scram(self, password: str) -> str | None:
        """The text of the SCRAM verifier to store; None if the password has characters that SCRAM prohibits."""
        made = await asyncio.get_running_loop().run_in_executor(self._pool, verifier_of, password)
        return None if made is None else str(made)

    async def verify(self, stored: str | None, password: str) -> bool:
        """True if ``password`` matches ``stored``; a mismatch always takes the same time."""
        if len(password.encode("utf-8", "surrogatepass")) > MAX_PASSWORD_OCTETS:
            return False
        token = hmac.digest(
            self._key, b"%s\0%s" % ((stored or "").encode(), password.encode("utf-8", "surrogatepass")), hashlib.sha256
        )
        if self._is_remembered(token):
            return True
        right = await asyncio.get_running_loop().run_in_executor(self._pool, self._check, stored, password)
        if right:
            self._remembered[token] = self._clock.monotonic() + REMEMBERED_SECONDS
            while len(self._remembered) > REMEMBERED_ENTRIES:
                self._remembered.popitem(last=False)
        return right

    def close(self) -> None:
        """Waits for running hashes."""
        self._pool.shutdown(wait=True)

    def _is_remembered(self, token: bytes) -> bool:
        until = self._remembered.get(token)
        if until is None:
            return False
        if until < self._clock.monotonic():
            del self._remembered[token]
            return False
        return True

    def _check(self, stored: str | None, password: str) -> bool:
        try:
            matched = self._hasher.verify(stored or self._nobody, password)
        except (VerificationError, InvalidHashError, UnicodeEncodeError):
            return False
        return matched and stored is not None
