from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from tests.support.cli import Cli

#: Each test takes long by itself or with its setup: `make check` leaves them out.
pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[3]
PLUGIN = '''"""Hello: a greeting.

Returns at: data.
"""
from pydantic import Field
from inbox.plugin import Plugin, PluginSettings, Score, Services, Transaction, hookimpl

class Settings(PluginSettings):
    """Settings."""
    points: float = Field(1.0, description="Points for everybody.")

class Hello(Plugin):
    """The plugin."""
    def __init__(self, settings: Settings, services: Services) -> None:
        self.settings = settings

    @hookimpl
    def data(self, tx: Transaction) -> Score:
        """Greets."""
        return Score("HELLO", self.settings.points)
'''


@pytest.fixture
def demo(cli: Cli) -> Cli:
    (cli.folder / "policies" / "tenants").mkdir(parents=True)
    (cli.folder / "policies" / "default.yaml").write_text("plugins:\n  recipients: {}\n")
    (cli.folder / "plugins").mkdir()
    (cli.folder / "plugins" / "hello.py").write_text(PLUGIN)
    cli.demo()
    cli("tenant", "add", "other")
    return cli


def row(demo: Cli, name: str, *args: str) -> dict[str, object]:
    (found,) = [row for row in demo("plugins", "list", "--json", *args).json if row["name"] == name]
    return dict(found)


def test_the_list_says_what_is_on_for_whom(demo: Cli) -> None:
    recipients = row(demo, "recipients")
    assert set(recipients) == {"name", "version", "stages", "tenants", "mode", "source"}
    assert recipients["tenants"] == ["demo", "other"]
    assert recipients["stages"] == ["rcpt"]
    assert recipients["source"] == "shipped"
    hello = row(demo, "hello")
    assert hello["tenants"] == []
    assert hello["mode"] == "off"
    assert hello["source"] == str(demo.folder / "plugins" / "hello.py")


def test_enable_and_disable_are_for_one_tenant(demo: Cli) -> None:
    assert demo("plugins", "enable", "hello", "--tenant", "demo").code == 0
    assert row(demo, "hello")["tenants"] == ["demo"]
    assert row(demo, "hello", "--tenant", "other")["mode"] == "off"
    assert demo("plugins", "disable", "hello", "--tenant", "demo").code == 0
    assert row(demo, "hello")["tenants"] == []


def test_an_essential_plugin_is_disabled_by_force_only(demo: Cli) -> None:
    path = demo.folder / "policies" / "tenants" / "demo.yaml"
    refused = demo("plugins", "disable", "recipients", "--tenant", "demo")
    assert refused.code == 1
    assert "recipients is essential: no recipient can be found without it, and all mail is answered 451" in refused.err
    assert not path.exists()
    done = demo("plugins", "disable", "recipients", "--tenant", "demo", "--force")
    assert done.code == 0
    assert "all mail for demo is answered 451" in done.err
    assert "enabled: false" in path.read_text()


def test_one_tenant_s_mistake_does_not_keep_others_from_their_plugins(demo: Cli) -> None:
    (demo.folder / "policies" / "tenants").joinpath("demo.yaml").write_text("plugins: {hello: {points: many}}\n")
    listed = demo("plugins", "list", "--json")
    assert listed.code == 0
    assert listed.err == "inbox: the policy of demo is invalid: inbox policy check\n"
    assert demo("plugins", "list", "--tenant", "demo").code == 1
    assert demo("plugins", "enable", "hello", "--tenant", "other").code == 0
    assert row(demo, "hello", "--tenant", "other")["mode"] == "enforce"


def test_nothing_is_written_when_the_policies_are_wrong(demo: Cli) -> None:
    path = demo.folder / "policies" / "tenants" / "demo.yaml"
    path.write_text("plugins:\n  hello: {points: many}\n")
    ran = demo("plugins", "enable", "hello", "--tenant", "demo")
    assert ran.code == 1
    assert "tenants/demo.yaml:2:19: " in ran.err
    assert path.read_text() == "plugins:\n  hello: {points: many}\n"


def test_unknown_plugins(demo: Cli) -> None:
    assert demo("plugins", "enable", "nope", "--tenant", "demo").code == 1
    assert demo("plugins", "enable", "hello", "--tenant", "nope").code == 1
    assert demo("plugins", "info", "nope").code == 1
    assert demo("plugins", "list", "--tenant", "nope").code == 1


def test_info_shows_settings_and_the_author_s_words(demo: Cli) -> None:
    shown = demo("plugins", "info", "hello").out
    assert "Hello: a greeting." in shown
    assert "Points for everybody." in shown
    info = demo("plugins", "info", "hello", "--json").json
    assert info["stages"] == ["data"]
    assert info["settings"] == [
        {
            "setting": "points",
            "type": "number",
            "default": "1.0",
            "value": "",
            "meaning": "Points for everybody.",
        }
    ]


