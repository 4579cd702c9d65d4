"""The public suffix list's own checks."""

from __future__ import annotations

import re

from inbox.authentication.dmarc.author import a_labels
from inbox.authentication.dmarc.public_suffix import shipped
from tests.support.suites import suite_dir

_CHECK = re.compile(r"^checkPublicSuffix\('([^']+)', (?:'([^']+)'|null)\);", re.MULTILINE)


def test_every_check_of_the_list() -> None:
    text = (suite_dir("psl") / "test_psl.txt").read_text()
    checks = _CHECK.findall(text)
    assert len(checks) > 70
    suffixes = shipped()
    wrong = []
    for domain, expected in checks:
        if domain.startswith("."):
            continue  # No domain that could come out of an address.
        name = a_labels(domain)
        # The list says "none" for a suffix; for us a suffix stands for itself.
        if suffixes.organizational_domain(name) != (a_labels(expected) if expected else name):
            wrong.append(domain)
        if suffixes.is_public(name) != (not expected):
            wrong.append(domain)
    assert wrong == []
