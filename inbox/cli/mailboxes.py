"""``inbox mailbox``: mailboxes of accounts, with counts and sizes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from inbox.base.errors import NotFound
from inbox.cli.context import WrongUsage, command, database, tenant_named
from inbox.cli.output import Json, octets, say, show_rows
from inbox.mail.address import Address

if TYPE_CHECKING:
    from inbox.store.ports import Database

app = typer.Typer(name="mailbox", help="Mailboxes of accounts and of tenants.", no_args_is_help=True)
COLUMNS = ("mailbox", "owner", "messages", "unseen", "size", "uidvalidity", "id")


@command(app, "list")
async def list_(
    account: Annotated[str | None, typer.Option(help="Only this account's.")] = None,
    tenant: Annotated[
        str | None, typer.Option(help="This tenant's: all of its accounts' mailboxes and its quarantine.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Show mailboxes with messages, unseen messages and sizes (octets), and how much that is together."""
    if account is None and tenant is None:
        raise WrongUsage("give --account ADDRESS or --tenant NAME")
    rows: list[dict[str, Any]] = []
    async with database() as db:
        for owner, organization, key in await _owners(db, account, tenant):
            for box in await db.mailboxes.all(organization, key):
                status = await db.mailboxes.status(organization, box.id)
                rows.append({
                    "mailbox": box.name, "owner": owner, "messages": status.messages, "unseen": status.unseen,
                    "size": status.size, "uidvalidity": status.uid_validity, "id": box.id,
                })  # fmt: skip
    show_rows(rows, COLUMNS, as_json=as_json, none="no mailboxes")
    if rows and not as_json:
        say("")
        messages, unseen, size = (sum(row[name] for row in rows) for name in ("messages", "unseen", "size"))
        say(f"{len(rows)} mailboxes, {messages} messages, {unseen} unseen, {octets(size)}")


async def _owners(db: Database, account: str | None, tenant: str | None) -> list[tuple[str, str, str | None]]:
    """Name, tenant (id) and account (id) of each owner. Raises NotFound."""
    organization = None if tenant is None else await tenant_named(db, tenant)
    if account is not None:
        key = Address.parse(account).key
        found = await db.accounts.by_address(key)
        if found is None or (organization is not None and found.organization != organization.id):
            raise NotFound(f"no account {key}" + (f" of {tenant}" if tenant is not None else ""))
        return [(found.address, found.organization, found.id)]
    assert organization is not None, "one of them was given"
    accounts = await db.accounts.all(organization.id)
    owners = [(one.address, organization.id, one.id) for one in accounts]
    return [*owners, (f"tenant {organization.name}", organization.id, None)]
