"""``inbox account import``: many accounts at once, with given or generated passwords, or hashes."""

from __future__ import annotations

import asyncio
import os
import secrets
from dataclasses import dataclass, replace
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Final

import typer

from inbox.base.errors import AlreadyExists, InboxError
from inbox.cli.bulk import Check, Line, Mistakes, SkipExisting, Source, read
from inbox.cli.context import CommandFailed, WrongUsage, command, database
from inbox.cli.output import Json, print_json, progress, say, warn
from inbox.mail.address import Address, AddressError

if TYPE_CHECKING:
    from inbox.mail.tenancy import HostedDomain
    from inbox.store.ports import Database

#: Accounts per batch: their passwords are hashed, then the accounts are written.
BATCH: Final = 64
#: Alphabet of generated passwords, without characters that are easily confused. A password has 103 bits.
MADE_CHARACTERS: Final = 18
ALPHABET: Final = "abcdefghijkmnpqrstuvwxyzABCDEFGHJKLMNPQRSTUVWXYZ23456789"
#: Limits on the cost of a hash at each login: MiB of memory, passes, lanes. Hashes of this program need 19, 2 and 1.
MOST_MIB, MOST_PASSES, MOST_LANES = 256, 20, 16

PasswordsOut = Annotated[
    Path | None,
    typer.Option(
        "--passwords-out",
        help="A new file, readable by its owner only, for the passwords of accounts that come without one.",
    ),
]


@dataclass(frozen=True, slots=True)
class Wanted:
    """An account that is to be created; exactly one of ``password`` and ``stored`` (a hash) is set."""

    line: int
    address: str
    tenant: str
    password: str = ""
    stored: str = ""
    made: bool = False


def register(app: typer.Typer) -> None:
    """Adds the command."""
    command(app, "import")(import_)


async def import_(
    source: Source,
    passwords_out: PasswordsOut = None,
    skip_existing: SkipExisting = False,
    dry_run: Check = False,
    as_json: Json = False,
) -> None:
    """Create accounts from a file with the fields address and password or password_hash (argon2).

    An account without either gets a password, which is written to --passwords-out and shown nowhere else. All lines are
    checked before the first account is created.
    """
    mistakes = Mistakes(source)
    lines = read(source, ("address",), ("password", "password_hash"), mistakes)
    async with database() as db:
        wanted = await _wanted(db, lines, mistakes, passwords_out is not None)
        there = await _taken(db, {one.tenant for one in wanted})
        existing = [one for one in wanted if one.address in there]
        if not skip_existing:
            for one in existing:
                mistakes.add(one.line, f"{one.address} exists already (--skip-existing skips it)")
        mistakes.check()
        new = [one for one in wanted if one.address not in there]
        if dry_run:
            _receipt(len(new), len(existing), 0, None, as_json, dry_run=True)
            return
        made = sum(one.made for one in new)
        with _opened(passwords_out if made else None) as out:
            skipped = await _create(db, new, out, skip_existing)
    _receipt(len(new) - skipped, len(existing) + skipped, made, passwords_out if made else None, as_json)


def _receipt(created: int, existing: int, made: int, out: Path | None, as_json: bool, *, dry_run: bool = False) -> None:
    if as_json:
        values = {"created": created, "existing": existing, "passwords_made": made, "passwords_out": str(out or "")}
        print_json({"dry_run": True, **values} if dry_run else values)
        return
    say(f"{'would create' if dry_run else 'created'} {created} accounts; {existing} exist already")
    if out is not None:
        say(f"{made} passwords are in {out}")


async def _wanted(db: Database, lines: list[Line], mistakes: Mistakes, may_make: bool) -> list[Wanted]:
    """Return the accounts to create; lines that cannot become accounts are added to the mistakes."""
    domains: dict[str, HostedDomain | None] = {}
    seen: dict[str, int] = {}
    wanted: list[Wanted] = []
    for line in lines:
        try:
            key = Address.parse(line.values["address"]).key
        except AddressError as error:
            mistakes.add(line.number, f"address {line.values['address']}: {error}")
            continue
        fqdn = key.rpartition("@")[2]
        if fqdn not in domains:
            domains[fqdn] = await db.tenants.hosted(fqdn)
        hosted = domains[fqdn]
        if hosted is None or not hosted.is_active:
            mistakes.add(line.number, f"{fqdn} is {'disabled' if hosted else 'hosted by no tenant'}")
        elif key in seen:
            mistakes.add(line.number, f"{key} is also in line {seen[key]}")
        else:
            seen[key] = line.number
            _with_password(Wanted(line.number, key, hosted.tenant.id), line, mistakes, may_make, wanted)
    return wanted


