"""``inbox quarantine``: mail that was accepted but not delivered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from inbox.base.errors import NotFound
from inbox.cli.context import WrongUsage, command, database, tenant_named
from inbox.cli.output import Json, progress, say, show_one, show_rows, when

if TYPE_CHECKING:
    from inbox.mail.tenancy import Account, Mailbox, Organization
    from inbox.store.ports import Database
    from inbox.store.ports.messages import StoredMessage

app = typer.Typer(name="quarantine", help="Mail that was accepted but not delivered.", no_args_is_help=True)
#: The tenant's own mailbox, as the flow names it.
QUARANTINE = "Quarantine"
COLUMNS = ("id", "received", "recipient", "sender", "subject", "size", "reason", "decision")
Which = Annotated[str, typer.Argument(metavar="ID", help="TENANT/NUMBER, as quarantine list shows it.")]
WhichOnes = Annotated[list[str], typer.Argument(metavar="ID...", help="TENANT/NUMBER, as quarantine list shows it.")]


class Held(NamedTuple):
    """One quarantined copy."""

    tenant: Organization
    mailbox: Mailbox
    message: StoredMessage


@command(app, "list")
async def list_(
    tenant: Annotated[str | None, typer.Option(help="Only this tenant's.")] = None, as_json: Json = False
) -> None:
    """Show what is in quarantine, with the decision that put it there: inbox explain DECISION."""
    rows = []
    async with database() as db:
        for owner in [await tenant_named(db, tenant)] if tenant else await db.tenants.organizations():
            mailbox = await db.mailboxes.by_name(owner.id, None, QUARANTINE)
            if mailbox is None:
                continue
            uids = [entry.uid for entry in await db.messages.entries(owner.id, mailbox.id)]
            async for message in db.messages.fetch(owner.id, mailbox.id, uids, texts=False):
                rows.append(_row(owner, message))
    show_rows(rows, COLUMNS, as_json=as_json, none="nothing in quarantine")


@command(app, "show")
async def show(which: Which, as_json: Json = False) -> None:
    """Show one quarantined mail: what is known of it, its first words, its header fields."""
    async with database() as db:
        held = await _held(db, which)
    row = {**_row(held.tenant, held.message), "snippet": held.message.email.snippet}
    header = held.message.email.header_block.decode("utf-8", "replace")
    if as_json:
        show_one({**row, "header": header}, as_json=True)
        return
    show_one(row, as_json=False)
    say("")
    for line in header.splitlines():
        say(line)


@command(app, "release")
async def release(which: WhichOnes) -> None:
    """Deliver quarantined mail into its recipient's INBOX."""
    async with database() as db:
        with progress("Releasing", len(which)) as step:
            for one in which:
                held = await _held(db, one)
                account = await _recipient(db, held)
                inbox = await db.mailboxes.by_name(held.tenant.id, account.id, "INBOX")
                if inbox is None:
                    raise NotFound(f"{account.address} has no INBOX")
                await db.messages.release(held.tenant.id, held.mailbox.id, held.message.entry.uid, inbox.id)
                say(f"{one} delivered to {account.address}")
                step()


@command(app, "delete")
async def delete(which: WhichOnes) -> None:
    """Throw quarantined mail away."""
    async with database() as db:
        with progress("Deleting", len(which)) as step:
            for one in which:
                held = await _held(db, one)
                await db.messages.remove(held.tenant.id, held.mailbox.id, [held.message.entry.uid])
                say(f"{one} deleted")
                step()


async def _held(db: Database, which: str) -> Held:
    name, _, number = which.rpartition("/")
    # RFC 3501 §2.3.1.1: a UID has 32 bits.
    if not name or not (number.isascii() and number.isdigit() and len(number) <= 10):
        raise WrongUsage(f"not TENANT/NUMBER: {which[:80]}")
    tenant = await tenant_named(db, name)
    mailbox = await db.mailboxes.by_name(tenant.id, None, QUARANTINE)
    if mailbox is not None:
        async for message in db.messages.fetch(tenant.id, mailbox.id, [int(number)]):
            return Held(tenant, mailbox, message)
    raise NotFound(f"nothing in quarantine under {which}")


async def _recipient(db: Database, held: Held) -> Account:
    """The account that the copy was for: its own address, or what the address leads to now."""
    from inbox.base.clock import SystemClock
    from inbox.identity.directory import AddressDirectory

    address = held.message.recipient or ""
    hosted = await db.tenants.domain(address.rpartition("@")[2])
    if hosted is not None and hosted.organization.id == held.tenant.id:
        accounts, _ = await AddressDirectory(db.tenants, db.accounts, SystemClock()).accounts(hosted, address)
        if accounts:
            return accounts[0]
    raise NotFound(f"{address or 'its recipient'} leads to no account of {held.tenant.name} any more")


def _row(owner: Organization, message: StoredMessage) -> dict[str, Any]:
    from inbox.flow.trace import transaction_of

    return {
        "id": f"{owner.name}/{message.entry.uid}",
        "received": when(message.received_at),
        "recipient": message.recipient or "",
        "sender": message.email.sender_address or ", ".join(message.email.from_),
        "subject": message.email.subject,
        "size": message.size,
        "reason": message.reason or "",
        "decision": transaction_of(message.prepended),
    }
