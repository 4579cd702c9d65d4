"""Waits between the attempts of a job: base·2^(n-1), capped, with jitter."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from inbox.policy.outbound import Retry

#: The part of a wait by which it may be shorter or longer: jobs that failed together do not return together.
JITTER: Final = 0.2


@dataclass(frozen=True, slots=True)
class Backoff:
    """Waits after attempts (RFC 5321 §4.5.4.1 asks for a retry strategy; the figures are settings).

    Attributes:
        base: seconds after the first attempt.
        cap: the maximum, in seconds, before jitter.
        chance: returns a number in [0, 1).
    """

    base: float
    cap: float
    chance: Callable[[], float] = random.random

    def under(self, retry: Retry) -> Backoff:
        """These waits, or those of a policy where it sets them."""
        if retry.base_delay is None and retry.max_delay is None:
            return self
        return Backoff(retry.base_delay or self.base, retry.max_delay or self.cap, self.chance)

    def nominal(self, attempt: int) -> float:
        """Seconds after attempt number ``attempt`` (1 is the first), without jitter.

        >>> [Backoff(30, 3600).nominal(n) for n in (1, 2, 3, 9)]
        [30, 60, 120, 3600]
        """
        # Beyond 2^32 the cap applies in any case, and a float would overflow.
        return min(self.cap, self.base * 2.0 ** min(max(attempt, 1) - 1, 32))

    def delay(self, attempt: int) -> float:
        """Seconds after attempt number ``attempt``, with jitter."""
        return self.nominal(attempt) * (1 + JITTER * (2 * self.chance() - 1))

    def full_delay(self, attempt: int) -> float:
        """As :meth:`delay`, but never shorter than :meth:`nominal`: for an attempt whose outcome is unknown, because
        each further attempt may deliver a second copy."""
        return self.nominal(attempt) * (1 + JITTER * self.chance())

    def span(self, attempts: int) -> float:
        """Seconds from the first attempt to attempt number ``attempts``, without jitter.

        >>> round(Backoff(30, 3600).span(10) / 60)
        184
        """
        return sum(self.nominal(attempt) for attempt in range(1, attempts))

    def attempts_within(self, seconds: float) -> int:
        """The number of attempts after which :meth:`span` is at least ``seconds``.

        >>> Backoff(30, 3600).attempts_within(86_400)
        31
        """
        attempts, total = 1, 0.0
        while total < seconds and self.nominal(attempts) < self.cap:
            total += self.nominal(attempts)
            attempts += 1
        return attempts + max(0, -int(-(seconds - total) // self.cap))
