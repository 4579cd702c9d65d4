"""Date and time of a header field (RFC 5322 §3.3 and §4.3)."""

from __future__ import annotations

import re
from datetime import date
from typing import Final

#: Numbers of months, by lower-case name.
MONTHS: Final = {
    name: number
    for number, name in enumerate("jan feb mar apr may jun jul aug sep oct nov dec".split(), start=1)  # noqa: SIM905
}
_DATE = re.compile(
    r"\s*(?:[a-z]{1,9}\.?\s*,?\s*)?([0-9]{1,2})[\s-]{1,8}([a-z]{3})[a-z]{0,6}[\s-]{1,8}([0-9]{2,4})[\s,]{1,8}"
    r"([0-9]{1,2})\s*:\s*([0-9]{2})(?:\s*:\s*([0-9]{2}))?\s*(?:([+-])([0-9]{1,2})([0-9]{2})|([a-z]{1,5}))?",
    re.IGNORECASE,
)
#: RFC 5322 §4.3: zones in minutes east of Greenwich; military and unknown ones are -0000.
_ZONES: Final = {"edt": -240, "est": -300, "cdt": -300, "cst": -360, "mdt": -360, "mst": -420, "pdt": -420, "pst": -480}
_EPOCH: Final = date(1970, 1, 1).toordinal()


def parse_date(text: str) -> float | None:
    """Seconds since the epoch, or None if ``text`` has no date; comments and trailing text are ignored."""
    found = _DATE.match(text)
    if found is None:
        return None
    day, month, year, hour, minute, second, sign, zone_hours, zone_minutes, zone = found.groups()
    number = MONTHS.get(month.lower())
    if number is None:
        return None
    full_year = int(year)
    if len(year) == 2:  # §4.3: 00 to 49 are of this century.
        full_year += 2000 if full_year < 50 else 1900
    elif len(year) == 3:
        full_year += 1900
    hours, minutes, seconds = int(hour), int(minute), int(second or 0)
    if hours > 23 or minutes > 59 or seconds > 60:
        return None
    try:
        days = date(full_year, number, int(day)).toordinal() - _EPOCH
    except ValueError:
        return None
    if sign:
        offset = int(zone_hours) * 60 + int(zone_minutes)
        if sign == "-":
            offset = -offset
    else:
        offset = _ZONES.get(zone.lower(), 0) if zone else 0
    return float(days * 86400 + hours * 3600 + minutes * 60 + seconds - offset * 60)
