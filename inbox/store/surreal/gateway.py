"""Statements and transactions: checks every statement's status and retries conflicts."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final, TypeVar

from inbox.base.errors import AlreadyExists, Conflict, NotFound, StorageFull, StoreError, StoreUnavailable
from inbox.store.surreal.config import SurrealConfig
from inbox.store.surreal.link import Link, Notice
from inbox.store.surreal.values import RecordId

R = TypeVar("R")


class Stale(Conflict):
    """The data read before the transaction has changed since: read it again, then retry."""


#: Number of tries of a conflicting transaction, and the pauses between tries (seconds). They add up to several seconds:
#: after that the server is in trouble, and the caller gets the error.
ATTEMPTS: Final = 40
FIRST_PAUSE: Final = 0.002
LONGEST_PAUSE: Final = 0.25

#: The maximum number of rows that one transaction removes.
REMOVED_AT_ONCE: Final = 1000

#: Errors that our statements throw: ``inbox gone …``, ``inbox stale``, ``inbox taken``, ``inbox abandoned``.
_THROWN: Final = re.compile(r"An error occurred: inbox (gone|stale|taken|abandoned) ?(.*)", re.DOTALL)
_THROWN_ERRORS: Final[Mapping[str, type[StoreError]]] = {
    "gone": NotFound,
    "stale": Stale,
    "taken": AlreadyExists,
    "abandoned": StoreUnavailable,
}
_NOISE: Final = ("The query was not executed due to a", "Cannot COMMIT")
_SCHEMA: Final = RecordId("meta", "schema")


class Gateway:
    """Access to one server, shared by all repositories."""

    def __init__(self, config: SurrealConfig, migrations: Path, on_notice: Notice, on_lost: Callable[[], None]) -> None:
        self._config = config
        self._migrations = migrations
        self._link = Link(config, on_notice, on_lost)
        self._open = False

    async def open(self) -> None:
        """Connects and migrates the schema to this program's version.

        Raises:
            StoreUnavailable, StoreError
        """
        self._open = True
        try:
            await self._prepare()
            await self.retried(self._migrate)
        except BaseException:
            await self.close()
            raise

    async def close(self) -> None:
        self._open = False
        await self._link.close()

    async def query(self, sql: str, /, **values: Any) -> list[Any]:
        """Runs statements and returns the results of all, in order.

        Raises:
            StoreUnavailable: the server cannot be reached; whether the statements ran is unknown.
            Conflict: another transaction won; nothing was written.
            Stale, NotFound: thrown by the transaction, which wrote nothing.
            AlreadyExists: a record with this id exists; nothing was written.
            StorageFull, StoreError
        """
        if not self._open:
            raise StoreUnavailable("the database is not open")
        return _results(await self._link.call("query", sql, values))

    async def transaction(self, sql: str, /, **values: Any) -> Any:
        """Runs ``sql`` as one transaction; returns the result of its last statement (a RETURN).

        Raises:
            as :meth:`query`
        """
        # BEGIN and COMMIT have their own results: the last but one is that of the RETURN.
        return (await self.query(f"BEGIN;\n{sql};\nCOMMIT", **values))[-2]

    async def retried(self, work: Callable[[], Awaitable[R]]) -> R:
        """Runs ``work`` until it commits without a conflict.

        Raises:
            Conflict: every attempt conflicted.
        """
        pause = FIRST_PAUSE
        for _ in range(ATTEMPTS - 1):
            try:
                return await work()
            except Conflict:
                await asyncio.sleep(pause * (0.5 + random.random()))  # noqa: S311 - a pause, not a secret
                pause = min(pause * 2, LONGEST_PAUSE)
        return await work()

    async def write(self, sql: str, /, **values: Any) -> Any:
        """Runs :meth:`transaction`, and again after each conflict. For statements that do not depend on earlier
        reads."""
        return await self.retried(lambda: self.transaction(sql, **values))

    async def live(self, table: str, where: str = "true") -> None:
        """Requests a notice over this connection after each change of a row of ``table`` that matches ``where`` (our
        constants)."""
        await self.query(f"LIVE SELECT id FROM {table} WHERE {where}")

    async def _prepare(self) -> None:
        # Names cannot be bound in DEFINE; SurrealConfig rejects names that would need quoting.
        config = self._config
        try:
            await self.query(f"DEFINE NAMESPACE IF NOT EXISTS `{config.namespace}`")
            await self.query(f"DEFINE DATABASE IF NOT EXISTS `{config.database}`")
        except (StoreUnavailable, Conflict):
            raise
        except StoreError:
            # A user of only this database may not define it, and need not: if it can be used, it exists.
            await self.query("INFO FOR DB")

    async def _migrate(self) -> None:
        # A file's number is the schema version after it; numbers may be missing.
        scripts = {int(path.stem): path for path in self._migrations.glob("[0-9]*.surql")}
        await self.query("DEFINE TABLE IF NOT EXISTS meta")
        (found,) = await self.query("SELECT VALUE value FROM ONLY $id", id=_SCHEMA)
        version = found or 0
        if version > max(scripts):
            raise StoreError(
                f"{self._config.database} has schema version {version}, newer than this program's {max(scripts)}"
            )
        # Every statement must be safe to run twice: two instances that start at the same time do so.
        for number in sorted(number for number in scripts if number > version):
            await self.query(scripts[number].read_text(encoding="utf-8"))
            await self.query("UPSERT $id SET value = $number RETURN NONE", id=_SCHEMA, number=number)


async def in_pages(gateway: Gateway, sql: str, **values: Any) -> int:
    """Runs a statement that removes at most ``$page`` rows and returns how many, until none are left."""
    removed = 0
    while count := await gateway.write(sql, page=REMOVED_AT_ONCE, **values):
        removed += count
        if count < REMOVED_AT_ONCE:
            break
    return removed


def _results(statements: list[Mapping[str, Any]]) -> list[Any]:
    failed = [str(one["result"]) for one in statements if one["status"] != "OK"]
    if not failed:
        return [one["result"] for one in statements]
    raise _error(failed)


def _error(texts: list[str]) -> StoreError:
    """Returns the error that made a transaction fail: its other statements only report that it failed."""
    text = next((text for text in texts if "can be retried" in text), None)
    if text is not None:
        return Conflict(f"surrealdb: {text}")
    text = next((text for text in texts if not text.startswith(_NOISE)), texts[0])
    thrown = _THROWN.search(text)
    if thrown is not None:
        return _THROWN_ERRORS[thrown[1]](f"{thrown[1]} {thrown[2]}".strip())
    if "already exists" in text or "already contains" in text:
        return AlreadyExists(f"surrealdb: {text}")
    if "No space left" in text or "quota exceeded" in text:
        return StorageFull(f"surrealdb: {text}")
    if "IO error" in text or "timed out" in text or "session has expired" in text:
        return StoreUnavailable(f"surrealdb: {text}")
    return StoreError(f"surrealdb: {text}")
