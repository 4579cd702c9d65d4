"""The public plugin API: its names, and that all who are shown to authors use nothing else."""

from __future__ import annotations

import ast
import importlib
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from inbox.cli.template import package_files, plugin_files

ROOT = Path(__file__).resolve().parents[3]
#: Names that authors import. To add one is a decision: it stays, and docs/plugins.md describes it.
PUBLIC = {
    "inbox.plugin": """
        Accept Action AddFlags AddHeader AddRecipient Address ArcFact ArcSet BelievedName BimiFact Category
        ChangeHeader Classify Counted Defer DeleteHeader Delivery Discard DkimFact DkimSignature DmarcFact
        DmarcReportFact DnsTemporary Door DropDsn DropRecipient Edit Facts Failure FileInto HeaderOverride Headers
        HookResult Identity InboxError IncomingReport InsertHeader Link Message NoTenant Notification Observation
        Opinion PartInfo Plugin PluginInvalid PluginSettings Quarantine Recipient Redirect Reject ReplaceBody ReportRow
        Resolution Resolved Result Score ScoreAction Secret Services Session Shadow SigningKey SpfFact Stage
        StoreError StoreUnavailable Suppress Table TableEntry TableFull TenantTable Tls Transaction Transform
        Verdict Via VirusFact WriteDsn action_for hookimpl opinion_of
    """,
    "inbox.plugin.testing": """
        FakeClock MemoryDirectory MemoryFeedback MemoryLog MemoryPluginState MemoryRates MemoryResolver
        MemorySigningKeys MemorySuppressionList PluginInvalid PluginTest PolicyMistakes Status TestOutcome load
        run_in_thread
    """,
    "inbox.plugin.expressions": """
        EvaluationError Expression ExpressionError FLAG Language Method NUMBER Scope Shape TEXT TEXTS members_of
        shape_of unknown
    """,
    "inbox.plugin.limits": """
        AUTHENTICATION_RESULTS_SEARCHED DKIM_SIGNATURES DMARC_EXCEPTION_SECONDS DOMAIN_OCTETS RSA_BITS_LEAST
        RSA_BITS_MOST SPOOL_OCTETS
    """,
}
#: Packages of nouns and of mail authentication, which plugins may use, too.
NOUNS = ("inbox.mail.", "inbox.authentication.", "inbox_plugins.")


@pytest.mark.parametrize("name", PUBLIC)
def test_the_public_names_are_these(name: str) -> None:
    module = importlib.import_module(name)
    assert sorted(module.__all__) == sorted(PUBLIC[name].split())
    assert [each for each in module.__all__ if not hasattr(module, each)] == []


def imports(source: str) -> Iterator[tuple[str, str]]:
    """Module and name of each import from the suite."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in {"inbox", "inbox_plugins"}:
            yield from ((node.module or "", alias.name) for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names if alias.name.partition(".")[0] == "inbox")


def is_public(module: str, name: str) -> bool:
    return name in PUBLIC[module].split() if module in PUBLIC else f"{module}.".startswith(NOUNS)


def private(source: str) -> list[tuple[str, str]]:
    """Imports that an author may not rely on."""
    return [(module, name) for module, name in imports(source) if not is_public(module, name)]


SHOWN = sorted([*(ROOT / "examples").rglob("*.py"), *(ROOT / "plugins").rglob("*.py")])


@pytest.mark.parametrize("path", SHOWN, ids=lambda path: str(path.relative_to(ROOT)))
def test_plugins_and_examples_import_public_names_only(path: Path) -> None:
    assert private(path.read_text()) == []


def test_the_templates_import_public_names_only() -> None:
    for name, text in {**plugin_files("mine"), **package_files("mine")}.items():
        if name.endswith(".py"):
            assert list(imports(text)), name
            assert private(text) == [], name


def test_a_private_import_is_found() -> None:
    assert private("from inbox.plugin.api.testing import PluginTest") == [("inbox.plugin.api.testing", "PluginTest")]
    assert private("from inbox.plugin import Stranger") == [("inbox.plugin", "Stranger")]
    assert private("from inbox.base.errors import InboxError") == [("inbox.base.errors", "InboxError")]
    assert private("import inbox.store") == [("inbox.store", "")]
    assert private("from inbox.mail.address import Address\nfrom inbox.plugin import Plugin") == []


def test_mypy_checks_examples_plugins_and_the_uses_of_the_api() -> None:
    """tests/typing has correct uses, and wrong ones that must be reported: "unused type: ignore" is an error."""
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]
    assert config["strict"] is True
    for folder in ("inbox", "plugins/inbox_plugins", "examples", "tests/typing"):
        assert any(folder == each or folder.startswith(f"{each}/") for each in config["files"]), folder
        assert list((ROOT / folder).rglob("*.py"))
    assert "exclude" not in config
    wrong = (ROOT / "tests" / "typing" / "wrong_uses.py").read_text()
    assert wrong.count("# type: ignore[") > 35
