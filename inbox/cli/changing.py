"""The common part of disabling, renaming and removing: preview, question and receipt."""

from __future__ import annotations

import sys
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated, Any

import typer

from inbox.cli.context import CommandFailed, WrongUsage, config
from inbox.cli.output import octets, print_json, progress, say, warn, when

if TYPE_CHECKING:
    from inbox.store.ports import Blobs, Database
    from inbox.store.ports.hosting import Holdings, Scope
    from inbox.store.removal import Removed

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Show what would change, with counts, and change nothing.")]
Recursive = Annotated[
    bool,
    typer.Option("--recursive", help="Also remove everything that depends on it; otherwise the command refuses."),
]
KeepAlias = Annotated[bool, typer.Option("--keep-alias", help="Keep the old address as an alias of the new one.")]


@dataclass(frozen=True, slots=True)
class Change:
    """One change, as its receipt names it. ``details``: further fields of the receipt."""

    verb: str
    kind: str
    name: str
    tenant: str

    def show(self, how: str, details: dict[str, Any], as_json: bool) -> None:
        """Prints the receipt, or what ``--dry-run`` found."""
        if as_json:
            values = {"action": self.verb, "kind": self.kind, "name": self.name, "tenant": self.tenant}
            print_json({**values, **details})
            return
        of = f" of tenant {self.tenant}" if self.kind != "tenant" else ""
        say(f"{how} {self.kind} {self.name}{of}")
        for name, value in details.items():
            if value not in ("", None, False, [], {}):
                say(f"  {name.replace('_', ' ')}: {_in_words(value)}")

    def receipt(self, past: str, as_json: bool, **details: Any) -> None:
        """The receipt: the change and its time."""
        self.show(past, {"at": when(time.time()), **details}, as_json)

    def planned(self, as_json: bool, **details: Any) -> None:
        """The text of ``--dry-run``."""
        self.show(f"would {self.verb}", {**({"dry_run": True} if as_json else {}), **details}, as_json)

    def ask(self, yes: bool, consequence: str) -> None:
        """Ask for confirmation; return if the operator agrees.

        Raises:
            WrongUsage: there is neither a terminal nor ``--yes``.
            CommandFailed: the answer is no.
        """
        if yes:
            return
        if not sys.stdin.isatty():
            raise WrongUsage(f"{self.verb} {self.kind} {self.name} {consequence}: --yes is needed without a terminal")
        if not typer.confirm(f"{self.verb} {self.kind} {self.name}? This {consequence}."):
            raise CommandFailed("nothing was changed")


def _in_words(value: Any) -> str:
    if isinstance(value, dict):
        return counted(value)
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return "yes" if value is True else str(value)


def counted(held: dict[str, Any]) -> str:
    """Format counts as text, without those that are 0."""
    parts = [
        f"{octets(count)} of mail" if name == "octets" else f"{count} {name.replace('_', ' ')}"
        for name, count in held.items()
        if count
    ]
    return ", ".join(parts) or "nothing"


def counts(held: Holdings) -> dict[str, int]:
    """The counts as a receipt contains them."""
    return asdict(held)


def refuse_dependents(change: Change, dependents: list[str], recursive: bool) -> None:
    """Raises CommandFailed if something depends on the object to be removed and ``recursive`` is false."""
    if dependents and not recursive:
        shown = ", ".join(dependents[:5]) + (f" and {len(dependents) - 5} more" if len(dependents) > 5 else "")
        raise CommandFailed(f"{change.kind} {change.name} is in use: {shown} (--recursive also removes it)")


@asynccontextmanager
async def with_blobs() -> AsyncIterator[tuple[Database, Blobs]]:
    """The open database and blob store. Raises NotFound if there is no database."""
    from inbox.app.wiring.stores import make_blobs
    from inbox.cli.context import database

    async with database() as db:
        blobs = make_blobs(config())
        await blobs.open()
        try:
            yield db, blobs
        finally:
            await blobs.close()


async def remove(
    db: Database, blobs: Blobs, scope: Scope, held: Holdings, title: str, *, purge: bool = False
) -> Removed:
    """Remove everything in a scope, with a progress bar on a terminal."""
    from inbox.store.removal import Removal

    total = held.messages + held.accounts + held.aliases + held.jobs + (held.decisions if purge else 0)
    with progress(title, total) as advance:

        def step(done: Holdings) -> None:
            advance(done.messages + done.accounts + done.aliases + done.jobs + done.decisions)

        return await Removal(db, blobs, step).run(scope, purge=purge)


async def remove_account(
    change: Change, db: Database, blobs: Blobs, tenant: str, again: str, *, recursive: bool, yes: bool, dry_run: bool,
    as_json: bool,
) -> None:  # fmt: skip
    """Remove the account that ``change`` names, which may be a shared inbox, with its mail and the aliases to it.

    Args:
        tenant: its tenant's id.
        again: the command that removes it.

    Raises:
        CommandFailed: an alias points to it and ``recursive`` is false, or the question was answered with no.
    """
    from inbox.store.ports.hosting import Scope

    address = change.name
    scope = Scope(tenant, account=address)
    held = await db.hosting.count(scope)
    aliases = [f"alias {alias.address}" for alias in await db.accounts.aliases(tenant) if alias.target == address]
    if dry_run:
        change.planned(as_json, holds=counts(held), aliases=aliases)
        return
    refuse_dependents(change, aliases, recursive)
    change.ask(yes, f"deletes {held.messages} messages permanently")
    with resumable(change, f"{again} {address} --recursive --yes"):
        removed = await remove(db, blobs, scope, held, f"Removing {address}")
    change.receipt("removed", as_json, removed=counts(removed.holdings), blobs=removed.blobs)
    name_in_policy(change.tenant, address)


@contextmanager
def resumable(change: Change, again: str) -> Iterator[None]:
    """Explain how to continue after an interruption: the work is done in steps, and finished steps are kept."""
    try:
        yield
    except BaseException:
        warn(f"{change.verb} {change.kind} {change.name} did not finish; to continue: {again}")
        raise


def name_in_policy(tenant: str, name: str) -> None:
    """Warn if the tenant's policy file uses a name that was changed or removed."""
    path = config().folders.policy_dir / "tenants" / f"{tenant}.yaml"
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError):
        return
    if name in text:
        warn(f"{path} still names {name}: change or remove that entry")
