"""Snapshots: all policies of an installation at one moment, immutable, and the policy in force for one recipient."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from inbox.base.errors import PolicyError
from inbox.mail.tenancy import DomainOverrides
from inbox.policy import document, plan
from inbox.policy.catalogue import Catalogue, Mode
from inbox.policy.effective import EffectivePolicy, Named, Plans, overridden
from inbox.policy.folder import DEFAULT_FILE, TENANT_FOLDER, read_folder, read_policies
from inbox.policy.levels import Level, LevelReader, PolicyFile
from inbox.policy.merge import Merged, merge
from inbox.policy.mistakes import Mistakes, Place, PolicyMistakes, TenantSuspended
from inbox.policy.model import ServerPolicy
from inbox.policy.origins import NamedLevel, named_levels

__all__ = ["DEFAULT_FILE", "TENANT_FOLDER", "EffectivePolicy", "PolicySet"]

#: Maximum number of effective policies of a tenant in memory, in addition to those that its file names.
_VARIANTS: Final = 4096
#: A tenant's name that is safe as the name of a file.
_TENANT: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}\Z")
Variant = tuple[str | None, str | None]


@dataclass(frozen=True, slots=True)
class _Tenant:
    """One tenant's parsed file, and its effective policies that were requested."""

    file: PolicyFile
    merged: Merged
    variants: dict[Variant, tuple[Merged, EffectivePolicy]]
    overridden: dict[tuple[object, ...], EffectivePolicy] = field(default_factory=dict)


