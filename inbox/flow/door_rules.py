"""Differences between doors (SMTP, submission, LMTP, APPEND) in the treatment of a complete message."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DoorRules:
    """The treatment of a message at one door.

    Attributes:
        answers_each_recipient: the client gets a reply for each recipient, so a single recipient can be refused.
            Elsewhere one reply is for all: if one recipient accepts the message, the copies that are refused
            are quarantined, because a bounce would go to the person whose address may be forged.
        edits_message: plugins' edits of header and body are applied. A message that its owner stores stays unchanged.
        withholds: a message may be quarantined or discarded behind a positive reply. Elsewhere both refuse: the
            author sees the reply.
        client_names_mailbox: the client named the mailbox, and the reply names it (APPENDUID, RFC 9051 §6.3.12): no
            rule files the message elsewhere or for other recipients.
        adds_trace: each copy gets its trace fields (RFC 5321 §4.4), by which a retry is recognised later.
    """

    answers_each_recipient: bool = False
    edits_message: bool = True
    withholds: bool = True
    client_names_mailbox: bool = False
    adds_trace: bool = True


SMTP = DoorRules()
SUBMISSION = DoorRules(withholds=False)
LMTP = DoorRules(answers_each_recipient=True)
APPEND = DoorRules(edits_message=False, withholds=False, client_names_mailbox=True, adds_trace=False)
