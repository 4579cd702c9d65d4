"""One mail transaction of the delivering side (RFC 5321 §3.3, RFC 2033), as a dialog without I/O.

:func:`transaction` is a generator: it yields the octets to send (possibly none) or :data:`CONTENT`, is sent the next
reply, and returns one :class:`Outcome` for each recipient. The caller owns the connection:

    dialog = transaction(mail, capabilities)
    request = next(dialog)
    while True:
        ...                        # send the octets, or the message and its end, and read one reply
        request = dialog.send(reply)
"""

from __future__ import annotations

from collections.abc import Generator, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from inbox.wire.smtp.client import Capabilities, ServerReply, mail_command, rcpt_command, xtext

Stage = Literal["mail", "rcpt", "data", "dot"]


class Content:
    """The request to send the message and its end: the final dot, or with ``bdat`` the last chunk (RFC 3030)."""

    __slots__ = ("bdat", "void")

    def __init__(self, *, bdat: bool = False, void: bool = False) -> None:
        self.bdat = bdat
        self.void = void


CONTENT: Final = Content()
#: With BDAT, which announces its length and needs no dots.
CHUNKS: Final = Content(bdat=True)
#: The final dot alone: the peer answered a pipelined DATA with 354 although it refused all recipients.
VOID: Final = Content(void=True)

Request = bytes | Content


@dataclass(frozen=True, slots=True)
class Recipient:
    """A forward-path with its DSN parameters (RFC 3461 §4.1, §4.2)."""

    address: str
    notify: tuple[str, ...] = ()
    orcpt: str | None = None


@dataclass(frozen=True, slots=True)
class Mail:
    """The arguments of MAIL and RCPT. ``size`` is in octets; ``smtputf8``: sender or header are not ASCII."""

    sender: str
    recipients: tuple[Recipient, ...]
    size: int
    body: str = "7BIT"
    smtputf8: bool = False
    require_tls: bool = False
    ret: str | None = None
    envid: str | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """The answer for one recipient. ``code`` 0: none came."""

    code: int
    enhanced: str
    text: str
    stage: Stage


def refused(reply: ServerReply, stage: Stage) -> Outcome:
    """The outcome of a reply."""
    return Outcome(reply.code, reply.enhanced, reply.text, stage)


def obstacle(mail: Mail, capabilities: Capabilities) -> Outcome | None:
    """The reason why this peer cannot get the message at all, if there is one; its body aside."""
    if 0 < capabilities.size < mail.size:
        text = f"The message has {mail.size} octets; the next host accepts {capabilities.size}"
        return Outcome(552, "5.3.4", text, "mail")  # RFC 1870 §6.1
    if mail.smtputf8 and "SMTPUTF8" not in capabilities:
        # RFC 6531 §3.5
        return Outcome(553, "5.6.7", "The next host does not support SMTPUTF8, which this message needs", "mail")
    if mail.require_tls and "REQUIRETLS" not in capabilities:
        # RFC 8689 §4.2.1
        return Outcome(550, "5.7.30", "The next host does not support REQUIRETLS, which the sender demands", "mail")
    return None


def body_obstacle(mail: Mail, capabilities: Capabilities, *, eight_bit: bool) -> Outcome | None:
    """The reason why this peer cannot get the body as it is, if there is one: it would have to be encoded.

    Args:
        eight_bit: the message has octets above 127.
    """
    if mail.body == "BINARYMIME" and not {"BINARYMIME", "CHUNKING"} <= capabilities.keywords:
        return Outcome(554, "5.6.3", "The next host does not support BINARYMIME, which this message needs", "mail")
    if mail.body != "BINARYMIME" and eight_bit and "8BITMIME" not in capabilities:
        return Outcome(554, "5.6.3", "The next host does not support 8BITMIME, which this message needs", "mail")
    return None


def _mail_line(mail: Mail, capabilities: Capabilities, *, utf8: bool) -> bytes:
    words = []
    if "SIZE" in capabilities:
        words.append(f"SIZE={mail.size}")
    if mail.body != "7BIT" and (mail.body == "BINARYMIME" or "8BITMIME" in capabilities):
        words.append(f"BODY={mail.body}")
    if utf8:
        words.append("SMTPUTF8")
    if mail.require_tls:
        words.append("REQUIRETLS")
    if "DSN" in capabilities:
        if mail.ret is not None:
            words.append(f"RET={mail.ret}")
        if mail.envid is not None:
            words.append(f"ENVID={xtext(mail.envid)}")
    return mail_command(mail.sender, words)


