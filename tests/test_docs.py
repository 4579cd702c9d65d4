"""The pages that people write name variables, settings, fields and commands that are there."""

from __future__ import annotations

import fnmatch
import re
import shutil
from dataclasses import fields
from functools import cache
from pathlib import Path

import pytest
import typer.core
import typer.main

from inbox.app.config.loading import load, secret_variables
from inbox.app.wiring.policies import find_plugins
from inbox.cli.main import program
from inbox.mail.tenancy import DomainOverrides
from inbox.policy.catalogue import Mode
from inbox.policy.mistakes import PolicyMistakes
from inbox.policy.snapshot import PolicySet
from inbox.policy.stages import Stage
from scripts.eventpages import events

ROOT = Path(__file__).resolve().parents[1]
PAGES = {path.name: path for path in (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))}
AUTHENTICATION = (ROOT / "docs" / "authentication.md").read_text()
_VARIABLE = re.compile(
    r"\b(?:SMTP|SERVER|INBOX|DNS|TLS|IMAP|IMAPS|LMTP|HTTP|S3|DATABASE|OTEL)_[A-Z0-9_]*[A-Z0-9]\b(?!_?\*)"
)
#: Names that only look like variables, a score's symbol and a cipher; and variables of OpenTelemetry's exporter.
_OTHER_NAMES = {
    "HTTP_REPUTATION",
    "TLS_AES_256_GCM_SHA384",
    "OTEL_EXPORTER_OTLP_HEADERS",
    "OTEL_EXPORTER_OTLP_CERTIFICATE",
    "OTEL_EXPORTER_OTLP_COMPRESSION",
    "OTEL_RESOURCE_ATTRIBUTES",
}
_COMMAND = re.compile(r"(?:^(?:    |\$ )(?:\.venv/bin/)?|`)inbox ((?:[a-z-]+(?=[ `\n]) ?)+)", re.MULTILINE)
_YAML = re.compile(r"^```yaml\n(plugins:.*?|# policies/.*?)^```", re.MULTILINE | re.DOTALL)


@cache
def variables() -> frozenset[str]:
    return frozenset((*(row.name for row in load({}).variables()), *(f"{name}_FILE" for name in secret_variables())))


def unknown_word(words: list[str]) -> str | None:
    """The first word that is not a command where one is required."""
    command: object = program()
    for word in words:
        if not isinstance(command, typer.core.TyperGroup):
            return None
        found = command.commands.get(word)
        if found is None:
            return word
        command = found
    return None


@pytest.mark.parametrize("name", PAGES)
def test_variables_exist(name: str) -> None:
    named = set(_VARIABLE.findall(PAGES[name].read_text()))
    assert named - variables() - _OTHER_NAMES == set()


@pytest.mark.parametrize("name", PAGES)
def test_commands_exist(name: str) -> None:
    commands = [text.split() for text in _COMMAND.findall(PAGES[name].read_text())]
    assert [(words, wrong) for words in commands if (wrong := unknown_word(words)) is not None] == []


@pytest.mark.parametrize("name", ["policies.md", "authentication.md"])
def test_policies_have_no_mistakes(name: str, tmp_path: Path) -> None:
    found = _YAML.findall(PAGES[name].read_text())
    assert found
    (tmp_path / "tenants").mkdir()
    (tmp_path / "default.yaml").write_text((ROOT / "policies" / "default.yaml").read_text())
    for number, text in enumerate(found):
        (tmp_path / "tenants" / f"example{number}.yaml").write_text(text)
    plugins = find_plugins(load({"INBOX_DATA_DIR": str(tmp_path)}))
    assert len(PolicySet.load(tmp_path, plugins).tenants()) == len(found)
    (tmp_path / "tenants" / "wrong.yaml").write_text(found[0].replace("plugins:", "plguins:"))
    with pytest.raises(PolicyMistakes):
        PolicySet.load(tmp_path, plugins)


def test_the_tour_shows_every_plugin_that_ships(tmp_path: Path) -> None:
    """In the listing, and those that judge content in the explanation of what was refused."""
    shutil.copytree(ROOT / "policies", tmp_path / "policies")
    found = find_plugins(load({"INBOX_DATA_DIR": str(tmp_path)}))
    text = PAGES["tour.md"].read_text()
    listed = re.findall(r"^(\w+) +\S+ +[a-z, ]+? {2,}(?:demo)? +(?:enforce|off) +(\S+)$", text, re.MULTILINE)
    assert [name for name, source in listed if source == "shipped"] == sorted(found.plugins)
    explained = text[text.index("\ndata: Reject ") : text.index("## A rule")]
    demo = PolicySet.load(tmp_path / "policies", found).effective("demo")
    judges = {
        entry.name for entry in demo.plugins
        if entry.mode is not Mode.OFF and Stage.DATA in found.plugins[entry.name].stages
    }  # fmt: skip
    assert set(re.findall(r"^  (\w+) \d", explained, re.MULTILINE)) == judges


def test_settings_of_the_page_about_authentication_exist() -> None:
    plugins = find_plugins(load({})).plugins
    known = {name for plugin in plugins.values() for name in plugin.settings.model_fields}
    known |= {field.name for field in fields(DomainOverrides)} | set(plugins) | {"temperror", "permerror"}
    named = set(re.findall(r"`([a-z]+(?:_[a-z]+)+)(?:=[a-z]+)?`", AUTHENTICATION))
    assert len(named) > 5
    assert named - known == set()


def test_the_changelog_has_each_heading_once_and_no_entry_twice() -> None:
    """A merge of two branches that both added entries leaves headings, or entries, in it twice."""
    text = (ROOT / "CHANGELOG.md").read_text()
    for release in re.split(r"^## ", text, flags=re.MULTILINE)[1:]:
        headings = re.findall(r"^### (.+)$", release, re.MULTILINE)
        order = ["Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"]
        assert headings == [name for name in order if name in headings]
        found = re.findall(r"^- (.+?)(?=^- |^#|\Z)", release, re.MULTILINE | re.DOTALL)
        entries = [" ".join(entry.split())[:60] for entry in found]
        assert entries
        assert len(entries) == len(set(entries))
        assert re.findall(r"^(?!#).*\n\n- .*", release, re.MULTILINE) == []


@pytest.mark.slow
def test_the_events_that_the_page_about_operations_explains_are_logged() -> None:
    table = PAGES["operations.md"].read_text().partition("| `event` | meaning |\n|---|---|\n")[2].partition("\n\n")[0]
    named = [name for line in table.splitlines() for name in re.findall(r"`([\w.*]+)`", line.split("|")[1])]
    logged = set(events())
    patterns = [re.compile(re.escape(name).replace(r"\*", r"\w+")) for name in logged]
    assert len(named) > 50
    assert [
        name for name in named
        if not (any(pattern.fullmatch(name) for pattern in patterns) or fnmatch.filter(logged, name))
    ] == []  # fmt: skip
    assert {"smtp.egress.queue", "smtp.policy.attachment_reject"} <= set(named)


def test_the_readme_links_every_page() -> None:
    linked = set(re.findall(r"\]\((docs/[a-z]+\.md)", PAGES["README.md"].read_text()))
    assert {f"docs/{name}" for name in PAGES if name != "README.md"} - linked == set()
