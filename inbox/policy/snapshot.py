"""Snapshots: all policies of an installation at one moment, immutable; and what is in force for one recipient."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from inbox.base.errors import PolicyError
from inbox.base.files import read_regular
from inbox.base.limits import POLICY_FILE_OCTETS
from inbox.mail.tenancy import DomainOverrides
from inbox.policy import document, plan
from inbox.policy.catalogue import Catalogue, Mode
from inbox.policy.levels import Level, LevelReader, PolicyFile
from inbox.policy.merge import Merged, PluginEntry, merge, with_overrides
from inbox.policy.mistakes import Mistakes, Place, PolicyMistakes
from inbox.policy.model import ServerPolicy, Thresholds
from inbox.policy.origins import Named
from inbox.policy.stages import Stage

DEFAULT_FILE: Final = "default.yaml"
TENANT_FOLDER: Final = "tenants"
#: Effective policies that one tenant may have in memory besides those that its file names.
_VARIANTS: Final = 4096
#: A tenant's name that is safe as a file's.
_TENANT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z")
Variant = tuple[str | None, str | None]


@dataclass(frozen=True, slots=True, eq=False, weakref_slot=True)
class EffectivePolicy:
    """What is in force for one (tenant, domain, account). Whoever began under it holds it until the end.

    ``tenant`` is the tenant's name (empty: none is known); ``plugins`` are in the policy's order, those that are
    off among them.
    """

    tenant: str
    mode: Mode
    plugins: tuple[PluginEntry, ...]
    thresholds: Thresholds
    caps: Mapping[str, float]
    server: ServerPolicy
    _running: tuple[PluginEntry, ...]
    _plan: plan.Plan

    def levels(self, stage: Stage) -> tuple[tuple[PluginEntry, ...], ...]:
        """The plugins that run at ``stage``; those of one level do not wait for one another."""
        return tuple(tuple(self._running[index] for index in level) for level in self._plan[stage])

    def plugin(self, name: str) -> PluginEntry | None:
        """The entry of this name."""
        return next((entry for entry in self.plugins if entry.name == name), None)


@dataclass(frozen=True, slots=True)
class _Tenant:
    """One tenant's file as it was read, and its effective policies as far as anybody asked for them."""

    file: PolicyFile
    merged: Merged
    variants: dict[Variant, tuple[Merged, EffectivePolicy]]
    overridden: dict[tuple[object, ...], EffectivePolicy] = field(default_factory=dict)


class _Plans:
    """Plans by the row of plugins that they are for: a thousand tenants have a handful of rows."""

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


