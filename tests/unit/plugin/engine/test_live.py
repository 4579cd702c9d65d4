"""Policies and plugins change while the server runs."""

from __future__ import annotations

import asyncio
import errno
import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from inbox.base.errors import PolicyError
from inbox.plugin import Reject, Score
from inbox.plugin.api.testing import FakeClock, MemoryLog
from inbox.plugin.engine.dispatcher import Dispatcher
from inbox.plugin.engine.folder_watch import REMOVED_SECONDS
from inbox.plugin.engine.guard import Guard
from inbox.plugin.engine.instances import Instances
from inbox.plugin.engine.live import LivePolicies
from inbox.plugin.engine.registry import Registry
from inbox.policy import folder
from inbox.policy.mistakes import TenantSuspended
from inbox.policy.stages import Stage
from tests.support.engine import transaction
from tests.support.plugin_services import services
from tests.support.waiting import TIMEOUT_SECONDS

PLUGIN = """
from inbox.plugin import *
class Settings(PluginSettings):
    points: float = 1
class P(Plugin):
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
        self.seconds = 0.0
        self.live = LivePolicies(self.policies, Registry(self.plugins, points=[]), self.log, lambda: self.seconds)
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

    async def removed(self, *paths: Path) -> None:
        """These files have been missing for long enough."""
        await self.live.changed([path.resolve() for path in paths])
        self.seconds += REMOVED_SECONDS
        await self.live.changed([])

    async def symbols(self, tenant: str = "acme") -> list[str]:
        outcome = await self.dispatcher.run(Stage.DATA, self.live.current.effective(tenant), tx=transaction())
        return [score.symbol for score in outcome.tally.scores]


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_a_server_does_not_start_with_a_wrong_default(world: World) -> None:
    world.write("default.yaml", "mode: x")
    with pytest.raises(PolicyError, match=r"default.yaml:1:7: mode: must be"):
        world.live.open()


@pytest.mark.parametrize("text", ["mode: x", "plugins: {gone: {}}", "plugins: {broken: {}}", "a: [", "\xff"])
async def test_one_tenant_s_mistake_at_the_start_suspends_that_tenant_alone(world: World, text: str) -> None:
    world.plugin("broken.py", "def :")
    path = world.policies / "tenants" / "acme.yaml"
    path.write_bytes(text.encode("latin-1"))
    world.write("tenants/globex.yaml", "mode: shadow")
    world.live.open()
    assert world.live.current.effective("globex").mode == "shadow"
    assert world.live.current.effective("nobody").mode == "enforce"
    with pytest.raises(TenantSuspended, match=rf"{path}:\d:\d+:") as refused:
        world.live.current.effective("acme")
    assert (refused.value.code, refused.value.status) == (451, "4.3.5")
    assert list(world.live.suspended) == ["acme"]
    assert world.live.last_error == str(refused.value)
    told = world.log.named("tenant_suspended")
    assert [(each["tenant"], each["mistake"]) for each in told] == [("acme", str(refused.value))]

    world.write("tenants/acme.yaml", "mode: y")  # Another mistake: that is the one to tell from now on.
    await world.live.changed([path.resolve()])
    with pytest.raises(TenantSuspended, match="1:7: mode: must be"):
        world.live.current.effective("acme")

    world.write("tenants/acme.yaml", "mode: 'off'")
    await world.live.changed([path.resolve()])
    assert world.live.current.effective("acme").mode == "off"
    assert world.live.last_error is None
    assert world.log.named("tenant_resumed") == [{"tenant": "acme"}]


async def test_a_suspended_tenant_is_back_when_its_plugin_is(world: World) -> None:
    plugin = world.plugin("mine.py", "def :")
    world.write("tenants/acme.yaml", "plugins: {mine: {}}")
    world.live.open()
    assert list(world.live.suspended) == ["acme"]
    world.plugin("mine.py", PLUGIN.replace("{version}", "1"))
    await world.live.changed([plugin.resolve()])
    assert await world.symbols() == ["V1"]


async def test_a_suspended_tenant_without_a_file_has_the_default(world: World) -> None:
    path = world.write("tenants/acme.yaml", "mode: x")
    world.live.open()
    path.unlink()
    await world.removed(path)
    assert world.live.current.effective("acme").mode == "enforce"
    assert world.live.last_error is None


async def test_another_default_leaves_a_suspended_tenant_suspended(world: World) -> None:
    world.write("tenants/acme.yaml", "mode: x")
    world.live.open()
    await world.live.changed([world.write("default.yaml", "mode: shadow").resolve()])
    assert list(world.live.suspended) == ["acme"]
    assert world.live.current.effective("globex").mode == "shadow"


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
    said = f"{bad}:2:1: the key 'mode' already occurs in line 1"
    assert world.live.last_error == said
    assert world.log.named("policy_refused") == [{"mistake": said}]
    world.write("tenants/bad.yaml", "mode: enforce")
    await world.live.changed([bad.resolve()])
    assert world.live.last_error is None
    assert world.live.current.effective("bad").mode == "enforce"


async def test_a_file_that_is_removed_leaves_the_default(world: World) -> None:
    path = world.write("tenants/acme.yaml", "mode: shadow")
    world.live.open()
    path.unlink()
    await world.live.changed([path.resolve()])
    assert world.live.current.effective("acme").mode == "shadow"  # Somebody may be replacing it.
    world.seconds += REMOVED_SECONDS
    await world.live.changed([])
    assert world.live.current.effective("acme").mode == "enforce"
    assert world.live.last_error is None
    assert world.log.named("policy_removed") == [{"tenant": "acme", "file": str(path)}]


async def test_a_file_that_an_editor_replaces_is_never_out_of_force(world: World) -> None:
    path = world.write("tenants/acme.yaml", "mode: shadow")
    world.live.open()
    kept = path.rename(path.with_suffix(".yaml~"))
    await world.live.changed([path.resolve(), kept.resolve()])
    world.write("tenants/acme.yaml", "mode: 'off'")
    await world.live.changed([path.resolve()])
    world.seconds += REMOVED_SECONDS
    await world.live.changed([])
    assert world.live.current.effective("acme").mode == "off"
    assert world.log.named("policy_removed") == []


def _move_all(world: World) -> None:
    world.policies.rename(world.policies.with_name("elsewhere"))


def _move_tenants(world: World) -> None:
    (world.policies / "tenants").rename(world.policies / "elsewhere")


def _unmount_tenants(world: World) -> None:
    _move_tenants(world)
    (world.policies / "tenants").mkdir()


def _unmount_all(world: World) -> None:
    _move_all(world)
    world.policies.mkdir()


@pytest.mark.parametrize("vanish", [_move_all, _move_tenants, _unmount_tenants, _unmount_all])
async def test_a_folder_that_is_gone_is_not_taken_for_no_policies(
    world: World, vanish: Callable[[World], None], tmp_path: Path
) -> None:
    paths = [world.write(f"tenants/{name}.yaml", "mode: shadow").resolve() for name in ("acme", "globex")]
    world.live.open()
    vanish(world)
    for _ in range(2):
        await world.live.changed(paths)
        world.seconds += 10 * REMOVED_SECONDS
    problems = await world.live.reload()
    assert [world.live.current.effective(name).mode for name in ("acme", "globex")] == ["shadow", "shadow"]
    assert problems == [world.live.last_error]
    assert "the policies that were read before stay in force" in problems[0]
    assert len(world.log.named("policy_folder_gone")) == 1

    # It comes back, and one policy was removed meanwhile.
    elsewhere = next(path for path in (world.policies / "elsewhere", tmp_path / "elsewhere") if path.exists())
    target = world.policies if elsewhere.parent == tmp_path else world.policies / "tenants"
    if target.exists():
        target.rmdir()
    elsewhere.rename(target)
    paths[0].unlink()
    await world.removed(*paths)
    assert [world.live.current.effective(name).mode for name in ("acme", "globex")] == ["enforce", "shadow"]
    assert world.live.last_error is None
    assert len(world.log.named("policy_folder_back")) == 1


async def test_a_folder_that_is_replaced_by_one_with_other_files(world: World) -> None:
    paths = [world.write(f"tenants/{name}.yaml", "mode: shadow").resolve() for name in ("acme", "globex")]
    world.live.open()
    _unmount_tenants(world)
    world.write("tenants/globex.yaml", "mode: shadow")
    await world.removed(*paths)
    assert [world.live.current.effective(name).mode for name in ("acme", "globex")] == ["enforce", "shadow"]


async def test_a_folder_that_cannot_be_listed_is_everybody_s_mistake(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    def listdir(path: Path) -> list[str]:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(os, "listdir", listdir)
    with pytest.raises(PolicyError, match="tenants: cannot be listed: permission denied"):
        world.live.open()


async def test_a_reload_with_one_tenant_s_mistake_takes_up_the_others(world: World) -> None:
    acme = world.write("tenants/acme.yaml", "mode: shadow")
    world.write("tenants/globex.yaml", "mode: enforce")
    world.live.open()
    world.write("tenants/acme.yaml", "mode: x")
    world.write("tenants/globex.yaml", "mode: 'off'")
    world.write("tenants/initech.yaml", "mode: y")
    problems = await world.live.reload()
    assert [problem.partition(": ")[0] for problem in problems] == [
        f"{acme}:1:7",
        f"{acme.with_name('initech.yaml')}:1:7",
    ]
    modes = {name: world.live.current.effective(name).mode for name in ("acme", "globex", "initech")}
    assert modes == {"acme": "shadow", "globex": "off", "initech": "enforce"}
    assert not world.live.suspended
    assert world.live.last_error == "\n".join(problems)


async def test_a_policy_is_taken_up_when_asked(world: World) -> None:
    world.live.open()
    assert await world.live.take("acme") == []
    path = world.write("tenants/acme.yaml", "mode: shadow")
    assert await world.live.take("acme") == []
    assert world.live.current.effective("acme").mode == "shadow"
    world.write("tenants/acme.yaml", "mode: x")
    (problem,) = await world.live.take("acme")
    assert problem.startswith(f"{path}:1:7: mode")


async def test_a_mistake_that_a_reload_found_disappears_when_its_file_is_corrected(world: World) -> None:
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


async def test_a_folder_that_is_replaced_is_read_again(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("inbox.plugin.engine.live.LOOK_MS", 50)
    monkeypatch.setattr("inbox.plugin.engine.live.RETRY_SECONDS", 0)
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


async def test_a_pipe_is_not_a_policy_and_blocks_nothing(world: World) -> None:
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


async def test_an_empty_file_says_nothing(world: World) -> None:
    path = world.write("tenants/acme.yaml", "mode: shadow")
    world.live.open()
    world.write("tenants/acme.yaml", "")
    await world.live.changed([path.resolve()])
    assert world.live.current.effective("acme").mode == "enforce"
    assert world.live.last_error is None


async def test_a_file_system_that_does_not_answer_blocks_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    path = world.write("tenants/acme.yaml", "mode: shadow")
    world.live.open()
    asked, answers = threading.Event(), threading.Event()
    read = folder.read_policy

    def hanging(place: Path, name: str) -> bytes:
        asked.set()
        assert answers.wait(TIMEOUT_SECONDS)
        return read(place, name)

    monkeypatch.setattr(folder, "read_policy", hanging)
    world.write("tenants/acme.yaml", "mode: 'off'")
    change = asyncio.create_task(world.live.changed([path.resolve()]))
    assert await asyncio.to_thread(asked.wait, TIMEOUT_SECONDS)
    assert world.live.current.effective("acme").mode == "shadow"
    assert not change.done()
    answers.set()
    await change
    assert world.live.current.effective("acme").mode == "off"


async def test_a_file_of_another_name_is_no_policy_of_the_tenant_s(world: World) -> None:
    world.write("tenants/acme.yml", "mode: shadow")
    world.live.open()
    with pytest.raises(TenantSuspended, match=r"acme.yml: policy files end in .yaml; rename this file"):
        world.live.current.effective("acme")
