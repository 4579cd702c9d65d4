"""Choose which due jobs a worker leases next: tenants take turns, and within a tenant its lanes.

A lane is a domain and a class of one tenant. The database keeps due jobs sorted by tenant, lane, priority and time, so
skipping from one tenant or lane to the next is one index lookup, however many jobs each of them has: a million jobs for
one domain delay neither another tenant's job nor one for another domain. The choice is a generator without I/O; both
backends answer its questions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from typing import Final, NamedTuple

from inbox.store.ports.queue import Job, QueuedJob

#: The maximum number of tenants that one call serves; the next call continues after the last of them.
TENANTS: Final = 64
#: The maximum number of lookups of one tenant's jobs in one call.
PROBES: Final = 16
#: The part of a call that lanes to avoid get while others have due jobs.
AVOIDED_PART: Final = 20
LANES: Final = 1 << 62


class Turn(NamedTuple):
    """A due job."""

    tenant: str
    lane: int
    rank: int
    at: float  # seconds or microseconds, whatever the database sorts by
    job: str


@dataclass(frozen=True, slots=True)
class NextTenant:
    """Asks for one job of the first tenant after ``after``, by id."""

    after: str


@dataclass(frozen=True, slots=True)
class InTenant:
    """Asks for the first ``limit`` jobs of a tenant from ``lane`` on."""

    tenant: str
    lane: int
    limit: int


Probe = NextTenant | InTenant
Choice = Generator[Probe, list[Turn], list[Turn]]
#: Due jobs of one tenant: those of its usual lanes, and those of lanes to avoid.
_Found = tuple[list[Turn], list[Turn]]


def lane_of(domain: str, job_class: str) -> int:
    """Returns the constant number of a domain and class: lanes are spread evenly, so that a random one is a fair
    start."""
    digest = hashlib.blake2b(f"{job_class} {domain}".encode("utf-8", "replace"), digest_size=8).digest()
    return int.from_bytes(digest) % LANES


def first_due(job: Job) -> tuple[bool, float]:
    """Returns whether a new job is due at once, and since when, or when it will be due: at the latest when it
    expires."""
    if job.not_before <= job.created_at:
        return True, job.created_at
    return False, min(job.not_before, max(job.expires_at, job.created_at))


def lanes_of(lanes: Iterable[tuple[str, str]]) -> frozenset[int]:
    """Returns the numbers of these domains and classes."""
    return frozenset(lane_of(domain, job_class) for domain, job_class in lanes)


def choose(
    limit: int, after: str, lane: int, skipped: frozenset[str] = frozenset(), avoided: frozenset[int] = frozenset()
) -> Choice:
    """Chooses up to ``limit`` jobs.

    Args:
        after: the tenant that was served last.
        lane: where to start within each tenant, below ``LANES``.
        skipped: tenants whose jobs wait: the disabled ones.
        avoided: lanes that get a twentieth while others have due jobs, even if these are few.
    """
    tenants = yield from _tenants(min(limit, TENANTS), after, skipped)
    if not tenants:
        return []
    share = -(-limit // len(tenants))
    found: list[_Found] = []
    for tenant in tenants:
        found.append((yield from _of_tenant(tenant, share, lane, avoided)))
    usual, others = (_taking_turns(each) for each in zip(*found, strict=True))
    others = others[: limit // AVOIDED_PART if usual else limit]
    return usual[: limit - len(others)] + others


def last_tenant(chosen: Sequence[Turn], after: str) -> str:
    """Returns the tenant after which the next call continues: the last one, in the order that begins after ``after``
    and continues with the first tenant."""
    tenants = {turn.tenant for turn in chosen}
    return max({tenant for tenant in tenants if tenant <= after} or tenants)


def in_order(chosen: Sequence[Turn], taken: Iterable[QueuedJob]) -> list[QueuedJob]:
    """Returns the leased ones of the chosen jobs, in their order."""
    place = {turn.job: number for number, turn in enumerate(chosen)}
    return sorted(taken, key=lambda job: place[job.job.id])


def _tenants(count: int, after: str, skipped: frozenset[str]) -> Generator[Probe, list[Turn], list[str]]:
    tenants: list[str] = []
    passed: list[str] = []
    place, wrapped = after, not after
    while len(tenants) < count:
        found = yield NextTenant(place)
        if not found and wrapped:
            break
        if not found:
            place, wrapped = "", True
            continue
        place = found[0].tenant
        if place in tenants or place in passed:
            break
        (passed if place in skipped else tenants).append(place)
    return tenants


def _of_tenant(tenant: str, share: int, first: int, avoided: frozenset[int]) -> Generator[Probe, list[Turn], _Found]:
    lanes: dict[int, list[Turn]] = {}
    place, wrapped = first, first == 0
    for _ in range(PROBES):
        found = yield InTenant(tenant, place, share)
        fresh = [turn for turn in found if turn.lane not in lanes]
        for turn in fresh:
            lanes.setdefault(turn.lane, []).append(turn)
        if len(lanes.keys() - avoided) >= share or (wrapped and (len(found) < share or len(fresh) < len(found))):
            break
        if len(found) < share:
            place, wrapped = 0, True
        else:
            place = found[-1].lane + 1  # The rest of this lane is for later calls.
    usual = _taking_turns([turns for number, turns in lanes.items() if number not in avoided])
    return usual[:share], _taking_turns([turns for number, turns in lanes.items() if number in avoided])[:share]


def _taking_turns(groups: Iterable[list[Turn]]) -> list[Turn]:
    """Yields the first of each group, then the second of each, and so on."""
    return [turn for turn in chain.from_iterable(zip_longest(*groups)) if turn is not None]
