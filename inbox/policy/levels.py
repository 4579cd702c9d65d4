"""Levels: the content of default.yaml, a tenant, a domain and an account, before they are merged."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Final, TypeVar

from pydantic import Field, TypeAdapter

from inbox.base.errors import ProtocolError
from inbox.mail.address import Address, canonical_domain
from inbox.policy.catalogue import ENGINE_KEYS, Catalogue, Mode, OnError
from inbox.policy.document import Node
from inbox.policy.mistakes import Mistakes, Place, unknown
from inbox.policy.model import FILE_KEYS, LEVEL_KEYS, Group, ServerPolicy, Thresholds, reversed_thresholds
from inbox.policy.outbound import OutboundPolicy
from inbox.policy.stages import Stage
from inbox.policy.submission import SubmissionPolicy
from inbox.policy.validation import convert

S = TypeVar("S", OutboundPolicy, SubmissionPolicy)

_MODE: Final = TypeAdapter(Mode)
_ENGINE: Final[Mapping[str, TypeAdapter[Any]]] = {
    "enabled": TypeAdapter(bool),
    "mode": _MODE,
    "timeout": TypeAdapter(Annotated[float, Field(gt=0, le=600, allow_inf_nan=False)]),
}
_ON_ERROR: Final = TypeAdapter(OnError)
_ON_ERROR_BY_STAGE: Final = TypeAdapter(dict[Stage, OnError])
_THRESHOLDS: Final = TypeAdapter(Thresholds)
_GROUP: Final = TypeAdapter(Group)
_SERVER: Final = TypeAdapter(ServerPolicy)
_OUTBOUND: Final = TypeAdapter(OutboundPolicy)
_SUBMISSION: Final = TypeAdapter(SubmissionPolicy)


@dataclass(frozen=True, slots=True)
class PluginLayer:
    """One level's entry for one plugin: the engine's keys, and the plugin's own settings as plain data."""

    file: str
    place: Place
    node: Node
    engine: Mapping[str, Any]
    settings: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Level:
    """One level of a policy. It inherits everything that it leaves out."""

    mode: Mode | None = None
    plugins: Mapping[str, PluginLayer] = field(default_factory=dict)
    thresholds: Mapping[str, float | None] = field(default_factory=dict)
    caps: Mapping[str, float] = field(default_factory=dict)
    outbound: OutboundPolicy | None = None
    submission: SubmissionPolicy | None = None


@dataclass(frozen=True, slots=True)
class PolicyFile:
    """One file. ``domains`` are by canonical name, ``accounts`` by ``Address.key``; ``places`` has their places."""

    level: Level = Level()
    domains: Mapping[str, Level] = field(default_factory=dict)
    accounts: Mapping[str, Level] = field(default_factory=dict)
    server: ServerPolicy | None = None
    places: Mapping[str, Place] = field(default_factory=dict)


