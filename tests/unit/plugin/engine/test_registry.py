"""Plugins are found, checked, and a bad one never keeps the others from loading."""

from __future__ import annotations

import os
import shutil
import sys
import threading
from importlib.metadata import EntryPoint
from pathlib import Path
from types import ModuleType

import pytest

from inbox.base.limits import PLUGIN_FILE_OCTETS
from inbox.plugin.api.plugin import PluginInvalid
from inbox.plugin.engine.inspection import inspect_module
from inbox.plugin.engine.registry import Registry
from inbox.policy.catalogue import OnError
from inbox.policy.stages import Stage

HEAD = '"""Says hello.\n\nAnd more."""\nfrom inbox.plugin import *\nfrom pydantic import Field\n'
GOOD = HEAD + "class Hello(Plugin):\n    @hookimpl\n    def connect(self, session): return None\n"


def make(source: str) -> ModuleType:
    module = ModuleType("made_up_plugin")
    sys.modules[module.__name__] = module
    exec(source, module.__dict__)
    return module


def why(source: str) -> str:
    with pytest.raises(PluginInvalid) as caught:
        inspect_module("x", make(source), source="test", version="1", environment={})
    return str(caught.value)


def hook(text: str, before: str = "") -> str:
    return f"{HEAD}{before}class P(Plugin):\n    @hookimpl\n    {text}\n"


@pytest.mark.parametrize(
    ("source", "said"),
    [
        (HEAD, "no class in this module derives from Plugin"),
        (GOOD + GOOD.replace("Hello", "Other"), "a module must have one plugin; this one has the classes Hello, Other"),
        (hook("def dta(self, tx): pass"), "unknown hook 'dta'; did you mean 'data'?"),
        (hook("def data(self, txx): pass"), "data: unknown argument 'txx'; did you mean 'tx'?"),
        (hook("def rcpt(self, address): pass"), "rcpt: unknown argument 'address'; known here: recipient, tx"),
        (hook("def data(self, tx): yield"), "data: a hook returns its opinions, it does not yield them"),
        (hook("def data(self): pass", "class Settings: pass\n"),
         "Settings must be a class derived from PluginSettings"),
        (hook("def data(self): pass", "class Setings(PluginSettings): pass\n"),
         "Setings is not used: name it Settings, or set Settings = Setings in the class"),
        (hook("def data(self): pass", "class Settings(PluginSettings):\n    mode: str = ''\n"),
         "Settings: mode belongs to the engine; choose another name"),
        (hook("def data(self): pass",
              "class Settings(PluginSettings):\n"
              "    a: int = Field(1, json_schema_extra={'domain_field': 'enc_mod'})\n"),
         "Settings.a: unknown field of has_domain 'enc_mod'; did you mean 'enc_mode'?"),
        (hook("def data(self): pass\n    gives = [int]"), "gives must be a tuple of fact types"),
        (hook("def data(self): pass\n    on_error = 'explode'"),
         "on_error: unknown outcome 'explode'; known here: accept, defer, quarantine, reject"),
        (hook("def data(self): pass\n    timeout = -1"),
         "timeout must be a number of seconds, more than 0 and at most 600"),
        (hook("def data(self): pass\n    def start(self): pass"), "start must be async def"),
        (hook("def data(self): pass\n    async def at_least(self, tx): pass"),
         "at_least must be def: it is called when nothing may wait any more"),
        (hook("def data(self): pass\n    def at_least(self): pass"), "at_least must take (tx)"),
        (hook("def rcpt(self): pass\n    def at_least(self, tx): pass"),
         "at_least replaces a hook at data, but the plugin has none"),
        (hook("def data(self): pass\n    def __init__(self, a): pass"), "__init__ must take (settings, services)"),
    ],
)  # fmt: skip
def test_mistakes_say_what_is_right(source: str, said: str) -> None:
    assert why(source).removeprefix("class P: ") == said


def test_options_of_pluggy_that_mean_nothing_here_are_refused() -> None:
    source = HEAD + "class P(Plugin):\n    @hookimpl(tryfirst=True)\n    def data(self, tx): pass\n"
    with pytest.raises(TypeError, match="unexpected keyword argument 'tryfirst'"):
        make(source)


