from __future__ import annotations

from dataclasses import dataclass

import pytest

from inbox.policy.catalogue import PluginInfo
from inbox.policy.plan import PlanError, Planned, build
from inbox.policy.stages import Stage
from tests.support.policies import info


@dataclass(frozen=True)
class A: ...


@dataclass(frozen=True)
class B: ...


def rows(*plugins: PluginInfo, stage: Stage = Stage.DATA, shadow: str = "") -> list[list[str]]:
    plan = build([Planned(plugin, plugin.name in shadow.split()) for plugin in plugins])
    return [[plugins[index].name for index in level] for level in plan[stage]]


def test_independent_plugins_are_one_level_in_the_policys_order() -> None:
    assert rows(info("z"), info("a"), info("m")) == [["z", "a", "m"]]


def test_readers_come_after_givers() -> None:
    last, middle, first = info("l", after=(A, B)), info("m", needs=(A,), gives=(B,)), info("f", gives=(A,))
    assert rows(last, middle, info("x"), first) == [["x", "f"], ["m"], ["l"]]


def test_a_giver_at_an_earlier_stage_does_not_order_this_one() -> None:
    assert rows(info("r", needs=(A,)), info("g", *[], gives=(A,))) == [["g"], ["r"]]
    from pydantic import BaseModel

    early = info("g", BaseModel, Stage.CONNECT, gives=(A,))
    assert rows(info("r", needs=(A,)), early) == [["r"]]
    with pytest.raises(PlanError, match="no enabled plugin gives it in time"):
        rows(info("r", BaseModel, Stage.CONNECT, needs=(A,)), info("g", gives=(A,)), stage=Stage.CONNECT)


def test_circles() -> None:
    with pytest.raises(PlanError, match="these plugins wait for one another's facts at data: 'a', 'b'") as caught:
        rows(info("x"), info("a", needs=(A,), gives=(B,)), info("b", needs=(B,), gives=(A,)))
    assert caught.value.index == 1


def test_a_fact_that_no_plugin_gives() -> None:
    assert rows(info("r", after=(A,))) == [["r"]]
    with pytest.raises(PlanError, match="plugin 'r' needs A, and no enabled plugin gives it in time"):
        rows(info("r", needs=(A,)))


def test_shadows_give_to_shadows_only() -> None:
    giver, reader = info("g", gives=(A,)), info("r", needs=(A,))
    assert rows(reader, giver, shadow="g r") == [["g"], ["r"]]
    assert rows(reader, giver, shadow="r") == [["g"], ["r"]]
    with pytest.raises(PlanError, match="and 'g', which gives it, is in shadow mode"):
        rows(reader, giver, shadow="g")
    assert rows(info("r", after=(A,)), giver, shadow="g") == [["r", "g"]]
