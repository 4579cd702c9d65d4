"""Every module has its test, or a reason why not."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

import pytest

from tests.support.sources import ROOT, modules

#: In one process, so that each file is parsed once (tests/support/sources.py).
pytestmark = pytest.mark.xdist_group("sources")

#: Patterns are enough here: to parse all tests takes seconds.
_IMPORT = re.compile(r"^\s*from (\S+) import (\([^)]*\)|.+)$", re.MULTILINE)
#: Modules that have no code of their own to test.
NO_CODE = {
    "inbox/app/serve/exits.py",
    "inbox/store/ports/accounts.py",
    "inbox/store/ports/blobs.py",
    "inbox/store/ports/database.py",
    "inbox/store/ports/keys.py",
    "inbox/store/ports/reports.py",
    "inbox/store/ports/tenants.py",
}
#: Modules that are tested as a part of something else, by the test that does it.
TOGETHER = {
    "tests/contract/test_suppressions.py": [
        "inbox/store/sqlite/suppression.py",
        "inbox/store/surreal/suppression.py",
    ],
    "tests/contract/test_webhooks.py": [
        "inbox/store/webhook_rows.py",
    ],
    "tests/contract/test_idempotency.py": [
        "inbox/store/sqlite/idempotency.py",
        "inbox/store/surreal/idempotency.py",
    ],
    "tests/contract/test_job_reports.py": [
        "inbox/store/sqlite/job_reports.py",
        "inbox/store/surreal/job_reports.py",
    ],
    "tests/contract/test_accounts.py": [
        "inbox/store/surreal/accounts.py",
    ],
    "tests/contract/test_changes.py": [
        "inbox/store/bus.py",
        "inbox/store/surreal/changes.py",
    ],
    "tests/contract/test_credentials.py": [
        "inbox/store/sqlite/credentials.py",
        "inbox/store/surreal/credentials.py",
    ],
    "tests/contract/test_shared.py": [
        "inbox/store/sqlite/shared.py",
        "inbox/store/surreal/shared.py",
    ],
    "tests/contract/test_dkim_keys.py": [
        "inbox/store/surreal/dkim_keys.py",
    ],
    "tests/contract/test_dmarc_reports.py": [
        "inbox/store/sqlite/dmarc_reports.py",
        "inbox/store/surreal/dmarc_reports.py",
    ],
    "tests/contract/test_entries.py": [
        "inbox/store/sqlite/entries.py",
        "inbox/store/sqlite/jobs.py",
        "inbox/store/sqlite/messages.py",
        "inbox/store/sqlite/plugin_state.py",
        "inbox/store/sqlite/rows.py",
        "inbox/store/surreal/ingest.py",
        "inbox/store/surreal/job_changes.py",
        "inbox/store/surreal/messages.py",
        "inbox/store/surreal/plan.py",
        "inbox/store/surreal/plugin_state.py",
        "inbox/store/surreal/queue.py",
        "inbox/store/surreal/rows.py",
    ],
    "tests/contract/test_hosting.py": [
        "inbox/store/sqlite/hosting.py",
        "inbox/store/sqlite/removing.py",
        "inbox/store/surreal/hosting.py",
        "inbox/store/surreal/removing.py",
    ],
    "tests/contract/test_installation.py": [
        "inbox/store/sqlite/installation.py",
        "inbox/store/surreal/installation.py",
    ],
    "tests/contract/test_mailboxes.py": [
        "inbox/store/sqlite/mailboxes.py",
        "inbox/store/surreal/mailboxes.py",
    ],
    "tests/contract/test_reading.py": [
        "inbox/store/sqlite/reading.py",
    ],
    "tests/contract/test_steps.py": [
        "inbox/store/sqlite/steps.py",
        "inbox/store/surreal/steps.py",
    ],
    "tests/contract/test_tenants.py": [
        "inbox/store/sqlite/tenants.py",
        "inbox/store/surreal/tenants.py",
    ],
    "tests/e2e/test_sending.py": [
        "inbox/app/serve/outbound.py",
    ],
    "tests/e2e/test_dev.py": [
        "inbox/app/serve/devclamd.py",
    ],
    "tests/e2e/test_domain_check.py": [
        "inbox/hosting/dns/check.py",
    ],
    "tests/e2e/test_story.py": [
        "inbox/cli/serve.py",
    ],
    "tests/plugins/test_clamav.py": [
        "plugins/inbox_plugins/_clamav_findings.py",
    ],
    "tests/plugins/test_dmarc.py": [
        "plugins/inbox_plugins/_dmarc_settings.py",
    ],
    "tests/plugins/test_spam_rules.py": [
        "plugins/inbox_plugins/_spam_rules_language.py",
        "plugins/inbox_plugins/_spam_rules_order.py",
        "plugins/inbox_plugins/_spam_rules_values.py",
    ],
    "tests/unit/cli/test_bulk.py": [
        "inbox/cli/hosting_import.py",
    ],
    "tests/unit/cli/test_changes.py": [
        "inbox/cli/domain_changes.py",
    ],
    "tests/unit/cli/test_environment.py": [
        "inbox/cli/completion.py",
    ],
    "tests/unit/cli/test_policy.py": [
        "inbox/cli/policy_origins.py",
    ],
    "tests/unit/cli/test_policy_explain.py": [
        "inbox/app/wiring/flow.py",
        "inbox/app/wiring/rehearsal.py",
    ],
    "tests/unit/flow/submission/test_submission.py": [
        "inbox/flow/submission/relaying.py",
    ],
    "tests/unit/plugin/engine/test_dispatcher.py": [
        "inbox/plugin/engine/settling.py",
        "inbox/plugin/engine/views.py",
    ],
    "tests/unit/plugin/test_surface.py": [
        "inbox/plugin/expressions.py",
        "inbox/plugin/limits.py",
    ],
    "tests/unit/policy/test_snapshot.py": [
        "inbox/policy/effective.py",
        "inbox/policy/merge.py",
        "inbox/policy/validation.py",
    ],
    "tests/unit/server/test_imap_dialogs.py": [
        "inbox/server/imap/append.py",
        "inbox/server/imap/capability.py",
        "inbox/server/imap/conversation.py",
        "inbox/server/imap/fetch.py",
        "inbox/server/imap/listing.py",
        "inbox/server/imap/login.py",
        "inbox/server/imap/mailboxes.py",
        "inbox/server/imap/messages.py",
        "inbox/server/imap/outcome.py",
        "inbox/server/imap/parts.py",
        "inbox/server/imap/rules.py",
        "inbox/server/imap/search.py",
        "inbox/server/imap/select.py",
        "inbox/server/imap/selected.py",
        "inbox/server/imap/session.py",
    ],
    "tests/unit/server/test_smtp_authentication.py": [
        "inbox/server/smtp/authentication.py",
    ],
    "tests/unit/server/test_smtp.py": [
        "inbox/server/smtp/commands.py",
        "inbox/server/smtp/conversation.py",
        "inbox/server/smtp/dispatch.py",
        "inbox/server/smtp/intake.py",
        "inbox/server/smtp/message.py",
        "inbox/server/smtp/session.py",
    ],
    "tests/unit/store/test_ingest.py": [
        "inbox/store/indexing.py",
    ],
    "tests/unit/wire/test_smtp_receiver.py": [
        "inbox/wire/smtp/body.py",
        "inbox/wire/smtp/parameters.py",
    ],
}


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


@cache
def imported() -> set[str]:
    """The modules that tests import by their full name."""
    found = set()
    for path in (ROOT / "tests").rglob("*.py"):
        for module, names in _IMPORT.findall(path.read_text("utf-8")):
            found.update([module, *(f"{module}.{name}" for name in re.findall(r"\w+", names))])
    return found


def has_test(path: Path, known: set[str]) -> bool:
    """``inbox/a/b.py`` has ``tests/unit/a/test_b.py``, or some test imports it."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    if parts[0] == "plugins":
        return (ROOT / "tests" / "plugins" / f"test_{parts[-1]}.py").exists()
    return ROOT.joinpath("tests", "unit", *parts[1:-1], f"test_{parts[-1]}.py").exists() or ".".join(parts) in known


def test_every_module_has_its_test_or_a_reason() -> None:
    known = imported()
    excepted = {*NO_CODE, *(name for names in TOGETHER.values() for name in names)}
    missing = [
        name_of(path)
        for path in modules()
        if path.name != "__init__.py" and name_of(path) not in excepted and not has_test(path, known)
    ]
    assert missing == []


def test_the_exceptions_are_needed() -> None:
    known = imported()
    names = [*NO_CODE, *(name for names in TOGETHER.values() for name in names)]
    assert len(names) == len({*names})
    assert [name for name in names if not (ROOT / name).is_file()] == []
    assert [name for name in names if has_test(ROOT / name, known)] == [], "these have a test: remove the exception"
    assert [test for test in TOGETHER if not (ROOT / test).is_file()] == []
