"""``inbox domain dkim``: the keys with which a domain's mail is signed."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from inbox.base.errors import NotFound
from inbox.cli.context import CommandFailed, command, config, database, hosting
from inbox.cli.output import Json, print_json, progress, say, show_rows, warn, when
from inbox.mail.address import canonical_domain

if TYPE_CHECKING:
    from inbox.app.serve.executors import Executors
    from inbox.hosting.keys.rotation import KeyCheck, Rotation
    from inbox.hosting.keys.signing import PlacedKey
    from inbox.mail.tenancy import HostedDomain
    from inbox.store.ports import Database, DkimKeyRecord

app = typer.Typer(name="dkim", help="Keys that sign a domain's mail.", no_args_is_help=True)

#: Seconds between two DNS queries while the operator waits.
LOOK_SECONDS = 5.0
#: Seconds that a record may be cached, in zone files.
RECORD_TTL = 3600

Domain = Annotated[str, typer.Argument(help="A hosted domain.")]
Selector = Annotated[str, typer.Argument(help="The key's selector.")]
Zone = Annotated[bool, typer.Option("--zone", help="Print the records as lines of a zone file.")]


class Algorithm(StrEnum):
    """``--algorithm``"""

    RSA = "rsa"
    ED25519 = "ed25519"
    BOTH = "both"


@dataclass(frozen=True)
class _Keys:
    """The keys of one domain, and the changes to them."""

    db: Database
    hosted: HostedDomain
    executors: Executors

    async def rows(self) -> list[DkimKeyRecord]:
        return await self.db.dkim_keys.all(self.hosted.tenant.id, self.hosted.fqdn)

    async def row(self, selector: str) -> DkimKeyRecord:
        """Raises NotFound."""
        selector = selector.lower()
        found = next((row for row in await self.rows() if row.selector == selector), None)
        if found is not None:
            return found
        if selector == self.hosted.overrides.dkim_selector:
            raise NotFound(f"{selector} is the key of the field dkim_selector (inbox domain set {self.hosted.fqdn} …)")
        raise NotFound(f"{self.hosted.fqdn} has no key with the selector {selector}")

    def signing(self, rows: Sequence[DkimKeyRecord]) -> tuple[PlacedKey, ...]:
        """The keys that sign. Raises ConfigError if one of them cannot be used."""
        from inbox.app.wiring.hosting import make_signing
        from inbox.base.clock import SystemClock
        from inbox.hosting.keys.signing import SigningKeyring
        from inbox.identity.directory import AddressDirectory

        clock = SystemClock()
        directory = AddressDirectory(self.db.tenants, self.db.accounts, clock)
        ring = SigningKeyring(directory, self.db.dkim_keys, make_signing(config().dkim), clock)
        return ring.of(self.hosted, rows)

    def rotation(self) -> Rotation:
        """Creates the rotation with a new resolver, which has no cached negative answer."""
        import random

        from inbox.app.wiring.services import NoLog, make_resolver
        from inbox.base.clock import SystemClock
        from inbox.hosting.keys.rotation import Rotation

        clock = SystemClock()
        resolver = make_resolver(config(), clock)
        return Rotation(self.db.dkim_keys, resolver, clock, NoLog(), self.executors, random.random)

    async def wait(self, rows: Sequence[DkimKeyRecord], seconds: float) -> list[DkimKeyRecord]:
        """Check until the DNS shows all of these keys or ``seconds`` have passed; return the missing ones."""
        loop = asyncio.get_running_loop()
        ends = loop.time() + seconds
        left = list(rows)
        with progress("waiting for the DNS", len(rows)) as advance:
            while True:
                rotation = self.rotation()
                still = [row for row in left if not await self._signs(rotation, row.selector)]
                advance(len(left) - len(still))
                left = still
                if not left or loop.time() >= ends:
                    return left
                await asyncio.sleep(min(LOOK_SECONDS, max(0.0, ends - loop.time())))

    async def _signs(self, rotation: Rotation, selector: str) -> bool:
        row = await self.row(selector)
        if row.state == "pending":
            try:
                return (await rotation.look_at(row)).activated
            except NotFound:  # The running server activated the key first.
                row = await self.row(selector)
        return row.state == "active"


@asynccontextmanager
async def _keys(domain: str) -> AsyncIterator[_Keys]:
    from inbox.app.serve.executors import Executors

    executors = Executors()
    try:
        async with database() as db:
            yield _Keys(db, await hosting(db, canonical_domain(domain)), executors)
    finally:
        executors.close()


@command(app, "rotate")
async def rotate(
    domain: Domain,
    algorithm: Annotated[Algorithm, typer.Option(help="The algorithm of the new keys.")] = Algorithm.BOTH,
    selector: Annotated[
        str | None, typer.Option(help="The selector of the new key; with two keys, -rsa and -ed25519 are appended.")
    ] = None,
    zone: Zone = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait until the DNS shows the records.")] = False,
    seconds: Annotated[float, typer.Option("--timeout", help="Seconds after which --wait gives up.", min=0)] = 600.0,
    as_json: Json = False,
) -> None:
    """Create the next signing keys of a domain and print their DNS records.

    A new key signs only after the DNS shows its record. The running server checks every minute, after a day every
    hour; then the new key signs, and the previous one (of the same algorithm) is retired. If a key already waits for
    its record, the command shows it again instead of creating another one.
    """
    async with _keys(domain) as keys:
        names = ("rsa", "ed25519") if algorithm is Algorithm.BOTH else (algorithm.value,)
        made = await keys.rotation().prepare(keys.hosted, names, selector)
        rows = [row for row, _ in made]
        if not as_json:
            _show_records(rows, zone)
            if not zone:
                _explain(made)
        left = await keys.wait(rows, seconds) if wait else []
        if as_json:
            print_json([_record(row) for row in await keys.rows() if row.selector in {one.selector for one in rows}])
        if left:
            names_left = ", ".join(row.selector for row in left)
            raise CommandFailed(
                f"the DNS does not show {names_left} after {seconds:.0f} seconds; the server continues to check"
            )
        if wait:
            warn(f"{keys.hosted.fqdn} signs with {', '.join(row.selector for row in rows)}")


@command(app, "show")
async def show(
    domain: Domain,
    selector: Annotated[str | None, typer.Argument(help="Show only this key.")] = None,
    zone: Zone = False,
    as_json: Json = False,
) -> None:
    """Print the DNS records of a domain's pending and active keys, or of one key."""
    async with _keys(domain) as keys:
        rows = [row for row in await keys.rows() if row.state != "retired"] if selector is None else []
        if selector is not None:
            rows = [await keys.row(selector)]
    if as_json:
        print_json([_record(row) for row in rows])
    elif not rows:
        say(f"{keys.hosted.fqdn} has no keys (inbox domain dkim rotate {keys.hosted.fqdn})")
    else:
        _show_records(rows, zone)


