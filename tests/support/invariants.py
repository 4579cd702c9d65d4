"""Invariants of a database after any event: kills, full disks, removals in the middle of deliveries.

:func:`broken` reads the tables themselves, because a fault in a repository may hide in its own answers.
"""

from __future__ import annotations

import sqlite3
from collections import Counter, defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from inbox.mail.flags import Flag
from inbox.store.ports import Blobs, Database
from inbox.store.sqlite.database import SqliteDatabase
from inbox.store.surreal.chunks import unpack_uids
from inbox.store.surreal.database import SurrealDatabase


@dataclass
class Tables:
    """The rows that refer to one another. ``owner`` of a mailbox is empty while it is being deleted."""

    tenants: set[str] = field(default_factory=set)
    owners: dict[str, str] = field(default_factory=dict)
    #: id → (tenant, owner, messages, unseen, size, next uid, modseq)
    mailboxes: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    #: id → (tenant, blob path, copies as the row has them, or None)
    emails: dict[str, tuple[str, str, int | None]] = field(default_factory=dict)
    #: (email, mailbox, uid, modseq, flags, size)
    entries: list[tuple[str, str, int, int, int, int]] = field(default_factory=list)
    #: (mailbox, modseq, uid)
    expunged: list[tuple[str, int, int]] = field(default_factory=list)
    copying: int = 0
    #: job → (tenant, email, status, whether it is held, whether it is due, waits, is leased or dead: '' if nowhere)
    jobs: dict[str, tuple[str, str, str, bool, str]] = field(default_factory=dict)
    #: rows in the tables of the queue that belong to no job
    stray: list[str] = field(default_factory=list)
    #: columns that name a tenant: (table, tenant)
    named: set[tuple[str, str]] = field(default_factory=set)


async def read(database: Database) -> Tables:
    """All of it; nobody may write meanwhile."""
    if isinstance(database, SqliteDatabase):
        return await database._main.read(_of_sqlite)
    assert isinstance(database, SurrealDatabase)
    return await _of_surreal(database)


async def broken(database: Database, blobs: Blobs | None = None) -> list[str]:
    """Violated invariants, one line each; empty if there are none. With ``blobs``, every mail must have its blob."""
    tables = await read(database)
    found = [*_mailboxes(tables), *_mails(tables), *_tenants(tables), *_jobs(tables)]
    if blobs is not None:
        there = {key async for key, _ in blobs.keys("msg/")}
        found += [f"mail {one} has no blob" for one, (_, path, _) in tables.emails.items() if path not in there]
    return found


def _mailboxes(tables: Tables) -> Iterable[str]:
    by_box: dict[str, list[tuple[str, str, int, int, int, int]]] = defaultdict(list)
    for entry in tables.entries:
        by_box[entry[1]].append(entry)
    gone: dict[str, list[tuple[str, int, int]]] = defaultdict(list)
    for note in tables.expunged:
        gone[note[0]].append(note)
    for box in by_box.keys() | gone.keys():
        if box not in tables.mailboxes:
            yield f"there are entries or notes of the mailbox {box}, which is gone"
    for box, (_, _, messages, unseen, size, next_uid, modseq) in tables.mailboxes.items():
        entries = by_box[box]
        uids = [entry[2] for entry in entries]
        counted = len(entries), sum(not entry[4] & Flag.SEEN for entry in entries), sum(entry[5] for entry in entries)
        if counted != (messages, unseen, size):
            yield f"mailbox {box} counts {(messages, unseen, size)}, its entries {counted}"
        if len(set(uids)) != len(uids):
            yield f"mailbox {box} has a uid twice"
        if max([*uids, *(note[2] for note in gone[box])], default=0) >= next_uid:
            yield f"mailbox {box} has a uid beyond its next one"
        if max([*(entry[3] for entry in entries), *(note[1] for note in gone[box])], default=0) > modseq:
            yield f"mailbox {box} has a modseq beyond its own"
        if set(uids) & {note[2] for note in gone[box]}:
            yield f"mailbox {box} has a uid that was expunged"


def _mails(tables: Tables) -> Iterable[str]:
    shown = Counter(entry[0] for entry in tables.entries)
    sent = Counter(email for _, email, *_ in tables.jobs.values())
    for email in shown.keys() - tables.emails.keys():
        yield f"an entry shows the mail {email}, which is gone"
    for email, (tenant, _, copies) in tables.emails.items():
        if not shown[email] + sent[email]:
            yield f"mail {email} is in no mailbox, and no job refers to it"
        if copies is not None and copies != shown[email] + sent[email]:
            yield f"mail {email} counts {copies} copies; it has {shown[email]} entries and {sent[email]} jobs"
        if tenant not in tables.tenants:
            yield f"mail {email} is of a tenant that is gone"
    for email, box, *_ in tables.entries:
        owner = tables.mailboxes.get(box, ("", ""))[0]
        if owner and email in tables.emails and tables.emails[email][0] != owner:
            yield f"a mailbox of {owner} shows a mail of {tables.emails[email][0]}"


