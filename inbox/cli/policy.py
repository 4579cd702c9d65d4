"""``inbox policy``: check policy files, and show the policy in force for a recipient."""

from __future__ import annotations

import re
import sys
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from inbox.base.errors import NotFound, PolicyError, StoreError
from inbox.cli import policy_origins
from inbox.cli.context import WrongUsage, command, config, database, hosting, tenant_named, warn_of_suspended
from inbox.cli.output import Json, complain, say, show_one, show_rows, show_text, warn
from inbox.mail.address import Address, canonical_domain

if TYPE_CHECKING:
    from inbox.app.wiring.rehearsal import RehearsalMessage, Rehearsed
    from inbox.plugin.engine.registry import Found
    from inbox.policy.mistakes import Mistake
    from inbox.policy.snapshot import EffectivePolicy, PolicySet

app = typer.Typer(name="policy", help="Check, show and try policies.", no_args_is_help=True)
MISTAKES = ("file", "line", "column", "severity", "error")


@command(app, "check")
async def check(
    path: Annotated[Path | None, typer.Argument(help="A folder of policies, or one file of it.")] = None,
    strict: Annotated[bool, typer.Option("--strict", help="Exit with 1 also for warnings.")] = False,
    as_json: Json = False,
) -> None:
    """Check policy files; each mistake is printed as file:line:column: what is wrong.

    Names of tenants, domains and accounts that the database does not have are warnings, and so are settings that
    are valid but probably unintended, such as a rule that reads a fact which no plugin provides. Exit code 1 if
    there is a mistake.
    """
    from inbox.policy.mistakes import PolicyMistakes
    from inbox.policy.snapshot import PolicySet

    folder, only = _folder_of(path or config().folders.policy_dir)
    mistakes: list[Mistake] = []
    warnings: list[Mistake] = []
    checked = str(path or folder)
    try:
        policies = PolicySet.load_suspending(folder, _found())
        mistakes += [mistake for error in policies.refused.values() for mistake in error.mistakes]
        warnings += await _warnings(policies)
        checked += "" if only else f" (default and {len(policies.tenants())} tenants)"
    except PolicyMistakes as error:
        mistakes += error.mistakes
    mistakes, warnings = ([m for m in found if only is None or _is_in(m, only)] for found in (mistakes, warnings))
    if as_json:
        show_rows([*_rows(mistakes, "error"), *_rows(warnings, "warning")], MISTAKES, as_json=True)
    else:
        for warning in warnings:
            complain(f"{warning.place}: warning: {warning.text}")
        if mistakes:
            raise PolicyMistakes(mistakes)
        say(f"{checked}: no mistakes" + (f", {len(warnings)} warnings" if warnings else ""))
    if mistakes or (strict and warnings):
        raise typer.Exit(1)


async def _warnings(policies: PolicySet) -> list[Mistake]:
    """Warnings about valid settings; names are compared with the database if there is one."""
    from inbox.app.wiring.policies import unknown_names
    from inbox.app.wiring.stores import missing_database
    from inbox.base.clock import SystemClock
    from inbox.identity.directory import AddressDirectory
    from inbox.policy.remarks import remarks
    from inbox.policy.warnings import doubts

    found = sorted({*doubts(policies), *remarks(policies)})
    if missing_database(config()) is not None:
        return found
    try:
        async with database() as db:
            found += await unknown_names(policies, db, AddressDirectory(db.tenants, db.accounts, SystemClock()))
    except StoreError as error:
        warn(f"names in policies were not compared with the database: {error}")
    return sorted(found)


def _rows(mistakes: list[Mistake], severity: str) -> list[dict[str, Any]]:
    return [
        {
            "file": mistake.place.file,
            "line": mistake.place.line,
            "column": mistake.place.column,
            "severity": severity,
            "error": mistake.text,
        }
        for mistake in mistakes
    ]


@command(app, "show")
async def show(
    tenant: Annotated[str | None, typer.Option(help="The tenant's name; without it, the default policy.")] = None,
    domain: Annotated[
        str | None, typer.Option(help="Show the policy for this domain, its override fields included.")
    ] = None,
    account: Annotated[str | None, typer.Option(help="Show the policy for this account.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Also show settings that have their defaults.")] = False,
    as_json: Json = False,
) -> None:
    """Show the policy in force, and the level that each value comes from.

    Levels: default, tenant, domain, account, the domain's override fields in the database; or the environment.
    """
    from inbox.app.wiring.policies import load_policies

    policies = load_policies(config(), _found())
    key = Address.parse(account).key if account else None
    fqdn = canonical_domain(domain) if domain else key.rpartition("@")[2] if key else None
    overrides = None
    if tenant is not None or fqdn is not None:
        async with database() as db:
            hosted = await db.tenants.domain(fqdn) if fqdn else None
            if tenant is None and fqdn is not None:
                tenant = (hosted or await hosting(db, fqdn)).tenant.name
            if tenant is not None:
                await tenant_named(db, tenant)
            if hosted is not None and hosted.tenant.name != tenant:
                raise WrongUsage(f"{fqdn} is not {tenant}'s")
            overrides = hosted.overrides if hosted else None
    policy = policies.effective(tenant or "", fqdn, key, overrides)
    warn_of_suspended(policies)
    values = _values(policy, tenant or "")
    levels = policies.named_levels(tenant or "", fqdn, key)
    origins = policy_origins.origins(policy, levels, overrides)
    if as_json:
        show_one({**values, "origins": origins}, as_json=True)
        return
    policy_origins.show(values, origins, everything=everything)


