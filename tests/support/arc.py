"""Servers that pass messages on and seal them, for tests of ARC."""

from __future__ import annotations

import base64
from collections.abc import Callable

from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from inbox.authentication.arc.seal import ArcFields, seal
from inbox.authentication.arc.validate import validate
from inbox.mail.content import MemoryContent
from inbox.plugin.api.facts import ArcFact
from inbox.plugin.api.signing import SigningKey
from inbox.plugin.api.standins import MemoryResolver
from tests.support.rsa_keys import rsa_key

#: In the past: other implementations look at the clock on the wall.
NOW = 1_700_000_000.0
MESSAGE = (
    b"From: Ann <ann@author.example>\r\nTo: list@lists.example\r\nSubject: A question\r\n"
    b"Date: Fri, 15 Jan 2027 08:00:00 +0000\r\nMessage-ID: <1@author.example>\r\n\r\nHow are you?\r\n\r\nAnn\r\n"
)


def record(key: RSAPrivateKey) -> bytes:
    """The key's record for the DNS."""
    der = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return b"v=DKIM1; k=rsa; p=" + base64.b64encode(der)


class Forwarder:
    """A server of ``domain`` whose key is in ``dns``."""

    def __init__(self, dns: MemoryResolver, domain: str, *, selector: str = "arc", number: int = 0, bits: int = 1024):
        self.dns = dns
        self.key = SigningKey(domain, selector, rsa_key(number, bits))
        self.name = f"{selector}._domainkey.{domain}".lower()
        dns.txt_records[self.name] = [record(rsa_key(number, bits))]

    def set(self, message: bytes, chain: ArcFact, found: str = "spf=pass") -> ArcFields | None:
        """The set for ``message`` after a chain in this state."""
        return seal(MemoryContent(message), f"mx.{self.key.domain}; {found}", self.key, NOW, chain)

    async def pass_on(
        self, message: bytes, change: Callable[[bytes], bytes] = lambda it: it, found: str = "spf=pass"
    ) -> bytes:
        """The message as it is sent on, changed and sealed, behind a Received field."""
        chain = await self.judge(message)
        changed = b"Received: from a by b; Fri, 15 Jan 2027 08:00:01 +0000\r\n" + change(message)
        made = self.set(changed, chain, found)
        return (bytes(made) if made is not None else b"") + changed

    async def judge(self, message: bytes) -> ArcFact:
        return await validate(MemoryContent(message), self.dns, now=NOW)


async def passed_on(message: bytes, hops: int, dns: MemoryResolver, *, keys: int = 1) -> bytes:
    """``message`` behind so many servers."""
    for number in range(1, hops + 1):
        message = await Forwarder(dns, f"hop{number}.example", number=number % keys).pass_on(message)
    return message
