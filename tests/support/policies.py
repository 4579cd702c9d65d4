"""A catalogue of made-up plugins to load policies against."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from inbox.policy.catalogue import PluginInfo
from inbox.policy.mistakes import PolicyMistakes
from inbox.policy.snapshot import PolicySet
from inbox.policy.stages import Stage


@dataclass(frozen=True)
class VirusFound:
    name: str = ""


@dataclass(frozen=True)
class SpfFound:
    result: str = ""


class Rule(BaseModel):
    model_config = ConfigDict(extra="forbid")

    name: str
    when: str = "true"
    score: float = 0

    @field_validator("when")
    @classmethod
    def _expression(cls, value: str) -> str:
        if value.count("(") != value.count(")"):
            raise ValueError("column 9: a bracket is not closed")
        return value


class Rules(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    rules: list[Rule] = []
    weights: dict[str, float] = {}
    limit: int = Field(5, ge=1, json_schema_extra={"env": "RULES_LIMIT"})


class Scanner(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    address: str = "tcp://127.0.0.1:3310"
    password: SecretStr = SecretStr("")


class Spf(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)

    required: bool = Field(False, json_schema_extra={"domain_field": "require_spf_pass"})
    sends: int = Field(10, le=100, json_schema_extra={"domain_field": "quota_hourly_send_limit"})


def info(name: str, settings: type[BaseModel] = Scanner, *stages: Stage, **more: Any) -> PluginInfo:
    """A plugin with hooks at ``stages`` (``data`` if none are given)."""
    return PluginInfo(name, "1.0", settings, frozenset(stages or {Stage.DATA}), **more)


class Catalogue:
    """The plugins given, or ``scanner`` (gives VirusFound), ``rules`` (reads it) and ``spf``."""

    def __init__(self, *plugins: PluginInfo) -> None:
        chosen = plugins or (
            info("scanner", Scanner, gives=(VirusFound,)),
            info("rules", Rules, after=(VirusFound,)),
            info(
                "spf",
                Spf,
                Stage.MAIL,
                gives=(SpfFound,),
                domain_fields={"required": "require_spf_pass", "sends": "quota_hourly_send_limit"},
            ),
        )
        self._plugins = {plugin.name: plugin for plugin in chosen}

    def get(self, name: str) -> PluginInfo | None:
        return self._plugins.get(name)

    def names(self) -> Iterable[str]:
        return self._plugins

    def judges(self, stage: Stage) -> bool:
        return any(stage in plugin.stages for plugin in self._plugins.values())


def policies(default: str = "", catalogue: Catalogue | None = None, **tenants: str) -> PolicySet:
    """A set from texts, by the tenants' names."""
    texts = {
        "default.yaml": default.encode(),
        **{f"tenants/{name}.yaml": text.encode() for name, text in tenants.items()},
    }
    return PolicySet.from_texts(texts, catalogue or Catalogue())


def mistakes(default: str = "", catalogue: Catalogue | None = None, **tenants: str) -> list[str]:
    """The lines that the mistakes in these texts give; none if there is no mistake."""
    try:
        policies(default, catalogue, **tenants)
    except PolicyMistakes as error:
        return str(error).splitlines()
    return []
