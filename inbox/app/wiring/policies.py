"""Find and load policies and plugins, compare them with the database, and edit a tenant's policy."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

from inbox.app.config.loading import Config
from inbox.base.errors import ConfigError
from inbox.identity.directory import AddressDirectory
from inbox.plugin.engine.registry import Found, Registry
from inbox.policy.edit import set_plugin
from inbox.policy.effective import Named
from inbox.policy.mistakes import Mistake
from inbox.policy.snapshot import PolicySet
from inbox.store.ports import Database


def find_plugins(config: Config) -> Found:
    """All plugins that are installed, and those that could not be loaded."""
    return Registry(config.folders.plugins, config.values()).discover()


def load_policies(config: Config, found: Found) -> PolicySet:
    """The policies as a server that starts now would load them: tenants with an invalid file are suspended.

    Raises:
        PolicyError: default.yaml is invalid.
    """
    return PolicySet.load_suspending(config.folders.policy_dir, found)


def suspended_text(policies: PolicySet) -> str:
    """One line that names the tenants with an invalid policy; empty if all are valid."""
    names = sorted(policies.suspended)
    if not names:
        return ""
    some = ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
    return f"the policy of {some} is invalid: inbox policy check"


def switch_plugin(config: Config, tenant: str, plugin: str, *, on: bool, domain: str | None = None) -> Path:
    """Switches a plugin on or off in a tenant's policy file, which is created if it is missing.

    ``domain``: only for this domain of the tenant. An empty ``tenant`` means all tenants: default.yaml.

    The changed policy is checked before anything is written; a running server loads the file automatically.
    Returns the file.

    Raises:
        PolicyError: default.yaml is invalid, or the tenant's policy would be with this change; nothing was written.
        ConfigError: the file cannot be read or written.
    """
    policies = load_policies(config, find_plugins(config))
    try:
        return set_plugin(policies, tenant, plugin, enabled=on, domain=domain)
    except OSError as error:
        whose = tenant or "everybody"
        raise ConfigError(f"INBOX_POLICY_DIR: cannot edit the policy of {whose}: {error.strerror}") from error


async def unknown_names(policies: PolicySet, database: Database, directory: AddressDirectory) -> list[Mistake]:
    """The tenants, domains and accounts that policies name and that do not exist in the database.

    Raises:
        StoreError: the database cannot be read.
    """
    tenants = {each.name: each.id for each in await database.tenants.all()}
    found: list[Mistake] = []
    for named in policies.named():
        if named.tenant and named.tenant not in tenants:
            if named.domain is None:
                found.append(Mistake(named.place, f"no tenant {named.tenant} (inbox tenant add {named.tenant})"))
            continue
        found += [Mistake(named.place, text) async for text in _doubts(named, database, directory)]
    return found


async def _doubts(named: Named, database: Database, directory: AddressDirectory) -> AsyncIterator[str]:
    if named.domain is None:
        return
    hosted = await database.tenants.domain(named.domain)
    if hosted is None:
        whose = named.tenant or "TENANT"
        yield f"no tenant hosts {named.domain} (inbox domain add {whose} {named.domain})"
    elif named.tenant and hosted.tenant.name != named.tenant:
        yield f"{named.domain} is hosted for {hosted.tenant.name}, not for {named.tenant}: this has no effect"
    elif named.account is not None and not (await directory.accounts(hosted, named.account))[0]:
        yield f"no account or alias {named.account} (inbox account add {named.account})"
