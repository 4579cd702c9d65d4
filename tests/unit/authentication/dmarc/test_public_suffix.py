"""Organizational domains by the public suffix list."""

from __future__ import annotations

import subprocess
import sys

import pytest

from inbox.authentication.dmarc.public_suffix import PublicSuffixes, SuffixList, shipped, top_level_domains


@pytest.mark.parametrize(
    ("domain", "organizational"),
    [
        ("example.com", "example.com"),
        ("a.b.example.com", "example.com"),
        ("a.example.co.uk", "example.co.uk"),
        ("co.uk", "co.uk"),
        ("com", "com"),
        ("mail.www.ck", "www.ck"),
        ("a.b.unlisted", "b.unlisted"),
    ],
)
def test_the_suffix_and_one_label_more(domain: str, organizational: str) -> None:
    assert shipped().organizational_domain(domain) == organizational


def test_public_suffixes() -> None:
    assert shipped().is_public("co.uk")
    assert not shipped().is_public("example.co.uk")


def test_the_list_is_read_once_at_its_first_use() -> None:
    class Counting:
        read = 0

        def privatesuffix(self, domain: str) -> str | None:
            return domain

        def is_public(self, domain: str) -> bool:
            return False

    def load() -> SuffixList:
        Counting.read += 1
        return Counting()

    suffixes = PublicSuffixes(load)
    assert Counting.read == 0
    suffixes.is_public("com")
    suffixes.organizational_domain("example.com")
    assert Counting.read == 1


def test_importing_it_does_not_import_the_list() -> None:
    code = "import sys; import inbox.authentication.dmarc.evaluation; print('publicsuffixlist' in sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "False"


def test_top_level_domains() -> None:
    found = top_level_domains()
    assert {"com", "de", "xn--p1ai", "zip"} <= found
    assert not {"co.uk", "test", "", "рф"} & found
