"""docs/plugins.md is complete, and its code is what the tests run."""

from __future__ import annotations

import dataclasses
import inspect
import re
import shutil
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any, get_args

import pytest

import inbox.plugin as api
from inbox.app.config.loading import load
from inbox.app.wiring.policies import find_plugins
from inbox.base.clock import Clock
from inbox.base.once import Once
from inbox.dns.answers import Resolver
from inbox.plugin.api import services, testing
from inbox.plugin.api.feedback import Feedback
from inbox.plugin.api.hookspecs import Hooks
from inbox.plugin.api.signing import SigningKeys
from inbox.plugin.api.tables import TenantTable
from inbox.plugin.engine.attributes import DECLARED
from inbox.plugin.engine.opinions import ALLOWED
from inbox.plugin.engine.registry import Registry
from inbox.policy.catalogue import ENGINE_KEYS, Mode, OnError
from inbox.policy.mistakes import PolicyMistakes
from inbox.policy.outcome import Status
from inbox.policy.snapshot import PolicySet
from inbox.policy.stages import Stage
from inbox.policy.verdicts import Edit, Verdict
from scripts.docblocks import piece_of, refreshed

ROOT = Path(__file__).resolve().parents[1]
PAGE = (ROOT / "docs" / "plugins.md").read_text()
#: The page without its code: what an author reads about a name.
PROSE = re.sub(r"^```.*?^```$", "", PAGE, flags=re.MULTILINE | re.DOTALL)
CONTEXT = [
    api.Session, api.Tls, api.Identity, api.Recipient, api.Transaction, api.Delivery, api.Failure, api.Notification,
    api.Message, api.PartInfo, api.Link, api.Headers, api.Address, api.Facts,
]  # fmt: skip
SERVICES: dict[str, type] = {
    "clock": Clock, "log": services.Log, "directory": services.Directory, "rates": services.Rates, "dns": Resolver,
    "table": TenantTable, "signing_keys": SigningKeys, "feedback": Feedback,
    "suppression": services.SuppressionList, "once": Once,
}  # fmt: skip


def section(title: str) -> str:
    """The prose below a heading, up to the next heading."""
    found = re.search(rf"^##+ {re.escape(title)}\n(.*?)(?=^##+ |\Z)", PROSE, re.MULTILINE | re.DOTALL)
    assert found is not None, f"no section {title}"
    return found[1]


def public(kind: type) -> set[str]:
    """The names of a class that its users see."""
    fields = {field.name for field in dataclasses.fields(kind)} if dataclasses.is_dataclass(kind) else set()
    members = set(vars(kind)) | fields | set(inspect.get_annotations(kind))
    return {name for name in members if not name.startswith("_")}


def missing(names: Iterator[str] | set[str], text: str) -> list[str]:
    """The names that are not in backticks in ``text``, as ``name``, ``name(…)``, ``a.name`` or ``name=``."""
    return sorted(name for name in names if not re.search(rf"`(?:[\w.]*\.)?{name}(?:[(=:.][^`]*)?`", text))


# --- blocks ---


def test_the_blocks_are_what_their_files_say() -> None:
    assert refreshed(PAGE) == PAGE, "run `make docs`"


def test_a_stale_block_is_found_and_written_again() -> None:
    stale = PAGE.replace("class RefuseHeader(", "class RefusesHeader(")
    assert stale != PAGE
    assert refreshed(stale) == PAGE
    emptied = re.sub(r"^```python\n.*?^```$", "```python\n```", PAGE, flags=re.MULTILINE | re.DOTALL)
    assert len(emptied) < len(PAGE) / 2
    assert refreshed(emptied) == PAGE


def test_a_piece_that_is_gone_is_an_error() -> None:
    assert piece_of("class A:\n    @x\n    def b(self):\n        pass\n", "A.b") == "@x\ndef b(self):\n    pass"
    with pytest.raises(KeyError, match=r"A\.c"):
        piece_of("class A:\n    def b(self):\n        pass\n", "A.c")


def test_every_block_says_where_it_comes_from() -> None:
    lines = PAGE.splitlines()
    opening = [number for number, line in enumerate(lines) if line.startswith("```")][::2]
    kinds = [re.match(r"<!-- (cut|run|policy|not run)\b", lines[number - 1]) for number in opening]
    assert [lines[number] for number, kind in zip(opening, kinds, strict=True) if kind is None] == []
    assert sum(kind is not None and kind[1] == "not run" for kind in kinds) == 1, "an upload"


def test_each_block_comes_from_a_test() -> None:
    """Files of the tests, examples that a test beside them runs, and what ``inbox plugins new`` writes."""
    for name in set(re.findall(r"^<!-- cut: (\S+)", PAGE, re.MULTILINE)):
        path = Path(name)
        if path.parts[0] in {"new", "package"} or path.name.startswith("test_"):
            continue
        tests = "".join(test.read_text() for test in (ROOT / path.parent / "tests").glob("test_*.py"))
        assert f'"{path.name}"' in tests, name
    known = {path.name for path in (ROOT / "examples").glob("*/*.py")}
    assert {name for name in known if name not in PAGE} == set(), "every example is on the page"


