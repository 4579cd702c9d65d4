"""Steps of a removal in SQLite; the caller holds the transaction."""

from __future__ import annotations

import sqlite3
from typing import Any, Final

from inbox.base.errors import NotFound
from inbox.store.ports.hosting import STEP, Cleared, Holdings, InUse, Kept, Scope
from inbox.store.sqlite import jobs, rows
from inbox.store.sqlite.entries import delete_entries

#: Records of expunged uids that one step removes: the rows are narrow, several times as fast as entries.
_NOTES: Final = 5 * STEP

_EXISTS: Final = {
    "tenant": "SELECT 1 FROM organization WHERE id = :tenant",
    "domain": 'SELECT 1 FROM has_domain h JOIN domain d ON d.id = h."out" WHERE h."in" = :tenant AND d.fqdn = :domain',
    "account": "SELECT 1 FROM account WHERE organization = :tenant AND address = :account",
}
_KEPT: Final[dict[Kept, tuple[str, str]]] = {
    "dkim_keys": ("dkim_key", '"tenant", "domain", "selector"'),
    "reports": ("dmarc_report", '"tenant", "domain", "organization", "report_id"'),
    "decisions": ("decision", '"id", "tenant"'),
}


def check(db: sqlite3.Connection, scope: Scope) -> None:
    """Raises NotFound unless the tenant has this domain or account."""
    values = {"tenant": scope.tenant, "domain": scope.domain, "account": scope.account}
    kind = "account" if scope.account is not None else "domain" if scope.domain is not None else "tenant"
    if db.execute(_EXISTS[kind], values).fetchone() is None:
        raise NotFound(f"no {kind} {values[kind]}")


def count(db: sqlite3.Connection, scope: Scope) -> Holdings:
    """Counts the objects in the scope."""
    check(db, scope)
    values = {"tenant": scope.tenant, "domain": scope.domain, "account": scope.account}

    def one(sql: str) -> tuple[Any, ...]:
        found: tuple[Any, ...] = db.execute(sql, values).fetchone()
        return found

    owners = "SELECT a.id FROM account a WHERE a.organization = :tenant"
    if scope.account is not None:
        owners += " AND a.address = :account"
    elif scope.domain is not None:
        owners = (
            "SELECT a.id FROM email_address e JOIN account a ON a.email_address = e.id "
            "WHERE e.organization = :tenant AND e.domain = :domain"
        )
    else:
        owners += " UNION ALL SELECT :tenant"
    boxes: tuple[int, int, int] = db.execute(
        "SELECT count(*), coalesce(sum(messages), 0), coalesce(sum(size), 0) FROM mailbox "
        f"WHERE owner IN ({owners}) AND organization = :tenant",
        values,
    ).fetchone()
    if scope.account is not None:
        leading = one(
            'SELECT count(*) FROM has_alias h JOIN account a ON a.email_address = h."out" '
            "WHERE a.organization = :tenant AND a.address = :account"
        )
        return Holdings(0, 1, leading[0], *boxes, jobs=jobs.count(db, scope))
    of_domain = " AND domain = :domain" if scope.domain is not None else ""
    accounts = one(
        "SELECT count(*) FROM email_address e JOIN account a ON a.email_address = e.id "
        f"WHERE e.organization = :tenant{of_domain.replace('domain =', 'e.domain =')}"
    )
    pairs = f"e.organization = :tenant{of_domain.replace('domain =', 'e.domain =')}"
    aliases = one(
        f'SELECT (SELECT count(*) FROM email_address e JOIN has_alias h ON h."in" = e.id WHERE {pairs}) + '
        f'(SELECT count(*) FROM email_address e JOIN has_forward f ON f."in" = e.id WHERE {pairs})'
    )
    domains = (1,) if scope.domain is not None else one('SELECT count(*) FROM has_domain WHERE "in" = :tenant')
    keys = one(f"SELECT count(*) FROM dkim_key WHERE tenant = :tenant{of_domain}")
    reports = one(f"SELECT count(*) FROM dmarc_report WHERE tenant = :tenant{of_domain}")
    decisions = (0,) if scope.domain is not None else one("SELECT count(*) FROM decision WHERE tenant = :tenant")
    states = "SELECT coalesce(sum(entries), 0) FROM plugin_state_size WHERE tenant = :tenant"
    state = (0,) if scope.domain is not None else one(states)
    return Holdings(
        domains[0], accounts[0], aliases[0], *boxes, keys[0], reports[0], decisions[0], jobs.count(db, scope), state[0]
    )


def clear_mailbox(db: sqlite3.Connection, tenant: str, mailbox: str) -> Cleared:
    """Removes up to STEP entries, with the messages that are in no mailbox any more; then records of expunged uids."""
    row = db.execute("SELECT size FROM mailbox WHERE id = ? AND organization = ?", (mailbox, tenant)).fetchone()
    if row is None:
        raise NotFound(f"no mailbox {mailbox}")
    found = db.execute(
        'SELECT uid, "in", size FROM has_email_delivery WHERE "out" = ? ORDER BY uid LIMIT ?', (mailbox, STEP)
    ).fetchall()
    if not found:
        return Cleared(more=_clear_notes(db, mailbox) == _NOTES)
    mails = rows.words_to_text(list({email for _, email, _ in found}))
    paths = dict(db.execute("SELECT id, blob_path FROM email WHERE id IN (SELECT value FROM json_each(?))", (mails,)))
    delete_entries(db, mailbox, [uid for uid, _, _ in found])
    for (left,) in db.execute("SELECT id FROM email WHERE id IN (SELECT value FROM json_each(?))", (mails,)):
        del paths[left]
    _clear_notes(db, mailbox)
    return Cleared(len(found), sum(size for _, _, size in found), tuple(sorted(paths.values())), more=True)