def _jobs(tables: Tables) -> Iterable[str]:
    yield from tables.stray
    for job, (tenant, email, status, held, place) in tables.jobs.items():
        if email not in tables.emails:
            yield f"job {job} refers to the mail {email}, which is gone"
        elif tables.emails[email][0] != tenant:
            yield f"job {job} of {tenant} refers to a mail of {tables.emails[email][0]}"
        expected = {"dead": "d", "processing": "l"}.get(status, "" if held else "rw")
        if place not in expected or bool(place) != bool(expected):
            yield f"job {job} is {status}{', held' * held} and has the place {place!r}"


def _tenants(tables: Tables) -> Iterable[str]:
    for box, (tenant, owner, *_) in tables.mailboxes.items():
        if owner and tenant not in tables.tenants:
            yield f"mailbox {box} is of a tenant that is gone"
        if owner and owner != tenant and tables.owners.get(owner) != tenant:
            yield f"mailbox {box} is of an account that is gone"
    for table, tenant in tables.named:
        if tenant and tenant not in tables.tenants:
            yield f"{table} names the tenant {tenant}, which is gone"


#: Tables that name their tenant, and the column. Decision records outlive their tenant unless they are purged.
_NAMING = (
    ("has_domain", "in"), ("email_address", "organization"), ("account", "organization"), ("dkim_key", "tenant"),
    ("dmarc_report", "tenant"), ("outbound_queue", "org_id"), ("outbound_delivery", "org_id"),
    ("suppression", "org_id"), ("plugin_state", "tenant"), ("plugin_state_size", "tenant"),
    ("suppression_size", "org_id"), ("outbound_count", "org_id"),
)  # fmt: skip


def _of_sqlite(db: sqlite3.Connection) -> Tables:
    (checked,) = db.execute("PRAGMA integrity_check").fetchone()
    assert checked == "ok", checked
    boxes = db.execute("SELECT id, organization, owner, messages, unseen, size, next_uid, modseq FROM mailbox")
    return Tables(
        {one for (one,) in db.execute("SELECT id FROM organization")},
        dict(db.execute("SELECT id, organization FROM account").fetchall()),
        {row[0]: row[1:] for row in boxes},
        {row[0]: (row[1], row[2], None) for row in db.execute("SELECT id, organization, blob_path FROM email")},
        db.execute('SELECT "in", "out", uid, modseq, flags, size FROM has_email_delivery').fetchall(),
        db.execute("SELECT mailbox, modseq, uid FROM expunged").fetchall(),
        db.execute("SELECT count(*) FROM copying").fetchone()[0],
        {
            job: (tenant, email, status, bool(held), place)
            for job, tenant, email, status, held, place in db.execute(
                "SELECT job_id, org_id, payload, status, hold_reason IS NOT NULL, CASE WHEN ready THEN 'r' "
                "WHEN status = 'dead' THEN 'd' WHEN status = 'processing' THEN 'l' "
                "WHEN hold_reason IS NULL THEN 'w' ELSE '' END FROM outbound_queue"
            )
        },
        [
            f"plugin {plugin} counts {entries} entries for tenant {tenant} and has {there}"
            for tenant, plugin, entries, there in db.execute(
                "SELECT tenant, plugin, coalesce(entries, 0), count(key) FROM plugin_state FULL JOIN plugin_state_size "
                "USING (tenant, plugin) GROUP BY tenant, plugin HAVING coalesce(entries, 0) <> count(key)"
            )
        ]
        + [
            f"{entries} suppressions of {tenant} are counted, {there} are there"
            for tenant, entries, there in db.execute(
                "SELECT org_id, coalesce(entries, 0), count(target) FROM suppression FULL JOIN suppression_size "
                "USING (org_id) GROUP BY org_id HAVING coalesce(entries, 0) <> count(target)"
            )
        ]
        + _miscounted(db),
        {(table, row[0]) for table, column in _NAMING for row in db.execute(f'SELECT "{column}" FROM {table}')},
    )


def _miscounted(db: sqlite3.Connection) -> list[str]:
    """Groups of jobs whose counters differ from their jobs."""
    group = "org_id, domain, class"
    counted = db.execute(f"SELECT {group}, queued, processing, held, dead FROM outbound_count").fetchall()
    there = db.execute(
        f"SELECT {group}, sum(status = 'queued' AND hold_reason IS NULL), "
        "sum(status = 'processing' AND hold_reason IS NULL), sum(status <> 'dead' AND hold_reason IS NOT NULL), "
        f"sum(status = 'dead') FROM outbound_queue GROUP BY {group}"
    ).fetchall()
    return [f"jobs are counted as {one}, or are {one}, but not both" for one in set(counted) ^ set(there)]


