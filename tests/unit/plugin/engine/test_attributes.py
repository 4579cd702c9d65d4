"""Attributes of a plugin's class, and the errors for others."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from inbox.plugin import (
    AddHeader,
    DeleteHeader,
    Opinion,
    Plugin,
    PluginInvalid,
    PluginSettings,
    Services,
    Transaction,
    hookimpl,
)
from inbox.plugin.engine.attributes import DECLARED
from inbox.plugin.engine.inspection import inspect_module
from inbox.plugin.engine.registry import Problem, Registry
from inbox.plugin.testing import load
from inbox.policy.stages import Stage

HEAD = "from inbox.plugin import *\n"
HOOK = "    @hookimpl\n    def data(self, tx): pass\n"


def why(body: str, base: str = "(Plugin)") -> str:
    """The loader's error for a class with this body and a hook."""
    module = ModuleType("attributes_under_test")
    sys.modules[module.__name__] = module
    exec(f"{HEAD}class P{base}:\n{HOOK}    {body}\n", module.__dict__)
    with pytest.raises(PluginInvalid) as caught:
        inspect_module("p", module, source="test", version="1", environment={})
    return str(caught.value).removeprefix("class P: ")


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ("on_eror = 'accept'", "on_eror: unknown attribute; did you mean on_error?"),
        ("give = ()", "give: unknown attribute; did you mean gives?"),
        ("Gives = ()", "Gives: unknown attribute; did you mean gives?"),
        ("time_out = 3", "time_out: unknown attribute; did you mean timeout?"),
        ("sharable = True", "sharable: unknown attribute; did you mean shareable?"),
        ("setings = None", "setings: unknown attribute; did you mean Settings?"),
        ("def dta(self, tx): pass", "dta: unknown method; did you mean data?"),
        ("def rcpt(self, tx): pass", "rcpt: a hook needs @hookimpl above it"),
        ("async def clos(self): pass", "clos: unknown method; did you mean close?"),
        ("def atleast(self, tx): pass", "atleast: unknown method; did you mean at_least?"),
        ("def verdict(self): pass",
         "verdict: unknown method; the plugin's own names must start with an underscore: _verdict"),
        ("WORDS = cache = 1\n    on_erorr = 'accept'",
         "WORDS: unknown attribute; cache: unknown attribute; on_erorr: unknown attribute; did you mean on_error?; "
         "the plugin's own names must start with an underscore: _WORDS, _cache"),
        ("@hookimpl\n    def dta(self, tx): pass", "unknown hook 'dta'; did you mean 'data'?"),
        ("@hookimpl(specname='mail')\n    def close(self, tx): pass",
         "close: the engine calls a method of this name by itself; give the hook another name"),
        ("@hookimpl(specname='data')\n    def _again(self, tx): pass",
         "two methods are hooks of the same stage: _again, data"),
        ("shareable = 1", "shareable must be True or False"),
        ("essential = 'no'", "essential must be True or False"),
        ("always = None", "always must be True or False"),
        ("needs = VirusFact", "needs must be a tuple of fact types"),
        ("after = ('SpfFact',)", "after must be a tuple of fact types"),
        ("timeout = True", "timeout must be a number of seconds, more than 0 and at most 600"),
        ("timeout = '3'", "timeout must be a number of seconds, more than 0 and at most 600"),
        ("on_error = 'acept'", "on_error: unknown outcome 'acept'; did you mean 'accept'?"),
        ("on_error = {'dta': 'accept'}", "on_error: unknown stage 'dta'; did you mean 'data'?"),
        ("on_error = {'data': 'acept'}", "on_error: unknown outcome 'acept'; did you mean 'accept'?"),
        ("dependency = 3", "dependency must be a property that returns text, or a text"),
        ("def dependency(self): return 'x'", "dependency must be a property that returns text, or a text"),
        ("def check(self): pass", "check must be async def"),
        ("async def check(self, tx): pass", "check must take ()"),
        ("async def start(self, services): pass", "start must take ()"),
        ("def __init__(self): pass", "__init__ must take (settings, services)"),
        ("Settings = dict", "Settings must be a class derived from PluginSettings"),
    ],
)  # fmt: skip
def test_mistakes_in_a_class(body: str, said: str) -> None:
    assert why(body) == said


