"""Live reload of policies and plugins: loads and checks changed files and puts them in force.

Rules:

- A valid policy file, changed or new, applies to the next message. Messages under way keep the policy under which they
  began.
- An invalid file changes nothing; its mistakes are logged and kept in ``last_error``. Other files are not delayed.
- A file that is invalid when the server starts suspends its tenant, because no earlier policy is known. The tenant is
  served again as soon as the file is valid.
- If a file is removed, the default applies to its tenant a second later: editors and deployments replace files.
- If the folder is missing or unmounted, the policies that were read stay in force, and an error is logged.
- A changed or new plugin file is imported again, and all policies are checked against it. If a policy no longer fits,
  the old plugin stays in force.
- A reload finds packages that were installed meanwhile, as does a policy that names an unknown plugin.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import Final

import watchfiles

from inbox.base.errors import PolicyError
from inbox.plugin.api.services import Log
from inbox.plugin.engine.folder_watch import PolicyFolderWatch
from inbox.plugin.engine.instances import Instances
from inbox.plugin.engine.registry import Found, Registry
from inbox.policy.folder import DEFAULT_FILE, TENANT_FOLDER, read_policies
from inbox.policy.mistakes import Mistakes, PolicyMistakes
from inbox.policy.snapshot import PolicySet

#: Milliseconds for which changes are collected: an editor's rename and write are one change.
DEBOUNCE_MS: Final = 200
#: Milliseconds between two checks that the folders are still the same.
LOOK_MS: Final = 2000
#: A larger policy is checked in a thread: a MiB takes seconds, during which no mail would be served.
INLINE_OCTETS: Final = 16 * 1024
#: Seconds until watching restarts after it ended.
RETRY_SECONDS: Final = 1.0
#: The key of the error for a missing policy folder, among the names of files.
_GONE: Final = "folder"


class LivePolicies:
    """The policies in force. Call :meth:`open` first.

    Args:
        folder: the policy folder (INBOX_POLICY_DIR).
        registry: finds plugins.
        log: gets every change and every mistake.
        now: seconds of a monotonic clock.

    Attributes:
        found: the plugins that are installed.
        last_error: the mistakes in changed files that are not in force, one in each line; or None.
        instances: if set, plugin objects that no policy uses any more are closed after a swap.
    """

    def __init__(self, folder: Path, registry: Registry, log: Log, now: Callable[[], float] = time.monotonic) -> None:
        self._folder = folder
        self._registry = registry
        self._log = log
        self._lock = asyncio.Lock()
        self._errors: dict[str, str] = {}
        self._replaced = False
        self._presence = PolicyFolderWatch(folder, now)
        self._gone = ""
        self.found = Found({})
        self.last_error: str | None = None
        self.instances: Instances | None = None
        self._current = PolicySet(folder, self.found)

    def open(self) -> None:
        """Finds plugins and loads the policies; tenants whose file is invalid are suspended.

        Raises:
            PolicyMistakes: default.yaml, which applies to all tenants, is invalid; the server does not start.
        """
        self.found = self._registry.discover()
        self._log_problems(self.found)
        self._current = PolicySet.load_suspending(self._folder, self.found)
        self._presence.remember()
        self._keep_errors(self._current)
        self._log_suspended({})

    @property
    def current(self) -> PolicySet:
        """The policies in force. Callers that need one for longer keep the EffectivePolicy."""
        return self._current

    @property
    def suspended(self) -> Mapping[str, PolicyMistakes]:
        """The tenants without a policy, and their mistakes."""
        return self._current.suspended

    async def reload(self) -> list[str]:
        """Reads everything again: plugins, default.yaml, all tenants.

        An invalid default.yaml changes nothing. A tenant whose file is invalid keeps its policy; the other files are
        put in force.

        Returns:
            Errors: mistakes in policies, a folder that is gone, and plugins that cannot be loaded.
        """
        async with self._lock:
            found = await asyncio.to_thread(partial(self._registry.discover, rescan=True))
            problems = [str(problem) for problem in found.problems]
            if await self._note_gone(at_once=True):
                return [self._errors[_GONE], *problems]
            try:
                new = await asyncio.to_thread(PolicySet.load_suspending, self._folder, found, self._current)
            except PolicyError as error:
                self._errors = self._by_file(error)
                self._refused(error)
                return [*str(error).splitlines(), *problems]
            self._keep_errors(new)
            await self._swap(new, found)
            for mistakes in new.refused.values():
                self._refused(mistakes)
            return [*(line for mistakes in new.refused.values() for line in str(mistakes).splitlines()), *problems]

    async def take(self, tenant: str) -> list[str]:
        """Puts a tenant's file in force now, without waiting for the watcher, and looks for new plugins.

        Returns:
            The mistakes in the file; it is in force if there are none.

        Raises:
            PolicyError: the name is not a valid file name.
        """
        name = PolicySet.relative_name(tenant)
        async with self._lock:
            if await asyncio.to_thread(self._presence.note, [name]):
                await self._take([name])
            return self._errors.get(name, "").splitlines()

    async def watch(self) -> None:
        """Watches the folders until it is cancelled, also if they are replaced by others of the same name."""
        while True:
            try:
                async for paths in self._changes():
                    await self.changed(paths)
            except Exception as error:  # noqa: BLE001  No changed file may end the watching.
                self._log.error("policy_watch_failed", error=f"{type(error).__name__}: {error}", exc_info=error)
            await asyncio.sleep(RETRY_SECONDS)

    async def changed(self, paths: Iterable[Path]) -> None:
        """Puts changes of these files in force."""
        plugins, policies = False, set[str]()
        plugin_folder = self._registry.folder.resolve() if self._registry.folder is not None else None
        for path in paths:
            if path.parent == plugin_folder:
                plugins = plugins or path.suffix == ".py"
            elif (name := self._policy_name(path)) is not None:
                policies.add(name)
        async with self._lock:
            if plugins:
                await self._plugins_changed(self._registry.discover)
            # In threads: a network file system that does not answer must block nothing else.
            there = await asyncio.to_thread(self._presence.note, sorted(policies))
            if DEFAULT_FILE in there:
                await self._take([DEFAULT_FILE])
                await self._retry()
            await self._take_tenants([name for name in there if name != DEFAULT_FILE])
            await self._take_away()

    async def _take_away(self) -> None:
        """Drops the policies of removed files, unless the whole folder is missing."""
        if await self._note_gone():
            return
        removed = await asyncio.to_thread(self._presence.removed)
        if DEFAULT_FILE in removed:
            await self._take([DEFAULT_FILE])  # It cannot be read, and the error is reported.
        names = [name for name in removed if name != DEFAULT_FILE]
        if not names:
            return
        for name in names:
            self._errors.pop(name, None)
            self._log.info("policy_removed", tenant=Path(name).stem, file=str(self._folder / name))
        await self._swap(self._current.without(Path(name).stem for name in names), self.found)

    async def _note_gone(self, *, at_once: bool = False) -> bool:
        """Whether the folder is missing. Logs that once, and not while the folder may be being replaced."""
        wanted = bool(self._current.tenants() or self.suspended)
        gone = await asyncio.to_thread(self._presence.gone) if wanted else ""
        if not gone:
            await asyncio.to_thread(self._presence.remember)
        if gone and gone != self._gone and (at_once or self._presence.lasting):
            self._gone = gone
            self._errors[_GONE] = f"{gone}: the policies that were read before stay in force"
            self.last_error = "\n".join(self._errors.values())
            self._log.error("policy_folder_gone", folder=str(self._folder), why=gone)
        elif self._gone and not gone:
            self._gone = ""
            self._errors.pop(_GONE, None)
            self.last_error = "\n".join(self._errors.values()) or None
            self._log.info("policy_folder_back", folder=str(self._folder))
        return bool(gone)

    async def _take_tenants(self, names: list[str]) -> None:
        if len(names) > 1:
            try:
                new = await asyncio.to_thread(self._current.reload, names)
            except PolicyError:
                pass  # Reported below, file by file.
            else:
                for name in names:
                    self._errors.pop(name, None)
                await self._swap(new, self.found)
                return
        # File by file: one tenant's mistake must not block another tenant's change.
        for name in names:
            await self._take([name])

    async def _take(self, names: list[str]) -> None:
        try:
            try:
                new = await self._reloaded(names)
            except PolicyError:
                # It may name a plugin of a package that was installed meanwhile.
                if not await self._plugins_changed(partial(self._registry.discover, rescan=True)):
                    raise
                new = await self._reloaded(names)
        except PolicyError as error:
            self._errors[names[0]] = str(error)
            self._still_suspended(names[0], error)
            self._refused(error)
            return
        for name in [DEFAULT_FILE, "reload", *names] if DEFAULT_FILE in names else names:
            self._errors.pop(name, None)
        await self._swap(new, self.found)

    async def _reloaded(self, names: list[str]) -> PolicySet:
        """The policies with these files read again. Raises PolicyError."""
        mistakes = Mistakes()
        texts = await asyncio.to_thread(read_policies, self._folder, names, mistakes)
        mistakes.check()
        if DEFAULT_FILE in names or any(len(text) > INLINE_OCTETS for text in texts.values()):
            return await asyncio.to_thread(self._current.reload, names, texts)
        return self._current.reload(names, texts)

    async def _plugins_changed(self, discover: Callable[[], Found]) -> bool:
        """Puts the installed plugins in force; False if they are the same, or do not fit the policies."""
        found = await asyncio.to_thread(discover)
        if set(map(str, found.problems)) != set(map(str, self.found.problems)):
            self._log_problems(found)
        if dict(found.plugins) == dict(self.found.plugins):
            self.found = found
            return False
        try:
            new = await asyncio.to_thread(self._current.with_catalogue, found)
        except PolicyError as error:
            self._errors["plugins"] = str(error)
            self._refused(error)
            return False
        self._errors.pop("plugins", None)
        await self._swap(new, found)
        await self._retry()
        return True

    async def _retry(self) -> None:
        """Loads refused files again: what they inherit may have changed, or their plugin may be installed now."""
        for name in [name for name in self._errors if name.endswith(".yaml") and name != DEFAULT_FILE]:
            try:
                new = await self._reloaded([name])
            except PolicyError as error:
                self._errors[name] = str(error)
                self._still_suspended(name, error)
                continue
            del self._errors[name]
            await self._swap(new, self.found)

    async def _swap(self, new: PolicySet, found: Found) -> None:
        suspended = self.suspended
        self._current, self.found = new, found
        self._log_suspended(suspended)
        self.last_error = "\n".join(self._errors.values()) or None
        self._log.info("policies_loaded", tenants=len(new.tenants()), plugins=len(found.plugins))
        if self.instances is not None:
            await self.instances.close_retired()

    def _by_file(self, error: PolicyError) -> dict[str, str]:
        """The mistakes of a reload by file, so that fixing a file removes its mistakes."""
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

    def _keep_errors(self, new: PolicySet) -> None:
        """Keeps the mistakes in the files that were just read, and drops all older ones."""
        self._errors = {f"{TENANT_FOLDER}/{name}.yaml": str(error) for name, error in new.refused.items()}
        self.last_error = "\n".join(self._errors.values()) or None

    def _still_suspended(self, name: str, error: PolicyError) -> None:
        """Replaces the mistakes of a suspended tenant whose changed file is still invalid."""
        tenant = Path(name).stem
        if name != DEFAULT_FILE and tenant in self.suspended and isinstance(error, PolicyMistakes):
            self._current = self._current.suspending(tenant, error)

    def _log_suspended(self, before: Mapping[str, PolicyMistakes]) -> None:
        for tenant, error in self.suspended.items():
            if tenant not in before:
                for mistake in error.mistakes:
                    self._log.error("tenant_suspended", tenant=tenant, mistake=str(mistake))
        for tenant in before:
            if tenant not in self.suspended:
                self._log.info("tenant_resumed", tenant=tenant)

    def _log_problems(self, found: Found) -> None:
        for problem in found.problems:
            self._log.error("plugin_not_loaded", plugin=problem.name, source=problem.source, why=problem.why)

    def _policy_name(self, path: Path) -> str | None:
        """``default.yaml`` or ``tenants/NAME.yaml``; None for other files."""
        try:
            relative = path.relative_to(self._folder.resolve())
        except ValueError:
            return None
        if path.suffix != ".yaml" or path.name.startswith("."):
            return None
        name = relative.as_posix()
        return name if name == DEFAULT_FILE or relative.parent.as_posix() == TENANT_FOLDER else None

    async def _changes(self) -> AsyncIterator[set[Path]]:
        """Changed files, until a watched folder is replaced by another one."""
        watched = self._watched()
        if self._replaced:
            yield self._all_files()
        self._replaced = True
        async for changes in watchfiles.awatch(
            *watched, debounce=DEBOUNCE_MS, step=50, watch_filter=None, rust_timeout=LOOK_MS, yield_on_timeout=True
        ):
            paths = {Path(path) for _, path in changes}
            if any(path.is_dir() for path in paths):
                # A folder or a link to one was moved (as Kubernetes does): all files below may be new.
                paths |= self._all_files()
            # Also without a change: a missing file may have been missing for long enough.
            yield paths
            if self._watched() != watched:
                return

    def _watched(self) -> dict[Path, int]:
        """The folders that exist, with their inode numbers."""
        folders = [self._folder, *([self._registry.folder] if self._registry.folder is not None else [])]
        return {folder.resolve(): folder.stat().st_ino for folder in folders if folder.is_dir()}

    def _all_files(self) -> set[Path]:
        folder = self._folder.resolve()
        files = {folder / DEFAULT_FILE, *(folder / TENANT_FOLDER).glob("*.yaml")}
        files |= {folder / PolicySet.relative_name(tenant) for tenant in (*self._current.tenants(), *self.suspended)}
        if self._registry.folder is not None:
            files |= set(self._registry.folder.resolve().glob("*.py"))
        return files
