"""Signed return paths: envelope senders by which late bounces and complaints are tied to their message and tenant.

With ``outbound.return_path.signed``, the envelope sender of a message from ``ann@acme.test`` leaves as::

    bounce+JOB KIND DAY HASH@acme.test      (without the spaces)

JOB is the id of the job in the queue, KIND the first letter of its class, and DAY the last day on which the address is
valid. HASH proves that we wrote it, with a key of the installation and the tenant: otherwise anyone could report
failures of recipients, and suppress them. The address is the same for all attempts of a job, because receivers know a
retry by its sender. All of it is in lower case, because servers on the way may change the case of a local part.
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from inbox.mail.address import Address
from inbox.store.ports.queue import Job, JobClass

_PREFIX: Final = "bounce+"
_DAY_SECONDS: Final = 86_400
#: DAY has three digits of base 32, which are enough for 90 years.
_DAYS: Final = 32_768
_DIGITS: Final = "0123456789abcdefghjkmnpqrstvwxyz"
#: Characters of HASH: 100 bits. The whole local part has 51 octets, of 64 that are allowed (RFC 5321 §4.5.3.1.1).
_HASH: Final = 20
_KINDS: Final[dict[str, JobClass]] = {"t": "transactional", "b": "bulk", "r": "report"}
_FORM: Final = re.compile(rf"bounce\+([{_DIGITS}]{{20}})([tbr])([{_DIGITS}]{{3}})([{_DIGITS}]{{{_HASH}}})\Z")
_JOB: Final = re.compile(rf"[{_DIGITS}]{{20}}\Z")


@dataclass(frozen=True, slots=True)
class Signed:
    """The job that a valid address names, and its class."""

    job: str
    job_class: JobClass


class ReturnPaths:
    """Writes and reads signed return paths.

    Args:
        key: a secret of the installation; all its instances must have the same.
        now: seconds since the epoch.
    """

    def __init__(self, key: bytes, now: Callable[[], float]) -> None:
        self._key = key
        self._now = now

    def address(self, job: Job, tenant: str, domain: str, days: int) -> str | None:
        """The envelope sender of a job; None if its id or class has no token.

        Args:
            days: after the job expires, until the address does.
        """
        if job.job_class[0] not in _KINDS or _JOB.match(job.id) is None:
            return None
        day = (int(job.expires_at // _DAY_SECONDS) + days) % _DAYS
        signed = f"{job.id}{job.job_class[0]}{_spelled(day, 3)}"
        return f"{_PREFIX}{signed}{self._hash(tenant, signed)}@{domain}"

    def read(self, address: Address, tenant: str) -> Signed | None:
        """The job of an address of ``tenant``; None if we did not write it, or if it has expired."""
        local = address.local.lower()
        found = _FORM.match(local) if local.startswith(_PREFIX) else None
        if found is None:
            return None
        job, kind, day, given = found.groups()
        if not hmac.compare_digest(given.encode(), self._hash(tenant, f"{job}{kind}{day}").encode()):
            return None
        last = sum(_DIGITS.index(digit) << 5 * place for place, digit in enumerate(day))
        if (last - int(self._now() // _DAY_SECONDS)) % _DAYS >= _DAYS // 2:
            return None
        return Signed(job, _KINDS[kind])

    def _hash(self, tenant: str, signed: str) -> str:
        key = hmac.digest(self._key, tenant.encode(), hashlib.sha256)
        number = int.from_bytes(hmac.digest(key, signed.encode(), hashlib.sha256), "big")
        return _spelled(number, _HASH)


def _spelled(number: int, digits: int) -> str:
    """The last digits of a number, the lowest first."""
    return "".join(_DIGITS[number >> 5 * place & 31] for place in range(digits))
