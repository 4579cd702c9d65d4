"""The resolver without a server: names that nobody can have, and a server that does not answer."""

from __future__ import annotations

import pytest

from inbox.base.clock import SystemClock
from inbox.dns.answers import DnsTemporary, NameUnfit
from inbox.dns.resolver import CachingResolver
from tests.support.ports import free_port


@pytest.mark.parametrize("name", ["a..test", f"{'x' * 64}.test", ".".join(["abcdefgh"] * 40)])
async def test_a_name_that_cannot_be_asked_is_told_apart(name: str) -> None:
    with pytest.raises(NameUnfit):
        await CachingResolver(SystemClock(), "127.0.0.1:53").txt(name)


async def test_a_server_that_is_not_there_is_a_temporary_error() -> None:
    with pytest.raises(DnsTemporary):
        await CachingResolver(SystemClock(), f"127.0.0.1:{free_port()}", lifetime=0.2).txt("example.test")
