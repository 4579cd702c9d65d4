"""subject_tag: whose subjects are marked, and that no stranger's text breaks the field."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from inbox.mail.headers import change_field
from inbox.plugin import ChangeHeader, Door, Identity, Stage
from inbox.plugin.testing import PluginTest, PolicyMistakes

PLUGIN = Path(__file__).parents[1] / "subject_tag.py"


async def tag(
    eml: bytes = b"Subject: Hello\r\n\r\n", sender: str | None = "bob@example.net", **settings: Any
) -> str | None:
    """The new subject, or None if it stays."""
    edits = (await PluginTest(PLUGIN, settings).data(eml, sender=sender, to=["ann@demo.test"])).edits
    if not edits:
        return None
    (edit,) = edits
    assert isinstance(edit, ChangeHeader)
    assert edit.name == "Subject"
    changed = change_field(eml, edit.name, edit.value, 1)
    assert changed.count(b"Subject:") == 1
    return edit.value


async def test_mail_from_outside_is_marked() -> None:
    assert await tag() == "[EXTERNAL] Hello"
    assert await tag(tag="(out)") == "(out) Hello"
    assert await tag(b"\r\nno subject at all") == "[EXTERNAL]"


async def test_an_encoded_subject_stays_readable() -> None:
    assert await tag(b"Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=\r\n\r\n") == "[EXTERNAL] Grüße"


@pytest.mark.parametrize(
    ("sender", "settings"),
    [("carl@demo.test", {}), ("bob@example.net", {"ours": ["Example.net"]}), (None, {})],
)
async def test_mail_from_inside_and_bounces_are_left_alone(sender: str | None, settings: dict[str, Any]) -> None:
    assert await tag(sender=sender, **settings) is None


async def test_who_logged_in_is_not_outside() -> None:
    test = PluginTest(PLUGIN)
    tx = test.transaction(eml=b"Subject: Hello\r\n\r\n", door=Door.SUBMISSION)
    tx.session.identity = Identity("bob@example.net", "a1", "demo", "demo")
    assert (await test.run(Stage.DATA, tx=tx)).edits == []


async def test_the_tag_is_put_there_once() -> None:
    assert await tag(b"Subject: Re: [EXTERNAL] Hello\r\n\r\n") is None


async def test_no_line_end_of_a_stranger_gets_into_the_field() -> None:
    value = await tag(b"Subject: =?utf-8?q?a=0D=0ABcc:_x=00=7F?=\r\n\r\n")
    assert value is not None
    assert value.isprintable()


@pytest.mark.parametrize("settings", [{"tag": "two words"}, {"tag": ""}, {"tag": "x\r\n"}, {"typo": 1}])
def test_wrong_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(PolicyMistakes, match=next(iter(settings))):
        PluginTest(PLUGIN, settings)
