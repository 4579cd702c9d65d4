"""hello_world, called directly."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from examples.plugins.hello_world import HelloWorld, Settings
from inbox.plugin import AddHeader
from tests.support.plugin_services import MemoryLog, services, transaction


def test_it_greets_the_tenant() -> None:
    log = MemoryLog()
    plugin = HelloWorld(Settings(greeting="Good morning"), services(log=log))
    assert plugin.data(transaction(b"Subject: x\r\n\r\n")) == AddHeader("X-Hello", "Good morning, acme")
    assert log.events == ["hello"]


@pytest.mark.parametrize("greeting", ["", "two\r\nlines", "x" * 61])
def test_a_greeting_is_one_short_line(greeting: str) -> None:
    with pytest.raises(ValidationError):
        Settings(greeting=greeting)
