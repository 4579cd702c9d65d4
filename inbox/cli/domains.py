"""``inbox domain``: the domains that tenants host, and the fields that override policies for one domain."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from inbox.cli import dkim_sign, domain_changes, domain_dkim, domain_dns, domain_reports
from inbox.cli.context import CommandFailed, WrongUsage, command, config, database, hosting, tenant_id, tenant_named
from inbox.cli.output import Json, say, show_rows, warn
from inbox.mail.address import canonical_domain

if TYPE_CHECKING:
    from inbox.mail.tenancy import HostedDomain
    from inbox.store.ports import Database

app = typer.Typer(name="domain", help="Domains that tenants host.", no_args_is_help=True)
dkim_sign.register(domain_dkim.app)
app.add_typer(domain_dkim.app)
domain_dns.register(app)
domain_changes.register(app)
app.add_typer(domain_reports.app)


@command(app, "add")
async def add(
    tenant: Annotated[str, typer.Argument(help="The tenant's name.")],
    domain: Annotated[str, typer.Argument(help="The domain, e.g. example.org.")],
) -> None:
    """Host a domain for a tenant."""
    fqdn = canonical_domain(domain)
    async with database() as db:
        owner = await tenant_named(db, tenant)
        taken = await db.tenants.domain(fqdn)
        if taken is not None:
            raise CommandFailed(f"{fqdn} is hosted by {taken.tenant.name} already")
        await db.tenants.add_domain(owner.id, fqdn)
    say(f"{tenant} hosts {fqdn}")


@command(app, "list")
async def list_(
    tenant: Annotated[str | None, typer.Option(help="Limit to this tenant.")] = None, as_json: Json = False
) -> None:
    """Show hosted domains with their override fields; secrets are masked."""
    from inbox.hosting.overrides import shown

    async with database() as db:
        found = await db.tenants.domains(await tenant_id(db, tenant))
    rows = [
        {"domain": d.fqdn, "tenant": d.tenant.name, "active": d.is_active, "overrides": shown(d.overrides)}
        for d in found
    ]
    show_rows(
        rows, ("domain", "tenant", "active", "overrides"), as_json=as_json, none="no domains", wrapped=("overrides",)
    )


@command(app, "set")
async def set_(
    domain: Annotated[str, typer.Argument(help="A hosted domain.")],
    fields: Annotated[
        list[str], typer.Argument(help="FIELD=VALUE; FIELD= unsets; FIELD=@FILE reads the value (keys) from a file.")
    ],
) -> None:
    """Set fields of a domain that override its policy.

    For example: inbox domain set example.org require_spf_pass=false plus_delimiter=-
    """
    from inbox.app.wiring.policies import find_plugins
    from inbox.hosting.overrides import ENCRYPTION, acted_on, changed, shown

    given = dict(_field(text) for text in fields)
    wanted = sorted(name for name, text in given.items() if text.strip() and name in ENCRYPTION)
    if wanted:
        raise CommandFailed(f"{', '.join(wanted)}: this version does not encrypt stored mail")
    async with database() as db:
        hosted = await hosting(db, canonical_domain(domain))
        overrides = changed(hosted.overrides, given)
        await _check_postmaster(db, hosted, overrides.postmaster if "postmaster" in given else None)
        await db.tenants.set_domain_overrides(hosted.tenant.id, hosted.fqdn, overrides)
    used = acted_on(find_plugins(config()))
    unused = sorted(name for name, text in given.items() if text.strip() and name not in used)
    if unused:
        warn(f"{', '.join(unused)}: stored, but this version does not use it")
    show_rows(
        [{"field": name, "value": value} for name, value in shown(overrides).items()],
        ("field", "value"),
        as_json=False,
        none=f"{hosted.fqdn} has no override fields",
    )


async def _check_postmaster(db: Database, hosted: HostedDomain, address: str | None) -> None:
    """A person must read postmaster@: raises CommandFailed unless the address delivers to an account of the tenant."""
    if address is not None and not await db.accounts.targets(hosted.tenant.id, address):
        raise CommandFailed(
            f"postmaster: {address} delivers to no account of {hosted.tenant.name} (inbox account list)"
        )


def _field(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise WrongUsage(f"not FIELD=VALUE: {text}")
    if value.startswith("@"):
        path = Path(value[1:])
        try:
            value = path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise WrongUsage(f"{name}: cannot read {path}: {error}") from error
    return name, value
