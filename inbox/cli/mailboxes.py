"""``inbox mailbox``: mailboxes of accounts, with counts and sizes."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from inbox.base.errors import NotFound
from inbox.cli.context import WrongUsage, command, database, tenant_named
from inbox.cli.output import Json, octets, say, show_rows
from inbox.mail.address import Address

app = typer.Typer(name="mailbox", help="Mailboxes of accounts and of tenants.", no_args_is_help=True)
COLUMNS = ("mailbox", "owner", "messages", "unseen", "size", "uidvalidity", "id")


@command(app, "list")
async def list_(
    account: Annotated[str | None, typer.Option(help="Limit to this account.")] = None,
    tenant: Annotated[
        str | None, typer.Option(help="Limit to this tenant: mailboxes of all of its accounts, and its quarantine.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show mailboxes with messages, unseen messages and sizes (octets), and their totals."""
    from inbox.flow.mailboxes.holdings import Holdings

    if account is None and tenant is None:
        raise WrongUsage("give --account ADDRESS or --tenant NAME")
    async with database() as db:
        holdings = Holdings(db.accounts, db.mailboxes)
        wanted = None if tenant is None else await tenant_named(db, tenant)
        if account is not None:
            key = Address.parse(account).key
            owner = await db.accounts.by_address(key)
            if owner is None or (wanted is not None and owner.tenant != wanted.id):
                raise NotFound(f"no account {key}" + (f" of {tenant}" if tenant is not None else ""))
            found = await holdings.of_account(owner)
        else:
            assert wanted is not None, "one of them was given"
            found = await holdings.of_tenant(wanted)
    rows: list[dict[str, Any]] = [
        {
            "mailbox": held.mailbox.name,
            "owner": held.owner,
            "messages": held.status.messages,
            "unseen": held.status.unseen,
            "size": held.status.size,
            "uidvalidity": held.status.uid_validity,
            "id": held.mailbox.id,
        }
        for held in found
    ]
    show_rows(rows, COLUMNS, as_json=as_json, none="no mailboxes")
    if rows and not as_json:
        say("")
        messages, unseen, size = (sum(row[name] for row in rows) for name in ("messages", "unseen", "size"))
        say(f"{len(rows)} mailboxes, {messages} messages, {unseen} unseen, {octets(size)}")
