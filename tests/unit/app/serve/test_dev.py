"""The ports of ``inbox dev``."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from inbox.app.serve import dev
from inbox.base.errors import ConfigError


@pytest.fixture
def taken(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The default port of SMTP, which another demo takes after this one found it free."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = str(other.getsockname()[1])
        monkeypatch.setattr(dev, "DEFAULTS", {**dev.DEFAULTS, "SMTP_TRANSFER_PORT": port})
        answers = iter([True])
        really = dev._is_free
        monkeypatch.setattr(dev, "_is_free", lambda number: next(answers, None) or really(number))
        yield port


def smtp_port(data: Path, **environ: str) -> int:
    off = {name: "0" for name in dev.PORTS if name != "SMTP_TRANSFER_PORT"}
    _, (endpoint,) = dev._bound({"INBOX_DATA_DIR": str(data), **off, **environ})
    with endpoint.socket as bound:
        return int(bound.getsockname()[1])


def test_a_default_port_that_another_demo_takes_first_is_replaced(taken: str, tmp_path: Path) -> None:
    assert smtp_port(tmp_path) not in {int(taken), 0}


def test_a_taken_port_that_the_environment_names_is_an_error(taken: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=f"SMTP_TRANSFER_PORT={taken}: cannot bind"):
        smtp_port(tmp_path, SMTP_TRANSFER_PORT=taken)
