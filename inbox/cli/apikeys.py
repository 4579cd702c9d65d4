"""``inbox apikey``: keys that programs use the API with."""

from __future__ import annotations

import sys
import time
from ipaddress import ip_network
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from inbox.base.errors import InboxError, NotFound
from inbox.cli.changing import Change, Yes
from inbox.cli.context import CommandFailed, WrongUsage, command, database, tenant_id
from inbox.cli.output import Json, print_json, say, show_one, show_rows, when

if TYPE_CHECKING:
    from inbox.identity.api_keys import PresentedKey
    from inbox.store.ports import ApiKey, Database
    from inbox.store.ports.api_keys import ApiOperation, ApiRole

app = typer.Typer(name="apikey", help="API keys: one for each program of a tenant.", no_args_is_help=True)
_COLUMNS: Final = ("id", "name", "role", "operations", "limits", "created", "expires", "last_used", "from")
_DAY: Final = 86_400
_HOUR: Final = 3600
#: The most domains, patterns or networks of one key.
_MOST: Final = 50

Tenant = Annotated[str, typer.Option("--tenant", help="The name of the tenant.")]
Which = Annotated[str, typer.Argument(metavar="ID", help="The id that apikey list shows.")]


@command(app, "create")
async def create(
    tenant: Tenant,
    name: Annotated[str, typer.Option(help="What the key is for, for example the name of the program.")],
    role: Annotated[str, typer.Option(help="sender: send mail and see what became of it; admin: all operations.")] = (
        "sender"
    ),
    operation: Annotated[
        list[str] | None,
        typer.Option(help="Limit to send, messages, suppressions, queue or decisions. [all of the role]"),
    ] = None,
    domain: Annotated[list[str] | None, typer.Option(help="Limit to senders in this domain of the tenant.")] = None,
    sender: Annotated[
        list[str] | None, typer.Option(help="Limit to this sender; * in its local part stands for any text.")
    ] = None,
    network: Annotated[
        list[str] | None, typer.Option(help="Limit to clients in this network, for example 192.0.2.0/24.")
    ] = None,
    days: Annotated[int | None, typer.Option(min=1, max=3650, help="Days after which the key expires.")] = None,
    as_json: Json = False,
) -> None:
    """Create a key and show it once: only a hash of its secret is stored. Options for limits may be repeated."""
    from inbox.identity.api_keys import generate
    from inbox.store.ports import ApiKey

    roles = _role(role)
    operations = _operations(roles, operation or [])
    networks = tuple(dict.fromkeys(_network(text) for text in _few(network, "--network")))
    new, now = generate(), time.time()
    async with database() as db:
        owner = await _owner(db, tenant)
        domains = await _domains(db, owner, tenant, _few(domain, "--domain"))
        senders = await _senders(db, owner, tenant, _few(sender, "--sender"))
        expires = None if days is None else now + days * _DAY
        await db.api_keys.add(
            ApiKey(owner, new.id, name, roles, new.hashed, operations, domains, senders, networks, now, expires)
        )
    _show(new, f"API key {new.id} of tenant {tenant} for {', '.join(operations)}", as_json, name=name)


@command(app, "list")
async def list_(tenant: Tenant, as_json: Json = False) -> None:
    """Show a tenant's keys, also those that have expired. The last use is exact to an hour."""
    async with database() as db:
        found = await db.api_keys.all(await _owner(db, tenant))
    show_rows([_row(key) for key in found], _COLUMNS, as_json=as_json, none="no API keys", wrapped=("limits",))


