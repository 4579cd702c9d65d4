"""Dates and times of IMAP (RFC 3501 §9: date, date-time)."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta, timezone
from typing import Final

from inbox.wire.imap.cursor import Cursor
from inbox.wire.imap.errors import BadCommand

MONTHS: Final = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_MONTH: Final = {name.upper(): number for number, name in enumerate(MONTHS, 1)}
_DATE: Final = re.compile(rb"([ 0-9]?[0-9])-([A-Za-z]{3})-([0-9]{4})\Z")
_DATE_TIME: Final = re.compile(
    rb"([ 0-9][0-9])-([A-Za-z]{3})-([0-9]{4}) ([0-9]{2}):([0-9]{2}):([0-9]{2}) ([+-])([0-9]{2})([0-9]{2})\Z"
)


def parse_date(text: bytes) -> date:
    """``1-Feb-1994``. Raises BadCommand."""
    found = _DATE.match(text)
    if found is None:
        raise BadCommand("Date expected, such as 1-Feb-1994")
    day, month, year = found.groups()
    try:
        return date(int(year), _MONTH[month.decode("ascii").upper()], int(day))
    except (KeyError, ValueError):
        raise BadCommand("Invalid date") from None


def read_date(cursor: Cursor) -> date:
    """A date with or without quotes. Raises BadCommand."""
    return parse_date(cursor.astring("Date"))


def parse_date_time(text: bytes) -> float:
    """``17-Jul-1996 02:44:25 -0700`` as seconds since the epoch. Raises BadCommand."""
    found = _DATE_TIME.match(text)
    if found is None:
        raise BadCommand("Date and time expected, such as 17-Jul-1996 02:44:25 -0700")
    day, month, year, hour, minute, second, sign, zone_hours, zone_minutes = found.groups()
    offset = timedelta(hours=int(zone_hours), minutes=int(zone_minutes))
    try:
        zone = timezone(-offset if sign == b"-" else offset)
        moment = datetime(
            int(year),
            _MONTH[month.decode("ascii").upper()],
            int(day),
            int(hour),
            int(minute),
            min(int(second), 59),  # Python has no leap seconds
            tzinfo=zone,
        )
        return moment.timestamp()
    except (KeyError, ValueError, OverflowError):
        raise BadCommand("Invalid date and time") from None


def render_date_time(moment: float) -> bytes:
    """INTERNALDATE, quotes included, for seconds since the epoch; always in UTC."""
    when = datetime.fromtimestamp(moment, UTC)
    text = f'"{when.day:2d}-{MONTHS[when.month - 1]}-{when.year:04d} {when:%H:%M:%S} +0000"'
    return text.encode("ascii")
