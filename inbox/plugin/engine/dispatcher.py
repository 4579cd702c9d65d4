"""Dispatcher: the only module that calls hooks.

A stage's plugins run level by level (``inbox.policy.plan``). Within a level, ``def`` hooks are called first, in the
policy's order, then all ``async def`` hooks wait together. A Reject that counts ends the stage, except for ``def``
hooks of plugins with ``always``, and for the edits of ``at_least``. A failure of a plugin becomes its ``on_error``
outcome, is logged with its name, and is part of the decision record.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Unpack

from inbox.base.clock import Clock
from inbox.base.errors import InboxError
from inbox.plugin.api.facts import Facts
from inbox.plugin.api.services import Log
from inbox.plugin.engine.guard import Guard, HookOverrun
from inbox.plugin.engine.instances import Instance, Instances
from inbox.plugin.engine.opinions import InvalidAnswer, edits_of, opinions_of
from inbox.plugin.engine.settling import NOTHING, settle, verdict_on_error
from inbox.plugin.engine.steps import Steps
from inbox.plugin.engine.views import Given, Known, shadowed
from inbox.policy.catalogue import Mode
from inbox.policy.merge import PluginEntry
from inbox.policy.outcome import StageOutcome, Status, Trace
from inbox.policy.snapshot import EffectivePolicy
from inbox.policy.stages import Stage
from inbox.policy.verdicts import Opinion, Reject


@dataclass(frozen=True, slots=True)
class _Call:
    """One plugin at one stage of one policy. ``number`` is its position in the plan, for a stable record."""

    number: int
    stage: Stage
    entry: PluginEntry
    instance: Instance
    is_async: bool
    shadow: bool


_Levels = tuple[tuple[_Call, ...], ...]


@dataclass(slots=True)
class Memo:
    """Results at ``data`` that another tenant's plan for the same message may reuse. Make one for each message.

    ``underway`` are the results that a plan is waiting for: the plans of all tenants run at once, and a message for a
    hundred tenants must not cost a hundred times as much.
    """

    results: dict[Instance, Trace] = field(default_factory=dict)
    underway: dict[Instance, asyncio.Future[None]] = field(default_factory=dict)


class Dispatcher:
    """Runs the hooks of a stage.

    Args:
        instances: makes and shares the plugin objects.
        guard: interrupts hooks that keep the event loop to themselves.
        clock: its ``monotonic`` times the calls.
        log: gets every failure.
    """

    def __init__(self, instances: Instances, guard: Guard, clock: Clock, log: Log) -> None:
        self._instances = instances
        self.guard = guard
        self.clock = clock
        self.log = log
        self._bound: weakref.WeakKeyDictionary[EffectivePolicy, dict[Stage, _Levels]] = weakref.WeakKeyDictionary()

    async def run(
        self, stage: Stage, policy: EffectivePolicy, memo: Memo | None = None, **given: Unpack[Given]
    ) -> StageOutcome:
        """Calls every plugin of ``policy`` that has a hook at ``stage``.

        Never raises because of a plugin; cancelling it cancels the hooks that are waiting.

        Args:
            memo: at ``data``, if the plans of several tenants run for one message: the same object for all of them.
            given: the arguments that the stage's hook specification names.
        """
        levels = self._levels(stage, policy)
        if not levels:
            return NOTHING[stage]
        run = _Run(self, stage, given, memo)
        for level in levels:
            await run.level(level)
        return settle(stage, policy, run.ordered())

    async def make(self, instance: Instance) -> None:
        """Makes the plugin object of an instance. Raises what the plugin raises."""
        await self._instances.make(instance)

    def _levels(self, stage: Stage, policy: EffectivePolicy) -> _Levels:
        stages = self._bound.get(policy)
        if stages is None:
            stages = self._bound[policy] = {}
        levels = stages.get(stage)
        if levels is None:
            levels = stages[stage] = self._bind(stage, policy)
        return levels

    def _bind(self, stage: Stage, policy: EffectivePolicy) -> _Levels:
        number = 0
        levels: list[tuple[_Call, ...]] = []
        for level in policy.levels(stage):
            calls = []
            for entry in level:
                instance = self._instances.get(entry)
                hook = instance.loaded.hook(stage)
                calls.append(_Call(number, stage, entry, instance, hook.is_async, entry.mode is Mode.SHADOW))
                number += 1
            levels.append(tuple(calls))
        return tuple(levels)


class _Run:
    """One stage for one message, recipient or connection."""

    __slots__ = (
        "_decided", "_dispatcher", "_given", "_known", "_memo", "_shadow_given", "_shadow_known", "_stage", "_traces",
    )  # fmt: skip

    def __init__(self, dispatcher: Dispatcher, stage: Stage, given: Mapping[str, Any], memo: Memo | None) -> None:
        self._dispatcher = dispatcher
        self._stage = stage
        self._given = given
        self._memo = memo if stage is Stage.DATA else None
        self._known = Known(given)
        self._shadow_given: Mapping[str, Any] | None = None
        self._shadow_known: Known | None = None
        self._traces: dict[int, Trace] = {}
        self._decided = ""

    def ordered(self) -> tuple[Trace, ...]:
        """The traces, in the plan's order."""
        return tuple(self._traces[number] for number in sorted(self._traces))

    async def level(self, level: tuple[_Call, ...]) -> None:
        """Runs plugins that do not wait for one another."""
        waiting: list[_Call] = []
        for call in level:
            loaded = call.instance.loaded
            if self._decided and (call.is_async or not loaded.always):
                if not loaded.at_least or call.instance.plugin is not None or await self._make(call):
                    self._skip(call)
            elif self._reuse(call) or self._refused(call):
                continue
            elif call.instance.plugin is not None or await self._make(call):
                if call.is_async:
                    waiting.append(call)
                else:
                    self._call(call)
        if self._decided:
            for call in waiting:
                call.instance.breaker.abandoned()
                self._skip(call)
        elif len(waiting) == 1:
            await self._wait(waiting[0], alone=True)
        elif waiting:
            await self._wait_together(waiting)

    # --- calling ---

    async def _make(self, call: _Call) -> bool:
        """Makes the plugin when it is needed for the first time. False if that failed."""
        started = self._dispatcher.clock.monotonic()
        try:
            await self._dispatcher.make(call.instance)
        except asyncio.CancelledError as error:
            self._cancelled(call, error, started)
        except BaseException as error:  # noqa: BLE001  As in _call().
            self._failed(call, error, started)
        return call.instance.plugin is not None

    def _call(self, call: _Call) -> None:
        """Calls a ``def`` hook of a plugin that exists already."""
        function, hook = call.instance.calls[self._stage]
        given = self._given_for(call)
        guard, clock = self._dispatcher.guard, self._dispatcher.clock
        started = clock.monotonic()
        try:
            guard.enter()
            try:
                result = function(*[given[name] for name in hook.arguments])
            finally:
                guard.leave()
        except BaseException as error:  # noqa: BLE001
            # Plugins are foreign code: every exception of theirs becomes their on_error outcome. Even a
            # KeyboardInterrupt: ours is a signal that the loop handles, and theirs would end the server.
            self._failed(call, error, started)
            return
        self._answered(call, result, started, alone=True)

    async def _wait(self, call: _Call, *, alone: bool) -> None:
        """Calls and awaits an ``async def`` hook."""
        dispatcher, instance = self._dispatcher, call.instance
        started = dispatcher.clock.monotonic()
        limit: asyncio.Timeout | None = None
        try:
            if await self._reuse_when_done(call):
                return
            function, hook = instance.calls[self._stage]
            given = self._given_for(call)
            steps = Steps(function(*[given[name] for name in hook.arguments]), dispatcher.guard)
            if not steps.begin():
                limit = asyncio.timeout(call.entry.timeout)
                with self._underway(call):
                    async with limit:
                        await steps
            result = steps.result
        except asyncio.CancelledError as error:
            self._cancelled(call, error, started)
        except BaseException as error:  # noqa: BLE001  As in _call().
            self._failed(call, error, started, late=limit is not None and limit.expired())
        else:
            if limit is not None and limit.expired():
                self._failed(call, TimeoutError(), started, late=True)
            else:
                self._answered(call, result, started, alone=alone)

    async def _reuse_when_done(self, call: _Call) -> bool:
        """Whether another tenant's plan waited for the same result, which is usable. After its failure all others call
        the hook at once: waiting for one another would add up their time limits."""
        first = None if self._memo is None or call.shadow else self._memo.underway.get(call.instance)
        if first is None:
            return False
        await asyncio.wait([first])
        if self._reuse(call):
            call.instance.breaker.abandoned()
            return True
        return False

    @contextmanager
    def _underway(self, call: _Call) -> Iterator[None]:
        """Marks this result as under way, until it is there or will not come."""
        memo = self._memo
        if memo is None or call.shadow or not call.instance.shareable or call.instance in memo.underway:
            yield
            return
        done = memo.underway[call.instance] = asyncio.get_running_loop().create_future()
        try:
            yield
        finally:
            # Waiting plans continue in the loop's next iteration: by then the result is in the memo.
            del memo.underway[call.instance]
            done.set_result(None)

    async def _wait_together(self, calls: list[_Call]) -> None:
        """Several hooks at once; those still waiting when the outcome is settled are cancelled."""
        tasks = {asyncio.ensure_future(self._wait(call, alone=False)): call for call in calls}
        pending = set(tasks)
        try:
            while pending and not self._decided:
                done, pending = await asyncio.wait(pending, return_when=asyncio.FIRST_COMPLETED)
                for task in done:
                    task.result()
        finally:
            for task in pending:
                task.cancel()
            if pending:
                await asyncio.wait(pending)
        for task in pending:
            if task.cancelled():
                self._skip(tasks[task])
        self._known.check_rest(self._dispatcher.log, [call.entry.name for call in calls])

    # --- results ---

    def _cancelled(self, call: _Call, error: asyncio.CancelledError, started: float) -> None:
        """Raises ``error`` if this task was cancelled; otherwise the plugin raised it, which is a failure."""
        task = asyncio.current_task()
        if task is None or task.cancelling():
            call.instance.breaker.abandoned()
            raise error
        self._failed(call, error, started)

    def _answered(self, call: _Call, result: Any, started: float, *, alone: bool) -> None:
        try:
            opinions = opinions_of(result, self._stage)
            facts = self._known_for(call).new(call.entry.info.gives, alone=alone)
        except InvalidAnswer as error:
            if isinstance(result, Coroutine):
                result.close()
            self._failed(call, error, started)
            return
        call.instance.breaker.succeeded()
        taken = self._dispatcher.clock.monotonic() - started
        if taken > self._dispatcher.guard.limit and not call.is_async:
            # Where the guard can interrupt, this is a hook that ended just in time.
            self._dispatcher.log.warning("plugin_slow", plugin=call.entry.name, stage=self._stage.value, seconds=taken)
        trace = Trace(call.entry, self._stage, Status.DONE, opinions, facts, int(taken * 1e6))
        self._traces[call.number] = trace
        if self._memo is not None and call.instance.shareable and not call.shadow:
            self._memo.results[call.instance] = trace
        self._look(call, opinions)

    def _failed(self, call: _Call, error: BaseException, started: float, *, late: bool = False) -> None:
        # The interruption may have come between the hook's end and leave(): the next one would hit the core.
        self._dispatcher.guard.leave()
        status = Status.LATE if late or isinstance(error, HookOverrun) else Status.FAILED
        why = f"{type(error).__name__}: {error}"
        if isinstance(error, InvalidAnswer):
            status, why = Status.NONSENSE, str(error)
        elif late:
            why = f"no answer within {call.entry.timeout:g} s"
        elif isinstance(error, HookOverrun):
            why = str(error)
        taken = int((self._dispatcher.clock.monotonic() - started) * 1e6)
        opened = call.instance.breaker.failed(why)
        # An exception that a plugin raises on purpose (clamd is down) needs no traceback, which would fill the log.
        self._dispatcher.log.error(
            "plugin_failed", plugin=call.entry.name, stage=self._stage.value, status=status.value, why=why,
            on_error=call.entry.on_error_at(self._stage).value, breaker="open" if opened else "closed",
            exc_info=error if status is Status.FAILED and not isinstance(error, InboxError) else None,
        )  # fmt: skip
        self._apply_on_error(call, status, why, taken)

    def _refused(self, call: _Call) -> bool:
        breaker = call.instance.breaker
        if not breaker.refuses():
            return False
        self._apply_on_error(call, Status.BROKEN, f"not called after several failures; the last: {breaker.reason}", 0)
        return True

    def _apply_on_error(self, call: _Call, status: Status, why: str, taken: int) -> None:
        opinions = (verdict_on_error(call.entry, self._stage), *self._at_least(call))
        facts = self._known_for(call).new(call.entry.info.gives, alone=False)
        self._traces[call.number] = Trace(call.entry, self._stage, status, opinions, facts, taken, why)
        self._look(call, opinions)

    def _reuse(self, call: _Call) -> bool:
        if self._memo is None or call.shadow:
            return False
        earlier = self._memo.results.get(call.instance)
        facts: Facts = self._given["tx"].facts
        if earlier is None or any(facts.get(type(fact)) not in (None, fact) for fact in earlier.facts):
            return False  # Another plugin gave a different fact for this tenant: the hook is called.
        for fact in earlier.facts:
            facts.put(fact)
        found = self._known.new(call.entry.info.gives, alone=False)
        self._traces[call.number] = Trace(call.entry, self._stage, Status.REUSED, earlier.opinions, found)
        self._look(call, earlier.opinions)
        return True

    def _skip(self, call: _Call) -> None:
        why = f"{self._decided} had already decided"
        self._traces[call.number] = Trace(call.entry, self._stage, Status.SKIPPED, self._at_least(call), why=why)

    def _at_least(self, call: _Call) -> tuple[Opinion, ...]:
        """The edits of ``at_least`` if a hook was not called or failed; none if this fails, too."""
        plugin = call.instance.plugin
        if plugin is None or self._stage is not Stage.DATA or not call.instance.loaded.at_least:
            return ()
        guard = self._dispatcher.guard
        try:
            guard.enter()
            return edits_of(plugin.at_least(self._given_for(call)["tx"]))
        except BaseException as error:  # noqa: BLE001  As in _call().
            why = f"{type(error).__name__}: {error}"
            log = self._dispatcher.log
            log.error("plugin_failed", plugin=call.entry.name, stage="at_least", why=why)  # noqa: TRY400  see Log
            return ()
        finally:
            guard.leave()

    def _look(self, call: _Call, opinions: tuple[Opinion, ...]) -> None:
        """Ends the stage at a Reject that counts: no other opinion can override it."""
        if opinions and not call.shadow and not self._decided and any(type(opinion) is Reject for opinion in opinions):
            self._decided = call.entry.name

    def _given_for(self, call: _Call) -> Mapping[str, Any]:
        if not call.shadow:
            return self._given
        if self._shadow_given is None:
            self._shadow_given = shadowed(self._given)
        return self._shadow_given

    def _known_for(self, call: _Call) -> Known:
        if not call.shadow:
            return self._known
        if self._shadow_known is None:
            self._shadow_known = Known(self._given_for(call), fresh=True)
        return self._shadow_known
