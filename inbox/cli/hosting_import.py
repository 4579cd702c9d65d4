"""``inbox domain import`` and ``inbox alias import``."""

from __future__ import annotations

from typing import TYPE_CHECKING

import typer

from inbox.base.errors import AlreadyExists
from inbox.cli.account_changes import alias_key
from inbox.cli.bulk import Check, Line, Mistakes, SkipExisting, Source, read
from inbox.cli.context import command, database
from inbox.cli.output import Json, print_json, progress, say, warn
from inbox.mail.address import Address, AddressError, canonical_domain

if TYPE_CHECKING:
    from inbox.store.ports import Database


def register(domains: typer.Typer, aliases: typer.Typer) -> None:
    """Adds the commands."""
    command(domains, "import")(import_domains)
    command(aliases, "import")(import_aliases)


async def import_domains(
    source: Source, skip_existing: SkipExisting = False, dry_run: Check = False, as_json: Json = False
) -> None:
    """Host domains from a file with the fields tenant and domain. All lines are checked before the first is hosted."""
    mistakes = Mistakes(source)
    lines = read(source, ("tenant", "domain"), (), mistakes)
    async with database() as db:
        names = {one.name: one.id for one in await db.tenants.all()}
        hosted = {one.fqdn: one.tenant.id for one in await db.tenants.domains()}
        wanted: dict[str, str] = {}
        existing = 0
        for line in lines:
            try:
                fqdn = canonical_domain(line.values["domain"])
            except AddressError as error:
                mistakes.add(line.number, f"domain {line.values['domain']}: {error}")
                continue
            tenant = names.get(line.values["tenant"])
            if tenant is None:
                mistakes.add(line.number, f"no tenant {line.values['tenant']}")
            elif fqdn in wanted:
                mistakes.add(line.number, f"{fqdn} appears twice")
            elif fqdn not in hosted:
                wanted[fqdn] = tenant
            elif skip_existing and hosted[fqdn] == tenant:
                existing += 1
            else:
                whose = "" if hosted[fqdn] == tenant else " by another tenant"
                mistakes.add(line.number, f"{fqdn} is already hosted{whose}")
        mistakes.check()
        created = 0 if dry_run else await _host(db, wanted)
    _receipt("domains", len(wanted) if dry_run else created, existing, dry_run, as_json)


async def _host(db: Database, wanted: dict[str, str]) -> int:
    created = 0
    try:
        with progress("Adding domains", len(wanted)) as advance:
            for fqdn, tenant in wanted.items():
                await db.tenants.add_domain(tenant, fqdn)
                created += 1
                advance()
    except BaseException:
        warn(f"{created} domains were added before this; to continue, run it again with --skip-existing")
        raise
    return created


async def import_aliases(
    source: Source, skip_existing: SkipExisting = False, dry_run: Check = False, as_json: Json = False
) -> None:
    """Create aliases from a file with the fields address and target, one line for each target.

    An alias may point to another one that is further up in the file. All lines are checked before the first is created.
    """
    mistakes = Mistakes(source)
    lines = read(source, ("address", "target"), (), mistakes)
    async with database() as db:
        wanted, existing = await _wanted_aliases(db, lines, mistakes, skip_existing)
        mistakes.check()
        created = 0
        if not dry_run:
            try:
                with progress("Creating aliases", len(wanted)) as advance:
                    for tenant, address, target in wanted:
                        await _add_alias(db, tenant, address, target, skip_existing)
                        created += 1
                        advance()
            except BaseException:
                warn(f"{created} aliases were created before this; to continue, run it again with --skip-existing")
                raise
    _receipt("aliases", len(wanted) if dry_run else created, existing, dry_run, as_json)


async def _add_alias(db: Database, tenant: str, address: str, target: str, skip_existing: bool) -> None:
    try:
        await db.accounts.add_alias(tenant, address, target)
    except AlreadyExists:
        if not skip_existing:
            raise


async def _wanted_aliases(
    db: Database, lines: list[Line], mistakes: Mistakes, skip_existing: bool
) -> tuple[list[tuple[str, str, str]], int]:
    """Tenant, address and target of each alias that is to be created, and the number that already exist."""
    book = _Book(db)
    wanted: dict[tuple[str, str, str], None] = {}
    existing = 0
    for line in lines:
        try:
            address, target = alias_key(line.values["address"]), Address.parse(line.values["target"]).key
        except AddressError as error:
            mistakes.add(line.number, str(error))
            continue
        tenant = await book.tenant(address)
        if tenant is None:
            mistakes.add(line.number, f"{address.rpartition('@')[2]} is not hosted, or is disabled")
        elif address in book.accounts:
            mistakes.add(line.number, f"{address} is an account")
        elif book.known.get(target) != tenant:
            mistakes.add(line.number, f"target {target} is not an account or alias of the same tenant")
        elif (address, target) in book.pairs:
            if not skip_existing:
                mistakes.add(line.number, f"{address} already points to {target} (--skip-existing skips it)")
            existing += 1
        elif (tenant, address, target) in wanted:
            mistakes.add(line.number, f"{address} to {target} appears twice")
        else:
            wanted[tenant, address, target] = None
            book.known[address] = tenant
    return list(wanted), existing


class _Book:
    """Addresses of the tenants that a file names; each tenant is read once.

    Attributes:
        known: every address that an alias may point to, and its tenant.
        accounts: those that are accounts.
        pairs: aliases and their targets.
    """

    def __init__(self, db: Database) -> None:
        self._db = db
        self._domains: dict[str, str | None] = {}
        self._read: set[str] = set()
        self.known: dict[str, str] = {}
        self.accounts: set[str] = set()
        self.pairs: set[tuple[str, str]] = set()

    async def tenant(self, address: str) -> str | None:
        """The tenant of an address; None if no tenant hosts its domain."""
        fqdn = address.rpartition("@")[2]
        if fqdn not in self._domains:
            hosted = await self._db.tenants.hosted(fqdn)
            self._domains[fqdn] = hosted.tenant.id if hosted is not None and hosted.is_active else None
        tenant = self._domains[fqdn]
        if tenant is not None and tenant not in self._read:
            self._read.add(tenant)
            for account in await self._db.accounts.all(tenant):
                self.accounts.add(account.address)
                self.known[account.address] = tenant
            for alias in await self._db.accounts.aliases(tenant):
                self.pairs.add((alias.address, alias.target))
                self.known[alias.address] = tenant
        return tenant


def _receipt(kind: str, created: int, existing: int, dry_run: bool, as_json: bool) -> None:
    if as_json:
        print_json({**({"dry_run": True} if dry_run else {}), "created": created, "existing": existing})
        return
    say(f"{'would create' if dry_run else 'created'} {created} {kind}; {existing} exist already")
