"""Bound what strangers can write into the log: repeated lines are counted, and the count is logged instead."""

from __future__ import annotations

from collections import OrderedDict
from ipaddress import ip_address
from typing import Any, Final

from inbox.base.clock import Clock
from inbox.base.peers import network_of
from inbox.plugin.api.services import Log

#: Seconds in which lines of one event and peer are counted together.
WINDOW_SECONDS: Final = 60.0
#: Lines of one event and peer (an IPv4 address or IPv6 /64 network) that are written in a window.
FIRST: Final = 20
#: Lines of one event of all peers together, and of an event that names no peer.
FIRST_OF_ALL: Final = 300
#: Maximum number of events and peers that are counted; the oldest one is forgotten first.
COUNTED: Final = 5000
#: The longest text in a line, in characters: peers choose some of the texts.
TEXT: Final = 1000


class QuietLog:
    """Passes lines on to another log, except those that repeat too often.

    Args:
        log: receives the lines.
        clock: for windows.
        keep: events that are always written, because each is the only record of an action.
    """

    def __init__(self, log: Log, clock: Clock, keep: frozenset[str] = frozenset()) -> None:
        self._log = log
        self._clock = clock
        self._keep = keep
        self._windows: OrderedDict[tuple[str, str], list[float]] = OrderedDict()

    def debug(self, event: str, **fields: Any) -> None:
        if self._passes(event, fields):
            self._log.debug(event, **fields)

    def info(self, event: str, **fields: Any) -> None:
        if self._passes(event, fields):
            self._log.info(event, **fields)

    def warning(self, event: str, **fields: Any) -> None:
        if self._passes(event, fields):
            self._log.warning(event, **fields)

    def error(self, event: str, **fields: Any) -> None:
        if self._passes(event, fields):
            self._log.error(event, **fields)

    def flush(self, *, everything: bool = False) -> None:
        """Logs the counts of windows that are over, or of all when the server stops."""
        now = self._clock.monotonic()
        while self._windows:
            key, window = next(iter(self._windows.items()))
            if not everything and window[0] + WINDOW_SECONDS > now:
                return
            self._end(key)

    def _passes(self, event: str, fields: dict[str, Any]) -> bool:
        if event in self._keep:
            return True
        peer = _network(fields.get("peer"))
        passes = self._count((event, peer), FIRST) if peer else True
        if passes and self._count((event, ""), FIRST_OF_ALL):
            for name, value in fields.items():
                if isinstance(value, str) and len(value) > TEXT and name != "body":
                    fields[name] = f"{value[:TEXT]}…"
            return True
        return False

    def _count(self, key: tuple[str, str], first: int) -> bool:
        """Counts one line; True if it may be written."""
        now = self._clock.monotonic()
        window = self._windows.get(key)
        if window is not None and window[0] + WINDOW_SECONDS <= now:
            self._end(key)
            window = None
        if window is None:
            window = self._windows[key] = [now, 0, 0]
            if len(self._windows) > COUNTED:
                self._end(next(iter(self._windows)))
        window[1] += 1
        if window[1] <= first:
            return True
        window[2] += 1
        return False

    def _end(self, key: tuple[str, str]) -> None:
        event, peer = key
        _, _, suppressed = self._windows.pop(key)
        if suppressed:
            self._log.warning(
                "log_lines_suppressed", of=event, peer=peer or "all others", count=int(suppressed),
                seconds=WINDOW_SECONDS,
            )  # fmt: skip


def _network(peer: object) -> str:
    """The network of a line's ``peer``; empty if it names none."""
    if not isinstance(peer, str):
        return ""
    try:
        return network_of(ip_address(peer))
    except ValueError:
        return ""
