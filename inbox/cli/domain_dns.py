"""``inbox domain records`` and ``inbox domain check``: the DNS records that a domain needs, and their state."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from ipaddress import ip_address
from typing import TYPE_CHECKING, Annotated

import typer

from inbox.cli.context import CommandFailed, WrongUsage, command, config, database, hosting
from inbox.cli.output import Json, print_json, progress, say, show_rows, warn
from inbox.mail.address import Address, canonical_domain

if TYPE_CHECKING:
    from inbox.hosting.dns.findings import Finding
    from inbox.hosting.dns.records import IPAddress, Needs

Domain = Annotated[str, typer.Argument(help="A hosted domain.")]
Addresses = Annotated[
    list[str] | None, typer.Option("--address", help="An IP address that sends mail for the domain; may be repeated.")
]
Reports = Annotated[
    str | None,
    typer.Option(
        "--reports",
        help="The address for reports from others. [postmaster; for DMARC, dmarc-reports@ if it exists]",
    ),
]


def register(group: typer.Typer) -> None:
    """Adds the commands to ``inbox domain``."""
    command(group, "records")(records)
    command(group, "check")(check)


async def records(
    domain: Domain,
    zone: Annotated[bool, typer.Option("--zone", help="Print lines of a zone file.")] = False,
    address: Addresses = None,
    reports: Reports = None,
    as_json: Json = False,
) -> None:
    """Print all DNS records that a domain needs."""
    from inbox.hosting.dns.records import in_zone, wanted_records, zone_lines

    needs = await _needs(domain, address, reports)
    _tell_unsigned(needs)
    wanted = wanted_records(needs)
    if zone:
        # Records for a zone file are plain lines: the terminal's width must not break them.
        print("\n".join(zone_lines(wanted, needs.domain)))
        return
    rows = [asdict(record) | {"need": record.need.value} for record in wanted]
    columns = ("name", "type", "record", "need", "note", "value")
    if as_json:
        show_rows(rows, columns, as_json=True)
        return
    visible = [row for row in rows if row["type"] != "FILE"]
    show_rows(visible, columns, as_json=False, wrapped=("note", "value"))
    for record in wanted:
        if record.type == "FILE":
            say("")
            say(f"{record.name}:")
            for line in record.value.splitlines():
                say(f"  {line}")
    records_only = [record for record in wanted if record.type != "FILE"]
    elsewhere = [f"{each.name} {each.type}" for each in records_only if not in_zone(each, needs.domain)]
    if elsewhere:
        say("")
        say(f"outside the zone of {needs.domain}: {', '.join(elsewhere)}")
    if not needs.addresses:
        say("")
        say(f"{needs.hostname} needs address records (A, AAAA), and these need PTR records: use --address")


async def check(
    domain: Domain,
    address: Addresses = None,
    https: Annotated[bool, typer.Option("--https", help="Also fetch the MTA-STS policy.")] = False,
    as_json: Json = False,
) -> None:
    """Compare the DNS records that a domain needs with what the DNS shows.

    Queries DNS_RESOLVER. Exit code 1 if a record is wrong or missing; warnings alone do not count.
    """
    from inbox.hosting.dns.check import STEPS
    from inbox.hosting.dns.findings import Outcome

    needs = await _needs(domain, address, None)
    with progress(f"looking at {needs.domain}", STEPS) as advance:
        found = await _findings(needs, https, advance)
    if as_json:
        print_json([asdict(finding) for finding in found])
    else:
        rows = [asdict(finding) for finding in found]
        columns = ("record", "name", "type", "outcome", "state", "change")
        show_rows(rows, columns, as_json=False, wrapped=("name", "state", "change"))
    if any(finding.outcome is Outcome.FAIL for finding in found):
        raise typer.Exit(1)


async def _findings(needs: Needs, https: bool, advance: Callable[[], object]) -> list[Finding]:
    from inbox.app.serve.executors import Executors
    from inbox.app.wiring.services import make_resolver
    from inbox.authentication.spf import SpfChecker
    from inbox.base.clock import SystemClock
    from inbox.dns.answers import DnsTemporary
    from inbox.dns.upstream import Upstream
    from inbox.hosting.dns.check import check_domain
    from inbox.hosting.dns.findings import Subject
    from inbox.hosting.dns.lookup import Lookup
    from inbox.hosting.dns.records import wanted_records

    settings, clock, executors = config(), SystemClock(), Executors()
    try:
        servers = await Upstream(clock, settings.server.dns_resolver).servers()
    except DnsTemporary as error:
        raise CommandFailed(str(error)) from error
    subject = Subject(needs, Lookup(servers), tuple(wanted_records(needs)), https)
    try:
        spf = SpfChecker(make_resolver(settings, clock), clock, needs.hostname)
        return await check_domain(subject, spf, executors, advance)
    finally:
        executors.close()


async def _needs(domain: str, addresses: list[str] | None, reports: str | None) -> Needs:
    from inbox.app.wiring.hosting import make_mail_host
    from inbox.base.clock import SystemClock
    from inbox.hosting.dns.needs import domain_needs

    settings = config()
    given = [_address(text) for text in addresses or ()]
    to = str(Address.parse(reports)) if reports else ""
    clock = SystemClock()
    async with database() as db:
        hosted = await hosting(db, canonical_domain(domain))
        host = make_mail_host(settings, clock)
        needs = await domain_needs(db, host, hosted, clock, addresses=given, reports=to)
    if "." not in needs.hostname or needs.hostname.endswith((".localhost", ".local", ".localdomain")):
        warn(f"{needs.hostname} is not a public name: set SERVER_HOSTNAME")
    return needs


def _tell_unsigned(needs: Needs) -> None:
    if not needs.signed:
        waits = any(key.use == "waiting" for key in needs.keys)
        then = "publish the records of its DKIM keys" if waits else f"inbox domain dkim rotate {needs.domain}"
        warn(f"mail of {needs.domain} is not signed with a key of its own: {then}")


def _address(text: str) -> IPAddress:
    try:
        return ip_address(text)
    except ValueError:
        raise WrongUsage(f"--address {text}: not an IP address") from None
