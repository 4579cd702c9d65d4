"""Pages of the jobs in SurrealDB's outbound queue, by tenant and id.

SurrealDB 3 reads a whole range of ids in spite of a LIMIT; of an index it reads as many entries as the LIMIT allows,
and only then applies conditions on other fields. So a page is read in steps from an index, and the conditions are
applied to the rows of each step: jobs that do not match are read, but never more than one step at once.
"""

from __future__ import annotations

from typing import Final

from inbox.store.ports.hosting import STEP, Scope
from inbox.store.ports.job_filter import JobFilter
from inbox.store.surreal.gateway import Gateway
from inbox.store.surreal.jobs import ACCOUNT_OF_ADDRESS, Row, jobs_of
from inbox.store.surreal.values import RecordId

#: The tenant and id of a job.
Place = tuple[str, str]

_CONDITIONS: Final = {
    "domain": "domain = $domain",
    "sender": "sender = $sender",
    "status": "status = $status",
    "before": "created_at < $before",
    "error": "string::contains(string::lowercase(last_error ?? ''), string::lowercase($error))",
}
_STEP: Final = """
LET $step = (SELECT VALUE id FROM outbound_queue WHERE org_id = $tenant AND job_id >= $least LIMIT $most)"""

_FIRST_TENANT: Final = "SELECT VALUE org_id FROM outbound_queue WHERE org_id >= $least LIMIT 1"


async def page(gateway: Gateway, tenant: str | None, wanted: JobFilter, after: Place | None, limit: int) -> list[Row]:
    """Returns the rows of :meth:`inbox.store.ports.queue.Queue.jobs`; ``after`` is the place of the previous one."""
    where, values = _conditions(wanted)
    found: list[Row] = []
    current: str | None = tenant
    last = ""
    if after is not None:
        current, last = tenant or after[0], after[1]
    while len(found) < limit:
        if current is None:
            # A space sorts before all characters of ids: this is the next tenant.
            (tenants,) = await gateway.query(_FIRST_TENANT, least=f"{last} " if last else "")
            if not tenants:
                break
            current, last = tenants[0], ""
        most = STEP if where else limit - len(found)
        _, ids, rows = await gateway.query(
            f"{_STEP}; RETURN $step; "
            "SELECT *, payload.blob_path AS blob_path, payload.size AS message_size FROM $step "
            f"WHERE {where or 'true'} LIMIT $left",
            tenant=current,
            least=f"{last} " if last else "",
            most=most,
            left=limit - len(found),
            **values,
        )
        found += rows
        if len(ids) < most:
            if tenant is not None:
                break
            last, current = current, None
        else:
            last = ids[-1].key[1]
    return found


def _conditions(wanted: JobFilter) -> tuple[str, Row]:
    """Returns the conditions in SurrealQL, and the values to bind for them."""
    given: Row = {
        "domain": wanted.domain, "sender": wanted.sender, "status": wanted.status, "before": wanted.created_before,
        "error": wanted.error,
    }  # fmt: skip
    values = {name: value for name, value in given.items() if value is not None}
    where = [_CONDITIONS[name] for name in values]
    if wanted.held is not None:
        where.append(f"hold_reason IS {'NOT NONE' if wanted.held else 'NONE'}")
    return " AND ".join(where), values


async def of_scope(gateway: Gateway, scope: Scope, most: int) -> list[RecordId]:
    """Returns the ids of up to ``most`` jobs of a tenant, or of one of its domains or accounts."""
    if scope.domain is None and scope.account is None:
        _, found = await gateway.query(f"{_STEP}; RETURN $step", tenant=scope.tenant, least="", most=most)
        return list(found)
    # There is no index: this reads the tenant's jobs.
    where, values = jobs_of(scope)
    _, found = await gateway.query(
        f"LET $account = {ACCOUNT_OF_ADDRESS}; SELECT VALUE id FROM $keys WHERE {where} LIMIT $page",
        page=most,
        **values,
    )
    return list(found)
