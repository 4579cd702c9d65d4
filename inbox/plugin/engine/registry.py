"""Finds plugins: the shipped package, entry points of installed packages, files in the operator's folder.

A plugin that cannot be loaded never keeps the others from loading: the registry reports it as a problem.
"""

from __future__ import annotations

import ctypes
import hashlib
import importlib
import pkgutil
import re
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache, partial
from importlib.abc import Loader
from importlib.machinery import SourceFileLoader
from importlib.metadata import EntryPoint, PackageNotFoundError, entry_points, version
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import CodeType, MappingProxyType, ModuleType
from typing import Any, Final

from inbox.base.files import read_regular
from inbox.base.limits import IMPORT_SECONDS, PLUGIN_FILE_OCTETS
from inbox.plugin.api.plugin import PluginInvalid
from inbox.plugin.engine.inspection import LoadedPlugin, inspect_module
from inbox.policy.stages import Stage

GROUP: Final = "inbox.plugins"
SHIPPED: Final = "inbox_plugins"
#: Files of the operator's folder become modules below this name, so that they hide no other module.
_OPERATOR: Final = "inbox_operator_plugins"


@dataclass(frozen=True, slots=True)
class Problem:
    """A plugin that could not be loaded, and the reason. ``stages`` are those at which it may have hooks."""

    name: str
    source: str
    why: str
    stages: frozenset[Stage] = frozenset(Stage)

    def __str__(self) -> str:
        return f"{self.source}: {self.why}"


@dataclass(frozen=True, slots=True)
class Found:
    """The installed plugins at one moment: valid ones by name, and problems. It is the catalogue of policies."""

    plugins: Mapping[str, LoadedPlugin]
    problems: tuple[Problem, ...] = ()

    def get(self, name: str) -> LoadedPlugin | None:
        """The plugin of this name, or None."""
        return self.plugins.get(name)

    def names(self) -> Iterable[str]:
        """All names, in order."""
        return sorted(self.plugins)

    def judges(self, stage: Stage) -> bool:
        """Whether any plugin may have a hook at ``stage``, including those that could not be loaded."""
        loaded = any(stage in plugin.stages for plugin in self.plugins.values())
        return loaded or any(stage in problem.stages for problem in self.problems)