def test_info_tells_which_settings_the_environment_set(demo: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMTP_INBOUND_MAX_RCPT_TO", "7")
    settings = {s["setting"]: s["value"] for s in demo("plugins", "info", "recipients", "--json").json["settings"]}
    assert settings["max_recipients"] == "7 from SMTP_INBOUND_MAX_RCPT_TO"


def test_a_plugin_that_cannot_be_loaded_is_reported_and_the_others_are_listed(demo: Cli) -> None:
    (demo.folder / "plugins" / "broken.py").write_text("import no_such_module\n")
    ran = demo("plugins", "list", "--json")
    assert ran.code == 0
    assert "broken" in ran.err
    assert "hello" in {r["name"] for r in ran.json}
    assert "could not be loaded" in demo("plugins", "info", "broken").err


@pytest.mark.slow
def test_a_new_plugin_works_and_its_test_passes(demo: Cli) -> None:
    assert demo("plugins", "new", "big_mail").code == 0
    assert row(demo, "big_mail")["stages"] == ["data"]
    assert demo("plugins", "enable", "big_mail", "--tenant", "demo").code == 0
    test = demo.folder / "plugins" / "tests" / "test_big_mail.py"
    done = subprocess.run(
        # Away from this repository's own configuration of pytest, as an operator runs it.
        [
            sys.executable,
            "-m",
            "pytest",
            "-c",
            os.devnull,
            "--rootdir",
            str(demo.folder),
            "-p",
            "no:asyncio",
            str(test),
        ],
        cwd=demo.folder,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'plugins'}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout


@pytest.mark.parametrize(("name", "code"), [("Big", 2), ("../x", 2), ("class", 2), ("recipients", 1), ("hello", 1)])
def test_a_new_plugin_needs_a_name_of_its_own(demo: Cli, name: str, code: int) -> None:
    before = sorted(demo.folder.rglob("*"))
    assert demo("plugins", "new", name).code == code
    assert sorted(p for p in demo.folder.rglob("*") if "__pycache__" not in p.parts) == [
        p for p in before if "__pycache__" not in p.parts
    ]


@pytest.mark.slow
def test_a_new_package_has_its_entry_point_and_its_test(
    demo: Cli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert demo("plugins", "new", "big_mail", "--package").code == 0
    folder = tmp_path / "inbox-big-mail"
    project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
    assert project["name"] == "inbox-big-mail"
    assert project["entry-points"] == {"inbox.plugins": {"big_mail": "inbox_big_mail"}}
    # Installed, as far as Python is concerned: the module can be imported, and metadata names the entry point.
    info = folder / "inbox_big_mail-0.1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: inbox-big-mail\nVersion: 0.1.0\n")
    (info / "entry_points.txt").write_text("[inbox.plugins]\nbig_mail = inbox_big_mail\n")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-c", os.devnull, "--rootdir", str(folder), "-p", "no:asyncio", str(folder)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, (folder, ROOT, ROOT / "plugins")))},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    assert "2 passed" in done.stdout
    again = demo("plugins", "new", "big_mail", "--package")
    assert (again.code, "already exists" in again.err) == (1, True)


def test_a_plugin_is_switched_for_one_domain(demo: Cli) -> None:
    cli, file = demo, demo.folder / "policies" / "tenants" / "demo.yaml"
    file.write_text("# ours\nthresholds: {reject: 9}  # strict\n")
    cli("domain", "add", "demo", "second.test")
    ran = cli("plugins", "enable", "hello", "--domain", "DEMO.test")
    assert (ran.code, ran.err) == (0, "")
    assert "hello is on for demo.test" in ran.out
    text = file.read_text()
    assert text.startswith("# ours\nthresholds: {reject: 9}  # strict\n")

    def mode(domain: str) -> str | None:
        shown = cli("policy", "show", "--domain", domain, "--json").json["plugins"]
        return next((str(row["mode"]) for row in shown if row["plugin"] == "hello"), None)

    assert (mode("demo.test"), mode("second.test")) == ("enforce", None)
    assert cli("plugins", "enable", "hello", "--domain", "second.test", "--tenant", "demo").code == 0
    assert cli("plugins", "disable", "hello", "--domain", "demo.test").code == 0
    assert (mode("demo.test"), mode("second.test")) == ("off", "enforce")


def test_a_plugin_is_switched_for_everybody(demo: Cli) -> None:
    default = demo.folder / "policies" / "default.yaml"
    default.write_text("# for all\nplugins:\n  recipients: {}  # essential\n")
    assert demo("plugins", "enable", "hello", "--all").code == 0
    assert row(demo, "hello")["tenants"] == ["demo", "other"]
    assert "# for all" in default.read_text() and "# essential" in default.read_text()
    assert demo("plugins", "disable", "hello", "--tenant", "other").code == 0
    assert row(demo, "hello")["tenants"] == ["demo"]
    assert demo("plugins", "disable", "hello", "--all").code == 0
    assert row(demo, "hello")["tenants"] == []


def test_the_recipients_must_be_named(demo: Cli) -> None:
    options: tuple[str, ...]
    for options in ((), ("--all", "--tenant", "demo"), ("--all", "--domain", "demo.test")):
        assert demo("plugins", "enable", "hello", *options).code == 2
    for options in (("--domain", "nowhere.test"), ("--domain", "demo.test", "--tenant", "other"), ("--tenant", "x")):
        assert demo("plugins", "enable", "hello", *options).code == 1
    assert not (demo.folder / "policies" / "tenants" / "demo.yaml").exists()
