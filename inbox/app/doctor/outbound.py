"""Check the settings for mail to other servers: the time for which delivery is tried."""

from __future__ import annotations

from inbox.app.config.settings import Outbound
from inbox.flow.outbound.backoff import Backoff


def retry_finding(settings: Outbound) -> str:
    """The duration of delivery, and settings that extend it to the whole SMTP_OUTBOUND_TTL_SECS."""
    backoff = Backoff(settings.retry_base_delay_secs, settings.retry_max_delay_secs)
    span = backoff.span(settings.max_attempts)
    if span >= settings.ttl_secs:
        return f"mail that cannot be delivered is given up after {_duration(settings.ttl_secs)}"
    return (
        f"mail that cannot be delivered is given up after {settings.max_attempts} attempts, about {_duration(span)}, "
        f"before its time of {_duration(settings.ttl_secs)} ends; "
        f"SMTP_OUTBOUND_MAX_ATTEMPTS={backoff.attempts_within(settings.ttl_secs)} uses all of it"
    )


def _duration(seconds: float) -> str:
    hours, minutes = divmod(round(seconds / 60 + 1e-9), 60)
    return f"{hours} h {minutes:02} min" if minutes else f"{hours} h"
