"""Warnings about policies: valid settings that are probably a mistake."""

from __future__ import annotations

from collections.abc import Iterator

from inbox.base.errors import PolicyError
from inbox.policy.catalogue import Mode
from inbox.policy.effective import EffectivePolicy, Named
from inbox.policy.mistakes import Mistake
from inbox.policy.model import reversed_thresholds
from inbox.policy.snapshot import PolicySet

#: The consequence of an essential plugin that is off or in shadow mode.
CONSEQUENCE = "no recipient can be found without it, and all mail is answered 451"


def doubts(policies: PolicySet) -> list[Mistake]:
    """Warnings about the policies in force, each with its place, once for each cause."""
    found: dict[str, Mistake] = {}
    for named in policies.named():
        try:
            policy = policies.effective(named.tenant, named.domain, named.account)
        except PolicyError:
            continue  # The tenant is suspended: its mistakes are reported instead.
        for text in _texts(policy):
            # A domain and an account inherit from their tenant's file, and the tenant inherits from default.yaml.
            inherited = (f"{level} {text}" for level in _levels(named))
            if not any(key in found for key in inherited):
                found[f"{named.tenant} {named.domain} {named.account} {text}"] = Mistake(named.place, text)
    return sorted(found.values())


def _levels(named: Named) -> Iterator[str]:
    """The outer levels, as keys."""
    yield " None None"
    yield f"{named.tenant} None None"
    yield f"{named.tenant} {named.domain} None"


def _texts(policy: EffectivePolicy) -> Iterator[str]:
    for entry in policy.plugins:
        if entry.info.essential and entry.mode is not Mode.ENFORCE:
            yield f"{entry.name} is {entry.mode}: {CONSEQUENCE}"
    limits = policy.thresholds.model_dump()
    crossed = reversed_thresholds(limits)
    if crossed is not None:
        milder, stricter = crossed
        yield (
            f"with what is inherited, {stricter}: {limits[stricter]:g} is below {milder}: {limits[milder]:g}, "
            f"which never applies"
        )