def _clear_notes(db: sqlite3.Connection, mailbox: str) -> int:
    return db.execute(
        "DELETE FROM expunged WHERE (mailbox, modseq, uid) IN "
        "(SELECT mailbox, modseq, uid FROM expunged WHERE mailbox = ? LIMIT ?)",
        (mailbox, _NOTES),
    ).rowcount


def remove_aliases_to(db: sqlite3.Connection, root: str) -> int:
    """Removes up to STEP pairs that point to the address ``root``, and addresses that then have no target."""
    removed = 0
    path = [root]
    while path and removed < STEP:
        top = path[-1]
        row = db.execute('SELECT "in" FROM has_alias WHERE "out" = ?1 AND "in" != ?1 LIMIT 1', (top,)).fetchone()
        if row is None:
            # Nothing points to this address any more. Unless it is the root it has lost its last target, so it is
            # removed.
            path.pop()
            if top != root:
                removed += db.execute('DELETE FROM has_alias WHERE "in" = ?', (top,)).rowcount
                db.execute("DELETE FROM email_address WHERE id = ?", (top,))
            continue
        source = row[0]
        # An alias that points only to itself has no target.
        elsewhere = 'SELECT "out" FROM has_alias WHERE "in" = ?1 AND "out" NOT IN (?1, ?2) ORDER BY "out" LIMIT 1'
        other = db.execute(elsewhere, (source, top)).fetchone()
        forward = db.execute('SELECT 1 FROM has_forward WHERE "in" = ? LIMIT 1', (source,)).fetchone()
        if other is None and forward is None and source not in path:
            path.append(source)
            continue
        removed += db.execute('DELETE FROM has_alias WHERE "in" = ? AND "out" = ?', (source, top)).rowcount
        _note_first(db, source, other[0] if other else None)
    return removed


def remove_alias(db: sqlite3.Connection, source: str, target: str | None) -> list[str] | None:
    """Removes one target of the alias, or all; returns their addresses, or None if there is no such pair. The address
    is removed with the last one."""
    if db.execute("SELECT 1 FROM account WHERE email_address = ?", (source,)).fetchone():
        return None
    # Targets outside have no id.
    found = db.execute(
        'SELECT h."out", t.username || \'@\' || t.domain FROM has_alias h JOIN email_address t ON t.id = h."out" '
        'WHERE h."in" = ?1 UNION ALL SELECT NULL, target FROM has_forward WHERE "in" = ?1 ORDER BY 2',
        (source,),
    ).fetchall()
    gone = [(to, name) for to, name in found if target is None or name == target]
    left = [to for to, name in found if target is not None and name != target]
    if target is not None and not gone:
        return None
    if not left:
        source_alias = db.execute(
            'SELECT 1 FROM has_alias WHERE "out" = ?1 AND "in" != ?1 LIMIT 1', (source,)
        ).fetchone()
        if source_alias is not None:
            raise InUse("another alias points to it")
    db.executemany('DELETE FROM has_alias WHERE "in" = ? AND "out" = ?', [(source, to) for to, _ in gone])
    db.executemany('DELETE FROM has_forward WHERE "in" = ? AND target = ?', [(source, name) for _, name in gone])
    if left:
        _note_first(db, source, next((to for to in left if to is not None), None))
    else:
        db.execute("DELETE FROM email_address WHERE id = ?", (source,))
    return [name for _, name in gone]


def _note_first(db: sqlite3.Connection, source: str, target: str | None) -> None:
    db.execute("UPDATE email_address SET alias = ? WHERE id = ?", (target, source))


def find_kept(db: sqlite3.Connection, tenant: str, kind: Kept, fqdn: str | None) -> list[tuple[Any, ...]]:
    """Returns the keys of up to STEP rows."""
    table, key = _KEPT[kind]
    where = " WHERE tenant = ?"
    values: list[Any] = [tenant]
    if fqdn is not None:
        where += " AND domain = ?"
        values.append(fqdn)
    return db.execute(f"SELECT {key} FROM {table}{where} LIMIT ?", (*values, STEP)).fetchall()


def forget(db: sqlite3.Connection, kind: Kept, found: list[tuple[Any, ...]]) -> int:
    """Removes the rows with these keys."""
    table, key = _KEPT[kind]
    names = key.split(", ")
    where = " AND ".join(f"{name} = ?" for name in names)
    db.executemany(f"DELETE FROM {table} WHERE {where}", found)
    return len(found)


def end_mailboxes(db: sqlite3.Connection, owner: str) -> list[str]:
    """Removes the mailboxes of an owner; returns their ids. Raises InUse if one is not empty."""
    boxes = [row[0] for row in db.execute("SELECT id FROM mailbox WHERE owner = ?", (owner,))]
    for box in boxes:
        if db.execute('SELECT 1 FROM has_email_delivery WHERE "out" = ? LIMIT 1', (box,)).fetchone():
            raise InUse("a mailbox is not empty")
        db.execute("DELETE FROM expunged WHERE mailbox = ?", (box,))
    db.execute("DELETE FROM mailbox WHERE owner = ?", (owner,))
    db.execute("DELETE FROM subscription WHERE owner = ?", (owner,))
    return boxes
