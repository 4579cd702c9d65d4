"""``inbox account`` and ``inbox alias``: accounts, and the addresses that lead to them."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from inbox.base.errors import NotFound
from inbox.cli import account_changes, account_import
from inbox.cli.account_changes import alias_key
from inbox.cli.context import WrongUsage, command, database, hosting, tenant_id
from inbox.cli.output import Json, say, show_rows, when
from inbox.mail.address import Address

app = typer.Typer(name="account", help="Accounts: users who may log in.", no_args_is_help=True)
aliases = typer.Typer(name="alias", help="Aliases: addresses that lead to accounts.", no_args_is_help=True)

account_changes.register(app, aliases)
account_import.register(app)
FromStdin = Annotated[bool, typer.Option("--password-stdin", help="Read the password from standard input.")]
Mail = Annotated[str, typer.Argument(help="A mail address.")]


@command(app, "add")
async def add(address: Mail, password_stdin: FromStdin = False) -> None:
    """Create an account with its mailboxes. Its domain must be hosted."""
    key = Address.parse(address).key
    async with database() as db:
        hosted = await hosting(db, key.rpartition("@")[2])
        await db.accounts.add(hosted.tenant.id, key, await _hashed_password(password_stdin))
    say(f"account {key} created for {hosted.tenant.name}")


@command(app, "list")
async def list_(
    tenant: Annotated[str | None, typer.Option(help="Only this tenant's.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="How many.")] = None,
    after: Annotated[str | None, typer.Option(help="Only addresses that sort behind this one.")] = None,
    as_json: Json = False,
) -> None:
    """Show accounts, by address."""
    async with database() as db:
        names = {o.id: o.name for o in await db.tenants.all()}
        found = await db.accounts.all(await tenant_id(db, tenant))
    chosen = [account for account in found if after is None or account.address > after][:limit]
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
    """Set an account's password."""
    key = Address.parse(address).key
    async with database() as db:
        account = await db.accounts.by_address(key)
        if account is None:
            raise NotFound(f"no account {key}")
        await db.accounts.set_password(account.tenant, key, await _hashed_password(password_stdin))
    say(f"password of {key} changed")


@command(aliases, "add")
async def add_alias(
    address: Annotated[str, typer.Argument(help="The new address; @domain is the domain's catch-all.")],
    targets: Annotated[list[str], typer.Argument(help="Accounts or aliases of the same tenant that it leads to.")],
) -> None:
    """Let an address lead to one or more accounts.

    @example.org gets mail to unknown addresses of example.org: exact addresses and plus addresses win, and mail for a
    disabled account is not shown to it.
    """
    key = alias_key(address)
    parsed = [Address.parse(target).key for target in targets]
    async with database() as db:
        hosted = await hosting(db, key.rpartition("@")[2])
        for target in parsed:
            await db.accounts.add_alias(hosted.tenant.id, key, target)
    say(f"{key} leads to {', '.join(parsed)}")


@command(aliases, "list")
async def list_aliases(
    tenant: Annotated[str | None, typer.Option(help="Only this tenant's.")] = None, as_json: Json = False
) -> None:
    """Show aliases, a line for each target."""
    async with database() as db:
        names = {o.id: o.name for o in await db.tenants.all()}
        found = await db.accounts.aliases(await tenant_id(db, tenant))
    rows = [{"address": a.address, "target": a.target, "tenant": names.get(a.tenant, "")} for a in found]
    show_rows(rows, ("address", "target", "tenant"), as_json=as_json, none="no aliases")


async def _hashed_password(from_stdin: bool) -> str:
    from inbox.base.clock import SystemClock
    from inbox.identity.passwords import Passwords

    password = _password(from_stdin)
    passwords = Passwords(SystemClock(), threads=1)
    try:
        return await passwords.hash(password)
    finally:
        passwords.close()


def _password(from_stdin: bool) -> str:
    if from_stdin:
        return sys.stdin.readline().rstrip("\r\n")
    if not sys.stdin.isatty():
        raise WrongUsage("no terminal to ask for a password; use --password-stdin")
    return str(typer.prompt("Password", hide_input=True, confirmation_prompt=True))
