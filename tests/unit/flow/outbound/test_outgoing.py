"""The message of an attempt."""

from __future__ import annotations

from inbox.flow.outbound.outgoing import added_fields, outgoing
from inbox.mail.content import MemoryContent
from inbox.plugin import AddHeader, Via
from inbox.store.ports.queue import JobRecipient
from tests.support.outbound import OutboundWorld


def test_fields_are_rendered_with_the_last_one_on_top() -> None:
    edits = [AddHeader("A", "1"), Via("relay.test"), AddHeader("B", "2")]

    assert added_fields(edits) == b"B: 2\r\nA: 1\r\n"
    assert added_fields([]) == b""


def test_the_parameters_of_the_job_are_kept() -> None:
    recipients = (JobRecipient("a@remote.test", ("FAILURE",), "rfc822;x@y.test"), JobRecipient("b@remote.test"))
    queued = OutboundWorld().job(
        recipients=recipients, ret="HDRS", envid="E1", body="8BITMIME", smtputf8=True, require_tls=True
    )

    mail = outgoing(queued, [0], MemoryContent(b"body"), b"S: 1\r\n", "bounce+x@demo.test")

    assert [(str(each.address), each.notify, each.orcpt) for each in mail.recipients] == [
        ("a@remote.test", ("FAILURE",), "rfc822;x@y.test")
    ]
    assert mail.sender == "bounce+x@demo.test"
    assert (mail.ret, mail.envid, mail.body, mail.smtputf8, mail.require_tls) == ("HDRS", "E1", "8BITMIME", True, True)
    assert (mail.content.read(0, mail.size), mail.size) == (b"S: 1\r\nbody", 10)