def test_the_error_for_another_base_class_names_the_change() -> None:
    advice = "a plugin derives from Plugin: write class P(Plugin), and import Plugin from inbox.plugin"
    assert why("on_eror = 1", base="") == advice
    assert why("pass", base="(dict)") == advice.replace("(Plugin)", "(dict, Plugin)")


def test_a_class_without_a_hook_is_refused() -> None:
    class Idle(Plugin):
        pass

    with pytest.raises(PluginInvalid, match=r"class Idle in .*: it has no hook: mark a method with @hookimpl; known"):
        load(Idle)


def test_inherited_attributes_are_checked_and_used() -> None:
    class Clock:
        ticks = 3

    class Timed(Clock, Plugin):
        @hookimpl
        def data(self, tx: Transaction) -> None: ...

    class Base(Plugin):
        on_error = "accept"

        @hookimpl
        def data(self, tx: Transaction) -> None: ...

    class Derived(Base):
        @hookimpl
        def mail(self, tx: Transaction) -> None: ...

    class Forgets(Base):
        def data(self, tx: Transaction) -> None: ...

    with pytest.raises(PluginInvalid, match=r"ticks: unknown attribute; the plugin's own names .*: _ticks"):
        load(Timed)
    with pytest.raises(PluginInvalid, match="data: a hook needs @hookimpl above it"):
        load(Forgets)
    assert load(Derived).stages == {Stage.DATA, Stage.MAIL}
    assert load(Derived).on_error == "accept"


def test_a_module_may_have_the_base_of_its_plugin(tmp_path: Path) -> None:
    base = f"class Base(Plugin):\n{HOOK}class Mine(Base):\n    timeout = 3\n"
    (tmp_path / "mine.py").write_text(HEAD + base)
    (tmp_path / "two.py").write_text(HEAD + base + f"class Other(Plugin):\n{HOOK}")
    found = Registry(tmp_path, points=[]).discover()
    mine = found.get("mine")
    assert mine is not None
    assert mine.timeout == 3.0
    assert {problem.name: problem.why for problem in found.problems} == {
        "two": "a module must have one plugin; this one has the classes Mine, Other"
    }


def test_file_and_class_are_named(tmp_path: Path) -> None:
    path = tmp_path / "mine.py"
    path.write_text(f"{HEAD}class Mine(Plugin):\n    on_eror = 'accept'\n{HOOK}")
    problem = Registry(points=[]).load_file(path)
    assert isinstance(problem, Problem)
    assert str(problem) == f"{path}: class Mine: on_eror: unknown attribute; did you mean on_error?"

    class Elsewhere(Plugin):
        on_eror = "accept"

        @hookimpl
        def data(self, tx: Transaction) -> None: ...

    with pytest.raises(PluginInvalid) as caught:
        load(Elsewhere)
    assert str(caught.value) == f"class Elsewhere in {__file__}: on_eror: unknown attribute; did you mean on_error?"


def test_names_of_its_own_are_allowed() -> None:
    class Mine(Plugin):
        _WORDS = ("a", "b")

        class Settings(PluginSettings):
            limit: int = 3

        def __init__(self, settings: Settings, services: Services) -> None:
            self.any_name = settings.limit

        @property
        def dependency(self) -> str:
            return "the service"

        @property
        def _half(self) -> float:
            return self.any_name / 2

        def at_least(self, tx: Transaction) -> list[DeleteHeader]:
            return []

        @hookimpl
        def data(self, tx: Transaction) -> list[Opinion]:
            return [AddHeader("X-Half", str(self._half))]

    loaded = load(Mine)
    assert loaded.settings is Mine.Settings
    assert loaded.at_least


def test_every_declared_attribute_has_a_default_that_passes() -> None:
    class Plain(Plugin):
        @hookimpl
        def data(self) -> None: ...

    loaded = load(Plain)
    assert (loaded.gives, loaded.needs, loaded.after) == ((), (), ())
    assert (loaded.always, loaded.essential, loaded.shareable, loaded.at_least) == (False, False, False, False)
    assert (loaded.on_error, loaded.timeout, loaded.settings) == ("defer", 10.0, PluginSettings)
    read: dict[str, Any] = {name: getattr(Plain, name) for name in DECLARED}
    assert sorted(read) == [
        "Settings", "after", "always", "at_least", "check", "close", "dependency", "essential", "gives", "needs",
        "on_error", "shareable", "start", "timeout",
    ]  # fmt: skip