class PolicySet:
    """All policies. Immutable: :meth:`reload` and :meth:`load` make a new one.

    Holds ``default.yaml`` and every ``tenants/NAME.yaml`` of a folder. A tenant without a file has the default.
    """

    def __init__(self, folder: Path, catalogue: Catalogue) -> None:
        self.folder = folder
        self.catalogue = catalogue
        self.server = ServerPolicy()
        self._tenants: dict[str, _Tenant] = {}
        self._default = _Tenant(PolicyFile(), Merged(), {})
        self._plans = _Plans()

    # --- making one ---

    @classmethod
    def load(cls, folder: Path, catalogue: Catalogue) -> PolicySet:
        """Reads all files of ``folder``.

        Raises:
            PolicyMistakes: with all mistakes of all files.
        """
        texts: dict[str, bytes] = {}
        mistakes = Mistakes()
        for path in [folder / DEFAULT_FILE, *sorted((folder / TENANT_FOLDER).glob("*.yaml"))]:
            if not path.name.startswith("."):
                _read(path, str(path.relative_to(folder)), texts, mistakes)
        for path in sorted((folder / TENANT_FOLDER).glob("*.yml")):
            mistakes.add(Place(str(path)), "policies end in .yaml; rename this file")
        mistakes.check()
        return cls.from_texts(texts, catalogue, folder)

    @classmethod
    def from_texts(cls, texts: Mapping[str, bytes], catalogue: Catalogue, folder: Path | None = None) -> PolicySet:
        """The same from texts by relative file name (``default.yaml``, ``tenants/acme.yaml``).

        Raises:
            PolicyMistakes: with all mistakes of all files.
        """
        new = cls(folder or Path(), catalogue)
        mistakes = Mistakes()
        new._take_default(texts.get(DEFAULT_FILE, b""), mistakes)
        mistakes.check()  # What tenants inherit must be right, or each of them would repeat the mistake.
        for name, text in texts.items():
            if name != DEFAULT_FILE:
                new._take_tenant(Path(name).stem, text, mistakes)
        mistakes.check()
        return new

    def reload(self, changed: Iterable[str], texts: Mapping[str, bytes] | None = None) -> PolicySet:
        """A new set in which the ``changed`` files are read again; all else is shared with this one.

        Under a changed ``default.yaml`` the tenants' files mean what they meant when they were read.

        Args:
            changed: relative file names (``tenants/acme.yaml``).
            texts: what stands in them; read from the folder if left out. This is how an edit is checked before
                it is written.

        Raises:
            PolicyMistakes: a file is wrong or has vanished. This set stays as it is.
        """
        found = dict(texts or {})
        mistakes = Mistakes()
        for name in changed:
            if name not in found:
                _read(self.folder / name, name, found, mistakes)
        mistakes.check()
        if DEFAULT_FILE in found:
            new = PolicySet(self.folder, self.catalogue)
            new._take_default(found.pop(DEFAULT_FILE), mistakes)
            mistakes.check()
            self._hand_over(new, mistakes, {Path(name).stem for name in found})
        else:
            new = PolicySet(self.folder, self.catalogue)
            new.server, new._default, new._plans = self.server, self._default, self._plans
            new._tenants = dict(self._tenants)
        for name, text in found.items():
            new._take_tenant(Path(name).stem, text, mistakes)
        mistakes.check()
        return new

    def with_catalogue(self, catalogue: Catalogue) -> PolicySet:
        """The same policies with other plugins; no file is read.

        Raises:
            PolicyMistakes: a policy does not fit the plugins. This set stays as it is.
        """
        new = PolicySet(self.folder, catalogue)
        mistakes = Mistakes()
        new._adopt_default(self._default.file, mistakes)
        mistakes.check()
        self._hand_over(new, mistakes, set())
        mistakes.check()
        return new

    def _hand_over(self, new: PolicySet, mistakes: Mistakes, without: set[str]) -> None:
        for name, tenant in self._tenants.items():
            if name not in without:
                new._adopt_tenant(name, tenant.file, mistakes)

    def _take_default(self, text: bytes, mistakes: Mistakes) -> None:
        read = self._read_file(text, str(self.folder / DEFAULT_FILE), mistakes, default=True)
        if read is not None:
            self._adopt_default(read, mistakes)

    def _adopt_default(self, read: PolicyFile, mistakes: Mistakes) -> None:
        self.server = read.server or ServerPolicy()
        merged = merge(Merged(), read.level, self.catalogue, mistakes)
        self._default = _Tenant(read, merged, {})
        self._check_variants("", self._default, Place(str(self.folder / DEFAULT_FILE), 1, 1), mistakes)

    def _take_tenant(self, name: str, text: bytes, mistakes: Mistakes) -> None:
        read = self._read_file(text, str(self.folder / TENANT_FOLDER / f"{name}.yaml"), mistakes, default=False)
        if read is not None:
            self._adopt_tenant(name, read, mistakes)

    def _adopt_tenant(self, name: str, read: PolicyFile, mistakes: Mistakes) -> None:
        merged = merge(self._default.merged, read.level, self.catalogue, mistakes)
        tenant = _Tenant(read, merged, {})
        place = Place(str(self.folder / TENANT_FOLDER / f"{name}.yaml"), 1, 1)
        self._check_variants(name, tenant, place, mistakes)
        self._tenants[name] = tenant

    def _read_file(self, text: bytes, file: str, mistakes: Mistakes, *, default: bool) -> PolicyFile | None:
        try:
            root = document.load(document.decode(text, file), file)
        except PolicyMistakes as error:
            mistakes.take(error)
            return None
        return LevelReader(file, self.catalogue, mistakes).read(root, default=default)

    def _check_variants(self, name: str, tenant: _Tenant, place: Place, mistakes: Mistakes) -> None:
        """Builds every effective policy that the file names, so that no mistake waits for the first message."""
        variants: list[Variant] = [(None, None), *((domain, None) for domain in tenant.file.domains)]
        variants += [(_domain_of(account, tenant.file), account) for account in tenant.file.accounts]
        for variant in variants:
            found = Mistakes()
            merged = self._merge_variant(tenant, variant, found)
            if len(found) == 0:
                self._build(name, merged, place, found)
            try:
                found.check()
            except PolicyMistakes as error:
                mistakes.take(error)

    # --- what is in force ---

    def tenant_file(self, tenant: str) -> Path:
        """Where the file of a tenant is, or would be.

        Raises:
            PolicyError: the name cannot be a file's.
        """
        return self.folder / self.relative_name(tenant)

    @staticmethod
    def relative_name(tenant: str) -> str:
        """``tenants/NAME.yaml``. Raises PolicyError if the name cannot be a file's."""
        if not _TENANT.match(tenant):
            raise PolicyError(f"{tenant!r} cannot be the name of a policy file")
        return f"{TENANT_FOLDER}/{tenant}.yaml"

    def tenants(self) -> list[str]:
        """The tenants that have a file, by name."""
        return sorted(self._tenants)

    def effective(
        self,
        tenant: str = "",
        domain: str | None = None,
        account: str | None = None,
        overrides: DomainOverrides | None = None,
    ) -> EffectivePolicy:
        """What is in force. Built when first asked for, and shared by all that have nothing of their own.

        Args:
            tenant: the tenant's name; empty while none is known.
            domain: canonical, of the recipient.
            account: ``Address.key`` of the account.
            overrides: the domain's ``has_domain`` fields, the last word.

        Raises:
            PolicyError: a plugin's settings refuse what the levels, or the overrides, say together.
        """
        of = self._tenants.get(tenant, self._default)
        variant: Variant = (
            domain if domain in of.file.domains or domain in self._default.file.domains else None,
            account if account in of.file.accounts or account in self._default.file.accounts else None,
        )
        made = of.variants.get(variant)
        if made is None:
            made = self._make(tenant, of, variant)
        return made[1] if overrides is None else self._overridden(of, variant, made, overrides)

    def _make(self, tenant: str, of: _Tenant, variant: Variant) -> tuple[Merged, EffectivePolicy]:
        mistakes = Mistakes()
        merged = self._merge_variant(of, variant, mistakes)
        policy = self._build(tenant if of is not self._default else "", merged, Place(tenant), mistakes)
        mistakes.check()
        if policy is None:
            raise PolicyError(f"no policy for {tenant!r} {variant}")
        _keep(of.variants, variant, (merged, policy))
        return merged, policy

    def _merge_variant(self, of: _Tenant, variant: Variant, mistakes: Mistakes) -> Merged:
        merged = of.merged
        for level in self._inner_levels(of, variant):
            merged = merge(merged, level, self.catalogue, mistakes)
        return merged

    def named_levels(self, tenant: str = "", domain: str | None = None, account: str | None = None) -> list[Named]:
        """The levels that :meth:`effective` puts together, the outermost first, with their names."""
        of = self._tenants.get(tenant, self._default)
        found = [Named("default", self._default.file.level)]
        files = [("", of.file)]
        if of is not self._default:
            found.append(Named(f"tenant {tenant}", of.file.level))
            files = [(" (default.yaml)", self._default.file), ("", of.file)]
        for kind, key in (("domain", domain), ("account", account)):
            for where, file in files:
                level = (file.domains if kind == "domain" else file.accounts).get(key or "")
                if level is not None:
                    found.append(Named(f"{kind} {key}{where}", level))
        return found

    def _inner_levels(self, of: _Tenant, variant: Variant) -> Iterable[Level]:
        """The domain's levels, then the account's; default.yaml's entry before the tenant's."""
        files = [self._default.file] if of is self._default else [self._default.file, of.file]
        domain, account = variant
        choices: list[Callable[[PolicyFile], Level | None]] = [
            lambda file: file.domains.get(domain or ""),
            lambda file: file.accounts.get(account or ""),
        ]
        return [level for choose in choices for file in files if (level := choose(file)) is not None]

    def _build(self, tenant: str, merged: Merged, place: Place, mistakes: Mistakes) -> EffectivePolicy | None:
        entries = []
        for standing in merged.plugins.values():
            entry = standing.entry(merged.mode)
            if entry is not None:  # Else merge() has said why, or it is switched off and incomplete.
                entries.append(entry)
        running = tuple(entry for entry in entries if entry.mode is not Mode.OFF)
        made = self._plans.get(tuple(plan.Planned(entry.info, entry.mode is Mode.SHADOW) for entry in running))
        if isinstance(made, plan.PlanError):
            wrong = merged.plugins[running[made.index].name].place
            mistakes.add(wrong if wrong.file else place, str(made))
            return None
        return EffectivePolicy(
            tenant, merged.mode, tuple(entries), merged.thresholds, merged.caps, self.server, running, made
        )

    def _overridden(
        self, of: _Tenant, variant: Variant, made: tuple[Merged, EffectivePolicy], overrides: DomainOverrides
    ) -> EffectivePolicy:
        merged, policy = made
        changed: dict[str, dict[str, Any]] = {}
        for entry in policy._running:
            for setting, column in entry.info.domain_fields.items():
                value = getattr(overrides, column)
                if value is not None:
                    changed.setdefault(entry.name, {})[setting] = value
        if not changed:
            return policy
        key = (variant, tuple((name, *values.items()) for name, values in changed.items()))
        found = of.overridden.get(key)
        if found is None:
            found = _with_overrides(policy, merged, changed)
            _keep(of.overridden, key, found)
        return found


