"""dsn: which notifications are sent, and how they are written."""

from __future__ import annotations

from typing import Any

import pytest
from inbox_plugins.dsn import Dsn, Settings
from pydantic import ValidationError

from inbox.plugin import DropDsn, WriteDsn
from inbox.plugin.testing import PluginTest

TEXTS = {"failed": "Nicht zugestellt.", "quota": "Postfach voll.", "delayed": "Verspätet."}


def bench(**settings: Any) -> PluginTest:
    return PluginTest(Dsn, settings)


@pytest.mark.parametrize("kind", ["failed", "delayed", "relayed", "delivered"])
async def test_without_settings_every_kind_is_sent_as_it_is(kind: str) -> None:
    assert (await bench().notify(kind)).edits == [WriteDsn()]


async def test_kinds_that_are_off_are_dropped() -> None:
    test = bench(send=["failed"])
    assert (await test.notify("failed")).edits == [WriteDsn()]
    assert (await test.notify("delayed")).edits == [DropDsn("notifications of the kind delayed are off")]


async def test_a_notification_has_the_texts_of_its_kind_and_categories() -> None:
    test = bench(texts=TEXTS)
    assert (await test.notify("failed", ["quota", "", "quota"])).edits == [
        WriteDsn("Nicht zugestellt.\n\nPostfach voll.")
    ]
    assert (await test.notify("failed", ["address"])).edits == [WriteDsn("Nicht zugestellt.")]
    assert (await test.notify("delayed", ["quota"])).edits == [WriteDsn("Verspätet.")]


async def test_failures_have_a_copy_and_no_body_if_that_is_set() -> None:
    test = bench(copy_to="Postmaster@demo.test", headers_only=True)
    assert (await test.notify("failed")).edits == [WriteDsn("", True, "postmaster@demo.test")]
    assert (await test.notify("delayed")).edits == [WriteDsn("", True, "")]


@pytest.mark.parametrize(
    "settings",
    [{"send": ["all"]}, {"copy_to": "no address"}, {"texts": {"spam": "x"}}, {"texts": {"quota": "x" * 2001}}],
)
def test_wrong_settings_are_refused(settings: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Settings.model_validate(settings)
