"""``inbox domain reports``: reports of other servers about mail from a hosted domain, and our reports to them."""

from __future__ import annotations

import re
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from inbox.cli.context import CommandFailed, WrongUsage, command, config, database, hosting
from inbox.cli.output import Json, progress, show_rows, warn, when
from inbox.mail.address import Address, canonical_domain

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from inbox.app.config.loading import Config
    from inbox.app.serve.executors import Executors
    from inbox.authentication.aggregate.build import Submitter
    from inbox.hosting.reports.building import Prepared
    from inbox.plugin.api.feedback import IncomingReport, ReportRow
    from inbox.store.ports import Database, StoredReport

COLUMNS = ("reporter", "begin", "end", "messages", "passed", "failed", "report_id", "received")
ROW_COLUMNS = ("source_ip", "count", "disposition", "dkim", "spf", "header_from", "exception", "reporter", "begin")
IMPORTED = ("file", "domain", "reporter", "report_id", "messages", "result")
BUILT = ("domain", "messages", "destination", "octets", "file", "left_out")
#: Octets of a file with a report: an attachment of the largest size that is read, in base64, and the mail around it.
FILE_OCTETS = 16 * 1024 * 1024
#: Characters of a domain that a file's name has: file systems take 255 octets.
NAME_CHARACTERS = 150
DAY = 86_400
DATE = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}\Z")


class DomainFirst(TyperGroup):
    """A group whose first word may be a domain: ``inbox domain reports example.org`` is ``… reports show
    example.org``. Names of commands have no dot, and every domain that receives mail has one."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Insert ``show`` unless the arguments begin with a command."""
        if args and args[0] not in self.commands and args[0] != "--help":
            args = ["show", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    name="reports",
    cls=DomainFirst,
    help="DMARC aggregate reports: `inbox domain reports DOMAIN` shows those about a hosted domain.",
    no_args_is_help=True,
)


@command(app, "show")
async def show(
    domain: Annotated[str, typer.Argument(help="A hosted domain.")],
    rows: Annotated[
        bool, typer.Option("--rows", help="Show the senders: each source address with its results.")
    ] = False,
    days: Annotated[int, typer.Option(min=1, max=3650, help="Limit to periods that ended in the last DAYS days.")] = 90,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Maximum number of reports.")] = 100,
    as_json: Json = False,
) -> None:
    """Show reports about mail from a hosted domain, newest first. The word show may be omitted."""
    async with database() as db:
        hosted = await hosting(db, canonical_domain(domain))
        since = time.time() - days * DAY
        found = await db.dmarc_reports.reports(hosted.tenant.id, hosted.fqdn, since, limit)
    none = f"no reports about {hosted.fqdn} in {days} days"
    if rows:
        shown = [row for report in found for row in _rows(report)]
        show_rows(shown, ROW_COLUMNS, as_json=as_json, none=none)
        return
    show_rows([_report(report) for report in found], COLUMNS, as_json=as_json, none=none)


@command(app, "import")
async def import_(
    files: Annotated[list[Path], typer.Argument(help="Reports (XML, gzip, zip), or mails with one.")],
    as_json: Json = False,
) -> None:
    """Read report files and mails into the table; a report that was read before is counted once.

    The server removes reports that are older than server.reports.keep_days of default.yaml.
    """
    from inbox.app.serve.executors import Executors

    done: list[dict[str, Any]] = []
    executors = Executors()
    try:
        async with database() as db:
            with progress("Reading", len(files)) as step:
                for path in files:
                    done.append(await _import(db, executors, path))
                    step()
    finally:
        executors.close()
    show_rows(done, IMPORTED, as_json=as_json, wrapped=("result",))
    failed = sum(row["result"] not in {"filed", "already known"} for row in done)
    if failed:
        raise CommandFailed(f"{failed} of {len(done)} were not filed")


@command(app, "build")
async def build(
    date: Annotated[str, typer.Option(help="The day to report: YYYY-MM-DD, in UTC.")],
    out: Annotated[Path, typer.Option(help="The folder for the mails; created if missing.")],
    domain: Annotated[str | None, typer.Option(help="Only the report for this domain.")] = None,
    sender: Annotated[
        str | None, typer.Option("--from", help="The From address of the mails, and the contact for questions.")
    ] = None,
    organization: Annotated[str | None, typer.Option(help="The name of the reporter. [SERVER_HOSTNAME]")] = None,
    most: Annotated[int, typer.Option(min=1, max=1_000_000, help="Maximum number of mails about one day.")] = 5000,
    most_each: Annotated[
        int, typer.Option(min=1, max=1_000_000, help="Maximum number of mails about one day for one destination host.")
    ] = 500,
    as_json: Json = False,
) -> None:
    """Build the reports of a day as mails ready to send, and list the domains that get none, with reasons.

    Nothing is sent. A report goes to another organization than the one that it is about only if the destination's
    DNS permits it. A second build of a day gives the same reports, which count for --most and --most-each.
    """
    day, only = _day(date), canonical_domain(domain) if domain is not None else None
    settings = config()
    submitter = _submitter(settings, sender, organization)
    if submitter.domain.endswith("localhost"):
        warn(f"the reports will name {submitter.domain} as their sender: set SERVER_HOSTNAME")
    async with database() as db:
        shown = await _build(settings, db, submitter, day, only, out, most, most_each)
    about = f" about {only}" if only else ""
    show_rows(shown, BUILT, as_json=as_json, none=f"nothing was observed on {day}{about}")


# -- reports from others -----------------------------------------------------------------------------------------------


def _report(report: StoredReport) -> dict[str, Any]:
    return {
        "reporter": report.organization,
        "begin": when(report.begin),
        "end": when(report.end),
        "messages": report.messages,
        "passed": report.passed,
        "failed": report.messages - report.passed,
        "report_id": report.report_id,
        "received": when(report.received_at),
    }