async def _of_surreal(database: SurrealDatabase) -> Tables:
    async def rows(sql: str) -> list[dict[str, Any]]:
        (found,) = await database._gateway.query(sql)
        return list(found)

    named = {
        ("has_domain", row["in"].key) for row in await rows("SELECT in FROM has_domain")
    } | {
        (table, row["organization"].key)
        for table in ("email_address", "account")
        for row in await rows(f"SELECT organization FROM {table}")
    }  # fmt: skip
    named |= {
        (table, row["id"].key[0])
        for table in (
            "dkim_key",
            "dmarc_report",
            "outbound_queue",
            "outbound_delivery",
            "suppression",
            "plugin_state",
            "plugin_state_size",
            "suppression_size",
            "outbound_count",
            "outbound_alive",
        )
        for row in await rows(f"SELECT id FROM {table}")
    }
    jobs = {row["id"].key: row for row in await rows("SELECT * FROM outbound_queue")}
    entries = Counter(row["id"].key[:2] for row in await rows("SELECT id FROM plugin_state"))
    sizes = {row["id"].key: row["entries"] for row in await rows("SELECT * FROM plugin_state_size")}
    listed = Counter(row["id"].key[0] for row in await rows("SELECT id FROM suppression"))
    counted = {row["id"].key[0]: row["entries"] for row in await rows("SELECT * FROM suppression_size")}
    places = [row["id"].key for row in await rows("SELECT id FROM outbound_turn")]
    turns = {(key[1] if key[0] == "r" else key[2], key[-1]): key for key in places}
    return Tables(
        {row["id"].key for row in await rows("SELECT id FROM organization")},
        {row["id"].key: row["organization"].key for row in await rows("SELECT id, organization FROM account")},
        {
            row["id"].key: (
                row["organization"].key,
                row["owner"],
                row["messages"],
                row["unseen"],
                row["size"],
                row["next_uid"],
                row["modseq"],
            )
            for row in await rows("SELECT * FROM mailbox")
        },
        {
            row["id"].key: (row["organization"].key, row["blob_path"], row["copies"])
            for row in await rows("SELECT id, organization, blob_path, copies FROM email")
        },
        [
            (row["in"].key, row["out"].key, row["uid"], row["modseq"], row["flags"], row["size"])
            for row in await rows("SELECT in, out, uid, modseq, flags, size FROM has_email_delivery")
        ],
        [
            (row["id"].key[0], row["id"].key[1], uid)
            for row in await rows("SELECT id, uids FROM expunged")
            for uid in unpack_uids(row["uids"])
        ],
        len(await rows("SELECT id FROM copying")),
        {
            key[1]: (
                key[0],
                row["payload"].key,
                row["status"],
                row.get("hold_reason") is not None,
                (row.get("turn") or [""])[0],
            )
            for key, row in jobs.items()
        },
        [
            f"job {key} has the turn {row['turn']}, which is not there"
            for key, row in jobs.items()
            if row.get("turn") and turns.get(key) != tuple(row["turn"])
        ]
        + [
            f"plugin {owner[1]} counts {sizes.get(owner, 0)} entries for tenant {owner[0]} and has {entries[owner]}"
            for owner in sizes.keys() | entries.keys()
            if sizes.get(owner, 0) != entries[owner]
        ]
        + [
            f"{counted.get(tenant, 0)} suppressions of {tenant} are counted, {listed[tenant]} are there"
            for tenant in counted.keys() | listed.keys()
            if counted.get(tenant, 0) != listed[tenant]
        ]
        + [
            f"the turn {turn} is no job's"
            for turn in places
            if turn not in {tuple(row.get("turn") or ()) for row in jobs.values()}
        ]
        + _miscounted_in_surreal(
            jobs.values(),
            await rows("SELECT * FROM outbound_count"),
            await rows("SELECT * FROM outbound_alive"),
        ),
        named,
    )


def _miscounted_in_surreal(
    jobs: Iterable[dict[str, Any]], counters: Iterable[dict[str, Any]], alive: Iterable[dict[str, Any]]
) -> list[str]:
    """Counters that differ from the jobs; a counter is the sum of its shards."""
    there: Counter[tuple[str, ...]] = Counter()
    for row in jobs:
        held = row.get("hold_reason") is not None and row["status"] != "dead"
        there[row["org_id"], row["domain"], row["class"], "held" if held else row["status"]] += 1
        there[row["org_id"], "alive"] += row["status"] != "dead"
    counted: Counter[tuple[str, ...]] = Counter()
    for row in counters:
        for kind in ("queued", "processing", "held", "dead"):
            counted[(*row["id"].key[:3], kind)] += row[kind]
    for row in alive:
        counted[row["id"].key[0], "alive"] += row["jobs"]
    return [
        f"{counted[one]} jobs are counted as {one}, {there[one]} are there"
        for one in there.keys() | counted.keys()
        if there[one] != counted[one]
    ]
