"""spam_rules on mails as they were received: every variable has its value, whatever the mail looks like."""

from __future__ import annotations

import tarfile

from inbox_plugins._spam_rules_language import VARIABLES
from inbox_plugins.spam_rules import Settings, SpamRules

from inbox.plugin import Score
from inbox.plugin.api.testing import run_in_thread
from tests.support.plugin_services import services, transaction
from tests.support.suites import suite_dir

#: Every so manieth mail is enough, and the test stays fast.
STEP = 7


async def test_every_variable_of_real_mails() -> None:
    conditions = {f"R_{name}": f"{name} == {name}" for name in VARIABLES if name not in {"facts", "rules"}}
    conditions["SIZES"] = "attachments.all(a, a.size >= 0)"
    rules = [{"name": name, "when": when, "score": 1} for name, when in conditions.items()]
    plugin = SpamRules(Settings.model_validate({"rules": rules}), services(run_blocking=run_in_thread))
    expected = [Score(name, 1.0) for name in conditions]
    seen = 0
    with tarfile.open(suite_dir("spam") / "corpus-part1.tar.xz") as archive:
        for number, member in enumerate(archive):
            if number % STEP or not member.name.endswith(".txt"):
                continue
            file = archive.extractfile(member)
            assert file is not None
            assert await plugin.data(transaction(file.read())) == expected, member.name
            seen += 1
    assert seen > 100
