"""Mailbox entries in SurrealDB: reads of whole mailboxes, and every change except delivery.

A change reads the rows it affects, computes the result in Python (SurrealQL has no bit operators), and commits only if
those rows are unchanged; otherwise it starts again. It always writes the mailbox's row, so two concurrent changes of
one mailbox never both commit.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import structlog

from inbox.base.errors import NotFound, StoreError
from inbox.mail.flags import Flag
from inbox.store.ports.messages import Entry, MailboxChanges, StoreStep
from inbox.store.surreal import rows
from inbox.store.surreal.chunks import LARGE, chunk_rows, pack_uids, unpack, unpack_uids
from inbox.store.surreal.gateway import Gateway
from inbox.store.surreal.steps import paced
from inbox.store.surreal.values import LAST, Keys, RecordId

#: Rows in one answer: decoding it blocks the event loop for about 3 ms.
PAGE: Final = 1000
#: Changes since a modseq that are read individually; if there are more, the whole mailbox is read.
MANY: Final = 1000
EVERYTHING: Final = 1 << 40
_SEEN: Final = int(Flag.SEEN)

#: An entry's fields except those of its position; ``$e.row`` has those of ``rows.COPIED``.
INSERT_ENTRY: Final = "INSERT RELATION INTO has_email_delivery {{id: [{key}, {uid}], in: $e.email, out: {out}, uid: {uid}, modseq: {modseq}, {fields}}} RETURN NONE".format(  # noqa: E501 - one statement
    key="$key",
    out="$box",
    uid="$first + $e.i",
    modseq="$modseq + $e.i",
    fields=", ".join(f"{name}: $e.row.{name}" for name in rows.COPIED),
)

#: Assigns ``$m.k`` uids and modseqs to the entries of ``$m`` and inserts them; for use inside ``FOR $m IN …``. (Each
#: use of ``$m.x`` copies all of ``$m``, quadratic in an inner loop or UPDATE: variables avoid that.)
PLACE: Final = f"""
    LET $x = (UPDATE $m.id SET next_uid += $m.k, modseq += $m.k, messages += $m.k, unseen += $m.unseen, size += $m.size
        WHERE organization = $m.organization RETURN next_uid, modseq)[0];
    IF $x IS NONE {{ THROW 'inbox gone mailbox ' + $m.key }};
    LET $box = $m.id;
    LET $key = $m.key;
    LET $first = $x.next_uid - $m.k;
    LET $modseq = $x.modseq - $m.k + 1;
    FOR $e IN $m.es {{ {INSERT_ENTRY} }}"""

_PLACED: Final = "RETURN (SELECT VALUE [next_uid, modseq] FROM $boxes.id)"

_GUARD: Final = """
LET $now = (SELECT VALUE modseq FROM $ids);
IF $now != $seen { THROW 'inbox stale' };"""

_COUNT: Final = """
LET $x = (UPDATE $mailbox SET modseq += 1, messages -= $count, unseen -= $unseen, size -= $size
    WHERE organization = $organization RETURN modseq)[0];
