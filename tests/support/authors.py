"""Senders with records in the real DNS of ``dns_world``, the mail that they sign, and the dialogue that brings it."""

from __future__ import annotations

import re
import smtplib
import time
from collections.abc import Sequence
from dataclasses import dataclass

from tests.support.dkim import RSA_KEY, key_record, signed, signing_key
from tests.support.dns_world import PLAIN, DnsWorld, quoted
from tests.support.server import RunningServer

#: Tests and servers talk over loopback: who permits it, permits us.
PERMITS = "v=spf1 ip4:127.0.0.1 -all"
_ID = re.compile(r"\(id ([0-9a-z]{20})\)")


@dataclass(frozen=True)
class Author:
    """A domain below the unsigned zone, or another one. Each test has its own: resolvers keep answers for a while."""

    domain: str

    @classmethod
    def named(cls, label: str) -> Author:
        return cls(f"{label}.{PLAIN}")

    @property
    def address(self) -> str:
        return f"carol@{self.domain}"

    async def publish(self, world: DnsWorld, *, spf: str = PERMITS, dmarc: str = "", key: bool = True) -> Author:
        """Publishes the records in the DNS, except empty ones."""
        name = f"{self.domain}."
        records = {name: spf, f"_dmarc.{name}": dmarc, f"rsa._domainkey.{name}": key_record(RSA_KEY) if key else ""}
        zone = self.domain.partition(".")[2]
        await world.publish(zone, *(f"{owner} TXT {quoted(text)}" for owner, text in records.items() if text))
        return self

    def mail(self, subject: str, *, fields: Sequence[str] = (), sign: bool = True) -> bytes:
        """A message from this domain; ``fields`` come first and are not signed."""
        lines = [f"From: Carol <{self.address}>", "To: Ann <ann@demo.test>", f"Subject: {subject}"]
        lines += ["Date: Sun, 22 Nov 2026 12:00:00 +0000", f"Message-ID: <{subject.replace(' ', '.')}@{self.domain}>"]
        message = "\r\n".join([*lines, "", "Hello Ann,", "this is it.", ""]).encode()
        if sign:
            # Signed a moment ago: a signature from the future is invalid.
            message = signed(message, signing_key(domain=self.domain), now=time.time() - 10)
        return "".join(f"{field}\r\n" for field in fields).encode() + message


@dataclass(frozen=True)
class Answered:
    """The replies to RCPT by recipient, and the one that decided: to DATA, or to RCPT if nobody was taken."""

    rcpt: dict[str, tuple[int, str]]
    code: int
    text: str

    @property
    def id(self) -> str:
        """The argument of ``inbox explain``."""
        found = _ID.search(self.text)
        assert found is not None, self.text
        return found[1]

    @property
    def brief(self) -> tuple[int, str]:
        """The code and the enhanced one."""
        return self.code, self.text.partition(" ")[0]


def send(server: RunningServer, sender: str, message: bytes, *recipients: str, helo: str = "client.test") -> Answered:
    """Brings a message over SMTP, to Ann if nobody else is named."""
    with smtplib.SMTP("127.0.0.1", server.port("smtp"), timeout=60) as client:
        client.ehlo(helo)
        code, answer = client.mail(sender)
        assert code == 250, answer
        rcpt = {}
        for recipient in recipients or ("ann@demo.test",):
            code, answer = client.rcpt(recipient)
            rcpt[recipient] = (code, answer.decode())
        if any(code == 250 for code, _ in rcpt.values()):
            code, answer = client.data(message)
        return Answered(rcpt, code, answer.decode())


def fields(message: bytes, name: str) -> list[str]:
    """The values of all fields of that name, unfolded, from the top."""
    head = re.sub(rb"\r\n[ \t]+", b" ", message.partition(b"\r\n\r\n")[0]).decode()
    found = (line.partition(":") for line in head.split("\r\n"))
    return [value.strip() for field, _, value in found if field.lower() == name.lower()]
