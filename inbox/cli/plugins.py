"""``inbox plugins``: installed plugins, the tenants that use them, and a template for a new one."""

from __future__ import annotations

import keyword
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from inbox.base.errors import ConfigError, InboxError, NotFound
from inbox.cli import plugin_state
from inbox.cli.context import (
    CommandFailed,
    WrongUsage,
    command,
    config,
    database,
    server,
    tenant_named,
    warn_of_suspended,
)
from inbox.cli.output import Json, complain, say, show_one, show_rows, warn
from inbox.mail.address import canonical_domain

if TYPE_CHECKING:
    from inbox.plugin.engine.inspection import LoadedPlugin
    from inbox.plugin.engine.registry import Found
    from inbox.policy.snapshot import EffectivePolicy, PolicySet

app = typer.Typer(name="plugins", help="List, explain, enable and create plugins.", no_args_is_help=True)
app.add_typer(plugin_state.app)
COLUMNS = ("name", "version", "stages", "tenants", "mode", "source")
NAME = re.compile(r"[a-z][a-z0-9_]{0,62}\Z")
Name = Annotated[str, typer.Argument(help="The plugin's name.")]
Tenant = Annotated[str | None, typer.Option("--tenant", help="The name of the tenant whose policy is edited.")]
OfDomain = Annotated[str | None, typer.Option("--domain", help="For this hosted domain only, in its tenant's policy.")]
Everybody = Annotated[bool, typer.Option("--all", help="For all tenants: edits default.yaml.")]


@command(app, "list")
async def list_(
    tenant: Annotated[str | None, typer.Option(help="Show settings as in this tenant's policy.")] = None,
    as_json: Json = False,
) -> None:
    """Show all plugins: for which tenants they are on, and in which mode."""
    from inbox.app.wiring.policies import load_policies
    from inbox.app.wiring.stores import missing_database

    settings = config()
    found = _found()
    policies = load_policies(settings, found)
    missing = missing_database(settings)
    if missing is not None and tenant is None:
        # The installed plugins are listed nevertheless.
        warn(missing)
        known = []
    else:
        async with database() as db:
            owners = [await tenant_named(db, tenant)] if tenant else await db.tenants.all()
            known = [owner.name for owner in owners]
    effective = {name: policies.effective(name) for name in known if tenant or name not in policies.suspended}
    rows = [_row(found.plugins[name], effective, policies) for name in found.names()]
    show_rows(rows, COLUMNS, as_json=as_json, none="no plugins", wrapped=("stages", "tenants", "source"))
    for problem in found.problems:
        warn(f"not loaded: {problem}")
    warn_of_suspended(policies)


@command(app, "info")
async def info(name: Name, as_json: Json = False) -> None:
    """Show what a plugin does and which settings it has."""
    from inbox.plugin.engine.describe import describe

    plugin = _plugin(_found(), name)
    described = describe(plugin)
    values: dict[str, Any] = {
        "name": described.name,
        "version": described.version,
        "source": described.source,
        "stages": described.stages,
        "gives": described.gives,
        "needs": described.needs,
        "after": described.after,
        "on_error": described.on_error,
        "timeout": described.timeout,
    }
    settings = [
        {
            "setting": field.name,
            "type": field.type,
            "default": field.default,
            "value": _from_environment(plugin, field.name),
            "meaning": field.description,
        }
        for field in described.settings
    ]
    if as_json:
        show_one({**values, "settings": settings, "documentation": described.documentation}, as_json=True)
        return
    show_one(values, as_json=False)
    say("")
    for line in described.documentation.splitlines():
        say(line)
    if settings:
        say("")
        shown = [{**row, "default": "(required)" if row["default"] is None else row["default"]} for row in settings]
        show_rows(shown, ("setting", "type", "default", "value", "meaning"), as_json=False, wrapped=("meaning",))


@command(app, "enable")
async def enable(name: Name, tenant: Tenant = None, domain: OfDomain = None, everybody: Everybody = False) -> None:
    """Switch a plugin on: edits the policy file of a tenant, or default.yaml; keeps comments, checks it first.

    A tenant's own policy overrides --all. Asks the running server whether the change is in force; exit code 1
    if it is not.
    """
    await _switch(name, tenant, domain, everybody, on=True)


@command(app, "disable")
async def disable(
    name: Name,
    tenant: Tenant = None,
    domain: OfDomain = None,
    everybody: Everybody = False,
    force: Annotated[
        bool, typer.Option("--force", help="Also disable an essential plugin, without which no mail arrives.")
    ] = False,
) -> None:
    """Switch a plugin off: edits the policy file of a tenant, or default.yaml; keeps comments, checks it first.

    A tenant's own policy overrides --all. Asks the running server whether the change is in force; exit code 1
    if it is not.
    """
    plugin = _plugin(_found(), name)
    target = domain or tenant or "all tenants"
    if plugin.essential and not force:
        from inbox.policy.warnings import CONSEQUENCE

        raise CommandFailed(f"{name} is essential: {CONSEQUENCE}. To disable it for {target} nevertheless: --force")
    await _switch(name, tenant, domain, everybody, on=False)
    if plugin.essential:
        warn(f"no plugin resolves recipients: all mail for {target} is answered 451 from now on")