IF $x IS NONE { THROW 'inbox gone mailbox' };"""

#: Removes entries from a mailbox and records them as expunged.
_TAKE_AWAY: Final = f"""{_GUARD}{_COUNT}
DELETE $ids RETURN NONE;
INSERT INTO expunged {{id: [$key, $x.modseq], uids: $uids}} RETURN NONE;"""

#: A message without entries is removed too; its blob is left to the sweeper. (In SurrealDB 3.0, selecting a record in
#: the transaction that updated it returns no id: the messages to remove are found before the update.)
DROP_MAILS: Final = """
FOR $g IN $uses {
    LET $n = $g.n;
    LET $mails = $g.ids;
    LET $dead = (SELECT VALUE id FROM $mails WHERE copies <= $n);
    LET $texts = (SELECT VALUE text FROM $dead);
    LET $contents = (SELECT VALUE content FROM $dead);
    UPDATE $mails SET copies -= $n WHERE copies > $n RETURN NONE;
    DELETE $texts RETURN NONE;
    DELETE $contents RETURN NONE;
    DELETE $dead RETURN NONE
};"""

_SHARE_MAILS: Final = """
FOR $g IN $uses {
    LET $n = $g.n;
    LET $mails = $g.ids;
    LET $shared = (UPDATE $mails SET copies += $n WHERE copies > 0 RETURN VALUE copies);
    IF array::len($shared) != array::len($mails) { THROW 'inbox stale' }
};"""

_STORE: Final = f"""{_GUARD}
LET $x = (UPDATE $mailbox SET modseq += 1, unseen += $unseen WHERE organization = $organization RETURN modseq)[0];
IF $x IS NONE {{ THROW 'inbox gone mailbox' }};
LET $modseq = $x.modseq;
FOR $g IN $groups {{
    LET $flags = $g.flags;
    LET $keywords = $g.keywords;
    LET $changed = $g.ids;
    UPDATE $changed SET flags = $flags, keywords = $keywords, modseq = $modseq RETURN NONE
}};
RETURN $modseq"""

Change = Callable[[Entry], tuple[int, tuple[str, ...]]]
#: Old uid, new uid, message, new modseq.
Copied = tuple[int, int, str, int]


@dataclass(frozen=True, slots=True)
class Snapshot:
    """All entries of a mailbox at one moment."""

    modseq: int
    entries: dict[int, Entry]


class Entries:
    """Operations on entries that ``SurrealMessages`` and ``SurrealMailboxes`` share."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        self._log = structlog.get_logger("inbox.store")

    # -- reading -------------------------------------------------------------------------------------------

    async def modseq(self, tenant: str, mailbox: str) -> tuple[int, int]:
        """Returns the mailbox's modseq and next uid. Raises NotFound unless the mailbox belongs to this tenant."""
        (found,) = await self._gateway.query(
            "SELECT modseq, next_uid FROM ONLY $id WHERE organization = $organization",
            id=rows.mailbox_id(mailbox),
            organization=rows.organization_id(tenant),
        )
        if not found:
            raise NotFound(f"no mailbox {mailbox}")
        return found["modseq"], found["next_uid"]

    async def all(self, tenant: str, mailbox: str) -> list[Entry]:
        """Returns all entries, by uid."""
        return list((await self.snapshot(tenant, mailbox)).entries.values())

    async def snapshot(self, tenant: str, mailbox: str) -> Snapshot:
        """Returns all entries at one moment, by uid."""
        modseq, next_uid = await self.modseq(tenant, mailbox)
        known, upto = await self._cached(mailbox)
        news = await self._since(mailbox, upto) if upto else None
        if news is not None:
            return Snapshot(news.modseq, _merged(known, news))
        known = await self._rows(mailbox, next_uid)
        # The pages were read one after the other: applying the changes made in the meantime brings them to one moment.
        news = await self._since(mailbox, modseq, EVERYTHING)
        assert news is not None, "there is no such limit"
        known = _merged(known, news)
        if len(known) >= LARGE:
            await self._remember(mailbox, news.modseq, known)
        return Snapshot(news.modseq, known)

    async def changes(self, tenant: str, mailbox: str, since: int) -> MailboxChanges:
        """Returns the changes after the modseq ``since``."""
        await self.modseq(tenant, mailbox)
        news = await self._since(mailbox, since)
        if news is not None:
            return news
        snapshot = await self.snapshot(tenant, mailbox)
        changed = tuple(entry for entry in snapshot.entries.values() if entry.modseq > since)
        (gone,) = await self._gateway.query(
            "SELECT VALUE uids FROM $keys", keys=Keys("expunged", [mailbox, since + 1], [mailbox, snapshot.modseq])
        )
        return MailboxChanges(snapshot.modseq, changed, _uids(gone))

    async def _since(self, mailbox: str, since: int, limit: int = MANY) -> MailboxChanges | None:
        """Returns the changes after ``since``, read in one transaction; None if more than ``limit`` entries changed."""
        _, modseq, changed, gone, _ = await self._gateway.query(
            "BEGIN; SELECT VALUE modseq FROM ONLY $mailbox;"
            f"SELECT VALUE {rows.ENTRY} FROM has_email_delivery WHERE out = $mailbox AND modseq > $since LIMIT $limit;"
            "SELECT VALUE uids FROM $keys; COMMIT",
            mailbox=rows.mailbox_id(mailbox),
            since=since,
            limit=limit + 1,
            keys=Keys("expunged", [mailbox, since + 1], [mailbox, LAST]),
        )
        if modseq is None:
            raise NotFound(f"no mailbox {mailbox}")
        if len(changed) > limit:
            return None
        changed.sort()
        return MailboxChanges(modseq, tuple(map(rows.row_to_entry, changed)), _uids(gone))

    async def _rows(self, mailbox: str, next_uid: int) -> dict[int, Entry]:
        """Reads entries from their rows, page by page."""
        found: dict[int, Entry] = {}
        first, width = 1, PAGE
        while first < next_uid:
            keys = Keys("has_email_delivery", [mailbox, first], [mailbox, first + width - 1])
            (page,) = await self._gateway.query(f"SELECT VALUE {rows.ENTRY} FROM $keys", keys=keys)
            found.update((row[0], rows.row_to_entry(row)) for row in page)
            first += width
            # Where many uids are gone, a page is a wider range. LIMIT does not help: the server reads past it.
            width = width * 4 if len(page) < PAGE // 4 else PAGE
        return found

    async def _cached(self, mailbox: str) -> tuple[dict[int, Entry], int]:
        """Returns entries from chunks, and their modseq; 0 if there are none."""
        (found,) = await self._gateway.query(
            "SELECT VALUE [upto, p, keywords] FROM $keys", keys=Keys("mailbox_chunk", [mailbox, 0], [mailbox, LAST])
        )
        known: dict[int, Entry] = {}
        for _, numbers, keywords in found:
            known |= unpack(numbers, keywords)
        return known, found[0][0] if found else 0

    async def _remember(self, mailbox: str, upto: int, entries: Mapping[int, Entry]) -> None:
        try:
            await self._gateway.transaction(
                "IF (SELECT VALUE modseq FROM ONLY $mailbox) IS NONE { THROW 'inbox gone mailbox' };"
                "DELETE $keys RETURN NONE; INSERT INTO mailbox_chunk $chunks RETURN NONE; RETURN true",
                mailbox=rows.mailbox_id(mailbox),
                keys=Keys("mailbox_chunk", [mailbox, 0], [mailbox, LAST]),
                chunks=chunk_rows(mailbox, upto, entries),
            )
        except StoreError as error:
            # Chunks are a cache: the next reader reads the rows and tries to write them again.
            self._log.info("mailbox_chunks_not_written", mailbox=mailbox, error=str(error))

    async def _look_up(self, mailbox: str, uids: Iterable[int], fields: str) -> list[dict[str, Any]]:
        """Returns these ``fields`` (including ``uid``) of the entries that exist, by uid."""
        ordered = sorted(set(uids))
        found: list[dict[str, Any]] = []
        for start in range(0, len(ordered), PAGE):
            ids = [rows.entry_id(mailbox, uid) for uid in ordered[start : start + PAGE]]
            (page,) = await self._gateway.query(f"SELECT {fields} FROM $ids WHERE uid", ids=ids)
            found.extend(page)
        return found

    # -- changing ------------------------------------------------------------------------------------------

    async def store(
        self, tenant: str, mailbox: str, uids: Sequence[int], change: Change, unchanged_since: int | None
    ) -> StoreStep:
        """Sets the flags of each entry to the result of ``change``, in one transaction."""

        async def work() -> StoreStep:
            await self.modseq(tenant, mailbox)
            found = await self._look_up(mailbox, uids, "uid, modseq, flags, keywords")
            entries = [Entry(r["uid"], r["modseq"], r["flags"], tuple(r["keywords"] or ())) for r in found]
            modified = [e.uid for e in entries if unchanged_since is not None and e.modseq > unchanged_since]
            skipped = set(modified)
            wanted = {e.uid: change(e) for e in entries if e.uid not in skipped}
            changed = [e for e in entries if e.uid in wanted and wanted[e.uid] != (e.flags, e.keywords)]
            if not changed:
                return StoreStep(entries, modified, 0)
            groups: dict[tuple[int, tuple[str, ...]], list[RecordId]] = {}
            for entry in changed:
                groups.setdefault(wanted[entry.uid], []).append(rows.entry_id(mailbox, entry.uid))
            unseen = sum((entry.flags & _SEEN) - (wanted[entry.uid][0] & _SEEN) for entry in changed)
            modseq = await self._gateway.transaction(
                _STORE,
                mailbox=rows.mailbox_id(mailbox),
                organization=rows.organization_id(tenant),
                unseen=unseen,
                ids=[rows.entry_id(mailbox, entry.uid) for entry in changed],
                seen=[entry.modseq for entry in changed],
                groups=[
                    {"ids": ids, "flags": flags, "keywords": list(words) or None}
                    for (flags, words), ids in groups.items()
                ],
            )
            new = {entry.uid: Entry(entry.uid, modseq, *wanted[entry.uid]) for entry in changed}
            return StoreStep([new.get(entry.uid, entry) for entry in entries], modified, modseq)

        return await self._gateway.retried(work)

    async def remove(self, tenant: str, mailbox: str, uids: Sequence[int], *, only: int = 0) -> list[int]:
        """Removes entries that have all flags of ``only``, in one transaction; returns their uids."""

        async def work() -> list[int]:
            await self.modseq(tenant, mailbox)
            found = await self._look_up(mailbox, uids, "uid, modseq, flags, size, in")
            found = [row for row in found if row["flags"] & only == only]
            if found:
                await self._gateway.transaction(
                    f"{_TAKE_AWAY}{DROP_MAILS} RETURN true",
                    **_taken(tenant, mailbox, found),
                    **_uses(found),
                )
            return [row["uid"] for row in found]

        return await self._gateway.retried(work)

    async def clear(self, tenant: str, mailbox: str) -> None:
        """Removes all entries, in steps."""
        uids = [entry.uid for entry in await self.all(tenant, mailbox)]
        async for _ in paced(uids, lambda some: self.remove(tenant, mailbox, some)):
            pass

    async def copy(
        self,
        tenant: str,
        source: str,
        uids: Sequence[int],
        target: str,
        *,
        move: bool = False,
        altered: Mapping[str, Any] | None = None,
        also: str = "",
        values: Mapping[str, Any] | None = None,
    ) -> list[Copied]:
        """Copies or moves entries in one transaction. Returns the copies, by old uid.

        Args:
            altered: fields in which the copies differ from the originals.
            also: statements for the end of the transaction, which may use ``$target`` (the mailbox) and ``$made`` (the
                number of copies) besides ``values``.
        """

        async def work() -> list[Copied]:
            await self.modseq(tenant, source)
            await self.modseq(tenant, target)
            found = await self._look_up(source, uids, f"uid, modseq, in, {', '.join(rows.COPIED)}")
            if not found:
                return []
            box = placing(tenant, target, [{**row, **(altered or {})} for row in found], [row["in"] for row in found])
            if move:
                sql, bound = _TAKE_AWAY, _taken(tenant, source, found)
            else:
                sql, bound = f"{_GUARD}{_SHARE_MAILS}", {**_guard(source, found), **_uses(found)}
            bound |= {"target": rows.mailbox_id(target), "made": len(found), **(values or {})}
            sql = f"{sql}\nFOR $m IN $boxes {{{PLACE}}};{also}\n{_PLACED}"
            ((next_uid, modseq),) = await self._gateway.transaction(sql, boxes=[box], **bound)
            count = len(found)
            return [
                (row["uid"], next_uid - count + i, row["in"].key, modseq - count + 1 + i) for i, row in enumerate(found)
            ]

        return await self._gateway.retried(work)


