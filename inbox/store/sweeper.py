"""The sweeper: puts blobs that no message refers to aside, and deletes them a week later.

Accepting a message writes its blob first and the database second. A crash between the two, a refused transaction and a
message that was removed leave a blob that nobody will ask for: an orphan. A young one may belong to a transaction that
is still to come, so only what is older than the grace time is touched.

A wrong, empty or older database makes orphans of blobs that are needed. So the sweeper runs only while database and
blob store are known to be a pair, never with a database without tenants, and stops with an alarm when more orphans
than usual turn up that no removal explains. What it moves aside keeps its key behind ``orphan/``; it is put back as
soon as a message refers to it again, and the database is asked once more before it is deleted.
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
#: Seconds that an orphan is kept aside.
KEEP_SECONDS: Final = 7 * 24 * 3600.0
#: Seconds after which an unfinished file has no writer any more.
UNFINISHED_SECONDS: Final = 3600.0
#: Seconds for which a record of a released blob is kept if its blob never turns up.
RELEASED_SECONDS: Final = 90 * 24 * 3600.0
#: Keys about which the database is asked at once.
PAGE: Final = 500
#: Keys that are moved or deleted between two questions to the database and to both copies of the identity.
STEP: Final = 100
#: Blobs that one run puts aside; the next run goes on. An operator's run is meant to end it.
MOST_MOVED: Final = 10_000
MOST_MOVED_DELIBERATELY: Final = 1_000_000
#: Orphans without an explanation beyond which a run is stopped: a number, or a share of all blobs if that is more.
FEW: Final = 50
SHARE: Final = 0.05


@dataclass(frozen=True, slots=True)
class Swept:
    """What one run found and did.

    Attributes:
        seen: blobs that were looked at.
        orphans: those that no message refers to and that are older than the grace time.
        unexplained: those of them whose message this database never removed, and that did not come with a
            message that it had already.
        moved: orphans that were put aside.
        restored: blobs that were put back, because a message refers to them.
        removed: orphans that were deleted for good, after they had been aside long enough.
        unfinished: files of writers that died, removed.
        failed: blobs that could not be moved or removed; the next run tries again.
        waiting: orphans that are aside now.
        alarm: why nothing was put aside, for the operator; empty if all is well.
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


NO_TENANTS: Final = "the database has no tenants: is it the right one? Nothing was swept"

#: Called with a number of blobs that were dealt with.
Progress = Callable[[int], object]


class Sweeper:
    """Looks through all blobs under ``prefix``.

    Args:
        verify: raises StoreError unless database and blob store are known to be a pair right now.
        grace: seconds; blobs written later than that long ago are left alone.
        keep: seconds that an orphan is kept aside.
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
        """One run.

        Args:
            deliberate: an operator wants it however many orphans there are.
            dry_run: only count.
            progress: is called with the number of blobs that were looked at, moved or removed.

        Raises:
            WrongStore: database and blob store are no pair.
            StoreUnavailable: the blobs cannot be listed, or the database cannot say what is in use. What was not
                looked at stays.
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
        """Whether there are blobs at all: a new installation is no reason for an alarm."""
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
        """Returns how many were moved, and how many should have been."""
        await self._verify()
        moved: list[str] = []
        failed = 0
        for key in await self._unused(keys):
            failed += not await self._try("orphan_not_moved", key, self._blobs.move(key, ORPHANS + key), moved)
            progress(1)
        await self._database.installation.forget_released(moved)
        return len(moved), failed

    async def _sweep_aside(self, dry_run: bool, progress: Progress) -> Swept:
        """Puts orphans back that a message refers to, and deletes those that were aside long enough."""
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
        """True if there is nothing left to do: another instance's sweeper may have been faster."""
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
class Aside:
    """The orphans that wait: how many (at most the limit that was asked for), and when the first was put aside, in
    seconds since the epoch (0: none)."""

    count: int = 0
    since: float = 0.0


async def count_aside(blobs: Blobs, limit: int) -> Aside:
    """Counts the orphans that wait, for the operator. Raises StoreUnavailable."""
    count, since = 0, 0.0
    async for _, moved in blobs.keys(ORPHANS):
        count += 1
        since = min(since or moved, moved)
        if count >= limit:
            break
    return Aside(count, since)


def _alarm(found: Swept, most: int) -> str:
    return (
        f"{found.unexplained} of {found.seen} blobs belong to no message although none of the removed messages had "
        f"them, and at most {most} are put aside without being asked. Is this the right database, or an older copy? "
        "If it is not the right one, put that back: nothing was moved. If it is: inbox storage sweep --yes"
    )
