"""Sweeper: moves blobs that no message refers to aside, and deletes them a week later.

Accepting a message writes its blob first and the database second. A crash between the two, a refused transaction and a
removed message leave a blob that nothing refers to: an orphan. A young one may belong to a pending transaction, so only
blobs older than the grace time are touched.

With a wrong, empty or older database, needed blobs look like orphans. So the sweeper runs only while database and blob
store are known to be a pair, never with a database without tenants, and stops with an alarm if there are more orphans
than usual that no removal explains. A blob that was moved aside keeps its key behind ``orphan/``; it is moved back as
soon as a message refers to it again, and the database is queried once more before it is deleted.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import structlog

from inbox.base.clock import Clock
from inbox.base.errors import NotFound, StoreError
from inbox.store.blobs.keys import ORPHANS
from inbox.store.ports import Blobs, Database

#: Seconds that a blob may wait for its message: far longer than any transaction, or the transfer of a large message.
GRACE_SECONDS: Final = 24 * 3600.0
#: Seconds for which an orphan is kept aside.
KEEP_SECONDS: Final = 7 * 24 * 3600.0
#: Seconds after which the writer of an unfinished file is assumed to be dead.
UNFINISHED_SECONDS: Final = 3600.0
#: Seconds for which the record of a released blob is kept if its blob is never found.
RELEASED_SECONDS: Final = 90 * 24 * 3600.0
#: Keys in one query to the database.
PAGE: Final = 500
#: Keys that are moved or deleted between two checks of the database and of both copies of the identity.
STEP: Final = 100
#: The maximum number of blobs that one run moves aside; the next run continues. An operator's run should need only one.
MOST_MOVED: Final = 10_000
MOST_MOVED_DELIBERATELY: Final = 1_000_000
#: Unexplained orphans above which a run is stopped: a number, or a share of all blobs if that is more.
FEW: Final = 50
SHARE: Final = 0.05


@dataclass(frozen=True, slots=True)
class Swept:
    """The results of one run.

    Attributes:
        seen: blobs that were examined.
        orphans: blobs that no message refers to and that are older than the grace time.
        unexplained: orphans whose message this database never removed, and that were not the new blob of a message that
            it had already.
        moved: orphans that were moved aside.
        restored: blobs that were moved back because a message refers to them.
        removed: orphans that were deleted after they had been aside long enough.
        unfinished: files of dead writers that were removed.
        failed: blobs that could not be moved or removed; the next run tries again.
        waiting: orphans that are now aside.
        alarm: why nothing was moved aside, for the operator; empty if all is well.
    """

    seen: int = 0
    orphans: int = 0
    unexplained: int = 0
    moved: int = 0
    restored: int = 0
    removed: int = 0
    unfinished: int = 0
    failed: int = 0
    waiting: int = 0
    alarm: str = ""


NO_TENANTS: Final = "the database has no tenants: check that it is the right one; nothing was swept"

#: Called with the number of blobs that were processed.
Progress = Callable[[int], object]


class Sweeper:
    """Examines all blobs under ``prefix``.

    Args:
        verify: raises StoreError unless database and blob store are known to be a pair now.
        grace: seconds; blobs written within this time are left alone.
        keep: seconds for which an orphan is kept aside.
    """

    def __init__(
        self,
        blobs: Blobs,
        database: Database,
        clock: Clock,
        verify: Callable[[], Awaitable[object]],
        *,
        prefix: str = "msg/",
        grace: float = GRACE_SECONDS,
        keep: float = KEEP_SECONDS,
    ) -> None:
        self._blobs = blobs
        self._database = database
        self._clock = clock
        self._verify = verify
        self._prefix = prefix
        self._grace = grace
        self._keep = keep
        self._log = structlog.get_logger("inbox.store")

    async def sweep(
        self, *, deliberate: bool = False, dry_run: bool = False, progress: Progress = lambda _steps: None
    ) -> Swept:
        """Runs the sweeper once.

        Args:
            deliberate: run on behalf of an operator, however many orphans there are.
            dry_run: only count.
            progress: called with the number of blobs that were examined, moved or removed.

        Raises:
            WrongStore: database and blob store are not a pair.
            StoreUnavailable: the blobs cannot be listed, or the database cannot be queried. Blobs that were not
                examined stay.
        """
        await self._verify()
        if not await self._database.tenants.all():
            return Swept(alarm=NO_TENANTS if await self._any() else "")
        done = await self._sweep_aside(dry_run, progress)
        found, orphans = await self._survey(MOST_MOVED_DELIBERATELY if deliberate else MOST_MOVED, progress)
        most = max(FEW, int(found.seen * SHARE))
        done = replace(done, seen=found.seen, orphans=found.orphans, unexplained=found.unexplained)
        if found.unexplained > most and not deliberate:
            return replace(done, alarm=_alarm(found, most))
        if dry_run:
            return done
        now = self._clock.now()
        done = replace(done, unfinished=await self._blobs.remove_unfinished(now - UNFINISHED_SECONDS))
        for start in range(0, len(orphans), STEP):
            moved, failed = await self._move_aside(orphans[start : start + STEP], progress)
            done = replace(done, moved=done.moved + moved, failed=done.failed + failed, waiting=done.waiting + moved)
        await self._database.installation.prune_released(now - RELEASED_SECONDS)
        return done

    # -- looking ---------------------------------------------------------------------------------------------------

    async def _survey(self, most: int, progress: Progress) -> tuple[Swept, list[str]]:
        """Counts all blobs and all orphans; returns the first ``most`` orphans, too. Moves nothing."""
        young = self._clock.now() - self._grace
        seen, count, unexplained = 0, 0, 0
        orphans: list[str] = []
        page: list[str] = []

        async def ask() -> None:
            nonlocal count, unexplained
            found = await self._unused(page)
            count += len(found)
            unexplained += len(set(found) - await self._database.installation.released(found))
            orphans.extend(found[: most - len(orphans)])
            page.clear()

        async for key, written in self._blobs.keys(self._prefix):
            seen += 1
            progress(1)
            if written < young:
                page.append(key)
            if len(page) >= PAGE:
                await ask()
        await ask()
        return Swept(seen=seen, orphans=count, unexplained=unexplained), orphans

    async def _any(self) -> bool:
        """Whether there are any blobs: a new installation must not raise an alarm."""
        for prefix in (self._prefix, ORPHANS):
            async for _ in self._blobs.keys(prefix):
                return True
        return False

    async def _unused(self, keys: Sequence[str]) -> list[str]:
        if not keys:
            return []
        in_use = await self._database.messages.blob_in_use(keys)
        return [key for key in keys if key not in in_use]

    # -- putting aside ---------------------------------------------------------------------------------------------

    async def _move_aside(self, keys: Sequence[str], progress: Progress) -> tuple[int, int]:
        """Moves blobs aside. Returns how many were moved, and how many should have been."""
        await self._verify()
        moved: list[str] = []
        failed = 0
        for key in await self._unused(keys):
            failed += not await self._try("orphan_not_moved", key, self._blobs.move(key, ORPHANS + key), moved)
            progress(1)
        await self._database.installation.forget_released(moved)
        return len(moved), failed

    async def _sweep_aside(self, dry_run: bool, progress: Progress) -> Swept:
        """Moves orphans back that a message refers to, and deletes those that were aside long enough."""
        done = Swept()
        page: list[tuple[str, float]] = []
        async for key, moved in self._blobs.keys(ORPHANS + self._prefix):
            page.append((key.removeprefix(ORPHANS), moved))
            progress(1)
            if len(page) >= STEP:
                done, page = await self._sweep_page(page, done, dry_run), []
        return await self._sweep_page(page, done, dry_run)

    async def _sweep_page(self, page: list[tuple[str, float]], done: Swept, dry_run: bool) -> Swept:
        if not page:
            return done
        await self._verify()
        unused = set(await self._unused([key for key, _ in page]))
        now = self._clock.now()
        restored: list[str] = []
        removed: list[str] = []
        failed = 0
        for key, moved in page:
            if key not in unused:
                if dry_run:
                    restored.append(key)
                else:
                    failed += not await self._try(
                        "orphan_not_restored", key, self._blobs.move(ORPHANS + key, key), restored
                    )
            elif moved < now - self._keep:
                if dry_run:
                    removed.append(key)
                else:
                    failed += not await self._try("orphan_not_removed", key, self._blobs.delete(ORPHANS + key), removed)
        return replace(
            done,
            restored=done.restored + len(restored),
            removed=done.removed + len(removed),
            failed=done.failed + failed,
            waiting=done.waiting + len(page) - len(restored) - len(removed),
        )

    async def _try(self, event: str, key: str, work: Awaitable[None], done: list[str]) -> bool:
        """Returns True if nothing is left to do: another instance's sweeper may have been faster."""
        try:
            await work
        except NotFound:
            return True
        except StoreError as error:
            self._log.warning(event, key=key, error=str(error))
            return False
        done.append(key)
        return True


@dataclass(frozen=True, slots=True)
class MovedOrphans:
    """Orphans that are aside: how many (at most the requested limit), and when the first was moved there, in seconds
    since the epoch (0: none)."""

    count: int = 0
    since: float = 0.0


async def count_aside(blobs: Blobs, limit: int) -> MovedOrphans:
    """Counts the orphans that are aside, for the operator. Raises StoreUnavailable."""
    count, since = 0, 0.0
    async for _, moved in blobs.keys(ORPHANS):
        count += 1
        since = min(since or moved, moved)
        if count >= limit:
            break
    return MovedOrphans(count, since)


def _alarm(found: Swept, most: int) -> str:
    return (
        f"{found.unexplained} of {found.seen} blobs belong to no message, and this database has no record of removing "
        f"their messages; without confirmation at most {most} are moved aside. Check that this is the right database, "
        "and not an older copy. If it is wrong, restore the right one: nothing was moved. If it is right: "
        "inbox storage sweep --yes"
    )
