"""Doctor's check of the settings for mail to other servers."""

from __future__ import annotations

from inbox.app.config.settings import Outbound
from inbox.app.doctor.outbound import retry_finding


def test_the_default_attempts_end_before_the_time_does() -> None:
    assert retry_finding(Outbound()) == (
        "mail that cannot be delivered is given up after 10 attempts, about 3 h 04 min, before its time of 24 h ends; "
        "SMTP_OUTBOUND_MAX_ATTEMPTS=31 uses all of it"
    )


def test_enough_attempts_use_the_whole_time() -> None:
    assert retry_finding(Outbound(max_attempts=31)) == "mail that cannot be delivered is given up after 24 h"
    assert "MAX_ATTEMPTS=127" in retry_finding(Outbound(ttl_secs=5 * 86_400))
