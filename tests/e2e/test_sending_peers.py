"""The peers of the benchmark of sending take submissions, sign them, and deliver them to the sink."""

from __future__ import annotations

import smtplib
from contextlib import ExitStack

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from benchmarks.delivery import folder_for
from benchmarks.senders import PEERS, REMOTE
from benchmarks.sending import made_keys, submission, verify
from benchmarks.sink import sink
from benchmarks.submitting import LATER_EVERY, submit
from benchmarks.support import Skipped, until
from tests.support.ports import free_port

pytestmark = [pytest.mark.real, pytest.mark.slow]
COUNT = 40


@pytest.mark.parametrize("name", PEERS)
def test_a_peer_signs_and_delivers_what_is_submitted(name: str) -> None:
    versions, started = PEERS[name]
    try:
        versions()
    except Skipped as reason:
        # Haraka, and Dovecot for the logins of Postfix, are set up for the benchmarks only; Exim is for the tests, too.
        text = str(reason)
        pytest.skip(text if name == "Exim" else text.replace("is not installed", "is not set up"))
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    with ExitStack() as stack:
        parent = folder_for(stack, None)
        port = free_port()
        taking = stack.enter_context(sink(parent / "sink", port, refuses=True))
        server = stack.enter_context(started(folder_for(stack, parent), made_keys(parent, key), port))
        with smtplib.SMTP("127.0.0.1", server.port, timeout=30) as client, pytest.raises(smtplib.SMTPException):
            client.sendmail("ann@ours.test", f"user@{REMOTE}", b"Subject: without a login\r\n\r\n")
        submit(submission(server, COUNT))
        later = COUNT // LATER_EVERY
        until(lambda: taking.counts() >= (COUNT - later, later), 60, f"{name} sends all mails")
        assert taking.counts() == (COUNT - later, later)
        verify(name, taking, key)
