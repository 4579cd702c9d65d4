"""Check a SurrealDB server with the official package: a second opinion in addition to our own connection.

The store has its own connection to the server (docs/decisions/0001-own-surrealdb-connection.md). Here
other code checks whether inbox can work with the server: version, namespace and database, the rights of the user, and
the version of the schema. Nothing is changed: the statement that tests the rights is rolled back.
"""

from __future__ import annotations

import asyncio
import re
from typing import Any, Final, Literal

from inbox.store.surreal.config import SurrealConfig

Found = list[tuple[Literal["ok", "warn", "fail"], str]]
#: Seconds for the whole conversation; the package itself has no time-outs.
TIMEOUT_SECONDS: Final = 10.0
#: Seconds for closing the connection to a server that does not answer.
CLOSING: Final = 0.5
#: The major version that the store is written for.
MAJOR: Final = 3
_VERSION: Final = re.compile(r"(?:surrealdb-)?(\d+)\.\d+\S{0,40}\Z")
_TEXT: Final = 200
_RIGHTS: Final = "docs/surrealdb.md shows the user that is needed"


class _Unusable(Exception):
    """The server cannot be used; the text has the reason."""


async def surreal_findings(config: SurrealConfig, newest: int, seconds: float = TIMEOUT_SECONDS) -> Found:
    """Outcomes and sentences for the operator.

    Args:
        newest: the version of the schema that this program has.
        seconds: time limit for the whole conversation.
    """
    # Loading it takes a second or more, which must not count against the server.
    from surrealdb import AsyncSurreal

    # In a task of its own: when a connection is lost, the package cancels the task that waits for an answer.
    task = asyncio.create_task(_asked(AsyncSurreal(config.endpoint), config, newest))
    try:
        done, _ = await asyncio.wait({task}, timeout=seconds)
    finally:
        # It first closes the connection to a server that may hang; then it ends.
        for pause in (CLOSING, None):
            task.cancel()
            await asyncio.wait({task}, timeout=pause)
    where = config.endpoint
    if not done:
        return [("fail", f"{where}: no answer within {seconds:g} seconds")]
    if task.cancelled():
        return [("fail", f"{where}: the connection was lost during a query")]
    error = task.exception()
    if isinstance(error, _Unusable):
        return [("fail", f"{where}: {error}")]
    if error is not None:
        # The package raises its own errors, those of websockets and of the socket, and KeyError for a lost connection.
        why = f"{type(error).__name__}: {error}".strip(": ")[:_TEXT]
        return [("fail", f"{where}: the package surrealdb cannot talk to the server: {why}")]
    return task.result()


async def _asked(connection: Any, config: SurrealConfig, newest: int) -> Found:
    async with connection as server:
        version = str(await server.version())
        found = _VERSION.match(version)
        if found is None:
            raise _Unusable(f"{version[:_TEXT]!r} is not the version of a SurrealDB server")
        if int(found[1]) != MAJOR:
            raise _Unusable(f"the server is {version}, inbox needs SurrealDB {MAJOR}.x")
        if config.username:
            await _sign_in(server, config)
        place = f"{config.namespace}/{config.database}"
        (root,) = await _statements(server, "INFO FOR ROOT")
        of_root = root["status"] == "OK"
        if of_root and not await _is_there(server, config, root["result"]):
            return [("warn", f"{version}: no database {place} yet; inbox serve creates it")]
        await server.use(config.namespace, config.database)
        (info,) = await _statements(server, "INFO FOR DB")
        if info["status"] != "OK":
            raise _Unusable(f"the user {config.username} cannot use the database {place}: {_why(info)}")
        findings: Found = [("ok", f"{version}, the package surrealdb agrees: {place} is there")]
        findings.append(await _rights(server, config, of_root=of_root))
        findings.append(await _schema(server, newest))
        return findings


async def _is_there(server: Any, config: SurrealConfig, root: dict[str, Any]) -> bool:
    """True if the database exists. Checked before USE, which would create it if the user may do that."""
    if config.namespace not in root["namespaces"]:
        return False
    _, namespace = await _statements(server, f"USE NS `{config.namespace}`; INFO FOR NS")
    return namespace["status"] == "OK" and config.database in namespace["result"]["databases"]


async def _sign_in(server: Any, config: SurrealConfig) -> None:
    """Logs in as a user of the whole server or, if it has no such user, of the database. Raises _Unusable."""
    from surrealdb.errors import NotAllowedError

    login = {"username": config.username, "password": config.password}
    of_database = {**login, "namespace": config.namespace, "database": config.database}
    for each in (login, of_database):
        try:
            await server.signin(each)
        except NotAllowedError:
            continue
        return
    raise _Unusable(f"the server does not accept the user {config.username}: check DATABASE_USERNAME and _PASSWORD")


async def _rights(server: Any, config: SurrealConfig, *, of_root: bool) -> tuple[Literal["ok", "warn", "fail"], str]:
    """Checks that the user may define tables, which migrations need, and has no further rights."""
    tried = await _statements(server, "BEGIN; DEFINE TABLE doctor_probe; CANCEL")
    refused = [one for one in tried if one["status"] != "OK" and "permission" in _why(one)]
    if refused:
        return "fail", f"the user {config.username} may not change tables ({_why(refused[0])}): {_RIGHTS}"
    if of_root:
        why = "may change every database of the server"
        return "warn", f"the user {config.username or 'anonymous'} {why}: {_RIGHTS}"
    return "ok", f"the user {config.username} has the rights that are needed, in this database only"


async def _schema(server: Any, newest: int) -> tuple[Literal["ok", "warn", "fail"], str]:
    (found,) = await _statements(server, "SELECT VALUE value FROM ONLY meta:schema")
    version = found["result"] if found["status"] == "OK" else None
    if not isinstance(version, int):
        return "warn", "the database has no schema yet; inbox serve creates it"
    if version > newest:
        return "fail", f"the database has schema {version}, this program knows {newest}: a newer inbox has used it"
    if version < newest:
        return "warn", f"the database has schema {version}; inbox serve migrates it to {newest}"
    return "ok", f"the schema is {version}, that of this program"


async def _statements(server: Any, sql: str) -> list[dict[str, Any]]:
    """The results of all statements, errors included; ``query`` of the package returns the first one alone."""
    answer = await server.query_raw(sql)
    if "error" in answer:
        raise _Unusable(str(answer["error"])[:_TEXT])
    return list(answer["result"])


def _why(statement: dict[str, Any]) -> str:
    return str(statement["result"])[:_TEXT]
