"""``inbox webhook``: events of a tenant's mail, posted to its programs."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from inbox.base.errors import NotFound
from inbox.cli.changing import Change, Yes
from inbox.cli.context import CommandFailed, WrongUsage, command, config, database, tenant_named
from inbox.cli.moments import moment
from inbox.cli.output import Json, print_json, say, show_one, show_rows, when

if TYPE_CHECKING:
    from inbox.mail.tenancy import Tenant
    from inbox.store.ports import Database, Webhook, WebhookMessage
    from inbox.store.ports.webhooks import WebhookEvent

app = typer.Typer(
    name="webhook", help="Webhooks: events of a tenant's mail, posted to its programs.", no_args_is_help=True
)
_LIST: Final = ("id", "url", "events", "state", "waiting", "created")
_LOG: Final = ("at", "message", "event", "state", "attempts", "status", "reply", "next")
_HOUR: Final = 3600
#: Waiting messages are counted up to this number.
_COUNTED: Final = 10_000
#: Characters of the id of a new webhook.
_ID: Final = 12

TenantName = Annotated[str, typer.Option("--tenant", help="The name of the tenant.")]
Which = Annotated[str, typer.Argument(metavar="ID", help="The id that webhook list shows.")]


@command(app, "add")
async def add(
    url: Annotated[str, typer.Argument(help="Where messages are posted, for example https://hooks.example.com/mail.")],
    tenant: TenantName,
    event: Annotated[
        list[str] | None,
        typer.Option(
            help="Limit to accepted, quarantined, delivered, deferred, bounced, suppressed or complained; may be "
            "repeated. [all]"
        ),
    ] = None,
    as_json: Json = False,
) -> None:
    """Add a webhook and show its secret. A running server uses it within five seconds."""
    import secrets

    from inbox.flow.webhooks.signature import generate
    from inbox.store.ports import Webhook

    events = _events(event or [])
    _check_url(url, tenant)
    secret = generate()
    async with database() as db:
        owner = await tenant_named(db, tenant)
        # Unlike a UUID, it begins with no character that a command takes for an option.
        id_ = secrets.token_hex(_ID // 2)
        await db.webhooks.add(Webhook(owner.id, id_, url, events, secret, created_at=time.time()))
    _show_secret(id_, secret, f"webhook {id_} of tenant {tenant} for {', '.join(events)}", as_json, url=url)


@command(app, "list")
async def list_(tenant: TenantName, as_json: Json = False) -> None:
    """Show a tenant's webhooks."""
    async with database() as db:
        owner = await tenant_named(db, tenant)
        rows = [await _row(db, one) for one in await db.webhooks.all(owner.id)]
    show_rows(rows, _LIST, as_json=as_json, none="no webhooks", wrapped=("url", "events"))


@command(app, "show")
async def show(
    which: Which,
    tenant: TenantName,
    with_secret: Annotated[bool, typer.Option("--secret", help="Show also the secrets that sign now.")] = False,
    as_json: Json = False,
) -> None:
    """Show a webhook."""
    async with database() as db:
        owner = await tenant_named(db, tenant)
        webhook = await _existing(db, owner, which)
        row = await _row(db, webhook)
    row["reason"] = webhook.reason
    now = time.time()
    if len(webhook.secrets(now)) > 1:
        row["old_secret_until"] = when(webhook.old_until)
    if with_secret:
        row["secrets"] = list(webhook.secrets(now))
    show_one(row, as_json=as_json)


@command(app, "remove")
async def remove(which: Which, tenant: TenantName, yes: Yes = False, as_json: Json = False) -> None:
    """Remove a webhook with its log; messages that wait are not delivered."""
    change = Change("remove", "webhook", which, tenant)
    async with database() as db:
        owner = await tenant_named(db, tenant)
        webhook = await _existing(db, owner, which)
        change.ask(yes, f"ends the messages to {webhook.url}, and removes their log")
        await db.webhooks.remove(owner.id, webhook.id)
    change.receipt("removed", as_json)


@command(app, "enable")
async def enable(which: Which, tenant: TenantName, as_json: Json = False) -> None:
    """Enable a webhook: messages that wait are delivered; events since it was disabled are not."""
    await _set_enabled(which, tenant, True, as_json)


