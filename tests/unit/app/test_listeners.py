"""Sockets: which are bound, which are left out, and the error when one cannot be bound."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import pytest

from inbox.app.config.loading import Config, load
from inbox.app.listeners import bind, inherited
from inbox.base.errors import ConfigError
from inbox.server.listener import Endpoint
from tests.support.ports import free_port, free_ports

OFF = {
    "SMTP_TRANSFER_PORT": "0",
    "SMTP_SUBMISSION_PORT": "0",
    "SMTP_SUBMISSIONS_PORT": "0",
    "LMTP_PORT": "0",
    "IMAP_PORT": "0",
    "IMAPS_PORT": "0",
    "HTTP_PORT": "0",
}


@pytest.fixture
def taken() -> Iterator[socket.socket]:
    """A listening socket; what it was bound to cannot be had."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        bound.listen()
        yield bound


def port_of(bound: socket.socket) -> int:
    return int(bound.getsockname()[1])


def config(**ports: int) -> Config:
    return load({**OFF, "SERVER_BIND_ADDR": "127.0.0.1", **{name: str(port) for name, port in ports.items()}})


def closed(listeners: list[Endpoint]) -> dict[str, int]:
    """Name to port, after closing them."""
    found = {listener.name: listener.port for listener in listeners}
    for listener in listeners:
        listener.socket.close()
    return found


def test_every_port_that_is_not_0_is_bound() -> None:
    smtp, imaps = free_ports(2)
    listeners = bind(config(SMTP_TRANSFER_PORT=smtp, IMAPS_PORT=imaps), frozenset())
    with socket.create_connection(("127.0.0.1", smtp), 5):
        assert closed(listeners) == {"smtp": smtp, "imaps": imaps}


def test_only_leaves_the_other_doors_shut() -> None:
    smtp, imap, imaps = free_ports(3)
    settings = config(SMTP_TRANSFER_PORT=smtp, IMAP_PORT=imap, IMAPS_PORT=imaps)
    assert closed(bind(settings, frozenset({"imap"}))) == {"imap": imap, "imaps": imaps}


def test_submission_has_a_port_with_starttls_and_one_with_tls() -> None:
    submission, submissions = free_ports(2)
    settings = config(SMTP_SUBMISSION_PORT=submission, SMTP_SUBMISSIONS_PORT=submissions)
    listeners = bind(settings, frozenset({"submission"}))
    assert {listener.name: listener.tls for listener in listeners} == {
        "submission": "starttls",
        "submissions": "implicit",
    }
    assert closed(listeners) == {"submission": submission, "submissions": submissions}


def test_an_unknown_door_is_named() -> None:
    with pytest.raises(
        ConfigError, match="--only pop3: unknown listener; valid names are smtp, submission, lmtp, imap, http"
    ):
        bind(config(SMTP_TRANSFER_PORT=1), frozenset({"pop3"}))


def test_nothing_to_listen_on_is_a_mistake() -> None:
    with pytest.raises(ConfigError, match="every port is 0"):
        bind(config(), frozenset())


def test_a_port_that_is_taken_names_its_variable_and_frees_the_others(taken: socket.socket) -> None:
    smtp, imap = free_port(), port_of(taken)
    with pytest.raises(ConfigError, match=f"IMAP_PORT={imap}: cannot bind 127.0.0.1 port {imap}"):
        bind(config(SMTP_TRANSFER_PORT=smtp, IMAP_PORT=imap), frozenset())
    assert closed(bind(config(SMTP_TRANSFER_PORT=smtp), frozenset())) == {"smtp": smtp}


def test_a_child_takes_over_what_its_parent_bound(taken: socket.socket) -> None:
    (listener,) = inherited(f"smtp={taken.fileno()}")
    assert (listener.name, listener.port) == ("smtp", port_of(taken))
    assert listener.socket.fileno() != taken.fileno()  # closing it leaves the parent's open
    listener.socket.close()
