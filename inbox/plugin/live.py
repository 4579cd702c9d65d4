"""Policies and plugins while the server runs: a changed file is loaded, checked and swapped in.

What happens when:

- A changed or new policy file that is right is in force for the next message. Messages under way hold the policy under
  which they began.
- A wrong one changes nothing; its mistakes are logged and kept in ``last_error``. Other files are not held up by it.
- A file that vanishes changes nothing either: editors and deployments remove files for a moment. The policy in force
  stays until :meth:`LivePolicies.reload` is asked for; from then on a tenant without a file has the default.
- A changed or new plugin file is imported anew, and all policies are checked against it. If a policy no longer fits,
  the old plugin stays in force.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from pathlib import Path
from typing import Final

import watchfiles

from inbox.base.errors import PolicyError
from inbox.plugin.instances import Instances
from inbox.plugin.registry import Found, Registry
from inbox.plugin.services import Log
from inbox.policy.mistakes import PolicyMistakes
from inbox.policy.snapshot import DEFAULT_FILE, TENANT_FOLDER, PolicySet

#: Milliseconds for which changes are collected: an editor's rename and write are one change.
DEBOUNCE_MS: Final = 200
#: Milliseconds between two looks whether the folders are still the same.
LOOK_MS: Final = 2000
#: A larger policy is checked in a thread: a MiB of it takes seconds, for which nobody's mail would be served.
INLINE_OCTETS: Final = 16 * 1024
#: Seconds until watching begins anew when it ended.
RETRY_SECONDS: Final = 1.0


class LivePolicies:
    """Holds the policies in force. To be opened before it is used.

    Args:
        folder: the policy folder (INBOX_POLICY_DIR).
        registry: finds plugins.
        log: told of every swap and every mistake.

    Attributes:
        found: the plugins that are installed.
        last_error: what is wrong with files that were changed and are not in force, one mistake in each line; or None.
        instances: if set, plugin objects that no policy uses any more are closed after a swap.
    """

    def __init__(self, folder: Path, registry: Registry, log: Log) -> None:
        self._folder = folder
        self._registry = registry
        self._log = log
        self._lock = asyncio.Lock()
        self._errors: dict[str, str] = {}
        self._replaced = False
        self.found = Found({})
        self.last_error: str | None = None
        self.instances: Instances | None = None
        self._current = PolicySet(folder, self.found)

    def open(self) -> None:
        """Finds plugins and loads the policies.

        Raises:
            PolicyMistakes: the policies are wrong; a server does not start with those.
        """
        self.found = self._registry.discover()
        self._tell_problems(self.found)
        self._current = PolicySet.load(self._folder, self.found)

    @property
    def current(self) -> PolicySet:
        """The policies in force. Whoever needs one for longer holds the EffectivePolicy."""
        return self._current

    async def reload(self) -> list[str]:
        """Reads everything again: plugins, default.yaml, all tenants. All of it comes into force, or nothing.

        Returns:
            What is wrong: mistakes in policies (then nothing changed), and plugins that cannot be loaded.
        """
        async with self._lock:
            found = await asyncio.to_thread(self._registry.discover)
            problems = [str(problem) for problem in found.problems]
            try:
                new = await asyncio.to_thread(PolicySet.load, self._folder, found)
            except PolicyError as error:
                self._errors = self._by_file(error)
                self._refused(error)
                return [*str(error).splitlines(), *problems]
            self._errors = {}
            await self._swap(new, found)
            return problems

    async def watch(self) -> None:
        """Follows the folders until it is cancelled, also when they are replaced by others of the same name."""
        while True:
            try:
                async for paths in self._changes():
                    await self.changed(paths)
            except Exception as error:  # noqa: BLE001  Whatever a changed file leads to, watching goes on.
                self._log.error("policy_watch_failed", error=f"{type(error).__name__}: {error}", exc_info=error)
            await asyncio.sleep(RETRY_SECONDS)

    async def changed(self, paths: Iterable[Path]) -> None:
        """Takes up changes of these files."""
        plugins, policies = False, set[str]()
        plugin_folder = self._registry.folder.resolve() if self._registry.folder is not None else None
        for path in paths:
            if path.parent == plugin_folder:
                plugins = plugins or path.suffix == ".py"
            elif (name := self._policy_name(path)) is not None:
                policies.add(name)
        async with self._lock:
            if plugins:
                await self._plugins_changed()
            if DEFAULT_FILE in policies:
                await self._take([DEFAULT_FILE])
            await self._take_tenants(sorted(policies - {DEFAULT_FILE}))

    async def _take_tenants(self, names: list[str]) -> None:
        if len(names) > 1:
            try:
                new = await asyncio.to_thread(self._current.reload, names)
            except PolicyError:
                pass  # Told below, for each file by itself.
            else:
                for name in names:
                    self._errors.pop(name, None)
                await self._swap(new, self.found)
                return
        # Each by itself: one tenant's mistake must not keep another tenant's change from coming into force.
        for name in names:
            await self._take([name])

    async def _take(self, names: list[str]) -> None:
        try:
            if DEFAULT_FILE in names or any(_size(self._folder / name) > INLINE_OCTETS for name in names):
                new = await asyncio.to_thread(self._current.reload, names)
            else:
                new = self._current.reload(names)
        except PolicyError as error:
            self._errors[names[0]] = str(error)
            self._refused(error)
            return
        for name in [DEFAULT_FILE, "reload", *names] if DEFAULT_FILE in names else names:
            self._errors.pop(name, None)
        await self._swap(new, self.found)

    async def _plugins_changed(self) -> None:
        found = await asyncio.to_thread(self._registry.discover)
        self._tell_problems(found)
        if dict(found.plugins) == dict(self.found.plugins):
            self.found = found
            return
        try:
            new = await asyncio.to_thread(self._current.with_catalogue, found)
        except PolicyError as error:
            self._errors["plugins"] = str(error)
            self._refused(error)
            return
        self._errors.pop("plugins", None)
        await self._swap(new, found)
        # A file that was refused because it names a plugin that had not come yet may be right now.
        for name in [name for name in self._errors if name.endswith(".yaml")]:
            await self._take([name])

    async def _swap(self, new: PolicySet, found: Found) -> None:
        self._current, self.found = new, found
        self.last_error = "\n".join(self._errors.values()) or None
        self._log.info("policies_loaded", tenants=len(new.tenants()), plugins=len(found.plugins))
        if self.instances is not None:
            await self.instances.close_retired()

    def _by_file(self, error: PolicyError) -> dict[str, str]:
        """The mistakes of a reload, by the names of the files: whoever mends one of them has its mistakes taken off."""
        if not isinstance(error, PolicyMistakes):
            return {"reload": str(error)}
        found: dict[str, str] = {}
        for mistake in error.mistakes:
            name = self._policy_name(Path(mistake.place.file).resolve()) or "reload"
            found[name] = f"{found[name]}\n{mistake}" if name in found else str(mistake)
        return found

    def _refused(self, error: PolicyError) -> None:
        self.last_error = "\n".join(self._errors.values())
        mistakes = error.mistakes if isinstance(error, PolicyMistakes) else [str(error)]
        for mistake in mistakes:
            self._log.error("policy_refused", mistake=str(mistake))

    def _tell_problems(self, found: Found) -> None:
        for problem in found.problems:
            self._log.error("plugin_not_loaded", plugin=problem.name, source=problem.source, why=problem.why)

    def _policy_name(self, path: Path) -> str | None:
        """``default.yaml`` or ``tenants/NAME.yaml``; None for what is no policy."""
        try:
            relative = path.relative_to(self._folder.resolve())
        except ValueError:
            return None
        if path.suffix != ".yaml" or path.name.startswith("."):
            return None
        name = relative.as_posix()
        return name if name == DEFAULT_FILE or relative.parent.as_posix() == TENANT_FOLDER else None

    async def _changes(self) -> AsyncIterator[set[Path]]:
        """Changed files, until a folder is not the one any more that was watched."""
        watched = self._watched()
        if self._replaced:
            yield self._all_files()
        self._replaced = True
        async for changes in watchfiles.awatch(
            *watched, debounce=DEBOUNCE_MS, step=50, watch_filter=None, rust_timeout=LOOK_MS, yield_on_timeout=True
        ):
            paths = {Path(path) for _, path in changes}
            if any(path.is_dir() for path in paths):
                # A folder was moved, or a link to one (as Kubernetes does): what is below it may be new.
                paths |= self._all_files()
            if paths:
                yield paths
            if self._watched() != watched:
                return

    def _watched(self) -> dict[Path, int]:
        """The folders that are there, with their inode numbers."""
        folders = [self._folder, *([self._registry.folder] if self._registry.folder is not None else [])]
        return {folder.resolve(): folder.stat().st_ino for folder in folders if folder.is_dir()}

    def _all_files(self) -> set[Path]:
        folder = self._folder.resolve()
        files = {folder / DEFAULT_FILE, *(folder / TENANT_FOLDER).glob("*.yaml")}
        if self._registry.folder is not None:
            files |= set(self._registry.folder.resolve().glob("*.py"))
        return files


def _size(path: Path) -> int:
    """Octets; 0 if nobody can say, which who reads it will find out."""
    try:
        return path.stat().st_size
    except OSError:
        return 0