class LevelReader:
    """Read one file's document; errors are added to ``mistakes``, and reading continues."""

    def __init__(self, file: str, catalogue: Catalogue, mistakes: Mistakes) -> None:
        self._file = file
        self._catalogue = catalogue
        self._mistakes = mistakes
        self._places: dict[str, Place] = {}

    def read(self, root: Node, *, default: bool) -> PolicyFile:
        """Args:
        default: the file is default.yaml, the only one that may have ``server:``.
        """
        if not self._is_mapping(root, Place(self._file, root.line, root.column), "a policy file"):
            return PolicyFile()
        self._check_keys(root, (*FILE_KEYS, "server"))
        if "server" in root.keys and not default:
            self._mistakes.add(root.key_place(self._file, "server"), "'server' is allowed in default.yaml only")
        server = None
        if default and (node := root.child("server")) is not None and node.value is not None:
            server = convert(_SERVER, node, root.key_place(self._file, "server"), self._mistakes, "server")
        return PolicyFile(
            self._level(root),
            self._entries(root, "domains", canonical_domain),
            self._entries(root, "accounts", lambda text: Address.parse(text).key),
            server,
            self._places,
        )

    def _entries(self, root: Node, name: str, canonical: Callable[[str], str]) -> dict[str, Level]:
        node = root.child(name)
        if node is None or not self._is_mapping(node, root.key_place(self._file, name), name):
            return {}
        entries: dict[str, Level] = {}
        for key in node.keys:
            place = node.key_place(self._file, key)
            child = node.child(key)
            try:
                entry = canonical(key)
            except ProtocolError:
                wanted = "an address such as ann@example.com" if name == "accounts" else "a domain such as example.com"
                self._mistakes.add(place, f"{key!r} is not {wanted}")
                continue
            if entry in entries:
                self._mistakes.add(place, f"{key!r} is already here, in another spelling")
            elif child is not None and self._is_mapping(child, place, key):
                self._check_keys(child, LEVEL_KEYS)
                entries[entry] = self._level(child)
                self._places[entry] = place
        return entries

    def _level(self, node: Node) -> Level:
        mode = node.child("mode")
        thresholds = node.child("thresholds")
        limits: dict[str, float | None] = {}
        if thresholds is not None and self._is_mapping(
            thresholds, node.key_place(self._file, "thresholds"), "thresholds"
        ):
            place = thresholds.place(self._file)
            read = convert(_THRESHOLDS, thresholds, place, self._mistakes, "thresholds") if thresholds.keys else None
            limits = {name: getattr(read, name) for name in read.model_fields_set} if read else {}
            self._check_order(thresholds, limits)
        return Level(
            convert(_MODE, mode, node.key_place(self._file, "mode"), self._mistakes, "mode") if mode else None,
            self._plugins(node),
            limits,
            self._caps(node),
            self._section(node, "outbound", _OUTBOUND),
            self._section(node, "submission", _SUBMISSION),
        )

    def _section(self, node: Node, name: str, shape: TypeAdapter[S]) -> S | None:
        child = node.child(name)
        place = node.key_place(self._file, name)
        if child is None or not self._is_mapping(child, place, name) or not child.keys:
            return None
        return convert(shape, child, place, self._mistakes, name)

    def _check_order(self, thresholds: Node, limits: Mapping[str, float | None]) -> None:
        found = reversed_thresholds(limits)
        if found is not None:
            milder, stricter = found
            self._mistakes.add(
                thresholds.key_place(self._file, stricter),
                f"{stricter}: {limits[stricter]:g} is below {milder}: {limits[milder]:g}, which would never apply; "
                f"the order is {' <= '.join(Thresholds.model_fields)}",
            )

    def _caps(self, node: Node) -> dict[str, float]:
        groups = node.child("groups")
        if groups is None or not self._is_mapping(groups, node.key_place(self._file, "groups"), "groups"):
            return {}
        caps: dict[str, float] = {}
        for name in groups.keys:
            child = groups.child(name)
            if child is not None:
                group = convert(_GROUP, child, groups.key_place(self._file, name), self._mistakes, name)
                if group is not None:
                    caps[name] = group.cap
        return caps

    def _plugins(self, node: Node) -> dict[str, PluginLayer]:
        plugins = node.child("plugins")
        if plugins is None or not self._is_mapping(plugins, node.key_place(self._file, "plugins"), "plugins"):
            return {}
        layers: dict[str, PluginLayer] = {}
        for name in plugins.keys:
            place = plugins.key_place(self._file, name)
            child = plugins.child(name)
            if self._catalogue.get(name) is None:
                self._mistakes.add(place, unknown("plugin", name, self._catalogue.names()))
            elif child is not None and self._is_mapping(child, place, name):
                layers[name] = self._plugin(child, place)
        return layers

    def _plugin(self, node: Node, place: Place) -> PluginLayer:
        engine: dict[str, Any] = {}
        for key in ENGINE_KEYS:
            child = node.child(key)
            if child is None:
                continue
            at = node.key_place(self._file, key)
            value = self._on_error(child, at) if key == "on_error" else convert(_ENGINE[key], child, at,
                                                                              self._mistakes, key)  # fmt: skip
            if value is not None:
                engine[key] = value
        settings = {key: value for key, value in (node.value or {}).items() if key not in ENGINE_KEYS}
        return PluginLayer(self._file, place, node, engine, settings)

    def _on_error(self, node: Node, place: Place) -> OnError | Mapping[Stage, OnError] | None:
        if not isinstance(node.value, dict):
            return convert(_ON_ERROR, node, place, self._mistakes, "on_error")
        by_stage = convert(_ON_ERROR_BY_STAGE, node, place, self._mistakes, "on_error")
        for stage, outcome in (by_stage or {}).items():
            child = node.child(stage.value)
            if outcome is OnError.QUARANTINE and stage is not Stage.DATA and child is not None:
                self._mistakes.add(child.place(self._file), f"on_error: only data can quarantine, {stage} cannot")
        return by_stage

    def _is_mapping(self, node: Node, place: Place, what: str) -> bool:
        """True for a mapping or an empty value; anything else is a mistake."""
        if node.value is None or isinstance(node.value, dict):
            return True
        self._mistakes.add(node.place(place.file), f"{what}: must be a mapping (key: value)")
        return False

    def _check_keys(self, node: Node, known: tuple[str, ...]) -> None:
        for key in node.keys:
            if key not in known:
                self._mistakes.add(node.key_place(self._file, key), unknown("key", key, known))
