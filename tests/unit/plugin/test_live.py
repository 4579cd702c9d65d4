"""Policies and plugins change while the server runs."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from inbox.base.errors import PolicyError
from inbox.plugin import Reject, Score
from inbox.plugin.dispatcher import Dispatcher
from inbox.plugin.guard import Guard
from inbox.plugin.instances import Instances
from inbox.plugin.live import LivePolicies
from inbox.plugin.registry import Registry
from inbox.plugin.testing import FakeClock, MemoryLog
from inbox.policy.stages import Stage
from tests.support.engine import transaction
from tests.support.plugin_services import services

PLUGIN = """
from inbox.plugin import *
class Settings(PluginSettings):
    points: float = 1
class P:
    def __init__(self, settings, services): self.settings = settings
    @hookimpl
    def data(self): return Score("V{version}", self.settings.points)
"""


class World:
    """A policy folder and a plugin folder, and what a server makes of them."""

    def __init__(self, folder: Path) -> None:
        self.policies, self.plugins = folder / "policies", folder / "plugins"
        (self.policies / "tenants").mkdir(parents=True)
        self.plugins.mkdir()
        self.write("default.yaml", "plugins: {}")
        self.log = MemoryLog()
        self.live = LivePolicies(self.policies, Registry(self.plugins, points=[]), self.log)
        clock, guard = FakeClock(), Guard()
        self.live.instances = Instances(services(clock=clock, log=self.log), guard)
        self.dispatcher = Dispatcher(self.live.instances, guard, clock, self.log)

    def write(self, name: str, text: str) -> Path:
        path = self.policies / name
        path.write_text(text)
        return path

    def plugin(self, name: str, text: str) -> Path:
        path = self.plugins / name
        path.write_text(text)
        return path

    async def symbols(self, tenant: str = "acme") -> list[str]:
        outcome = await self.dispatcher.run(Stage.DATA, self.live.current.effective(tenant), tx=transaction())
        return [score.symbol for score in outcome.tally.scores]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_server_does_not_start_with_a_wrong_policy(world: World) -> None:
    world.write("tenants/acme.yaml", "mode: x")
    with pytest.raises(PolicyError, match=r"acme.yaml:1:7: mode: must be"):
        world.live.open()


async def test_a_changed_policy_is_in_force_for_the_next_message(world: World) -> None:
    world.plugin("mine.py", PLUGIN.replace("{version}", "1"))
    path = world.write("tenants/acme.yaml", "plugins: {mine: {}}")
    world.live.open()
    held = world.live.current.effective("acme")
    assert await world.symbols() == ["V1"]
    world.write("tenants/acme.yaml", "plugins: {mine: {points: 3}}\nthresholds: {reject: 2}")
    await world.live.changed([path.resolve()])
    tx = transaction()
    assert isinstance(
        (await world.dispatcher.run(Stage.DATA, world.live.current.effective("acme"), tx=tx)).verdict, Reject
    )
    old = await world.dispatcher.run(Stage.DATA, held, tx=transaction())
    assert old.tally.scores == (Score("V1", 1.0),), "who began under a policy ends under it"


async def test_a_bad_file_changes_nothing_and_says_why(world: World) -> None:
    bad, good = world.write("tenants/bad.yaml", "mode: shadow"), world.write("tenants/good.yaml", "mode: shadow")
    world.live.open()
    world.write("tenants/bad.yaml", "mode: off\nmode: off")
    world.write("tenants/good.yaml", "mode: off")
    await world.live.changed([bad.resolve(), good.resolve()])
    assert world.live.current.effective("bad").mode == "shadow"
    assert world.live.current.effective("good").mode == "off", "one tenant's mistake is not another's"
    said = f"{bad}:2:1: the key 'mode' is here already, in line 1"
    assert world.live.last_error == said
    assert world.log.named("policy_refused") == [{"mistake": said}]
    world.write("tenants/bad.yaml", "mode: enforce")
    await world.live.changed([bad.resolve()])
    assert world.live.last_error is None
    assert world.live.current.effective("bad").mode == "enforce"


async def test_a_vanished_file_stays_in_force_until_a_reload(world: World) -> None:
    path = world.write("tenants/acme.yaml", "mode: shadow")
    world.live.open()
    path.unlink()
    await world.live.changed([path.resolve()])
    assert world.live.current.effective("acme").mode == "shadow"
    assert world.live.last_error == f"{path}: cannot be read: no such file or directory"
    (world.policies / "default.yaml").unlink()
    await world.live.changed([world.policies.resolve() / "default.yaml"])
    assert world.live.current.effective("acme").mode == "shadow"
    assert await world.live.reload() == [
        f"{world.policies / 'default.yaml'}: cannot be read: no such file or directory"
    ]
    world.write("default.yaml", "")
    assert await world.live.reload() == []
    assert world.live.current.effective("acme").mode == "enforce"
    assert world.live.last_error is None


async def test_a_mistake_that_a_reload_found_is_gone_when_its_file_is_mended(world: World) -> None:
    world.live.open()
    acme = world.write("tenants/acme.yaml", "mode: x")
    umbrella = world.write("tenants/umbrella.yaml", "mode: y\nplugins: 1")
    problems = await world.live.reload()
    assert len(problems) == 3
    assert (world.live.last_error or "").splitlines() == problems
    # The watcher comes to the same file.
    await world.live.changed([acme])
    assert sorted((world.live.last_error or "").splitlines()) == sorted(problems)
    world.write("tenants/acme.yaml", "mode: shadow")
    await world.live.changed([acme])
    assert (world.live.last_error or "").splitlines() == problems[1:]
    world.write("tenants/umbrella.yaml", "mode: shadow")
    await world.live.changed([umbrella])
    assert world.live.last_error is None


async def test_plugins_come_change_and_break(world: World) -> None:
    world.live.open()
    path = world.plugin("mine.py", PLUGIN.replace("{version}", "1"))
    await world.live.changed([path.resolve()])
    policy = world.write("tenants/acme.yaml", "plugins: {mine: {points: 2}}")
    await world.live.changed([policy.resolve()])
    assert await world.symbols() == ["V1"]
    world.plugin("mine.py", PLUGIN.replace("{version}", "2"))
    await world.live.changed([path.resolve()])
    assert await world.symbols() == ["V2"]
    world.plugin("mine.py", "oops(")
    await world.live.changed([path.resolve()])
    assert await world.symbols() == ["V2"], "the old one stays"
    assert "line 1: SyntaxError" in world.log.named("plugin_not_loaded")[0]["why"]
    assert world.live.last_error == f"{policy}:1:11: unknown plugin 'mine'; known here: " + ", ".join(
        name for name in world.live.found.names() if name != "mine"
    )
    world.plugin("mine.py", PLUGIN.replace("{version}", "3"))
    assert await world.live.reload() == []
    assert await world.symbols() == ["V3"]


async def test_a_policy_may_come_before_its_plugin(world: World) -> None:
    world.live.open()
    policy = world.write("tenants/acme.yaml", "plugins: {mine: {}}")
    await world.live.changed([policy.resolve()])
    assert "unknown plugin 'mine'" in str(world.live.last_error)
    await world.live.changed([world.plugin("mine.py", PLUGIN.replace("{version}", "1")).resolve()])
    assert await world.symbols() == ["V1"]
    assert world.live.last_error is None


async def test_another_default_leaves_tenants_what_is_in_force_for_them(world: World) -> None:
    bad, gone = world.write("tenants/bad.yaml", "mode: shadow"), world.write("tenants/gone.yaml", "mode: shadow")
    world.live.open()
    bad.write_text("mode: [")
    gone.unlink()
    await world.live.changed([world.write("default.yaml", "thresholds: {tag: 3}").resolve()])
    for tenant in ("bad", "gone"):
        policy = world.live.current.effective(tenant)
        assert (policy.mode, policy.thresholds.tag) == ("shadow", 3)


async def test_reload_tells_of_plugins_that_cannot_be_loaded(world: World) -> None:
    world.live.open()
    path = world.plugin("bad.py", "1 +")
    assert await world.live.reload() == [f"{path}: line 1: SyntaxError: invalid syntax (bad.py, line 1)"]


async def test_other_files_are_passed_over(world: World) -> None:
    world.live.open()
    before = world.live.current
    await world.live.changed([Path("/etc/passwd"), world.policies.resolve() / "tenants" / ".a.yaml.swp"])
    assert world.live.current is before


async def test_the_folders_are_watched(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    world.live.open()
    loaded = asyncio.Event()
    monkeypatch.setattr(world.log, "info", lambda event, **_: loaded.set() if event == "policies_loaded" else None)
    watching = asyncio.create_task(world.live.watch())
    await asyncio.sleep(0)  # The first step of the task begins to watch.
    world.write("tenants/acme.yaml", "mode: shadow")
    async with asyncio.timeout(60):
        await loaded.wait()
    assert world.live.current.effective("acme").mode == "shadow"
    watching.cancel()
    await asyncio.wait([watching])


async def test_a_folder_that_is_replaced_is_read_anew(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inbox.plugin.live.LOOK_MS", 50)
    monkeypatch.setattr("inbox.plugin.live.RETRY_SECONDS", 0)
    world.write("tenants/gone.yaml", "mode: shadow")
    world.live.open()
    loaded = asyncio.Event()

    def told(event: str, **_: object) -> None:
        if "new" in world.live.current.tenants():
            loaded.set()

    monkeypatch.setattr(world.log, "info", told)
    watching = asyncio.create_task(world.live.watch())
    await asyncio.sleep(0)
    world.policies.rename(world.policies.parent / "old")
    (world.policies / "tenants").mkdir(parents=True)
    world.write("default.yaml", "")
    world.write("tenants/new.yaml", "mode: shadow")
    async with asyncio.timeout(60):
        await loaded.wait()
    watching.cancel()
    await asyncio.wait([watching])
    assert world.live.current.effective("new").mode == "shadow"


async def test_what_is_no_file_is_no_policy_and_holds_up_nobody(world: World) -> None:
    world.live.open()
    os.mkfifo(world.policies / "tenants" / "pipe.yaml")
    (world.policies / "tenants" / "folder.yaml").mkdir()
    (world.policies / "tenants" / "device.yaml").symlink_to("/dev/zero")
    world.write("tenants/acme.yaml", "thresholds: {reject: 9}")
    names = ("pipe", "folder", "device", "acme")
    await world.live.changed(world.policies / "tenants" / f"{name}.yaml" for name in names)
    assert world.live.current.effective("acme").thresholds.reject == 9
    assert (world.live.last_error or "").count("cannot be read") == 3


async def test_a_large_policy_is_checked_beside_the_event_loop(world: World) -> None:
    world.live.open()
    path = world.write("tenants/acme.yaml", "".join(f"k{number}: 1\n" for number in range(3000)))
    turns = 0

    async def count() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    counting = asyncio.create_task(count())
    await world.live.changed([path])
    counting.cancel()
    assert turns > 10
    assert (world.live.last_error or "").endswith("and 2900 more")
    assert len(world.log.events) < 200
