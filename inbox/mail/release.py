"""The release time that the author of a message asks for (FUTURERELEASE, RFC 4865 §4)."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import UTC, datetime

#: A date-time of RFC 3339 without fractions, in UTC.
_UNTIL = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z\Z", re.IGNORECASE)


def hold_until(value: str) -> float:
    """The seconds since the epoch of a HOLDUNTIL value. Raises ValueError."""
    if _UNTIL.match(value) is None:
        raise ValueError("not a UTC date-time of RFC 3339")
    return datetime.fromisoformat(value[:-1]).replace(tzinfo=UTC).timestamp()


def release_time(params: Mapping[str, str], now: float) -> float:
    """The time of release in seconds since the epoch; 0: at once.

    Args:
        params: the checked parameters of MAIL.
        now: the time of MAIL, in seconds since the epoch.
    """
    if "HOLDFOR" in params:
        return now + int(params["HOLDFOR"])
    return hold_until(params["HOLDUNTIL"]) if "HOLDUNTIL" in params else 0.0
