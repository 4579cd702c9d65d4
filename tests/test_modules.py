"""Every module has its test, or a reason why not."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).parents[1]

#: Modules that have no code of their own to test.
NO_CODE = {
    "inbox/plugin/api/feedback.py",
    "inbox/plugin/api/signing.py",
    "inbox/base/clock.py",
    "inbox/app/serve/exits.py",
    "inbox/base/errors.py",
    "inbox/base/limits.py",
    "inbox/dns/answers.py",
    "inbox/flow/destinations.py",
    "inbox/flow/door_rules.py",
    "inbox/flow/envelope.py",
    "inbox/flow/ports.py",
    "inbox/mail/tenancy.py",
    "inbox/plugin/api/context.py",
    "inbox/plugin/api/hookspecs.py",
    "inbox/plugin/api/services.py",
    "inbox/policy/stages.py",
    "inbox/store/ports/accounts.py",
    "inbox/store/ports/blobs.py",
    "inbox/store/ports/database.py",
    "inbox/store/ports/decisions.py",
    "inbox/store/ports/hosting.py",
    "inbox/store/ports/changes.py",
    "inbox/store/ports/ingest.py",
    "inbox/store/ports/installation.py",
    "inbox/store/ports/keys.py",
    "inbox/store/ports/mailboxes.py",
    "inbox/store/ports/messages.py",
    "inbox/store/ports/queue.py",
    "inbox/store/ports/rates.py",
    "inbox/store/ports/reports.py",
    "inbox/store/ports/tenants.py",
}
#: Modules that are tested through what they are a part of: the beginning of their names, and the test.
TOGETHER = {
    "inbox/app/serve/dev": "tests/e2e/test_dev.py",
    "inbox/hosting/dns/check": "tests/e2e/test_domain_check.py",
    "inbox/app/wiring/installation": "tests/unit/cli/test_policy_explain.py",
    "inbox/app/wiring/flow": "tests/e2e/test_story.py",
    "inbox/app/wiring/rehearsal": "tests/unit/cli/test_policy_explain.py",
    "inbox/app/serve/server": "tests/e2e/test_story.py",
    "inbox/app/doctor/storage": "tests/unit/app/serve/test_storage.py",
    "inbox/app/wiring/stores": "tests/unit/cli/test_main.py",
    "inbox/app/wiring/program": "tests/e2e/test_story.py",
    "inbox/cli/completion": "tests/unit/cli/test_environment.py",
    "inbox/cli/context": "tests/unit/cli/test_main.py",
    "inbox/cli/domain_changes": "tests/unit/cli/test_changes.py",
    "inbox/cli/policy_origins": "tests/unit/cli/test_policy.py",
    "inbox/cli/serve": "tests/e2e/test_story.py",
    "inbox/cli/template": "tests/unit/cli/test_plugins.py",
    "inbox/flow/judge": "tests/unit/flow/test_pipeline.py",
    "inbox/flow/recording": "tests/unit/flow/test_pipeline.py",
    "inbox/flow/replies": "tests/unit/flow/test_pipeline.py",
    "inbox/plugin/expressions": "tests/unit/plugin/test_surface.py",
    "inbox/plugin/limits": "tests/unit/plugin/test_surface.py",
    "inbox/plugin/engine/settling": "tests/unit/plugin/engine/test_dispatcher.py",
    "inbox/plugin/engine/views": "tests/unit/plugin/engine/test_dispatcher.py",
    "inbox/policy/effective": "tests/unit/policy/test_snapshot.py",
    "inbox/policy/origins": "tests/unit/cli/test_policy.py",
    "inbox/policy/merge": "tests/unit/policy/test_snapshot.py",
    "inbox/policy/validation": "tests/unit/policy/test_snapshot.py",
    "inbox/server/imap/": "tests/unit/server/test_imap_dialogs.py",
    "inbox/server/smtp/": "tests/unit/server/test_smtp.py",
    "inbox/store/bus": "tests/contract/test_changes.py",
    "inbox/store/indexing.py": "tests/unit/store/test_ingest.py",
    "inbox/store/sqlite/": "tests/contract/test_entries.py",
    "inbox/store/surreal/": "tests/contract/test_entries.py",
    "inbox/store/worker/starting.py": "tests/unit/store/worker/test_link.py",
    "inbox/wire/smtp/": "tests/unit/wire/test_smtp_receiver.py",
    "plugins/inbox_plugins/_clamav": "tests/plugins/test_clamav.py",
    "plugins/inbox_plugins/_dmarc": "tests/plugins/test_dmarc.py",
    "plugins/inbox_plugins/_spam_rules": "tests/plugins/test_spam_rules.py",
}


def modules() -> list[Path]:
    return [path for folder in ("inbox", "plugins") for path in sorted((ROOT / folder).rglob("*.py"))]


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imported() -> set[str]:
    """The modules that tests import by their full name."""
    found = set()
    for path in (ROOT / "tests").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.module:
                found.update([node.module, *(f"{node.module}.{alias.name}" for alias in node.names)])
            elif isinstance(node, ast.Import):
                found.update(alias.name for alias in node.names)
    return found


def has_test(path: Path, known: set[str]) -> bool:
    """``inbox/a/b.py`` has ``tests/unit/a/test_b.py``, or some test imports it."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    if parts[0] == "plugins":
        return (ROOT / "tests" / "plugins" / f"test_{parts[-1]}.py").exists()
    return ROOT.joinpath("tests", "unit", *parts[1:-1], f"test_{parts[-1]}.py").exists() or ".".join(parts) in known


def test_every_module_has_its_test_or_a_reason() -> None:
    known = imported()
    missing = [
        name_of(path)
        for path in modules()
        if path.name != "__init__.py"
        and name_of(path) not in NO_CODE
        and not name_of(path).startswith(tuple(TOGETHER))
        and not has_test(path, known)
    ]
    assert missing == []


def test_the_reasons_hold() -> None:
    names = [name_of(path) for path in modules()]
    assert [name for name in NO_CODE if name not in names] == []
    assert [begin for begin in TOGETHER if not any(name.startswith(begin) for name in names)] == []
    assert [test for test in TOGETHER.values() if not (ROOT / test).exists()] == []