def _rcpt_line(recipient: Recipient, capabilities: Capabilities) -> bytes:
    words = []
    if "DSN" in capabilities:
        if recipient.notify:
            words.append("NOTIFY=" + ",".join(recipient.notify))
        if recipient.orcpt is not None:
            kind, _, address = recipient.orcpt.partition(";")
            words.append(f"ORCPT={kind};{xtext(address)}")
    return rcpt_command(recipient.address, words)


class Transaction:
    """The answers so far. ``outcomes`` has None for each recipient whose fate is open.

    Args:
        bdat: send the message with BDAT (RFC 3030), which BINARYMIME always needs; the peer offers CHUNKING.
    """

    def __init__(self, mail: Mail, capabilities: Capabilities, *, lmtp: bool = False, bdat: bool = False) -> None:
        self.mail = mail
        self.capabilities = capabilities
        self.lmtp = lmtp
        self.bdat = bdat or mail.body == "BINARYMIME"
        self.stage: Stage = "mail"
        self.outcomes: list[Outcome | None] = [None] * len(mail.recipients)
        #: Whether the peer has no transaction open any more, so that the next MAIL needs no RSET.
        self.clean = False
        self._accepted: list[int] = []

    def fail(self, outcome: Outcome) -> None:
        """Gives ``outcome`` to all recipients without an answer; refused recipients keep theirs."""
        self.outcomes = [known if known is not None else outcome for known in self.outcomes]

    def dialog(self) -> Generator[Request, ServerReply, None]:
        """The requests, each of which is answered with one reply. Raises ValueError for an address that is unfit."""
        utf8 = "SMTPUTF8" in self.capabilities
        needs = [not recipient.address.isascii() for recipient in self.mail.recipients]
        if not utf8:
            for index in (index for index, needed in enumerate(needs) if needed):
                text = "The next host does not support SMTPUTF8, which this address needs"
                self.outcomes[index] = Outcome(553, "5.6.7", text, "rcpt")
        open_ = [index for index, outcome in enumerate(self.outcomes) if outcome is None]
        if not open_:
            self.clean = True
            return
        first = _mail_line(self.mail, self.capabilities, utf8=utf8 and (self.mail.smtputf8 or any(needs)))
        lines = [_rcpt_line(self.mail.recipients[index], self.capabilities) for index in open_]
        if "PIPELINING" in self.capabilities:
            reply = yield b"".join((first, *lines, b"" if self.bdat else b"DATA\r\n"))
            yield from self._answers(reply, open_, [b""] * len(lines), pipelined=True)
        else:
            reply = yield first
            yield from self._answers(reply, open_, lines, pipelined=False)

    def _answers(
        self, reply: ServerReply, open_: Sequence[int], lines: list[bytes], *, pipelined: bool
    ) -> Generator[Request, ServerReply, None]:
        refusal = None if reply.positive else reply
        if refusal is not None:
            self.fail(refused(refusal, "mail"))
            if not pipelined or refusal.code == 421:
                self.clean = refusal.code != 421
                return
        else:
            self.stage = "rcpt"
        for index, line in zip(open_, lines, strict=True):
            reply = yield line
            if refusal is not None:
                continue
            if reply.code == 421:  # RFC 5321 §3.8: the peer closes the connection, whatever was asked
                self.fail(refused(reply, "rcpt"))
                return
            if reply.positive:
                self._accepted.append(index)
            else:
                self.outcomes[index] = refused(reply, "rcpt")
        yield from self._message(pipelined=pipelined)

    def _message(self, *, pipelined: bool) -> Generator[Request, ServerReply, None]:
        if self.bdat:
            if self._accepted:
                self.stage = "data"
                yield from self._content(CHUNKS)
            return
        if not self._accepted and not pipelined:
            return
        if self._accepted:
            self.stage = "data"
        reply = yield b"" if pipelined else b"DATA\r\n"
        if not 300 <= reply.code <= 399:
            code = reply.code if not reply.positive else 451
            self.fail(Outcome(code, reply.enhanced if code == reply.code else "4.5.0", reply.text, "data"))
            return
        if self._accepted:
            yield from self._content(CONTENT)
        else:
            yield VOID
            self.clean = True

    def _content(self, request: Content) -> Generator[Request, ServerReply, None]:
        reply = yield request
        # The caller sets the stage to "dot" before it sends the end of the message.
        for number, index in enumerate(self._accepted if self.lmtp else [self._accepted[0]]):
            if number:
                reply = yield b""
            code = 451 if 300 <= reply.code <= 399 else reply.code
            self.outcomes[index] = Outcome(code, reply.enhanced, reply.text, "dot")
            if reply.code == 421:
                self.fail(refused(reply, "dot"))
                return
        if not self.lmtp:
            final = self.outcomes[self._accepted[0]]
            assert final is not None
            self.fail(final)
        self.clean = True