def _rows(report: StoredReport) -> Iterator[dict[str, Any]]:
    """The rows of one report, those with the most messages first."""
    from inbox.authentication.aggregate.records import decode_details

    def busiest(row: ReportRow) -> tuple[int, str]:
        return -row.count, row.source_ip

    for row in sorted(decode_details(report.body).rows, key=busiest):
        yield {
            "source_ip": row.source_ip,
            "count": row.count,
            "disposition": row.disposition,
            "dkim": _result(row.dkim_aligned, [(domain, result) for domain, _, result in row.dkim]),
            "spf": _result(row.spf_aligned, [(domain, result) for domain, _, result in row.spf]),
            "header_from": row.header_from,
            "exception": row.exception,
            "reporter": report.organization,
            "begin": when(report.begin),
        }


def _result(aligned: bool, results: Sequence[tuple[str, str]]) -> str:
    """The result that counts for DMARC, and the results of each domain: ``fail (esp.example: pass)``."""
    details = ", ".join(f"{domain}: {result}" for domain, result in results)
    return f"{'pass' if aligned else 'fail'}{f' ({details})' if details else ''}"


async def _import(db: Database, executors: Executors, path: Path) -> dict[str, Any]:
    """The outcome of one file. Raises StoreError."""
    from inbox.authentication.aggregate.unpack import ReportError
    from inbox.hosting.reports.feedback import ReportInFuture, file_report

    row: dict[str, Any] = dict.fromkeys(IMPORTED, "") | {"file": str(path)}
    try:
        report = _read(path)
    except OSError as error:
        return row | {"result": f"cannot be read: {error.strerror or error}"}
    except ReportError as error:
        return row | {"result": str(error)}
    row |= {
        "domain": report.domain,
        "reporter": report.organization,
        "report_id": report.report_id,
        "messages": sum(one.count for one in report.rows),
    }
    hosted = await db.tenants.domain(report.domain)
    if hosted is None:
        return row | {"result": "no tenant hosts the domain"}
    try:
        filed = await file_report(db.dmarc_reports, hosted.tenant.id, report, time.time(), executors)
    except ReportInFuture as error:
        return row | {"result": str(error)}
    return row | {"result": "filed" if filed else "already known"}


def _read(path: Path) -> IncomingReport:
    """Raises OSError, ReportError."""
    from inbox.authentication.aggregate.parse import parse_mail, parse_report
    from inbox.authentication.aggregate.unpack import ReportUnfit, is_packed
    from inbox.base.files import read_regular
    from inbox.mail.content import MemoryContent
    from inbox.mail.message import Message

    data = read_regular(path, FILE_OCTETS + 1)
    if len(data) > FILE_OCTETS:
        raise ReportUnfit(f"more than {FILE_OCTETS} octets")
    return parse_report(data) if is_packed(data) else parse_mail(Message(MemoryContent(data)))


# -- our own reports ---------------------------------------------------------------------------------------------------


def _day(text: str) -> str:
    """A past UTC day: a report of half a day would have the id of the report of the whole day."""
    try:
        day = datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        day = None
    if day is None or not DATE.match(text):
        raise WrongUsage(f"--date {text}: not a day like 2030-01-31")
    if day.timestamp() + DAY > time.time():
        raise WrongUsage(f"--date {text}: that day is not over (in UTC)")
    return text


def _submitter(settings: Config, sender: str | None, organization: str | None) -> Submitter:
    from inbox.authentication.aggregate.build import Submitter

    hostname = settings.server.hostname
    address = str(Address.parse(sender)) if sender is not None else f"noreply-dmarc@{hostname}"
    return Submitter(organization or hostname, hostname, address)


async def _build(
    settings: Config, db: Database, submitter: Submitter, day: str, only: str | None, out: Path, most: int, each: int
) -> list[dict[str, Any]]:
    from inbox.app.serve.executors import Executors
    from inbox.app.wiring.services import make_resolver
    from inbox.base.clock import SystemClock
    from inbox.hosting.reports.building import Reporting

    clock, executors = SystemClock(), Executors()
    dns = make_resolver(settings, clock)
    reporting = Reporting(db.dmarc_reports, dns, executors, clock, submitter, total=most, each=each)
    shown: list[dict[str, Any]] = []
    try:
        subjects = await reporting.subjects(day, only)
        with progress("Building", len(subjects)) as step:
            async for prepared in reporting.prepare(subjects):
                shown += _write(prepared, out)
                step()
    finally:
        executors.close()
    return shown


def _write(prepared: Prepared, out: Path) -> list[dict[str, Any]]:
    """Writes the mails of one report; a row for each destination, whether it gets one or not."""
    subject = prepared.subject
    shown = []
    for number, mail in enumerate(prepared.mails, start=1):
        path = out / f"{subject.domain[:NAME_CHARACTERS]}.{mail.report_id}.{number}.eml"
        try:
            out.mkdir(parents=True, exist_ok=True)
            path.write_bytes(mail.content)
        except OSError as error:
            raise CommandFailed(f"{path}: {error.strerror or error}") from error
        shown.append((str(mail.destination.address), len(mail.content), str(path), ""))
    for refusal in prepared.left_out:
        why = f"{refusal.why}; try again later" if refusal.later else refusal.why
        shown.append((refusal.uri.removeprefix("mailto:"), 0, "", why))
    if not shown:
        shown.append(("", 0, "", "its DMARC record names no address for reports"))
    return [
        {
            "domain": subject.domain,
            "messages": subject.messages,
            "destination": destination,
            "octets": octets,
            "file": file,
            "left_out": why,
        }
        for destination, octets, file, why in shown
    ]
