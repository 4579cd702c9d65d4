"""Circuit breakers of sets of MX hosts: no attempts while all hosts of a set are unreachable.

After several attempts in a row that reached no host, the circuit opens: jobs wait without an attempt. After a
cool-down, one job is the probe (half-open). If it reaches a host, the circuit closes; if not, the cool-down doubles up
to a maximum.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

#: Circuits kept at most; beyond it, the one that failed longest ago is forgotten, which costs some futile attempts.
MOST_CIRCUITS: Final = 20_000
#: The longest cool-down, in seconds.
LONGEST: Final = 1800.0


@dataclass(slots=True)
class _Circuit:
    failures: int = 0
    cool_down: float = 0.0
    open_until: float = 0.0
    probed_at: float = 0.0
    probing: bool = False


class Circuits:
    """Circuits by key; times are of a monotonic clock, in seconds. Only sets that fail are kept.

    Args:
        probe_seconds: time after which a probe that never ended no longer counts.
    """

    def __init__(self, probe_seconds: float) -> None:
        self._probe_seconds = probe_seconds
        self._circuits: OrderedDict[str, _Circuit] = OrderedDict()

    def __len__(self) -> int:
        return len(self._circuits)

    def states(self, now: float) -> dict[str, int]:
        """The number of circuits that are ``open``, and of those that a probe may close or closes (``half_open``)."""
        cooling = [circuit.open_until > now for circuit in self._circuits.values() if circuit.cool_down > 0.0]
        return {"open": sum(cooling), "half_open": len(cooling) - sum(cooling)}

    def wait(self, key: str, now: float) -> float:
        """Seconds until an attempt is allowed; 0 if it is allowed now. Of a half-open circuit, the caller that gets 0
        is the probe, and calls :meth:`reached`, :meth:`failed` or :meth:`abandoned`."""
        circuit = self._circuits.get(key)
        if circuit is None or circuit.cool_down == 0.0:
            return 0.0
        if now < circuit.open_until:
            return circuit.open_until - now
        probe_ends = circuit.probed_at + self._probe_seconds
        if circuit.probing and now < probe_ends:
            return min(circuit.cool_down, probe_ends - now)
        circuit.probing = True
        circuit.probed_at = now
        return 0.0

    def reached(self, key: str) -> bool:
        """A host of the set answered. Returns whether the circuit was open."""
        circuit = self._circuits.pop(key, None)
        return circuit is not None and circuit.cool_down > 0.0

    def failed(self, key: str, now: float, failures: int, cool_down: float) -> bool:
        """No host of the set could be reached. Returns whether the circuit opened with this failure.

        Args:
            failures: failures in a row that open it.
            cool_down: seconds until the first probe.
        """
        circuit = self._circuits.pop(key, None) or _Circuit()
        self._circuits[key] = circuit
        if len(self._circuits) > MOST_CIRCUITS:
            self._circuits.popitem(last=False)
        circuit.failures += 1
        was_open = circuit.cool_down > 0.0
        if was_open and not circuit.probing:
            # An attempt that began before the circuit opened has no new information.
            return False
        if circuit.failures < failures and not was_open:
            return False
        circuit.cool_down = min(LONGEST, circuit.cool_down * 2) if was_open else cool_down
        circuit.open_until = now + circuit.cool_down
        circuit.probing = False
        return not was_open

    def abandoned(self, key: str) -> None:
        """The attempt ended without having tried a host: another job may be the probe."""
        circuit = self._circuits.get(key)
        if circuit is not None:
            circuit.probing = False