def test_the_description_of_a_plugin() -> None:
    source = f"""{HEAD}
__version__ = "7"
class Settings(PluginSettings):
    limit: int = Field(1, json_schema_extra={{"env": "LIMIT", "domain_field": "quota_max_queued_jobs"}})
class P(Plugin):
    gives = (int,)
    needs = (str,)
    after = (float,)
    essential = shareable = True
    on_error = {{"data": "accept"}}
    timeout = 3
    @hookimpl
    async def data(self, tx): pass
    @hookimpl(specname="rcpt")
    def _look(self, recipient): pass
"""
    plugin = inspect_module("x", make(source), source="test", version="1", environment={"LIMIT": "9", "OTHER": "1"})
    assert (plugin.version, plugin.summary) == ("7", "Says hello.")
    assert plugin.stages == {Stage.DATA, Stage.RCPT}
    assert (plugin.gives, plugin.needs, plugin.after) == ((int,), (str,), (float,))
    assert (plugin.essential, plugin.shareable, plugin.timeout) == (True, True, 3.0)
    assert plugin.on_error == {Stage.DATA: OnError.ACCEPT}
    assert (plugin.defaults, plugin.default_names) == ({"limit": "9"}, {"limit": "LIMIT"})
    assert plugin.domain_fields == {"limit": "quota_max_queued_jobs"}
    assert plugin.hook(Stage.DATA).is_async
    assert plugin.hook(Stage.RCPT).arguments == ("recipient",)


def test_the_shipped_plugins_are_found() -> None:
    found = Registry(points=[]).discover()
    assert found.problems == ()
    assert {"recipients", "rate_limit", "headers", "spam_rules", "clamav"} <= set(found.names())
    assert {plugin.source for plugin in found.plugins.values()} == {"shipped"}


def test_files_of_the_operator(tmp_path: Path) -> None:
    (tmp_path / "hello.py").write_text(GOOD)
    (tmp_path / "_helper.py").write_text("this is no Python")
    (tmp_path / "headers.py").write_text(GOOD)
    (tmp_path / "my-plugin.py").write_text(GOOD)
    (tmp_path / "broken.py").write_text("import os\n\nos.nothing()\n")
    (tmp_path / "syntax.py").write_text("def f(:\n")
    (tmp_path / "leaves.py").write_text("raise SystemExit(3)\n")
    found = Registry(tmp_path, points=[]).discover()
    hello = found.get("hello")
    assert hello is not None
    assert hello.source == str(tmp_path / "hello.py")
    assert hello.version.startswith("file ")
    problems = {problem.name: problem.why for problem in found.problems}
    assert problems == {
        "headers": "the name 'headers' is taken (shipped); rename the file",
        "my-plugin": "the file's name must be a Python identifier, such as my_plugin.py",
        "broken": "line 3: AttributeError: module 'os' has no attribute 'nothing'",
        "syntax": "line 1: SyntaxError: invalid syntax (syntax.py, line 1)",
        "leaves": "line 1: SystemExit: 3",
    }
    assert not (tmp_path / "__pycache__").exists()


def test_a_file_knows_its_own_path(tmp_path: Path) -> None:
    """A plugin may read data from its folder."""
    path = tmp_path / "hello.py"
    path.write_text(f"{GOOD}\nFOUND = __file__\n")
    hello = Registry(tmp_path, points=[]).discover().get("hello")
    assert hello is not None
    found = vars(sys.modules[hello.make.__module__])["FOUND"]
    assert found == str(path)


def test_a_changed_file_is_a_new_plugin_and_an_unchanged_one_the_same(tmp_path: Path) -> None:
    registry = Registry(tmp_path, points=[])
    (tmp_path / "one.py").write_text(GOOD)
    (tmp_path / "two.py").write_text(GOOD)
    before = registry.discover()
    (tmp_path / "two.py").write_text(GOOD.replace("hello", "good bye"))
    after = registry.discover()
    assert after.get("one") is before.get("one")
    two = after.get("two")
    assert two is not None
    assert two is not before.get("two")
    assert two.summary == "Says good bye."
    (tmp_path / "two.py").unlink()
    assert registry.discover().get("two") is None
    assert Registry(tmp_path / "nowhere", points=[]).discover().get("one") is None