class Registry:
    """Finds plugins and caches those of files, so that an unchanged file keeps its module.

    Args:
        folder: the operator's plugin folder (INBOX_PLUGIN_DIR), if there is one.
        environment: values for settings that name an environment variable.
        shipped: the package of shipped plugins.
        points: entry points; those of the installed packages by default.
        import_seconds: longest time for the import of a file.
    """

    def __init__(
        self,
        folder: Path | None = None,
        environment: Mapping[str, Any] | None = None,
        *,
        shipped: str = SHIPPED,
        points: Iterable[EntryPoint] | None = None,
        import_seconds: float = IMPORT_SECONDS,
    ) -> None:
        self._import_seconds = import_seconds
        self.folder = folder
        self._environment = dict(environment or {})
        self._shipped = shipped
        self._points = None if points is None else list(points)
        self._loaded: dict[tuple[str, ...], LoadedPlugin] = {}
        self._versions: dict[tuple[str, ...], str] = {}
        self._scanned = False
        self._files: dict[Path, tuple[str, LoadedPlugin | Problem]] = {}
        self._installed: tuple[dict[str, LoadedPlugin], list[Problem]] | None = None

    def discover(self, *, rescan: bool = False) -> Found:
        """All plugins that are installed now. Changed files are loaded again.

        If two plugins have the same name, the first wins in this order: shipped, entry points, files.

        Args:
            rescan: look for installed packages again, which takes some 50 ms.
        """
        if self._installed is None or rescan:
            self._installed = self._discover_installed()
        plugins, problems = dict(self._installed[0]), list(self._installed[1])
        for path in self._operator_files():
            loaded = self.load_file(path)
            if isinstance(loaded, LoadedPlugin) and loaded.name in plugins:
                taken = plugins[loaded.name].source
                loaded = Problem(path.stem, str(path), f"the name {path.stem!r} is taken ({taken}); rename the file")
            if isinstance(loaded, LoadedPlugin):
                plugins[loaded.name] = loaded
            else:
                problems.append(loaded)
        return Found(MappingProxyType(plugins), tuple(problems))

    def _discover_installed(self) -> tuple[dict[str, LoadedPlugin], list[Problem]]:
        plugins: dict[str, LoadedPlugin] = {}
        problems: list[Problem] = []
        for name in _modules_of(self._shipped):
            _take(plugins, problems, self._kept((name,), partial(self.load_shipped, name)))
        for point in self._installed_points():
            key = (point.name, point.value, point.dist.name if point.dist else "")
            loaded = self._kept(key, partial(self._load_point, point))
            _take(plugins, problems, loaded)
            if isinstance(loaded, LoadedPlugin) and point.dist is not None:
                running = self._versions.setdefault(key, point.dist.version)
                if running != point.dist.version:
                    why = f"{point.dist.version} is installed, {running} is running: restart the server to change that"
                    problems.append(Problem(point.name, loaded.source, why, frozenset()))
        self._scanned = True
        return plugins, problems

    def _installed_points(self) -> Iterable[EntryPoint]:
        if self._points is not None:
            return self._points
        # The import system's cache of folders hides a package that was installed meanwhile.
        importlib.invalidate_caches()
        return entry_points(group=GROUP)

    def _kept(self, key: tuple[str, ...], load: Callable[[], LoadedPlugin | Problem]) -> LoadedPlugin | Problem:
        """The plugin from an earlier load, so that its objects stay in use; a failed load is tried again."""
        known = self._loaded.get(key)
        if known is not None:
            return known
        loaded = load()
        if isinstance(loaded, LoadedPlugin):
            self._loaded[key] = loaded
        return loaded

    def load_shipped(self, name: str) -> LoadedPlugin | Problem:
        """The shipped plugin of this name."""
        try:
            module = importlib.import_module(f"{self._shipped}.{name}")
            return inspect_module(
                name, module, source="shipped", version=_version_of("inbox"), environment=self._environment
            )
        except Exception as error:  # noqa: BLE001  Importing runs foreign code; the problem is reported, the rest loads.
            return Problem(name, f"{self._shipped}.{name}", _why(error))

    def _load_point(self, point: EntryPoint) -> LoadedPlugin | Problem:
        package = point.dist.name if point.dist else point.value
        try:
            target = point.load()
            cls = target if isinstance(target, type) else None
            module = sys.modules[target.__module__] if cls is not None else target
            installed = point.dist.version if point.dist else "0"
            return inspect_module(
                point.name, module, source=f"package {package}", version=installed, environment=self._environment,
                cls=cls,
            )  # fmt: skip
        except Exception as error:  # noqa: BLE001  As above.
            why = _why(error)
            if self._scanned and isinstance(error, ImportError):
                why += "; if the package was installed while the server was running, restart the server"
            return Problem(point.name, f"package {package}", why)

    def _operator_files(self) -> list[Path]:
        if self.folder is None or not self.folder.is_dir():
            return []
        return sorted(path for path in self.folder.glob("*.py") if path.name[0] not in "._")

    def load_file(self, path: Path) -> LoadedPlugin | Problem:
        """The plugin in a file; the cached one if the file's bytes are unchanged."""
        try:
            source = read_regular(path, PLUGIN_FILE_OCTETS + 1)
        except OSError as error:
            return Problem(path.stem, str(path), f"cannot be read: {error.strerror}")
        if len(source) > PLUGIN_FILE_OCTETS:
            return Problem(path.stem, str(path), f"larger than {PLUGIN_FILE_OCTETS} octets")
        digest = hashlib.sha256(source).hexdigest()
        known = self._files.get(path)
        if known is not None and known[0] == digest:
            return known[1]
        loaded = self._import_file(path, source, digest)
        self._files[path] = (digest, loaded)
        return loaded

    def _import_file(self, path: Path, source: bytes, digest: str) -> LoadedPlugin | Problem:
        if not path.stem.isidentifier():
            return Problem(path.stem, str(path), "the file's name must be a Python identifier, such as my_plugin.py")
        # Each version of a file is a module of its own: plugin objects of the old one keep working until they retire.
        name = f"{_OPERATOR}.{path.stem}_{digest[:8]}"
        spec = spec_from_file_location(name, path, loader=_Source(name, path, source))
        if spec is None:
            return Problem(path.stem, str(path), "cannot be imported")
        module = module_from_spec(spec)
        sys.modules[name] = module  # Dataclasses and pydantic look their module up by its name.
        try:
            _within(self._import_seconds, lambda: _execute(spec.loader, module))
            return inspect_module(
                path.stem, module, source=str(path), version=f"file {digest[:8]}", environment=self._environment
            )
        except BaseException as error:  # noqa: BLE001  As above; a script's sys.exit() is a problem, too.
            del sys.modules[name]
            # A hook has the name of its stage: a file without that word has no such hook.
            named = frozenset(stage for stage in Stage if re.search(rb"\b%b\b" % stage.value.encode(), source))
            return Problem(path.stem, str(path), _why(error, path), named)