@command(app, "list")
async def list_(domain: Domain, as_json: Json = False) -> None:
    """Show a domain's signing keys, and the next step for each."""
    from inbox.base.clock import SystemClock
    from inbox.hosting.keys.states import key_states

    async with _keys(domain) as keys:
        rows = await keys.rows()
        states = key_states(keys.hosted, rows, keys.signing(rows), SystemClock().now())
    shown = [
        {
            "selector": state.selector,
            "algorithm": state.algorithm,
            "state": state.state,
            "place": state.place,
            "created": _date(state.created_at),
            "activated": _date(state.activated_at),
            "retired": _date(state.retired_at),
            "next": state.following,
        }
        for state in states
    ]
    none = f"{keys.hosted.fqdn} has no keys: its mail is not signed (inbox domain dkim rotate {keys.hosted.fqdn})"
    columns = ("selector", "algorithm", "state", "place", "created", "activated", "retired", "next")
    show_rows(shown, columns, as_json=as_json, none=none, wrapped=("next",))


@command(app, "activate")
async def activate(domain: Domain, selector: Selector) -> None:
    """Check the DNS now, and sign with a key if its record is there.

    A key that was retired signs again. Exit code 1 if the DNS does not show exactly this key.
    """
    from inbox.authentication.dkim.record import record_name

    async with _keys(domain) as keys:
        row = await keys.row(selector)
        if row.state == "active":
            raise CommandFailed(f"{selector} signs already")
        before = keys.signing(await keys.rows())
        looked = await keys.rotation().look_at(row)
        after = {placed.key.selector for placed in keys.signing(await keys.rows())}
    if not looked.activated:
        raise CommandFailed(f"{record_name(row.selector, row.domain)}: {_why_not(looked)}")
    say(f"{keys.hosted.fqdn} signs with {row.selector}")
    for old in before:
        # The installation's key continues to sign for other domains.
        if old.place != "environment" and old.key.selector not in after:
            say(f"{old.key.selector} no longer signs; its record must stay in the DNS for 7 days")