@command(app, "rotate")
async def rotate(
    which: Which,
    tenant: Tenant,
    keep_hours: Annotated[
        int, typer.Option(min=0, max=720, help="Hours for which the current secret stays valid; 0: none.")
    ] = 24,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Give a key a new secret and show it once. A secret that was kept by an earlier rotation ends now."""
    from inbox.identity.api_keys import generate

    change = Change("rotate", "API key", which, tenant)
    async with database() as db:
        key = await _existing(db, await _owner(db, tenant), which, tenant)
        how = f"ends its current secret in {keep_hours} hours" if keep_hours else "ends its current secret at once"
        change.ask(yes, how)
        new = generate(key.id)
        until = time.time() + keep_hours * _HOUR
        await db.api_keys.rotate(key.tenant, key.id, new.hashed, until)
    _show(new, f"API key {which} of tenant {tenant} has a new secret", as_json, old_valid_until=when(until))


@command(app, "revoke")
async def revoke(which: Which, tenant: Tenant, yes: Yes = False, as_json: Json = False) -> None:
    """Remove a key: it is not valid any more, nor is a secret that a rotation kept."""
    change = Change("revoke", "API key", which, tenant)
    async with database() as db:
        key = await _existing(db, await _owner(db, tenant), which, tenant)
        change.ask(yes, f"stops the program that uses it ({key.name})")
        await db.api_keys.revoke(key.tenant, key.id)
    change.receipt("revoked", as_json)


@command(app, "check")
async def check(
    operation: Annotated[str, typer.Option(help="The operation: send, messages, suppressions, queue, decisions.")] = (
        "send"
    ),
    sender: Annotated[str | None, typer.Option("--from", help="The sender of a message.")] = None,
    peer: Annotated[str | None, typer.Option(help="The address of the client.")] = None,
    as_json: Json = False,
) -> None:
    """Read a key from standard input and show whether it is valid, whose it is, and what it allows.

    The exit code is 1 if the key is not valid, or does not allow the operation, the sender or the client.
    """
    from inbox.identity.api_keys import presented

    _operations("admin", [operation])
    given = presented(sys.stdin.readline(200).strip())
    async with database() as db:
        key = None if given is None else await db.api_keys.find(given.id)
        owners = {one.id: one for one in await db.tenants.all()}
    # The same answer for an unknown id and a wrong secret.
    if given is None or key is None or not key.opens(given.hashed, time.time()) or key.tenant not in owners:
        raise CommandFailed("not a valid API key")
    owner = owners[key.tenant]
    if not owner.is_active:
        raise CommandFailed(f"tenant {owner.name} is disabled")
    if reason := _refusal(key, operation, sender, peer):
        raise CommandFailed(f"API key {key.id} of tenant {owner.name} {reason}")
    if as_json:
        print_json({"tenant": owner.name, **_row(key)})
    else:
        say(f"API key {key.id} ({key.name}) of tenant {owner.name} allows it")


def _refusal(key: ApiKey, operation: str, sender: str | None, peer: str | None) -> str:
    """Return the reason why the key does not allow a request; empty if it does. Raises AddressError, WrongUsage."""
    from inbox.base.peers import peer_address
    from inbox.mail.address import Address

    if key.expired(time.time()):
        return "has expired"
    if operation not in key.operations:
        return f"does not allow the operation {operation}"
    if sender is not None and not key.may_send_as(Address.parse(sender)):
        return f"does not allow the sender {sender}"
    if peer is not None:
        try:
            client = peer_address(peer)
        except ValueError:
            raise WrongUsage(f"--peer {peer}: not an IP address") from None
        if not key.valid_from(client):
            return f"does not allow clients at {peer}"
    return ""


async def _owner(db: Database, tenant: str) -> str:
    owner = await tenant_id(db, tenant)
    assert owner is not None, "the option is required"
    return owner


async def _existing(db: Database, owner: str, which: str, tenant: str) -> ApiKey:
    key = await db.api_keys.get(owner, which)
    if key is None:
        raise NotFound(f"tenant {tenant} has no API key {which} (inbox apikey list --tenant {tenant})")
    return key


def _few(words: list[str] | None, option: str) -> list[str]:
    """Raises WrongUsage if an option is given too often."""
    if words is not None and len(words) > _MOST:
        raise WrongUsage(f"{option} is given {len(words)} times; at most {_MOST} are allowed")
    return words or []


def _role(text: str) -> ApiRole:
    """Raises WrongUsage."""
    from inbox.store.ports.api_keys import OPERATIONS_OF

    for role in OPERATIONS_OF:
        if role == text:
            return role
    raise WrongUsage(f"--role {text}: unknown; valid words are {', '.join(OPERATIONS_OF)}")


def _operations(role: ApiRole, words: list[str]) -> tuple[ApiOperation, ...]:
    """Raises WrongUsage."""
    from inbox.store.ports.api_keys import OPERATIONS_OF

    allowed = OPERATIONS_OF[role]
    for word in words:
        if word not in allowed:
            raise WrongUsage(f"--operation {word}: not an operation of the role {role}, which has {', '.join(allowed)}")
    return tuple(each for each in allowed if not words or each in words)


def _network(text: str) -> str:
    """Raises WrongUsage."""
    try:
        return str(ip_network(text))
    except ValueError as error:
        raise WrongUsage(f"--network {text}: {error}") from None


async def _domains(db: Database, owner: str, tenant: str, words: list[str]) -> tuple[str, ...]:
    """Raises AddressError, NotFound."""
    from inbox.mail.address import canonical_domain

    found = tuple(dict.fromkeys(canonical_domain(word) for word in words))
    hosted = {domain.fqdn for domain in await db.tenants.domains(owner)}
    for one in found:
        if one not in hosted:
            raise NotFound(f"tenant {tenant} has no domain {one} (inbox domain add {tenant} {one})")
    return found


async def _senders(db: Database, owner: str, tenant: str, words: list[str]) -> tuple[str, ...]:
    """Raises WrongUsage, NotFound."""
    from inbox.mail.address import Address

    found = []
    for word in words:
        try:
            pattern = Address.parse(word)
        except InboxError as error:
            raise WrongUsage(f"--sender {word}: {error}") from None
        if pattern.local.count("*") > 1:
            raise WrongUsage(f"--sender {word}: only one * is allowed")
        found.append(pattern.key)
        await _domains(db, owner, tenant, [pattern.domain])
    return tuple(dict.fromkeys(found))


def _show(new: PresentedKey, title: str, as_json: bool, **details: Any) -> None:
    if as_json:
        show_one({"id": new.id, **details, "key": new.shown}, as_json=True)
        return
    say(f"{title}; it is not shown again:")
    say(new.shown)


def _row(key: ApiKey) -> dict[str, Any]:
    limits = [*(f"domain {one}" for one in key.domains), *(f"sender {one}" for one in key.senders)]
    limits += [f"network {one}" for one in key.networks]
    ended = " (expired)" if key.expired(time.time()) else ""
    return {
        "id": key.id, "name": key.name, "role": key.role, "operations": ", ".join(key.operations),
        "limits": ", ".join(limits), "created": when(key.created_at),
        "expires": "never" if key.expires_at is None else when(key.expires_at) + ended,
        "last_used": "never" if key.last_used_at is None else when(key.last_used_at), "from": key.last_used_peer,
    }  # fmt: skip