def _with_overrides(
    policy: EffectivePolicy, merged: Merged, changed: Mapping[str, Mapping[str, Any]]
) -> EffectivePolicy:
    entries: dict[str, PluginEntry] = {entry.name: entry for entry in policy.plugins}
    for name, values in changed.items():
        try:
            entries[name] = with_overrides(entries[name], values, merged.plugins[name].raw)
        except ValidationError as error:
            fields = ", ".join(entries[name].info.domain_fields[setting] for setting in values)
            raise PolicyError(f"plugin {name!r} refuses the domain's {fields}: {error.errors()[0]['msg']}") from error
    return EffectivePolicy(
        policy.tenant, policy.mode, tuple(entries.values()), policy.thresholds, policy.caps, policy.server,
        tuple(entries[entry.name] for entry in policy._running), policy._plan,
    )  # fmt: skip


def _domain_of(account: str, file: PolicyFile) -> str | None:
    domain = account.rpartition("@")[2]
    return domain if domain in file.domains else None


def _keep(cache: dict[Any, Any], key: object, value: object) -> None:
    if len(cache) >= _VARIANTS:
        cache.clear()
    cache[key] = value


def _read(path: Path, name: str, texts: dict[str, bytes], mistakes: Mistakes) -> None:
    try:
        # One octet more than allowed: decode() then says that it is too much.
        texts[name] = read_regular(path, POLICY_FILE_OCTETS + 1)
    except OSError as error:
        mistakes.add(Place(str(path)), f"cannot be read: {(error.strerror or str(error)).lower()}")
