"""Times in options of commands: ``2h`` ago, or a time of RFC 3339."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime

from inbox.cli.context import WrongUsage

_AGO = re.compile(r"(\d{1,6})([smhd])")
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


def moment(text: str, option: str) -> float:
    """``2h`` ago, or a time of RFC 3339 (UTC if it names no zone), as seconds since the epoch.

    Raises:
        WrongUsage: the text is neither; the message names ``option``.
    """
    ago = _AGO.fullmatch(text.strip())
    if ago:
        return time.time() - int(ago[1]) * _SECONDS[ago[2]]
    try:
        found = datetime.fromisoformat(text.strip())
    except ValueError:
        raise WrongUsage(f"{option} {text}: neither a time like 2030-01-31T08:00Z nor 30m, 2h or 7d") from None
    return (found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp()
