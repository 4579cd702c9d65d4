"""headers: the edits, their order, and what a policy may not touch."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from inbox_plugins.headers import Headers, Settings
from pydantic import ValidationError

from inbox.mail.headers import Headers as Headers_
from inbox.mail.headers import add_field
from inbox.plugin import AddHeader, DeleteHeader
from tests.support.plugin_services import services, session, transaction


def edits(**settings: object) -> list[object]:
    return list(Headers(Settings.model_validate(settings), services()).data(transaction(b"")))


def test_nothing_is_set_and_nothing_is_edited() -> None:
    assert edits() == []


def test_removal_comes_first_then_replacement_then_addition() -> None:
    assert edits(add={"X-A": "1"}, set={"X-B": "2"}, remove=["X-C"]) == [
        DeleteHeader("X-C"),
        DeleteHeader("X-B"),
        AddHeader("X-B", "2"),
        AddHeader("X-A", "1"),
    ]


def test_placeholders_are_filled_in() -> None:
    (edit,) = edits(add={"X-Seen": "{server} {tenant} {door} {peer} {id} {{kept}}"})
    assert edit == AddHeader("X-Seen", "mx.acme.test acme smtp 192.0.2.7 x1 {kept}")


def test_values_may_be_in_any_script() -> None:
    assert edits(add={"X-Note": "geprüft ✓"}) == [AddHeader("X-Note", "geprüft ✓")]


def test_an_ipv6_peer_is_written_as_usual() -> None:
    plugin = Headers(Settings(add={"X-Peer": "{peer}"}), services())
    tx = transaction(b"", session=session(peer="2001:db8::1"))
    assert plugin.data(tx) == [AddHeader("X-Peer", "2001:db8::1")]


@pytest.mark.parametrize("name", ["Received", "DKIM-Signature", "return-path", "ARC-Seal", "Resent-From"])
@pytest.mark.parametrize("where", ["add", "set", "remove"])
def test_trace_and_signatures_are_protected(name: str, where: str) -> None:
    value: object = [name] if where == "remove" else {name: "x"}
    with pytest.raises(ValidationError, match="allow_trace"):
        Settings.model_validate({where: value})
    assert Settings.model_validate({where: value, "allow_trace": True})


@pytest.mark.parametrize("name", ["", "X Y", "X:", "X\r\nY", "Ü", "X" * 77])
def test_names_that_are_none(name: str) -> None:
    with pytest.raises(ValidationError, match="not a valid header field name"):
        Settings.model_validate({"add": {name: "x"}})


@pytest.mark.parametrize(
    "value", ["a\r\nBcc: x", "a\nb", "nul\0", "\ud800", "x" * 501, "{score}", "{", "{id!r}", "{id:>9}", "{0}", "{id.x}"]
)
def test_values_that_are_none(value: str) -> None:
    with pytest.raises(ValidationError):
        Settings.model_validate({"add": {"X-A": value}})


@given(value=st.text(max_size=60))
def test_whatever_the_policy_says_no_field_gets_a_second_line(value: str) -> None:
    try:
        settings = Settings(add={"X-A": value})
    except ValidationError:
        return
    (edit,) = Headers(settings, services()).data(transaction(b""))
    assert isinstance(edit, AddHeader)
    assert not {"\r", "\n", "\0"} & set(edit.value)
    added = add_field(b"Subject: x\r\n\r\n", edit.name, edit.value)
    assert Headers_.parse(added).names() == ["X-A", "Subject"]