@command(app, "retire")
async def retire(domain: Domain, selector: Selector) -> None:
    """Stop signing with a key; its record must stay in the DNS for 7 days."""
    from inbox.base.clock import SystemClock

    async with _keys(domain) as keys:
        row = await keys.row(selector)
        if row.state != "active":
            raise CommandFailed(f"{selector} does not sign, it is {row.state}")
        now = SystemClock().now()
        await keys.db.dkim_keys.set_state(row.tenant, row.domain, row.selector, "retired", now, was="active")
        left = keys.signing(await keys.rows())
    say(f"{selector} is retired; its record must stay in the DNS for 7 days")
    if not left:
        warn(f"no key is left: mail of {keys.hosted.fqdn} is no longer signed")
    else:
        say(f"signing now: {', '.join(f'{placed.key.selector} ({placed.place})' for placed in left)}")


@command(app, "remove")
async def remove(domain: Domain, selector: Selector) -> None:
    """Delete a pending or retired key."""
    async with _keys(domain) as keys:
        row = await keys.row(selector)
        if row.state == "active":
            raise CommandFailed(f"{selector} signs; first: inbox domain dkim retire {keys.hosted.fqdn} {selector}")
        await keys.db.dkim_keys.remove(row.tenant, row.domain, row.selector)
    say(f"removed {selector} of {keys.hosted.fqdn}")


def _show_records(rows: Sequence[DkimKeyRecord], zone: bool) -> None:
    from inbox.authentication.dkim.record import zone_strings

    for number, row in enumerate(rows):
        record = _record(row)
        if zone:
            # Records for a zone file are plain lines: the terminal's width must not break them.
            print(f"{record['name']}. {RECORD_TTL} IN TXT ( {zone_strings(record['value'])} )")
            continue
        if number:
            say("")
        say(f"name   {record['name']}")
        say("type   TXT")
        say(f"value  {record['value']}")


def _explain(made: Sequence[tuple[DkimKeyRecord, bool]]) -> None:
    say("")
    domain = made[0][0].domain
    for row, new in made:
        if not new:
            say(f"{row.selector} waits for its record since {when(row.created_at)}; no new key was created")
    say("Publish these records. The running server checks the DNS every minute, after a day every hour, signs with a")
    say("key once its record is there, and retires the previous key, whose record must stay for 7 more days.")
    say(f"State of the keys: inbox domain dkim list {domain}. Check now: inbox domain dkim activate {domain} SELECTOR")


def _record(row: DkimKeyRecord) -> dict[str, str]:
    from inbox.authentication.dkim.record import record_name, record_text
    from inbox.hosting.keys.signing import load_private

    return {
        "selector": row.selector,
        "algorithm": row.algorithm,
        "state": row.state,
        "name": record_name(row.selector, row.domain),
        "type": "TXT",
        "value": record_text(load_private(row.private_key_b64_pkcs8)),
    }


def _why_not(looked: KeyCheck) -> str:
    from inbox.authentication.dkim.record import Publication

    match looked.publication:
        case None:
            return "the DNS does not answer"
        case Publication.MISSING:
            return f"the record does not exist (inbox domain dkim show {looked.key.domain} {looked.key.selector})"
        case Publication.AMBIGUOUS:
            return "there is more than one record; exactly one must exist"
        case _:
            return f"the record belongs to a different key (inbox domain dkim show {looked.key.domain})"


def _date(seconds: float) -> str:
    return when(seconds) if seconds else ""
