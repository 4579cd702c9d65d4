"""``inbox account app-password``: passwords for single programs of a user."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from inbox.base.errors import NotFound
from inbox.cli.changing import Change, Yes
from inbox.cli.context import WrongUsage, command, database
from inbox.cli.output import Json, say, show_one, show_rows, when
from inbox.mail.address import Address

if TYPE_CHECKING:
    from inbox.mail.tenancy import Account
    from inbox.store.ports import Database
    from inbox.store.ports.credentials import AppProtocol

app = typer.Typer(name="app-password", help="App passwords: one for each program of a user.", no_args_is_help=True)
Mail = Annotated[str, typer.Argument(metavar="ADDRESS", help="The account's address.")]


@command(app, "add")
async def add(
    address: Mail,
    name: Annotated[str, typer.Option(help="What the password is for, for example the name of the device.")],
    protocol: Annotated[
        list[str] | None, typer.Option(help="smtp, imap, dav or api; may be given several times. [smtp and imap]")
    ] = None,
    as_json: Json = False,
) -> None:
    """Create an app password and show it once: only its hash is stored."""
    from inbox.base.clock import SystemClock
    from inbox.identity.app_passwords import generate
    from inbox.identity.passwords import Passwords
    from inbox.store.ports import AppPassword

    protocols = _protocols(protocol or ["smtp", "imap"])
    clock, new = SystemClock(), generate()
    async with database() as db:
        account = await _account(db, address)
        passwords = Passwords(clock, threads=1)
        try:
            stored = await passwords.hash(new.text)
        finally:
            passwords.close()
        made = AppPassword(new.id, name, protocols, stored, clock.now())
        await db.credentials.add_app_password(account.tenant, account.id, made)
    if as_json:
        show_one({"id": new.id, "name": name, "protocols": list(protocols), "password": new.shown}, as_json=True)
        return
    say(f"app password {new.id} of {account.address} for {', '.join(protocols)}; it is not shown again:")
    say(new.shown)


@command(app, "list")
async def list_(address: Mail, as_json: Json = False) -> None:
    """Show an account's app passwords, with their last use (exact to an hour)."""
    async with database() as db:
        account = await _account(db, address)
        found = await db.credentials.app_passwords(account.tenant, account.id)
    rows = [
        {
            "id": one.id,
            "name": one.name,
            "protocols": ", ".join(one.protocols),
            "created": when(one.created_at),
            "last_used": when(one.last_used_at) if one.last_used_at is not None else "never",
            "from": one.last_used_peer,
        }
        for one in found
    ]
    columns = ("id", "name", "protocols", "created", "last_used", "from")
    show_rows(rows, columns, as_json=as_json, none="no app passwords")


@command(app, "revoke")
async def revoke(
    address: Mail,
    which: Annotated[str, typer.Argument(metavar="ID", help="The id that app-password list shows.")],
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Revoke an app password. Sessions that were opened with it end within some seconds."""
    async with database() as db:
        account = await _account(db, address)
        if await db.credentials.app_password(account.tenant, account.id, which) is None:
            raise NotFound(f"no app password {which} of {account.address} (inbox account app-password list)")
        change = Change("revoke", "app password", which, account.address)
        change.ask(yes, f"ends the logins of {account.address} with it")
        await db.credentials.revoke_app_password(account.tenant, account.id, which)
    if as_json:
        show_one({"action": "revoke", "id": which, "account": account.address}, as_json=True)
        return
    say(f"app password {which} of {account.address} revoked")


def _protocols(words: list[str]) -> tuple[AppProtocol, ...]:
    """Raises WrongUsage."""
    from inbox.store.ports.credentials import APP_PROTOCOLS

    unknown = sorted(set(words).difference(APP_PROTOCOLS))
    if unknown:
        raise WrongUsage(f"--protocol {unknown[0]}: unknown; valid words are {', '.join(APP_PROTOCOLS)}")
    return tuple(each for each in APP_PROTOCOLS if each in words)


async def _account(db: Database, text: str) -> Account:
    """Return the account of a user. Raises NotFound."""
    key = Address.parse(text).key
    account = await db.accounts.by_address(key)
    if account is None or account.is_shared:
        raise NotFound(f"no account {key} (inbox account list)")
    return account
