"""Plugin objects: one for each plugin, settings and time-out, shared by all tenants that have the same."""

from __future__ import annotations

import asyncio
import weakref
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Any, Final

from inbox.base.limits import HOOK_SECONDS
from inbox.plugin.api.plugin import Plugin
from inbox.plugin.api.services import Log, Services
from inbox.plugin.engine.breaker import Breaker
from inbox.plugin.engine.guard import Guard
from inbox.plugin.engine.inspection import Hook, LoadedPlugin
from inbox.plugin.engine.steps import Steps
from inbox.policy.merge import PluginEntry
from inbox.policy.stages import Stage


class Instance:
    """A plugin object that is made and started when it is first needed.

    ``calls`` has, for each stage, the bound method, its arguments and whether it must be awaited; it is
    empty until the object is made. ``breaker`` may be shared with others that have the same ``dependency``.
    """

    __slots__ = ("__weakref__", "_making", "breaker", "calls", "entry", "loaded", "plugin")

    def __init__(self, entry: PluginEntry, loaded: LoadedPlugin, breaker: Breaker) -> None:
        self.entry = entry
        self.loaded = loaded
        self.breaker = breaker
        self.plugin: Plugin | None = None
        self.calls: dict[Stage, tuple[Callable[..., Any], Hook]] = {}
        self._making = asyncio.Lock()

    @property
    def shareable(self) -> bool:
        """Whether a result at ``data`` depends on message and settings only."""
        return self.loaded.shareable


class Instances:
    """Makes, shares and retires plugin objects.

    Nothing is kept that no policy uses: an instance lives as long as a policy in force or a message under way
    refers to it. The plugin objects of instances that are gone wait for :meth:`close_retired`.
    """

    def __init__(self, services: Services, guard: Guard, *, failures: int = 5, cool_down: float = 30) -> None:
        self._services = services
        self._guard = guard
        self._failures = failures
        self._cool_down = cool_down
        self._shared: Final[weakref.WeakValueDictionary[tuple[LoadedPlugin, str, float], Instance]] = (
            weakref.WeakValueDictionary()
        )
        self._breakers: Final[weakref.WeakValueDictionary[str, Breaker]] = weakref.WeakValueDictionary()
        self._retired: Final[deque[tuple[str, Plugin]]] = deque()

    @property
    def log(self) -> Log:
        return self._services.log

    def get(self, entry: PluginEntry) -> Instance:
        """The instance for these settings; its plugin is made when it is first used.

        Raises:
            TypeError: the policy was loaded with a catalogue of descriptions instead of plugins.
        """
        loaded = entry.info
        if not isinstance(loaded, LoadedPlugin):
            raise TypeError(f"{entry.name} is described, but was not loaded")
        key = (loaded, entry.settings_hash, entry.timeout)
        found = self._shared.get(key)
        if found is None:
            breaker = self._breaker(f"{entry.name} {entry.settings_hash}", entry.timeout)
            found = self._shared[key] = Instance(entry, loaded, breaker)
        return found

    async def make(self, instance: Instance) -> None:
        """Makes the plugin object and runs its ``start``. Does nothing if it exists already.

        Raises:
            whatever the plugin raises; HookOverrun and TimeoutError if it takes too long.
        """
        async with instance._making:
            if instance.plugin is not None:
                return
            loaded, settings = instance.loaded, instance.entry.settings
            self._guard.enter()
            try:
                plugin = loaded.make(settings, self._given_to(loaded))
            finally:
                self._guard.leave()
            async with asyncio.timeout(HOOK_SECONDS):
                await Steps(plugin.start(), self._guard)
            dependency = plugin.dependency
            if dependency is not None:
                instance.breaker = self._breaker(dependency, instance.entry.timeout)
            instance.calls = {hook.stage: (getattr(plugin, hook.method), hook) for hook in loaded.hooks}
            instance.plugin = plugin
            weakref.finalize(instance, self._retired.append, (loaded.name, plugin)).atexit = False

    def _given_to(self, loaded: LoadedPlugin) -> Services:
        tables = self._services.table.of_plugin(loaded.name, shareable=loaded.shareable)
        return replace(self._services, table=tables)

    def _breaker(self, dependency: str, timeout: float) -> Breaker:
        # A call that is late for a tenant with a short time-out may be in time for others: their calls must go on.
        name = f"{dependency} {timeout:g}"
        found = self._breakers.get(name)
        if found is None:
            found = Breaker(self._services.clock, self._failures, self._cool_down)
            self._breakers[name] = found
        return found

    def living(self) -> list[Instance]:
        """All instances that a policy in use refers to."""
        return list(self._shared.values())

    def failing(self) -> list[dict[str, Any]]:
        """Plugins in use whose last call failed: ``plugin``, ``failures`` in a row, ``breaker``, ``why``."""
        return [
            {
                "plugin": instance.entry.name,
                "settings": instance.entry.settings_hash,
                "failures": instance.breaker.failures,
                "breaker": "open" if instance.breaker.is_open else "closed",
                "why": instance.breaker.reason,
            }
            for instance in sorted(self.living(), key=lambda each: each.entry.name)
            if instance.breaker.failures
        ]

    async def close_retired(self) -> None:
        """Closes plugin objects that nothing refers to any more."""
        while self._retired:
            await self._close(*self._retired.popleft())

    async def close(self) -> None:
        """Closes all plugin objects. Call it once, when no hook runs any more."""
        for instance in self.living():
            if instance.plugin is not None:
                plugin, instance.plugin, instance.calls = instance.plugin, None, {}
                await self._close(instance.loaded.name, plugin)
        await self.close_retired()

    async def _close(self, name: str, plugin: Plugin) -> None:
        try:
            async with asyncio.timeout(HOOK_SECONDS):
                await Steps(plugin.close(), self._guard)
        except asyncio.CancelledError:
            raise
        except BaseException as error:  # noqa: BLE001  One plugin's failure must not keep the others from closing.
            self._guard.leave()
            self.log.warning("plugin_close_failed", plugin=name, error=f"{type(error).__name__}: {error}")