def test_entry_points(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "acme_mail_plugin.py").write_text(GOOD)
    monkeypatch.syspath_prepend(tmp_path)
    points = [
        EntryPoint("acme", "acme_mail_plugin", "inbox.plugins"),
        EntryPoint("acme_class", "acme_mail_plugin:Hello", "inbox.plugins"),
        EntryPoint("gone", "acme_gone", "inbox.plugins"),
        EntryPoint("headers", "acme_mail_plugin", "inbox.plugins"),
    ]
    found = Registry(points=points).discover()
    assert {"acme", "acme_class"} <= set(found.names())
    assert found.plugins["acme"].source == "package acme_mail_plugin"
    assert {str(problem) for problem in found.problems} == {
        "package acme_gone: ModuleNotFoundError: No module named 'acme_gone'",
        "package acme_mail_plugin: the name 'headers' is taken (shipped)",
    }


def test_an_import_that_does_not_end_blocks_nothing_else(tmp_path: Path) -> None:
    (tmp_path / "endless.py").write_text("while True:\n    try:\n        pass\n    except Exception:\n        pass\n")
    (tmp_path / "interrupted.py").write_text("raise KeyboardInterrupt\n")
    (tmp_path / "good.py").write_text(GOOD)
    found = Registry(tmp_path, shipped="nothing_shipped", points=[], import_seconds=0.2).discover()
    assert list(found.names()) == ["good"]
    said = {problem.name: problem.why for problem in found.problems}
    assert "its import did not end within 0.2 s" in said["endless"]
    assert "KeyboardInterrupt" in said["interrupted"]
    assert [thread.name for thread in threading.enumerate() if thread.name == "plugin-import"] == []


def test_a_pipe_is_not_a_plugin(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.py")
    (tmp_path / "folder.py").mkdir()
    (tmp_path / "device.py").symlink_to("/dev/zero")
    (tmp_path / "large.py").write_bytes(b"#" * (PLUGIN_FILE_OCTETS + 1))
    found = Registry(tmp_path, shipped="nothing_shipped", points=[]).discover()
    assert {problem.name for problem in found.problems} == {"pipe", "folder", "device", "large"}


def install(site: Path, version: str, source: str = GOOD) -> None:
    """The files of an installed package with a plugin."""
    (site / "later_plugin.py").write_text(source)
    for old in site.glob("later-*.dist-info"):
        shutil.rmtree(old)
    info = site / f"later-{version}.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: later\nVersion: {version}\n")
    (info / "entry_points.txt").write_text("[inbox.plugins]\nlater = later_plugin\n")


def test_a_package_that_is_installed_later_is_found_when_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "later_plugin", raising=False)
    registry = Registry(shipped="nothing_shipped")
    assert registry.discover().get("later") is None
    install(tmp_path, "1.0")
    assert registry.discover().get("later") is None
    found = registry.discover(rescan=True).get("later")
    assert found is not None
    assert registry.discover(rescan=True).get("later") is found  # Its objects go on.
    install(tmp_path, "2.0")
    again = registry.discover(rescan=True)
    assert again.get("later") is found
    (problem,) = again.problems
    assert problem.why == "2.0 is installed, 1.0 is running: restart the server to change that"
    assert not again.judges(Stage.AUTH)
    shutil.rmtree(tmp_path / "later-2.0.dist-info")
    assert registry.discover(rescan=True).get("later") is None


def test_a_package_that_cannot_be_imported_yet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "later_plugin", raising=False)
    registry = Registry(shipped="nothing_shipped")
    registry.discover()
    install(tmp_path, "1.0")
    (tmp_path / "later_plugin.py").unlink()  # An editable install: its path is read at the start only.
    (problem,) = registry.discover(rescan=True).problems
    assert problem.why.endswith("if the package was installed while the server was running, restart the server")
    install(tmp_path, "1.0")
    assert registry.discover(rescan=True).get("later") is not None


def test_whether_a_plugin_may_judge_logins(tmp_path: Path) -> None:
    def judges() -> bool:
        return Registry(tmp_path, shipped="nothing_shipped", points=[]).discover().judges(Stage.AUTH)

    (tmp_path / "good.py").write_text(GOOD)
    assert not judges()
    (tmp_path / "broken.py").write_text("def data(:")
    assert not judges()
    (tmp_path / "broken.py").write_text("def auth(:")
    assert judges()