class PolicySet:
    """All policies. Immutable: :meth:`reload` and :meth:`load` make a new one.

    Holds ``default.yaml`` and every ``tenants/NAME.yaml`` of a folder. A tenant without a file has the default.

    Attributes:
        suspended: tenants without a policy, because their file is invalid and no policy was in force before.
        refused: tenants whose file was invalid when the folder was read, including the suspended ones.
    """

    def __init__(self, folder: Path, catalogue: Catalogue) -> None:
        self.folder = folder
        self.catalogue = catalogue
        self.server = ServerPolicy()
        self.suspended: dict[str, PolicyMistakes] = {}
        self.refused: dict[str, PolicyMistakes] = {}
        self._tenants: dict[str, _Tenant] = {}
        self._default = _Tenant(PolicyFile(), Merged(), {})
        self._plans = Plans()

    # --- making one ---

    @classmethod
    def load(cls, folder: Path, catalogue: Catalogue) -> PolicySet:
        """Reads all files of ``folder``.

        Raises:
            PolicyMistakes: with all mistakes of all files.
        """
        new = cls.load_suspending(folder, catalogue)
        mistakes = Mistakes()
        for error in new.refused.values():
            mistakes.take(error)
        mistakes.check()
        return new

    @classmethod
    def load_suspending(cls, folder: Path, catalogue: Catalogue, previous: PolicySet | None = None) -> PolicySet:
        """Reads all files of ``folder``; an invalid file of one tenant does not affect the others.

        Args:
            previous: the policies in force. A tenant whose file is invalid keeps its policy from there; without an
                earlier policy, it is suspended.

        Raises:
            PolicyMistakes: default.yaml, which applies to all tenants, is invalid; or the policy that a
                tenant keeps is not compatible with it.
        """
        files = read_folder(folder)
        mistakes = Mistakes()
        if DEFAULT_FILE in files.wrong:
            raise files.wrong[DEFAULT_FILE]
        new = cls(folder, catalogue)
        new._take_default(files.texts[DEFAULT_FILE], mistakes)
        mistakes.check()
        for name in files.tenants:
            tenant, found = Path(name).stem, Mistakes()
            if name in files.wrong:
                found.take(files.wrong[name])
            else:
                new._take_tenant(tenant, files.texts[name], found)
            try:
                found.check()
            except PolicyMistakes as error:
                new._refuse(tenant, error, previous, mistakes)
        mistakes.check()
        return new

    def _refuse(self, tenant: str, error: PolicyMistakes, previous: PolicySet | None, mistakes: Mistakes) -> None:
        """The tenant keeps its earlier policy, or is suspended if no earlier one is known."""
        self.refused[tenant] = error
        self._tenants.pop(tenant, None)
        if previous is None or tenant in previous.suspended:
            self.suspended[tenant] = error
        elif tenant in previous._tenants:
            self._adopt_tenant(tenant, previous._tenants[tenant].file, mistakes)

    @classmethod
    def from_texts(cls, texts: Mapping[str, bytes], catalogue: Catalogue, folder: Path | None = None) -> PolicySet:
        """The same from texts by relative file name (``default.yaml``, ``tenants/acme.yaml``).

        Raises:
            PolicyMistakes: with all mistakes of all files.
        """
        new = cls(folder or Path(), catalogue)
        mistakes = Mistakes()
        new._take_default(texts.get(DEFAULT_FILE, b""), mistakes)
        mistakes.check()  # Tenants inherit default.yaml, so each of them would repeat the mistake.
        for name, text in texts.items():
            if name != DEFAULT_FILE:
                new._take_tenant(Path(name).stem, text, mistakes)
        mistakes.check()
        return new

    def reload(self, changed: Iterable[str], texts: Mapping[str, bytes] | None = None) -> PolicySet:
        """A new set in which the ``changed`` files are read again; everything else is shared with this one.

        Under a changed ``default.yaml`` the tenants' files keep the meaning from when they were read.

        Args:
            changed: relative file names (``tenants/acme.yaml``).
            texts: their texts; read from the folder if left out. With texts, an edit is checked before it
                is written.

        Raises:
            PolicyMistakes: a file is invalid or was removed. This set is unchanged.
        """
        mistakes = Mistakes()
        given = texts or {}
        found = {**given, **read_policies(self.folder, [name for name in changed if name not in given], mistakes)}
        mistakes.check()
        if DEFAULT_FILE in found:
            new = PolicySet(self.folder, self.catalogue)
            new._take_default(found.pop(DEFAULT_FILE), mistakes)
            mistakes.check()
            self._hand_over(new, mistakes, {Path(name).stem for name in found})
        else:
            new = PolicySet(self.folder, self.catalogue)
            new.server, new._default, new._plans = self.server, self._default, self._plans
            new._tenants, new.suspended = dict(self._tenants), dict(self.suspended)
        for name, text in found.items():
            new._take_tenant(Path(name).stem, text, mistakes)
            new.suspended.pop(Path(name).stem, None)
        mistakes.check()
        return new

    def without(self, tenants: Iterable[str]) -> PolicySet:
        """The same policies without the files of these tenants, which have the default from then on."""
        new = self.reload([])
        for tenant in tenants:
            new._tenants.pop(tenant, None)
            new.suspended.pop(tenant, None)
        return new

    def suspending(self, tenant: str, error: PolicyMistakes) -> PolicySet:
        """The same policies, with one tenant suspended because of this error."""
        new = self.without([tenant])
        new.suspended[tenant] = error
        return new

    def with_catalogue(self, catalogue: Catalogue) -> PolicySet:
        """The same policies with other plugins; no file is read.

        Raises:
            PolicyMistakes: a policy is not compatible with the plugins. This set is unchanged.
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
        new.suspended = dict(self.suspended)

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
        """Builds every effective policy that the file names, so that mistakes are found before the first message."""
        for variant in _variants(tenant.file):
            found = Mistakes()
            merged = self._merge_variant(tenant, variant, found)
            if len(found) == 0:
                self._build(name, merged, place, found)
            try:
                found.check()
            except PolicyMistakes as error:
                mistakes.take(error)

    # --- policies in force ---

    def merged(self) -> Iterator[Merged]:
        """The merged levels, for each tenant, domain and account that a file names."""
        for tenant in (self._default, *self._tenants.values()):
            for variant in _variants(tenant.file):
                yield self._merge_variant(tenant, variant, Mistakes())

    @staticmethod
    def relative_name(tenant: str) -> str:
        """``tenants/NAME.yaml``. Raises PolicyError if the name cannot be a file's."""
        if not _TENANT.match(tenant):
            raise PolicyError(f"{tenant!r} cannot be the name of a policy file")
        return f"{TENANT_FOLDER}/{tenant}.yaml"

    def tenants(self) -> list[str]:
        """The tenants that have a file in force, by name."""
        return sorted(self._tenants)

    def named(self) -> Iterable[Named]:
        """Each file, and each domain and account that a file names, with its place."""
        for tenant, of in [("", self._default), *sorted(self._tenants.items())]:
            file = self.folder / (self.relative_name(tenant) if tenant else DEFAULT_FILE)
            yield Named(tenant, None, None, Place(str(file), 1, 1))
            for name, place in of.file.places.items():
                domain = name.rpartition("@")[2]
                yield Named(tenant, domain, name if "@" in name else None, place)

    def effective(
        self,
        tenant: str = "",
        domain: str | None = None,
        account: str | None = None,
        overrides: DomainOverrides | None = None,
    ) -> EffectivePolicy:
        """The policy in force. Built at the first request, and shared by all recipients without their own entries.

        Args:
            tenant: the tenant's name; empty while the tenant is unknown.
            domain: canonical, of the recipient.
            account: ``Address.key`` of the account.
            overrides: the domain's ``has_domain`` fields, which override all levels.

        Raises:
            TenantSuspended: the tenant's file is invalid, and no earlier policy is known.
            PolicyError: a plugin's settings refuse the combined values of the levels, or the overrides.
        """
        if tenant in self.suspended:
            raise TenantSuspended(self.suspended[tenant].mistakes)
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

    def named_levels(self, tenant: str = "", domain: str | None = None, account: str | None = None) -> list[NamedLevel]:
        """The levels that :meth:`effective` merges, outermost first, with their names."""
        own = self._tenants.get(tenant)
        return named_levels(self._default.file, None if own is None else own.file, tenant, domain, account)

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
            if entry is not None:  # Otherwise merge() has reported the reason, or the plugin is off and incomplete.
                entries.append(entry)
        running = tuple(entry for entry in entries if entry.mode is not Mode.OFF)
        made = self._plans.get(tuple(plan.Planned(entry.info, entry.mode is Mode.SHADOW) for entry in running))
        if isinstance(made, plan.PlanError):
            wrong = merged.plugins[running[made.index].name].place
            mistakes.add(wrong if wrong.file else place, str(made))
            return None
        return EffectivePolicy(
            tenant,
            merged.mode,
            tuple(entries),
            merged.thresholds,
            merged.caps,
            self.server,
            merged.outbound,
            merged.submission,
            running,
            made,
        )

    def _overridden(
        self, of: _Tenant, variant: Variant, made: tuple[Merged, EffectivePolicy], overrides: DomainOverrides
    ) -> EffectivePolicy:
        merged, policy = made
        changed: dict[str, dict[str, Any]] = {}
        for entry in policy.running:
            for setting, column in entry.info.domain_fields.items():
                value = getattr(overrides, column)
                if value is not None:
                    changed.setdefault(entry.name, {})[setting] = value
        if not changed:
            return policy
        key = (variant, tuple((name, *values.items()) for name, values in changed.items()))
        found = of.overridden.get(key)
        if found is None:
            found = overridden(policy, merged, changed)
            _keep(of.overridden, key, found)
        return found


def _variants(file: PolicyFile) -> list[Variant]:
    """The domains and accounts that a file names, and none."""
    named: list[Variant] = [(None, None), *((domain, None) for domain in file.domains)]
    return named + [(_domain_of(account, file), account) for account in file.accounts]


def _domain_of(account: str, file: PolicyFile) -> str | None:
    domain = account.rpartition("@")[2]
    return domain if domain in file.domains else None


def _keep(cache: dict[Any, Any], key: object, value: object) -> None:
    if len(cache) >= _VARIANTS:
        cache.clear()
    cache[key] = value