class _Source(SourceFileLoader):
    """Compiles bytes that were read before: no ``__pycache__`` in the operator's folder, no stale copy from it."""

    def __init__(self, name: str, path: Path, source: bytes) -> None:
        super().__init__(name, str(path))
        self._bytes = source

    def get_code(self, fullname: str) -> CodeType | None:  # noqa: ARG002  (the interface's argument)
        return self.source_to_code(self._bytes, self.path)


def _execute(loader: Loader | None, module: ModuleType) -> None:
    if loader is not None:
        loader.exec_module(module)


class _ImportOverrun(BaseException):
    """Raised in a plugin's import that does not end. Not an Exception: a plugin's ``except`` must not swallow it."""


def _within(seconds: float, function: Callable[[], None]) -> None:
    """Runs ``function`` in its own thread, for at most ``seconds``.

    Raises:
        all exceptions of ``function``; TimeoutError: it did not end, and was interrupted. A function that waits in C
        code cannot be interrupted: its thread stays, and ends with the process.
    """
    raised: list[BaseException] = []

    def run() -> None:
        try:
            function()
        except BaseException as error:  # noqa: BLE001  Raised again below, where it is waited for.
            raised.append(error)

    thread = threading.Thread(target=run, name="plugin-import", daemon=True)
    thread.start()
    thread.join(seconds)
    if thread.is_alive():
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident or 0), ctypes.py_object(_ImportOverrun))
        thread.join(1.0)
        raise TimeoutError(f"its import did not end within {seconds:g} s")
    if raised:
        raise raised[0]


def _take(plugins: dict[str, LoadedPlugin], problems: list[Problem], found: LoadedPlugin | Problem) -> None:
    if isinstance(found, Problem):
        problems.append(found)
    elif found.name in plugins:
        taken = plugins[found.name].source
        problems.append(Problem(found.name, found.source, f"the name {found.name!r} is taken ({taken})"))
    else:
        plugins[found.name] = found


def _modules_of(package: str) -> list[str]:
    try:
        path = importlib.import_module(package).__path__
    except ModuleNotFoundError:
        return []
    return sorted(module.name for module in pkgutil.iter_modules(path) if not module.name.startswith("_"))


@cache
def _version_of(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:  # Run from a checkout that is not installed.
        return str(importlib.import_module(distribution).__version__)


def _why(error: BaseException, path: Path | None = None) -> str:
    """The text of an import error, with the line of the operator's file that caused it."""
    if isinstance(error, PluginInvalid):
        return str(error)
    text = f"{type(error).__name__}: {error}"
    line = getattr(error, "lineno", None)
    trace = error.__traceback__
    while line is None and path is not None and trace is not None:
        if trace.tb_frame.f_code.co_filename == str(path):
            line = trace.tb_lineno
        trace = trace.tb_next
    return f"line {line}: {text}" if line else text