def test_links_inside_the_page_have_targets() -> None:
    headings = {
        re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-")
        for title in re.findall(r"^##+ (.+)$", PROSE, re.MULTILINE)
    }
    assert {link for link in re.findall(r"\]\(#([^)]+)\)", PAGE) if link not in headings} == set()
    files = re.findall(r"\]\(((?!https?:|#)[^)#]+)", PROSE)
    assert [name for name in files if not (ROOT / "docs" / name).exists()] == []


def test_policies_have_no_mistakes(tmp_path: Path) -> None:
    blocks = re.findall(r"^<!-- policy.*?-->\n```yaml\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL)
    examples = list((ROOT / "examples").glob("*/*.py"))
    blocks += [re.sub(r"^    ", "", text, flags=re.MULTILINE) for path in examples for text in _policies_of(path)]
    (tmp_path / "plugins").mkdir()
    from inbox.cli.template import plugin_files

    (tmp_path / "plugins" / "large_mail.py").write_text(plugin_files("large_mail")["large_mail.py"])
    for path in examples:
        shutil.copy(path, tmp_path / "plugins")
    (tmp_path / "seal").write_text("x" * 32)
    plugins = find_plugins(load({"INBOX_DATA_DIR": str(tmp_path)}))
    assert plugins.problems == ()
    assert len(blocks) >= len(examples)
    for block in blocks:
        text = re.sub(r"/etc/inbox/secrets/[\w-]+", str(tmp_path / "seal"), block)
        assert PolicySet.from_texts({"default.yaml": text.encode()}, plugins).effective().plugins
    with pytest.raises(PolicyMistakes):
        PolicySet.from_texts({"default.yaml": blocks[0].replace("points", "pionts").encode()}, plugins)


def _policies_of(path: Path) -> list[str]:
    return re.findall(r"^(    plugins:\n(?:    .*\n|\n(?=    ))*)", path.read_text(), re.MULTILINE)


# --- completeness ---


def test_every_name_of_the_api_is_on_the_page() -> None:
    names = set(api.__all__)
    assert sorted(name for name in names if not re.search(rf"`[^`]*\b{name}\b[^`]*`|### {name}\n", PROSE)) == []


@pytest.mark.parametrize("kind", CONTEXT, ids=lambda kind: kind.__name__)
def test_every_attribute_of_what_a_hook_gets_is_described(kind: type) -> None:
    assert missing(public(kind), section(kind.__name__)) == []


def test_every_door_is_named() -> None:
    assert missing({door.value for door in api.Door}, section("Door")) == []


@pytest.mark.parametrize("stage", Stage)
def test_every_hook_is_described_with_what_it_may_return(stage: Stage) -> None:
    arguments = list(inspect.signature(getattr(Hooks, stage.value)).parameters)[1:]
    (row,) = [line for line in section("Stages").splitlines() if line.startswith(f"| `{stage}(")]
    assert f"`{stage}({', '.join(arguments)})`" in row
    answers = row.rsplit("|", 2)[1]
    if stage in {Stage.DATA, Stage.HELO, Stage.AUTH, Stage.MAIL, Stage.RCPT}:
        return  # in words
    assert missing({kind.__name__ for kind in ALLOWED[stage]}, answers) == []


@pytest.mark.parametrize(
    "kind", [*get_args(Verdict), *get_args(Edit), api.Score, api.Shadow], ids=lambda kind: getattr(kind, "__name__", "")
)
def test_every_answer_is_described_with_its_fields(kind: type) -> None:
    fields = ", ".join(field.name for field in dataclasses.fields(kind))
    assert f"`{kind.__name__}({fields})`" in section("Results of hooks") + "".join(
        section(title)
        for title in (
            "Verdicts",
            "Scores",
            "Edits of the message",
            "Edits of the recipients",
            "Edits of one copy",
            "The way of an attempt",
            "Failed deliveries",
            "Notifications",
            "Shadow",
        )
    )


def facts() -> set[type]:
    """Those that plugins import, and those that plugins that ship give, with what they are made of."""
    found = {kind for name in api.__all__ if inspect.isclass(kind := getattr(api, name)) and _is_fact(kind)}
    shipped = Registry(environment={}, points=()).discover().plugins.values()
    return found | {kind for plugin in shipped for kind in plugin.gives}


def _is_fact(kind: type) -> bool:
    modules = {"inbox.plugin.api.facts"}
    return dataclasses.is_dataclass(kind) and kind.__module__ in modules


@pytest.mark.parametrize("kind", sorted(facts(), key=str), ids=lambda kind: str(kind.__name__))
def test_every_fact_is_described_with_its_fields(kind: type) -> None:
    (row,) = [
        line for line in section("Facts of shipped plugins").splitlines() if line.startswith(f"| `{kind.__name__}`")
    ]
    assert missing(public(kind), row) == []


def test_every_result_is_named() -> None:
    assert missing({result.value for result in api.Result}, section("Facts of shipped plugins")) == []


def test_every_service_is_described_with_its_methods() -> None:
    assert public(api.Services) == SERVICES.keys() | {"run_blocking", "server_name"}
    for name, kind in SERVICES.items():
        assert missing(public(kind), section(f"services.{name}")) == [], name
    assert "`run_blocking(kind, function, *args)`" in section("services.run_blocking")
    assert "SERVER_HOSTNAME" in section("services.server_name")
    assert missing(public(api.Counted), section("services.rates")) == []
    assert missing(public(api.Resolution), section("services.directory")) == []


def test_every_public_module_is_mentioned() -> None:
    for name in ("inbox.plugin", "inbox.plugin.testing", "inbox.plugin.expressions", "inbox.plugin.limits"):
        assert f"`{name}`" in section("What to import"), name


def test_every_attribute_of_a_plugin_is_described() -> None:
    assert {"gives", "needs", "after", "always", "at_least", "on_error", "timeout", "dependency", "check"} <= DECLARED
    assert missing(set(DECLARED), section("Attributes")) == []


def test_the_messages_of_the_loader_are_those_of_the_code() -> None:
    """The tests of the loader pin them."""
    tests = ROOT / "tests" / "unit" / "plugin" / "engine"
    pinned = "".join((tests / name).read_text() for name in ("test_attributes.py", "test_registry.py"))
    rows = [line for line in section("Messages of the loader").splitlines() if line.startswith("| `")]
    messages = [row.removeprefix("| `").split("` |")[0] for row in rows]
    assert len(messages) > 20
    assert [message for message in messages if f'"{message}"' not in pinned] == []


def test_settings_are_described_with_all_that_the_engine_reads() -> None:
    source = (ROOT / "inbox" / "plugin" / "engine" / "inspection.py").read_text()
    keys = set(re.findall(r'extra\(settings, "(\w+)"\)', source))
    assert keys == {"env", "domain_field"}
    assert [key for key in keys if f'{{"{key}": ' not in section("Settings")] == []
    assert missing(set(ENGINE_KEYS), section("Settings")) == []


def test_every_outcome_and_status_is_named() -> None:
    assert missing({outcome.value for outcome in OnError}, section("Errors")) == []
    assert missing({status.value for status in Status}, section("Errors")) == []
    assert "shadow" in section("Shadow mode")
    assert [mode for mode in Mode if mode.value not in PROSE] == []


def test_every_helper_for_tests_is_described() -> None:
    text = section("Testing")
    assert missing(set(testing.__all__), text) == []
    parts = {name for name in vars(testing.PluginTest("recipients")) if not name.startswith("_")}
    assert missing(public(testing.PluginTest) | parts | public(testing.TestOutcome), text) == []
    for kind in (
        testing.FakeClock, testing.MemoryLog, testing.MemoryDirectory, testing.MemoryRates, testing.MemoryResolver,
        testing.MemorySigningKeys, testing.MemoryFeedback,
    ):  # fmt: skip
        own = {name for name in vars(_made(kind)) if not name.startswith("_")}
        assert missing(own, text) == [], kind.__name__
    arguments = list(inspect.signature(testing.PluginTest).parameters)
    assert missing(set(arguments), text) == []


def _made(kind: Any) -> object:
    return kind(testing.FakeClock()) if kind is testing.MemoryRates else kind()


def test_a_name_that_is_not_described_is_found() -> None:
    class Later(Enum):
        NEW = "brand_new"

    assert missing({Later.NEW.value, "peer"}, section("Session")) == ["brand_new"]


def test_the_limits_are_those_of_the_code() -> None:
    from inbox.base import limits

    assert f"{limits.HOOK_SECONDS:g} by default" in section("Time limits")
    assert limits.HOOK_STEP_SECONDS == 0.5
    assert "half a second" in section("Time limits")
    assert f"{limits.IMPORT_SECONDS:g} seconds" in section("Time limits")
    assert f"at most {limits.HOOK_OPINIONS:,}" in section("Results of hooks")
    assert limits.DECISION_FACT_OCTETS == 8 * 1024


def test_the_page_is_linked() -> None:
    assert "docs/plugins.md" in (ROOT / "README.md").read_text()
    assert "docs/plugins.md" in (ROOT / "CONTRIBUTING.md").read_text()
    assert "../plugins.md" in (ROOT / "docs" / "reference" / "hooks.md").read_text()
    assert "docs/plugins.md" in (ROOT / "examples" / "README.md").read_text()