@command(app, "disable")
async def disable(which: Which, tenant: TenantName, as_json: Json = False) -> None:
    """Disable a webhook: it gets no new messages, and those that wait stay for as long as the log is kept."""
    await _set_enabled(which, tenant, False, as_json)


async def _set_enabled(which: str, tenant: str, enabled: bool, as_json: bool) -> None:
    async with database() as db:
        owner = await tenant_named(db, tenant)
        webhook = await _existing(db, owner, which)
        await db.webhooks.set_enabled(owner.id, webhook.id, enabled, "" if enabled else "disabled by the operator")
    verb = "enable" if enabled else "disable"
    Change(verb, "webhook", which, tenant).receipt(f"{verb}d", as_json)


@command(app, "rotate")
async def rotate(
    which: Which,
    tenant: TenantName,
    keep_hours: Annotated[
        int, typer.Option(min=0, max=720, help="Hours for which the current secret signs too; 0: it ends now.")
    ] = 24,
    as_json: Json = False,
) -> None:
    """Give a webhook a new secret and show it. Requests have both signatures until the current secret ends."""
    from inbox.flow.webhooks.signature import generate

    secret = generate()
    until = time.time() + keep_hours * _HOUR
    async with database() as db:
        owner = await tenant_named(db, tenant)
        webhook = await _existing(db, owner, which)
        await db.webhooks.rotate(owner.id, webhook.id, secret, until)
    _show_secret(which, secret, f"webhook {which} has a new secret", as_json, old_secret_until=when(until))


@command(app, "test")
async def test(
    which: Which,
    tenant: TenantName,
    seconds: Annotated[int, typer.Option(min=1, max=120, help="How long to wait for the result.")] = 30,
    as_json: Json = False,
) -> None:
    """Send a message of the type `test` through the running server, and show the receiver's response.

    The exit code is 1 if the receiver does not accept the message in time. It is tried again like any other.
    """
    from inbox.base.clock import SystemClock
    from inbox.base.ids import RandomIds
    from inbox.store.ports import WebhookMessage

    now = time.time()
    payload = json.dumps({"type": "test", "timestamp": when(now), "data": {"webhook": which}}, separators=(",", ":"))
    async with database() as db:
        owner = await tenant_named(db, tenant)
        webhook = await _existing(db, owner, which)
        if not webhook.is_enabled:
            raise CommandFailed(f"webhook {which} is disabled: {webhook.reason} (inbox webhook enable {which})")
        message = WebhookMessage(
            owner.id, webhook.id, f"msg_{RandomIds(SystemClock().now).new()}", "test", payload, now
        )
        await db.webhooks.put([message])
        found = await _tried(db, message, now + seconds)
    if as_json:
        print_json(_message_row(found))
    if found.state == "delivered":
        if not as_json:
            say(f"the receiver accepted message {found.id} with status {found.tries[-1].status}")
        return
    if not found.tries:
        raise CommandFailed(f"no attempt within {seconds} seconds: is the server running (inbox status)?")
    last = found.tries[-1]
    raise CommandFailed(f"status {last.status}: {last.text}" if last.status else last.text)


async def _tried(db: Database, message: WebhookMessage, until: float) -> WebhookMessage:
    found = message
    while not found.tries and time.time() < until:
        await asyncio.sleep(0.2)
        found = await db.webhooks.message(message.tenant, message.webhook, message.id) or found
    return found