def _with_password(one: Wanted, line: Line, mistakes: Mistakes, may_make: bool, wanted: list[Wanted]) -> None:
    from inbox.identity.passwords import check_password

    password, stored = line.values.get("password", ""), line.values.get("password_hash", "")
    if password and stored:
        mistakes.add(line.number, "both password and password_hash")
    elif stored:
        problem = _unfit(stored)
        if problem:
            mistakes.add(line.number, f"password_hash: {problem}")
        wanted.append(replace(one, stored=stored))
    elif password:
        try:
            check_password(password)
        except InboxError as error:
            mistakes.add(line.number, str(error))
        wanted.append(replace(one, password=password))
    elif not may_make:
        mistakes.add(line.number, "no password and no password_hash (--passwords-out FILE generates passwords)")
    else:
        made = "".join(secrets.choice(ALPHABET) for _ in range(MADE_CHARACTERS))
        wanted.append(replace(one, password=made, made=True))


def _unfit(stored: str) -> str:
    """Return the reason why a hash is not accepted; empty if it is accepted."""
    from argon2 import extract_parameters
    from argon2.exceptions import InvalidHashError

    try:
        costs = extract_parameters(stored)
    except (InvalidHashError, ValueError):
        return "not an argon2 hash ($argon2id$…)"
    if costs.memory_cost > MOST_MIB * 1024 or costs.time_cost > MOST_PASSES or costs.parallelism > MOST_LANES:
        return f"costs more than {MOST_MIB} MiB, {MOST_PASSES} passes and {MOST_LANES} lanes at each login"
    return ""


async def _taken(db: Database, tenants: set[str]) -> set[str]:
    """Addresses of the tenants that are accounts or aliases."""
    taken: set[str] = set()
    for tenant in tenants:
        taken.update(account.address for account in await db.accounts.all(tenant))
        taken.update(alias.address for alias in await db.accounts.aliases(tenant))
    return taken


async def _create(db: Database, new: list[Wanted], out: IO[str] | None, skip_existing: bool) -> int:
    """Creates the accounts in batches; returns the number that another process created in the meantime."""
    from inbox.base.clock import SystemClock
    from inbox.identity.passwords import Passwords

    passwords = Passwords(SystemClock(), threads=os.cpu_count() or 1)
    skipped = created = 0

    async def create(one: Wanted) -> bool:
        stored = one.stored or await passwords.hash(one.password)
        # A SCRAM verifier cannot be computed from a hash; the first login with the password creates it.
        try:
            await db.accounts.add(one.tenant, one.address, stored)
        except AlreadyExists:
            if not skip_existing:
                raise
            return False
        return True

    try:
        with progress("Creating accounts", len(new)) as advance:
            for start in range(0, len(new), BATCH):
                batch = new[start : start + BATCH]
                _write(out, [one for one in batch if one.made])
                done = await asyncio.gather(*map(create, batch), return_exceptions=True)
                created += sum(result is True for result in done)
                skipped += sum(result is False for result in done)
                failed = next((result for result in done if isinstance(result, BaseException)), None)
                if failed is not None:
                    raise failed
                advance(len(batch))
    except BaseException:
        warn(f"{created} accounts were created before this; to continue, run it again with --skip-existing")
        raise
    finally:
        passwords.close()
    return skipped


def _opened(path: Path | None) -> IO[str]:
    """The file for passwords, which must be new. Raises WrongUsage, CommandFailed."""
    if path is None:
        return Path(os.devnull).open("w", encoding="utf-8")
    try:
        return os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8")
    except FileExistsError:
        raise CommandFailed(f"{path} already exists: --passwords-out creates a new file") from None
    except OSError as error:
        raise WrongUsage(f"--passwords-out: cannot write {path}: {error.strerror}") from error


def _write(out: IO[str] | None, made: list[Wanted]) -> None:
    """Passwords are synced to disk before their accounts exist, because there is no other copy of them."""
    if out is None or not made:
        return
    out.write("".join(f"{one.address},{one.password}\n" for one in made))
    out.flush()
    os.fsync(out.fileno())
