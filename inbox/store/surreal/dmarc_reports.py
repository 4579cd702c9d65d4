"""Data of outgoing DMARC aggregate reports, and received reports, in SurrealDB."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import Any, Final

from inbox.base.errors import AlreadyExists
from inbox.store.ports import Grant, ObservationCount, OutgoingReport, StoredReport
from inbox.store.surreal import rows
from inbox.store.surreal.gateway import Gateway, in_pages
from inbox.store.surreal.values import LAST, Keys, RecordId
from inbox.store.texts import clean

#: Observations read at once: a day of a large installation has a hundred thousand.
PAGE: Final = 1000
#: Equal observations in one call are added one after the other. UPSERT evaluates its expressions as on a new record, so
#: the existing record is read first, in the same transaction.
_COUNT: Final = """
FOR $o IN $observations {
    LET $old = (SELECT VALUE count FROM ONLY $o.id);
    UPSERT $o.id SET body = $o.body, count = ($old ?? 0) + $o.n RETURN NONE
};
RETURN true"""

#: The counters are records: two transactions that count for one day write the same record, and one of them is retried.
#: Until the end of the transaction that writes a record, ``record::exists`` returns false for it and its id is NONE,
#: but its fields can be read.
_CLAIM: Final = """
FOR $o IN $wanted {
    IF $o.mail.claimed IS NONE {
        LET $in_day = (SELECT VALUE count FROM ONLY $o.day) ?? 0;
        LET $at_host = (SELECT VALUE count FROM ONLY $o.host) ?? 0;
        IF $in_day < $total AND $at_host < $each {
            CREATE $o.mail SET claimed = true RETURN NONE;
            UPSERT $o.day SET count = $in_day + 1 RETURN NONE;
            UPSERT $o.host SET count = $at_host + 1 RETURN NONE
        }
    }
};
RETURN (SELECT VALUE [mail.claimed IS NOT NONE, host.count >= $each] FROM $wanted)"""

_NOTE_SENT: Final = """
LET $claimed = (SELECT VALUE claimed AND !sent FROM ONLY $mail) ?? false;
IF $claimed { UPDATE $mail SET sent = true RETURN NONE };
RETURN $claimed"""

_FORGET_KEYS: Final = """
LET $old = (SELECT VALUE id FROM $keys LIMIT $page);
DELETE $old RETURN NONE;
RETURN array::len($old)"""

_ADD: Final = """
LET $hosted = (SELECT VALUE is_active FROM ONLY $edge WHERE in = $organization);
IF !$hosted { THROW 'inbox gone domain' };
CREATE $id CONTENT $row RETURN NONE;
RETURN true"""

_FORGET_REPORTS: Final = """
LET $old = (SELECT VALUE id FROM dmarc_report WHERE end < $before LIMIT $page);
DELETE $old RETURN NONE;
RETURN array::len($old)"""


class SurrealDmarcReports:
    """``DmarcReports`` of ``inbox.store.ports``."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def count(self, observations: Sequence[ObservationCount]) -> None:
        values = [
            {"id": _observation_id(one.day, one.policy_domain, one.key), "body": one.body, "n": one.count}
            for one in observations
        ]
        if values:
            await self._gateway.write(_COUNT, observations=values)

    async def observed(self, day: str) -> list[ObservationCount]:
        found: list[ObservationCount] = []
        # An array sorts before every longer array that begins with it.
        first: list[str] = [day]
        while True:
            (page,) = await self._gateway.query(
                "SELECT id, body, count FROM $keys LIMIT $page",
                keys=Keys("dmarc_observation", first, [day, LAST]),
                page=PAGE,
            )
            for row in page:
                of_day, domain, key = row["id"].key
                found.append(ObservationCount(of_day, domain, key, row["body"], row["count"]))
            if len(page) < PAGE:
                return found
            first = [*page[-1]["id"].key, ""]

    async def forget_observations(self, before: str) -> int:
        # A key of only the day sorts before all keys of that day.
        keys = Keys("dmarc_observation", [""], [before])
        await in_pages(self._gateway, _FORGET_KEYS, keys=Keys("dmarc_outgoing", [""], [before]))
        return await in_pages(self._gateway, _FORGET_KEYS, keys=keys)

    async def claim(self, wanted: Sequence[OutgoingReport], total: int, each: int) -> list[Grant]:
        asked = [_claim_of(one) for one in wanted]
        if not asked:
            return []
        found = await self._gateway.write(_CLAIM, wanted=asked, total=total, each=each)
        return ["granted" if granted else "host" if full else "day" for granted, full in found]

    async def note_sent(self, mail: OutgoingReport) -> bool:
        noted: bool = await self._gateway.write(_NOTE_SENT, mail=_claim_of(mail)["mail"])
        return noted

    async def sent(self, day: str) -> set[tuple[str, str]]:
        (found,) = await self._gateway.query(
            "SELECT VALUE id FROM $keys WHERE sent", keys=Keys("dmarc_outgoing", [day], [day, LAST])
        )
        return {(id_.key[2], id_.key[3]) for id_ in found}

    async def add(self, report: StoredReport) -> bool:
        row = {name: clean(value) if isinstance(value, str) else value for name, value in asdict(report).items()}
        try:
            await self._gateway.write(
                _ADD,
                id=_report_id(report),
                row=row,
                edge=rows.domain_edge(report.domain),
                organization=rows.organization_id(report.tenant),
            )
        except AlreadyExists:
            return False
        return True

    async def reports(self, tenant: str, domain: str, since: float = 0.0, limit: int = 100) -> list[StoredReport]:
        (found,) = await self._gateway.query(
            "SELECT * FROM $keys WHERE end > $since ORDER BY end DESC, organization, report_id LIMIT $limit",
            keys=Keys("dmarc_report", [tenant, clean(domain)], [tenant, clean(domain), LAST]),
            since=since,
            limit=limit,
        )
        return [StoredReport(**{name: row[name] for name in _NAMES}) for row in found]

    async def forget_reports(self, before: float) -> int:
        return await in_pages(self._gateway, _FORGET_REPORTS, before=before)


_NAMES: Final = tuple(field.name for field in fields(StoredReport))


def _observation_id(day: str, policy_domain: str, key: str) -> RecordId:
    return RecordId("dmarc_observation", (day, clean(policy_domain), key))


def _claim_of(one: OutgoingReport) -> dict[str, RecordId]:
    """Returns the record of a message, and those that count the messages of its day and its host."""
    table, day, host = "dmarc_outgoing", one.day, clean(one.host)
    return {
        "mail": RecordId(table, (day, host, one.report_id, clean(one.address))),
        "host": RecordId(table, (day, host)),
        "day": RecordId(table, (day, "")),
    }


def _report_id(report: StoredReport) -> RecordId:
    names: tuple[Any, ...] = (report.tenant, report.domain, report.organization, report.report_id)
    return RecordId("dmarc_report", tuple(clean(name) for name in names))
