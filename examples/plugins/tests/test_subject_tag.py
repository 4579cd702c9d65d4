"""subject_tag, called directly, and its edit applied to a message."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from examples.plugins.subject_tag import Settings, SubjectTag
from inbox.mail.headers import change_field
from inbox.plugin import ChangeHeader, Identity
from tests.support.plugin_services import services, session, transaction


def tag(subject: bytes = b"Hello", sender: str | None = "bob@example.net", **settings: object) -> ChangeHeader | None:
    plugin = SubjectTag(Settings.model_validate(settings), services())
    return plugin.data(transaction(b"Subject: " + subject + b"\r\n\r\nhello", sender=sender, to=("ann@acme.test",)))


def test_mail_from_outside_is_marked() -> None:
    assert tag() == ChangeHeader("Subject", "[EXTERNAL] Hello")
    assert tag(tag="(out)") == ChangeHeader("Subject", "(out) Hello")


def test_an_encoded_subject_stays_readable() -> None:
    edit = tag(b"=?utf-8?q?Gr=C3=BC=C3=9Fe?=")
    assert edit == ChangeHeader("Subject", "[EXTERNAL] Grüße")
    changed = change_field(b"Subject: x\r\n\r\n", edit.name, edit.value, 1)
    assert changed.isascii()


def test_no_subject_at_all() -> None:
    plugin = SubjectTag(Settings(), services())
    assert plugin.data(transaction(b"\r\nhello", to=("ann@acme.test",))) == ChangeHeader("Subject", "[EXTERNAL]")


@pytest.mark.parametrize(
    ("sender", "settings"),
    [("carl@acme.test", {}), ("bob@example.net", {"ours": ["Example.net"]}), (None, {})],
)
def test_mail_from_inside_and_bounces_are_left_alone(sender: str | None, settings: dict[str, object]) -> None:
    assert tag(sender=sender, **settings) is None


def test_who_logged_in_is_not_outside() -> None:
    inside = session(identity=Identity("bob@acme.test", "a1", "t1", "acme"))
    assert SubjectTag(Settings(), services()).data(transaction(b"Subject: x\r\n\r\n", session=inside)) is None


def test_the_tag_is_put_there_once() -> None:
    assert tag(b"Re: [EXTERNAL] Hello") is None


def test_no_line_end_of_a_stranger_gets_into_the_field() -> None:
    edit = tag(b"=?utf-8?q?a=0D=0ABcc:_x=00?=")
    assert edit is not None
    assert edit.value.isprintable()


@pytest.mark.parametrize("settings", [{"tag": "two words"}, {"tag": ""}, {"tag": "x\r\n"}, {"typo": 1}])
def test_wrong_settings_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        Settings.model_validate(settings)
