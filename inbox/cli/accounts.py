"""``inbox account`` and ``inbox alias``: accounts, and the addresses that deliver to them."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from inbox.base.errors import NotFound
from inbox.cli import account_changes, account_import, app_passwords
from inbox.cli.account_changes import alias_key
from inbox.cli.context import CommandFailed, WrongUsage, command, config, database, hosting, tenant_id
from inbox.cli.output import Json, say, show_rows, when
from inbox.mail.address import Address

if TYPE_CHECKING:
    from inbox.mail.tenancy import HostedDomain

app = typer.Typer(name="account", help="Accounts: users who may log in.", no_args_is_help=True)
aliases = typer.Typer(name="alias", help="Aliases: addresses that deliver to accounts.", no_args_is_help=True)

account_changes.register(app, aliases)
account_import.register(app)
app.add_typer(app_passwords.app)
FromStdin = Annotated[bool, typer.Option("--password-stdin", help="Read the password from standard input.")]
Mail = Annotated[str, typer.Argument(help="A mail address.")]


@command(app, "add")
async def add(address: Mail, password_stdin: FromStdin = False) -> None:
    """Create an account with its mailboxes. Its domain must be hosted."""
    key = Address.parse(address).key
    async with database() as db:
        hosted = await hosting(db, key.rpartition("@")[2])
        await db.accounts.add(hosted.tenant.id, key, *await _hashed_password(password_stdin))
    say(f"account {key} created for {hosted.tenant.name}")


@command(app, "list")
async def list_(
    tenant: Annotated[str | None, typer.Option(help="Limit to this tenant.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Maximum number of rows.")] = None,
    after: Annotated[str | None, typer.Option(help="Show only addresses that sort after this one.")] = None,
    as_json: Json = False,
) -> None:
    """Show accounts, by address."""
    async with database() as db:
        names = {o.id: o.name for o in await db.tenants.all()}
        found = await db.accounts.all(await tenant_id(db, tenant))
    users = [account for account in found if not account.is_shared]
    chosen = [account for account in users if after is None or account.address > after][:limit]
    rows = (
        {
            "address": a.address,
            "tenant": names.get(a.tenant, ""),
            "active": a.is_active,
            "created": when(a.created_at),
        }
        for a in chosen
    )
    show_rows(rows, ("address", "tenant", "active", "created"), as_json=as_json, none="no accounts")


@command(app, "passwd")
async def passwd(address: Mail, password_stdin: FromStdin = False) -> None:
    """Set an account's password. Sessions that were opened with the old one end within some seconds."""
    key = Address.parse(address).key
    async with database() as db:
        account = await db.accounts.by_address(key)
        if account is None or account.is_shared:
            raise NotFound(f"no account {key}")
        await db.accounts.set_password(account.tenant, key, *await _hashed_password(password_stdin))
    say(f"password of {key} changed")


@command(aliases, "add")
async def add_alias(
    address: Annotated[str, typer.Argument(help="The new address; @domain is the domain's catch-all.")],
    targets: Annotated[
        list[str],
        typer.Argument(help="Accounts or aliases of the same tenant, or addresses at other servers."),
    ],
) -> None:
    """Deliver mail for an address to one or more accounts, or forward it to other servers.

    A target at a domain that is not hosted here needs the setting forward_outside of the plugin recipients in the
    tenant's policy.

    @example.org is the catch-all: it receives mail for unknown addresses of example.org. Exact addresses and plus
    addresses take precedence; the catch-all does not receive mail for a disabled account.
    """
    key = alias_key(address)
    parsed = [Address.parse(target).key for target in targets]
    async with database() as db:
        hosted = await hosting(db, key.rpartition("@")[2])
        outside = [target for target in parsed if await db.tenants.hosted(target.rpartition("@")[2]) is None]
        if outside:
            _require_forwarding(hosted, key, outside[0])
        for target in parsed:
            if target in outside:
                await db.accounts.add_forward(hosted.tenant.id, key, target)
            else:
                await db.accounts.add_alias(hosted.tenant.id, key, target)
    say(f"{key} points to {', '.join(parsed)}")


@command(aliases, "list")
async def list_aliases(
    tenant: Annotated[str | None, typer.Option(help="Limit to this tenant.")] = None, as_json: Json = False
) -> None:
    """Show aliases, one line for each target."""
    async with database() as db:
        names = {o.id: o.name for o in await db.tenants.all()}
        found = await db.accounts.aliases(await tenant_id(db, tenant))
    rows = [{"address": a.address, "target": a.target, "tenant": names.get(a.tenant, "")} for a in found]
    show_rows(rows, ("address", "target", "tenant"), as_json=as_json, none="no aliases")


def _require_forwarding(hosted: HostedDomain, key: str, target: str) -> None:
    """Raises CommandFailed unless the policy allows mail for the alias to be forwarded."""
    from inbox.app.wiring.policies import find_plugins, load_policies

    settings = config()
    policies = load_policies(settings, find_plugins(settings))
    policy = policies.effective(hosted.tenant.name, hosted.fqdn, key, hosted.overrides)
    entry = policy.plugin("recipients")
    if entry is None or not getattr(entry.settings, "forward_outside", False):
        raise CommandFailed(
            f"{target} is at another server, and the policy of {hosted.tenant.name} does not forward mail: "
            "set plugins: {recipients: {forward_outside: true}}"
        )


async def _hashed_password(from_stdin: bool) -> tuple[str, str | None]:
    """The two verifiers of a password: its argon2 hash and its SCRAM verifier."""
    from inbox.base.clock import SystemClock
    from inbox.identity.passwords import Passwords

    password = _password(from_stdin)
    passwords = Passwords(SystemClock(), threads=1)
    try:
        return await passwords.hash(password), await passwords.scram(password)
    finally:
        passwords.close()


def _password(from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    if not sys.stdin.isatty():
        raise WrongUsage("cannot ask for a password without a terminal; use --password-stdin")
    return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True))
