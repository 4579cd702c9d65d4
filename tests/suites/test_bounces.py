"""Real bounces of some 60 mail systems: every failed recipient's status and class. The table in docs/bounces.md says
which of the suite's reasons are which of our classes."""

from __future__ import annotations

import json
import re
import tarfile
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from inbox.mail.content import MemoryContent
from inbox.mail.dsn.classify import CATEGORIES, classify
from inbox.mail.dsn.parse import parse
from inbox.mail.dsn.report import Notification, ReportedRecipient
from tests.support.suites import suite_dir

_DOC = Path(__file__).resolve().parents[2] / "docs" / "bounces.md"


@cache
def messages() -> dict[str, bytes]:
    with tarfile.open(suite_dir("bounces") / "messages.tar.xz") as archive:
        return {
            Path(member.name).name: (archive.extractfile(member) or pytest.fail(member.name)).read()
            for member in archive
            if member.isfile()
        }


@cache
def cases() -> list[tuple[str, list[dict[str, Any]], Notification]]:
    rows = [json.loads(line) for line in (suite_dir("bounces") / "expected.jsonl").read_text().splitlines()]
    return [
        (row["file"], row["recipients"], parse(MemoryContent(messages()[row["file"]])))
        for row in rows
        if row["file"] in messages()
    ]


def classes() -> dict[str, list[str]]:
    """The table: reason → classes; those without a class are no failures."""
    section = _DOC.read_text(encoding="utf-8").partition("## Reasons of the test suite")[2]
    rows = re.findall(r"^\| `(\w+)` \| ([\w, ]+) \|", section, re.MULTILINE)
    return {reason: text.split(", ") for reason, text in rows if text != "none"}


def is_status(found: ReportedRecipient, wanted: str) -> bool:
    """The suite writes ``5.0.9xx`` where the message has no enhanced code: then ours must not claim another one."""
    if re.fullmatch(r"[245]\.0\.9\d\d", wanted):
        return found.is_derived or found.status[0] == wanted[0]
    return found.status == wanted


def test_the_table_has_a_class_for_each_reason_of_the_suite() -> None:
    reasons = {one["reason"] for _, expected, _ in cases() for one in expected}
    assert reasons - classes().keys() <= {"delivered", "undefined", "vacation"}
    assert {one for names in classes().values() for one in names} <= set(CATEGORIES)


def test_the_status_of_nearly_all_recipients_is_found(capsys: pytest.CaptureFixture[str]) -> None:
    total, missed = 0, []
    for name, expected, report in cases():
        found = list(report.recipients)
        for one in expected:
            if one["reason"] == "vacation":
                assert report.kind == "auto-reply", name
                continue
            total += 1
            match = next((each for each in found if is_status(each, one["status"])), None)
            if match is None:
                missed.append(f"{name}: {one['status']}")
            else:
                found.remove(match)
    with capsys.disabled():
        print(f"\nbounces: {len(cases())} messages; status of {total - len(missed)} of {total} recipients")
    assert total >= 265
    assert total - len(missed) >= 0.97 * total, missed


def test_nearly_all_failures_get_the_right_class(capsys: pytest.CaptureFixture[str]) -> None:
    total, missed = 0, []
    for name, expected, report in cases():
        found = [
            (classify(each.code, each.status, each.text, context=each.context), each) for each in report.recipients
        ]
        for one in expected:
            wanted = classes().get(one["reason"])
            if wanted is None:
                continue
            total += 1
            match = next((each for each in found if each[0] in wanted), None)
            if match is None:
                missed.append(f"{name}: {one['reason']}, not {[each[0] for each in found]}")
            else:
                found.remove(match)
    with capsys.disabled():
        print(f"\nbounces: class of {total - len(missed)} of {total} failures")
    assert total >= 260
    assert total - len(missed) >= 0.95 * total, missed


def test_damaged_notifications_are_read_without_an_exception() -> None:
    for octets in messages().values():
        for cut in range(0, len(octets), max(len(octets) // 7, 1)):
            parse(MemoryContent(octets[:cut]))
            parse(MemoryContent(octets[:cut].replace(b"\n", b"\r\n") + b"\xff\x00" + octets[cut + 9 :]))