def _merged(known: dict[int, Entry], news: MailboxChanges) -> dict[int, Entry]:
    """Returns entries by uid, with the changes applied that happened since they were read."""
    if not news.changed and not news.expunged:
        return known
    known |= {entry.uid: entry for entry in news.changed}
    for uid in news.expunged:
        known.pop(uid, None)
    return dict(sorted(known.items()))


def _uids(packed: list[bytes]) -> tuple[int, ...]:
    return tuple(sorted(uid for one in packed for uid in unpack_uids(one)))


def _guard(mailbox: str, found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Returns the values to bind for _GUARD: these rows must be unchanged."""
    return {
        "ids": [rows.entry_id(mailbox, row["uid"]) for row in found],
        "seen": [row["modseq"] for row in found],
    }


def _taken(tenant: str, mailbox: str, found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Returns the values to bind for _TAKE_AWAY."""
    return {
        **_guard(mailbox, found),
        "mailbox": rows.mailbox_id(mailbox),
        "organization": rows.organization_id(tenant),
        "key": mailbox,
        "count": len(found),
        "unseen": sum(not row["flags"] & _SEEN for row in found),
        "size": sum(row["size"] for row in found),
        "uids": pack_uids(row["uid"] for row in found),
    }


def _uses(found: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Returns the values to bind for DROP_MAILS and _SHARE_MAILS: the messages, grouped by the number of entries
    concerned."""
    groups: dict[int, list[RecordId]] = {}
    for email, count in Counter(row["in"] for row in found).items():
        groups.setdefault(count, []).append(email)
    return {"uses": [{"n": count, "ids": ids} for count, ids in groups.items()]}


def placing(
    tenant: str, mailbox: str, copies: Sequence[Mapping[str, Any]], emails: Sequence[RecordId]
) -> dict[str, Any]:
    """Returns one ``$m`` for PLACE: entries with the fields ``copies``, of ``emails``, in that order."""
    return {
        "id": rows.mailbox_id(mailbox),
        "key": mailbox,
        "organization": rows.organization_id(tenant),
        "k": len(copies),
        "unseen": sum(not copy["flags"] & _SEEN for copy in copies),
        "size": sum(copy["size"] for copy in copies),
        "es": [
            {"i": i, "email": email, "row": {name: copy[name] for name in rows.COPIED if copy.get(name) is not None}}
            for i, (copy, email) in enumerate(zip(copies, emails, strict=True))
        ],
    }