@command(app, "explain")
async def explain(
    eml: Annotated[Path, typer.Option("--eml", help="The message, a file; - is standard input.")],
    sender: Annotated[
        str | None, typer.Option("--from", help="The envelope's sender; empty or <> for a bounce.")
    ] = None,
    recipients: Annotated[
        list[str] | None, typer.Option("--to", help="The envelope's recipient; may be repeated.")
    ] = None,
    ip: Annotated[str | None, typer.Option(help="The peer's address. [192.0.2.1]")] = None,
    helo: Annotated[str | None, typer.Option(help="The peer's name. [client.example.org]")] = None,
    as_json: Json = False,
) -> None:
    """Show the outcome for a message, and the reasons. Plugins run, nothing is stored and nothing is counted.

    Options that are left out are taken from the header fields that this server adds when it stores a message.
    Exit code 1 if it would not be accepted.
    """
    from inbox.app.wiring.installation import opened
    from inbox.app.wiring.rehearsal import rehearse
    from inbox.app.wiring.stores import missing_database

    settings = config()
    letter = _letter(eml, sender, recipients, ip, helo, settings.server.hostname)
    missing = missing_database(settings)
    if missing is not None:
        raise NotFound(missing)
    async with opened(settings) as installation:
        rehearsed = await rehearse(installation, letter)
    _show_rehearsed(rehearsed, as_json)
    for note in rehearsed.notes:
        warn(note)
    if not rehearsed.accepted:
        raise typer.Exit(1)


def _letter(
    eml: Path, sender: str | None, recipients: list[str] | None, ip: str | None, helo: str | None, server_name: str
) -> RehearsalMessage:
    from inbox.app.wiring.rehearsal import RehearsalMessage
    from inbox.flow.trace import read_trace

    try:
        raw = sys.stdin.buffer.read() if str(eml) == "-" else eml.read_bytes()
    except OSError as error:
        raise WrongUsage(f"--eml: cannot read {eml}: {error.strerror}") from error
    # A file has the line endings of its system; on the wire they are CRLF (RFC 5321 §2.3.8).
    content = re.sub(rb"\r?\n", b"\r\n", raw)
    traced = read_trace(content, server_name)
    if traced is None and (sender is None or not recipients):
        raise WrongUsage(f"--from and --to are needed: {eml} was not stored by {server_name}")
    try:
        known = traced.peer if traced is not None else ip_address("192.0.2.1")
        peer = ip_address(ip) if ip is not None else known
    except ValueError:
        raise WrongUsage(f"--ip: not an IP address: {ip}") from None
    if sender is not None:
        origin = None if sender.strip() in {"", "<>"} else Address.parse(sender)
    else:
        origin = traced.sender if traced is not None else None
    if recipients:
        goals = tuple(Address.parse(recipient) for recipient in recipients)
    else:
        goals = (traced.recipient,) if traced is not None else ()
    # With its trace fields it would be another message: a signature may cover Received.
    content = content[traced.octets :] if traced is not None else content
    return RehearsalMessage(
        content, origin, goals, peer, helo or (traced.helo if traced is not None else "client.example.org")
    )


def _show_rehearsed(rehearsed: Rehearsed, as_json: bool) -> None:
    import msgspec

    from inbox.policy.rendering import render

    if as_json:
        replies = [
            {"command": name, "code": reply.code, "enhanced": reply.enhanced, "text": reply.text}
            for name, reply in rehearsed.replies
        ]
        copies = [{"mailbox": mailbox, "reason": reason} for mailbox, reason in rehearsed.copies]
        decisions = [msgspec.to_builtins(decision) for decision in rehearsed.decisions]
        values = {"accepted": rehearsed.accepted, "replies": replies, "copies": copies, "decisions": decisions}
        show_one(values, as_json=True)
        return
    for name, reply in rehearsed.replies:
        say(f"{name}: {reply.code} {reply.enhanced} {reply.text}")
    for mailbox, reason in rehearsed.copies:
        say(f"into {mailbox}" + (f" ({reason})" if reason else ""))
    for decision in rehearsed.decisions:
        say("")
        show_text(render(decision))


def _is_in(mistake: Mistake, path: Path) -> bool:
    return Path(mistake.place.file).resolve() == path


def _folder_of(path: Path) -> tuple[Path, Path | None]:
    """The policy folder, and the one file in it to check."""
    from inbox.policy.folder import TENANT_FOLDER

    if path.is_dir():
        return path, None
    if not path.is_file():
        raise PolicyError(f"{path}: no such file or folder")
    resolved = path.resolve()
    return path.parent.parent if resolved.parent.name == TENANT_FOLDER else path.parent, resolved


def _found() -> Found:
    from inbox.app.wiring.policies import find_plugins

    return find_plugins(config())


def _values(policy: EffectivePolicy, tenant: str) -> dict[str, Any]:
    """Settings as JSON has them; secrets are shown as pydantic shows them, as asterisks."""
    return {
        "tenant": tenant,
        "thresholds": policy.thresholds.model_dump(mode="json", exclude_none=True),
        "groups": dict(policy.caps),
        "outbound": policy.outbound.model_dump(mode="json", exclude_unset=True),
        "submission": policy.submission.model_dump(mode="json", exclude_unset=True),
        "plugins": [
            {
                "plugin": entry.name,
                "mode": entry.mode.value,
                "on_error": entry.on_error.value
                if isinstance(entry.on_error, str)
                else {stage.value: outcome.value for stage, outcome in entry.on_error.items()},
                "timeout": entry.timeout,
                "settings": entry.settings.model_dump(mode="json"),
            }
            for entry in policy.plugins
        ],
    }
