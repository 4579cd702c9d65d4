"""The policy in force for one recipient, and its sources."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from inbox.base.errors import PolicyError
from inbox.policy import plan
from inbox.policy.catalogue import Mode
from inbox.policy.merge import Merged, PluginEntry, with_overrides
from inbox.policy.mistakes import Place
from inbox.policy.model import ServerPolicy, Thresholds
from inbox.policy.outbound import OutboundPolicy
from inbox.policy.stages import Stage
from inbox.policy.submission import SubmissionPolicy


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class EffectivePolicy:
    """The policy in force for one (tenant, domain, account). A transaction keeps the policy that it began with.

    ``tenant`` is the tenant's name (empty: none is known); ``plugins`` are in the policy's order, including
    those that are off. ``running`` are those that are not off.
    """

    tenant: str
    mode: Mode
    plugins: tuple[PluginEntry, ...]
    thresholds: Thresholds
    caps: Mapping[str, float]
    server: ServerPolicy
    outbound: OutboundPolicy
    submission: SubmissionPolicy
    running: tuple[PluginEntry, ...]
    _plan: plan.Plan

    def levels(self, stage: Stage) -> tuple[tuple[PluginEntry, ...], ...]:
        """The plugins that run at ``stage``; those of one level do not wait for one another."""
        return tuple(tuple(self.running[index] for index in level) for level in self._plan[stage])

    def gives(self, fact: type) -> bool:
        """Whether a plugin in enforce mode declares to give facts of this type."""
        return any(fact in entry.info.gives and entry.mode is Mode.ENFORCE for entry in self.running)

    def plugin(self, name: str) -> PluginEntry | None:
        """The entry of this name."""
        return next((entry for entry in self.plugins if entry.name == name), None)


@dataclass(frozen=True, slots=True)
class Named:
    """The subject of a policy file: a tenant (empty: default.yaml), a domain, an account; and its place."""

    tenant: str
    domain: str | None
    account: str | None
    place: Place


class Plans:
    """Plans by their list of plugins: a thousand tenants share a handful of lists."""

    def __init__(self) -> None:
        self._made: dict[tuple[plan.Planned, ...], plan.Plan | plan.PlanError] = {}

    def get(self, row: tuple[plan.Planned, ...]) -> plan.Plan | plan.PlanError:
        found = self._made.get(row)
        if found is None:
            try:
                found = plan.build(row)
            except plan.PlanError as error:
                found = error
            self._made[row] = found
        return found


def overridden(policy: EffectivePolicy, merged: Merged, changed: Mapping[str, Mapping[str, Any]]) -> EffectivePolicy:
    """``policy`` with settings of plugins that the domain's fields in the database changed. Raises PolicyError."""
    entries: dict[str, PluginEntry] = {entry.name: entry for entry in policy.plugins}
    for name, values in changed.items():
        try:
            entries[name] = with_overrides(entries[name], values, merged.plugins[name].raw)
        except ValidationError as error:
            fields = ", ".join(entries[name].info.domain_fields[setting] for setting in values)
            raise PolicyError(f"plugin {name!r} refuses the domain's {fields}: {error.errors()[0]['msg']}") from error
    return EffectivePolicy(
        policy.tenant, policy.mode, tuple(entries.values()), policy.thresholds, policy.caps, policy.server,
        policy.outbound, policy.submission, tuple(entries[entry.name] for entry in policy.running), policy._plan,
    )  # fmt: skip
