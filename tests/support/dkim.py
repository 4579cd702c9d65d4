"""Messages, keys and their records for tests of DKIM and of checks based on it."""

from __future__ import annotations

import base64

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from inbox.authentication.dkim.sign import FIELD, sign
from inbox.mail.content import MemoryContent
from inbox.mail.edits import render_field
from inbox.plugin.api.signing import SIGNED_HEADERS, PrivateKey, SigningKey
from tests.support.rsa_keys import rsa_key

#: Made once: a key takes a tenth of a second.
RSA_KEY = rsa_key(0, 2048)
ED25519_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))
NOW = 1_800_000_000.0
MAIL = (
    b"Received: from a.test by b.test; Fri, 15 Jan 2027 08:00:00 +0000\r\n"
    b"From: Ann <ann@sender.test>\r\n"
    b"To: Bob <bob@example.test>,\r\n\tCarol <carol@example.test>\r\n"
    b"Subject: The  plan\r\n"
    b"Date: Fri, 15 Jan 2027 08:00:00 +0000\r\n"
    b"Message-ID: <1@sender.test>\r\n"
    b"\r\n"
    b"Hello  Bob, \r\n\r\nthis is it.\t\r\n\r\n\r\n"
)


def signing_key(
    private: PrivateKey = RSA_KEY,
    domain: str = "sender.test",
    selector: str = "",
    headers: tuple[str, ...] = SIGNED_HEADERS,
) -> SigningKey:
    """A key; its selector is ``rsa`` or ``ed25519`` unless another is given."""
    selector = selector or ("ed25519" if isinstance(private, Ed25519PrivateKey) else "rsa")
    return SigningKey(domain, selector, private, headers)


def key_record(private: PrivateKey) -> bytes:
    """The TXT record of a key's public half (RFC 6376 §3.6.1, RFC 8463 §4)."""
    public = private.public_key()
    if isinstance(private, Ed25519PrivateKey):
        return b"v=DKIM1; k=ed25519; p=" + base64.b64encode(public.public_bytes(Encoding.Raw, PublicFormat.Raw))
    der = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return b"v=DKIM1; k=rsa; p=" + base64.b64encode(der)


def record_name(key: SigningKey) -> str:
    """The name of a key's record."""
    return f"{key.selector}._domainkey.{key.domain}"


def signed(message: bytes, *keys: SigningKey, now: float = NOW) -> bytes:
    """The message with a signature of each key on top, the first key's uppermost."""
    fields = [render_field(FIELD, sign(MemoryContent(message), key, now=now)) for key in keys]
    return b"".join(fields) + message