@command(app, "new")
async def new(
    name: Annotated[str, typer.Argument(help="Lower-case letters, digits and _; names its file.")],
    package: Annotated[
        bool, typer.Option("--package", help="Create a package for an index instead: the folder inbox-NAME here.")
    ] = False,
) -> None:
    """Write a plugin and its test into INBOX_PLUGIN_DIR, as a starting point."""
    from inbox.cli.template import package_files, plugin_files

    if not NAME.match(name) or keyword.iskeyword(name):
        raise WrongUsage(f"not a plugin's name: {name} (lower-case letters, digits and _; begins with a letter)")
    if name in _found().names():
        raise CommandFailed(f"there is a plugin {name} already")
    if package:
        folder = Path(f"inbox-{name.replace('_', '-')}")
        _write(folder, package_files(name))
        say(f"next: {sys.executable} -m pip install -e '{folder}[test]' && {sys.executable} -m pytest {folder}")
        return
    folder = config().folders.plugins
    _write(folder, plugin_files(name))
    say(f"test: {sys.executable} -m pytest {folder / 'tests' / f'test_{name}.py'}   (pip install pytest)")
    say(f"next: inbox plugins enable {name} --tenant TENANT")


def _write(folder: Path, files: Mapping[str, str]) -> None:
    """Write new files below ``folder``.

    Raises:
        CommandFailed: a file already exists.
        ConfigError: a file cannot be written.
    """
    for relative, text in files.items():
        path = folder / relative
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with path.open("x", encoding="utf-8") as file:
                file.write(text)
        except FileExistsError:
            raise CommandFailed(f"{path} already exists") from None
        except OSError as error:
            raise ConfigError(f"cannot write {path}: {error.strerror}") from error
        say(f"wrote {path}")


async def _switch(name: str, tenant: str | None, domain: str | None, everybody: bool, *, on: bool) -> None:
    from inbox.app.wiring.policies import switch_plugin

    _plugin(_found(), name)
    owner, fqdn = await _whose(tenant, domain, everybody)
    path = switch_plugin(config(), owner, name, on=on, domain=fqdn)
    say(f"{name} is {'on' if on else 'off'} for {fqdn or owner or 'all tenants'} ({path})")
    if owner and fqdn is None:
        # The server reports a tenant's policy, not a domain's.
        _ask_server(name, owner, on=on)


async def _whose(tenant: str | None, domain: str | None, everybody: bool) -> tuple[str, str | None]:
    """The tenant's name (empty: the policy of all tenants) and the domain. Raises WrongUsage, NotFound."""
    if everybody and tenant is None and domain is None:
        return "", None
    if everybody or (tenant is None and domain is None):
        raise WrongUsage("give one of --tenant NAME, --domain DOMAIN and --all")
    async with database() as db:
        if domain is None:
            return (await tenant_named(db, tenant or "")).name, None
        fqdn = canonical_domain(domain)
        hosted = await db.tenants.hosted(fqdn)
    if hosted is None or tenant not in (None, hosted.tenant.name):
        raise NotFound(f"no tenant hosts {fqdn}" if hosted is None else f"{fqdn} is not {tenant}'s")
    return hosted.tenant.name, fqdn


def _ask_server(name: str, tenant: str, *, on: bool) -> None:
    """Print whether the running server applies the policy. Raises CommandFailed if it does not."""
    client = server()
    try:
        answer = client.call("POST", f"/policies/{tenant}")
    except InboxError as error:
        warn(f"cannot determine whether the change is in force: {error}")
        return
    if answer is None:
        say("no server is running: the change applies when it starts")
        return
    mode = answer.get("plugins", {}).get(name, "off")
    if (mode != "off") is on and not answer["problems"]:
        say("in force in the running server")
        return
    for problem in answer["problems"]:
        complain(problem)
    raise CommandFailed(
        f"the running server did not apply it: {name} is {mode} there for {tenant}; restart it, or see its log"
    )


def _found() -> Found:
    from inbox.app.wiring.policies import find_plugins

    return find_plugins(config())


def _plugin(found: Found, name: str) -> LoadedPlugin:
    plugin = found.plugins.get(name)
    if plugin is None:
        for problem in found.problems:
            if problem.name == name:
                raise NotFound(f"plugin {name} could not be loaded: {problem}")
        raise NotFound(f"no plugin {name} (inbox plugins list)")
    return plugin


def _row(plugin: LoadedPlugin, effective: dict[str, EffectivePolicy], policies: PolicySet) -> dict[str, Any]:
    """``mode`` is that of the tenants shown, or of default.yaml where there are none."""
    from inbox.policy.catalogue import Mode
    from inbox.policy.stages import Stage

    modes = {}
    for tenant, policy in (effective or {"": policies.effective()}).items():
        entry = policy.plugin(plugin.name)
        modes[tenant] = Mode.OFF if entry is None else entry.mode
    return {
        "name": plugin.name,
        "version": plugin.version,
        "stages": [stage.value for stage in Stage if stage in plugin.stages],
        "tenants": [tenant for tenant, mode in modes.items() if tenant and mode is not Mode.OFF],
        "mode": "/".join(sorted({mode.value for mode in modes.values()})),
        "source": plugin.source,
    }


def _from_environment(plugin: LoadedPlugin, setting: str) -> str:
    """The value from the environment, for a setting whose default comes from there."""
    if setting not in plugin.defaults:
        return ""
    return f"{plugin.defaults[setting]} from {plugin.default_names.get(setting, '')}"