@command(app, "log")
async def log(
    which: Which,
    tenant: TenantName,
    message: Annotated[str | None, typer.Option(help="Show this message with its payload and its tries.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=500, help="Maximum number of messages.")] = 50,
    as_json: Json = False,
) -> None:
    """Show the messages of a webhook, newest first, with the last response to each."""
    async with database() as db:
        owner = await tenant_named(db, tenant)
        webhook = await _existing(db, owner, which)
        if message is None:
            found = await db.webhooks.messages(owner.id, webhook.id, limit)
            rows = [_message_row(one) for one in found]
            show_rows(rows, _LOG, as_json=as_json, none="no messages", wrapped=("reply",))
            return
        one = await db.webhooks.message(owner.id, webhook.id, message)
    if one is None:
        raise NotFound(f"webhook {which} has no message {message} (inbox webhook log {which} --tenant {tenant})")
    tries = [
        {"at": when(each.at), "seconds": each.seconds, "status": each.status, "reply": each.text} for each in one.tries
    ]
    if as_json:
        print_json({**_message_row(one), "payload": json.loads(one.payload), "tries": tries})
        return
    show_one({**_message_row(one), "payload": one.payload}, as_json=False)
    show_rows(tries, ("at", "seconds", "status", "reply"), as_json=False, none="no tries", wrapped=("reply",))


@command(app, "replay")
async def replay(
    which: Which,
    tenant: TenantName,
    message: Annotated[list[str] | None, typer.Option(help="Send this message again; may be repeated.")] = None,
    failed_since: Annotated[
        str | None, typer.Option(help="Send all messages that failed and are younger than this: 2h, 7d, or a time.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Send messages again, with the ids that they have, and ten tries for each."""
    if (message is None) == (failed_since is None):
        raise WrongUsage("name messages with --message, or a time with --failed-since")
    since = None if failed_since is None else moment(failed_since, "--failed-since")
    async with database() as db:
        owner = await tenant_named(db, tenant)
        webhook = await _existing(db, owner, which)
        if since is None:
            count = await db.webhooks.replay(owner.id, webhook.id, (message or [])[:500], time.time())
        else:
            count = await _replay_failed(db, webhook, since)
    if not count:
        raise NotFound(f"webhook {which} has no such message (inbox webhook log {which} --tenant {tenant})")
    if as_json:
        print_json({"action": "replay", "webhook": which, "tenant": tenant, "messages": count})
    else:
        say(f"{count} messages of webhook {which} are sent again")


async def _replay_failed(db: Database, webhook: Webhook, since: float) -> int:
    count = 0
    # Each page leaves the state `failed`, so the next one begins after it.
    while page := await db.webhooks.failed(webhook.tenant, webhook.id, since, 500):
        count += await db.webhooks.replay(webhook.tenant, webhook.id, page, time.time())
    return count


def _check_url(url: str, tenant: str) -> None:
    """Raises UrlRefused."""
    from inbox.app.wiring.policies import find_plugins, load_policies
    from inbox.flow.webhooks.guard import parse

    settings = config()
    parse(url, load_policies(settings, find_plugins(settings)).server.webhooks, tenant)


def _events(words: list[str]) -> tuple[WebhookEvent, ...]:
    """Raises WrongUsage."""
    from inbox.store.ports.webhooks import WEBHOOK_EVENTS

    for word in words:
        if word not in WEBHOOK_EVENTS:
            raise WrongUsage(f"--event {word}: unknown; valid words are {', '.join(WEBHOOK_EVENTS)}")
    return tuple(each for each in WEBHOOK_EVENTS if not words or each in words)


async def _existing(db: Database, owner: Tenant, which: str) -> Webhook:
    found = await db.webhooks.get(owner.id, which)
    if found is None:
        raise NotFound(f"tenant {owner.name} has no webhook {which} (inbox webhook list --tenant {owner.name})")
    return found


def _show_secret(id_: str, secret: str, text: str, as_json: bool, **details: Any) -> None:
    if as_json:
        print_json({"id": id_, "secret": secret, **details})
        return
    say(text)
    say(secret)


async def _row(db: Database, one: Webhook) -> dict[str, Any]:
    count = await db.webhooks.waiting(one.tenant, one.id, _COUNTED)
    return {
        "id": one.id, "url": one.url, "events": ", ".join(one.events),
        "state": "enabled" if one.is_enabled else "disabled",
        "waiting": f"{count} or more" if count == _COUNTED else count, "created": when(one.created_at),
    }  # fmt: skip


def _message_row(one: WebhookMessage) -> dict[str, Any]:
    last = one.tries[-1] if one.tries else None
    return {
        "at": when(one.created_at), "message": one.id, "event": one.event, "state": one.state,
        "attempts": one.attempts, "status": last.status if last else None, "reply": last.text if last else "",
        "next": when(one.due_at) if one.state == "waiting" else None,
    }  # fmt: skip
