"""All shipped plugins and examples: the loader accepts them, and their docstrings inform operators."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from inbox.plugin.engine.describe import describe
from inbox.plugin.engine.inspection import LoadedPlugin
from inbox.plugin.engine.registry import Registry
from inbox.policy.mistakes import PolicyMistakes
from inbox.policy.snapshot import PolicySet

EXAMPLES = Path(__file__).parents[2] / "examples" / "plugins"
FOUND = Registry(EXAMPLES).discover()
SHIPPED = {
    "arc", "bimi", "clamav", "dkim", "dmarc_reports", "headers", "rate_limit", "recipients", "spam_rules",
}  # fmt: skip


def plugins() -> list[LoadedPlugin]:
    return [plugin for _, plugin in sorted(FOUND.plugins.items())]


def test_all_are_found_and_sound() -> None:
    assert FOUND.problems == ()
    assert {plugin.name for plugin in plugins() if plugin.source == "shipped"} >= SHIPPED
    assert {path.stem for path in EXAMPLES.glob("*.py")} <= FOUND.plugins.keys()


@pytest.mark.parametrize("plugin", plugins(), ids=lambda plugin: plugin.name)
def test_its_docstring_says_where_it_returns_opinions(plugin: LoadedPlugin) -> None:
    speaks = next(line for line in plugin.documentation.splitlines() if line.startswith("Returns at:"))
    for stage in plugin.stages:
        assert stage.value in speaks
    if plugin.gives:
        assert "Gives:" in plugin.documentation
        for fact in plugin.gives:
            assert fact.__name__ in plugin.documentation


@pytest.mark.parametrize("plugin", plugins(), ids=lambda plugin: plugin.name)
def test_each_setting_is_described(plugin: LoadedPlugin) -> None:
    for name, field in plugin.settings.model_fields.items():
        assert field.description, f"{plugin.name}.{name} has no description"
        assert field.description.endswith("."), f"{plugin.name}.{name}: a description is a sentence"


def givers(plugin: LoadedPlugin) -> set[str]:
    """Those without whom the plugin cannot work."""
    found = {one.name: one for one in plugins() for fact in plugin.needs if fact in one.gives and one is not plugin}
    return set(found).union(*map(givers, found.values()))


@pytest.mark.parametrize("plugin", plugins(), ids=lambda plugin: plugin.name)
def test_the_examples_of_its_settings_are_right(plugin: LoadedPlugin) -> None:
    """All of them, as on the plugin's page."""
    settings = describe(plugin).settings
    inner = [one for field in settings for one in field.fields]
    assert [one.name for one in (*settings, *inner) if not one.example] == [], "give Field(examples=[…])"
    lines = [field.example for field in settings] or ["enabled: true"]
    text = f"plugins:\n  {plugin.name}:\n" + "".join(f"    {line}\n" for line in lines)
    text += "".join(f"  {name}: {{}}\n" for name in givers(plugin))
    assert PolicySet.from_texts({"default.yaml": text.encode()}, FOUND)


@pytest.mark.parametrize("plugin", plugins(), ids=lambda plugin: plugin.name)
def test_the_policies_in_its_docstring_are_right(plugin: LoadedPlugin) -> None:
    lines = plugin.documentation.splitlines()
    starts = [number for number, line in enumerate(lines) if line.strip() == "plugins:"]
    for start in starts:
        indent = len(lines[start]) - len(lines[start].lstrip())
        block = []
        for line in lines[start:]:
            if line.strip() and len(line) - len(line.lstrip()) < indent:
                break
            block.append(line[indent:])
        assert PolicySet.from_texts({"default.yaml": "\n".join(block).encode()}, FOUND)
    assert starts, "an example says more than a table"


def test_every_example_has_a_line_in_the_readme_and_a_test() -> None:
    readme = (EXAMPLES.parent / "README.md").read_text()
    for path in EXAMPLES.glob("*.py"):
        assert f"(plugins/{path.name})" in readme
        assert (EXAMPLES / "tests" / f"test_{path.name}").is_file()


def test_a_mistake_in_a_rule_is_reported_with_its_line_and_name() -> None:
    text = b"""plugins:
  spam_rules:
    rules:
      - name: GOOD
        when: 'true'
      - name: BAD
        when: 'subjct.contains("x")'
"""
    with pytest.raises(PolicyMistakes) as caught:
        PolicySet.from_texts({"default.yaml": text}, FOUND)
    (mistake,) = str(caught.value).splitlines()
    assert mistake.startswith("default.yaml:7:15: ")
    assert "rule BAD: unknown variable 'subjct'; did you mean 'subject'?" in mistake


def test_defaults_come_from_the_environment() -> None:
    environment = {"SMTP_INBOUND_MAX_RCPT_TO": "7", "SMTP_RATE_LIMIT_ENABLED": False, "SMTP_RATE_LIMIT_WINDOW_SECS": 5}
    found = Registry(environment=environment).discover()
    text = json.dumps({"plugins": {"recipients": {}, "rate_limit": {}}}).encode()
    entries = {
        one.name: one.settings for one in PolicySet.from_texts({"default.yaml": text}, found).effective().plugins
    }
    assert entries["recipients"].model_dump()["max_recipients"] == 7
    assert entries["rate_limit"].model_dump()["active"] is False
    assert entries["rate_limit"].model_dump()["window_secs"] == 5
