"""``inbox domain dkim sign``."""

from __future__ import annotations

import asyncio
import base64
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from inbox.authentication.dkim.verify import verify
from inbox.mail.content import MemoryContent
from inbox.plugin.api.facts import DkimFact, Result
from inbox.plugin.api.standins import MemoryResolver
from tests.support.cli import Cli
from tests.support.dkim import MAIL, RSA_KEY, key_record

#: Each test takes long by itself or with its setup: `make check` leaves them out.
pytestmark = pytest.mark.slow

EML = MAIL.replace(b"sender.test", b"demo.test")


@pytest.fixture
def signing(cli: Cli) -> Cli:
    """demo.test has a key in has_domain, with the selector s1."""
    cli.demo()
    key = base64.b64encode(RSA_KEY.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())).decode()
    fields = ("dkim_selector=s1", f"dkim_private_key_b64_pkcs8={key}", "dkim_headers=From,X-A")
    ran = cli("domain", "set", "demo.test", *fields)
    assert ran.code == 0
    return cli


async def verified(message: bytes) -> DkimFact:
    dns = MemoryResolver()
    dns.txt_records["s1._domainkey.demo.test"] = [key_record(RSA_KEY)]
    return await verify(MemoryContent(message), dns, now=4_000_000_000.0)


def file(cli: Cli, message: bytes) -> str:
    path = cli.folder / "mail.eml"
    path.write_bytes(message)
    return str(path)


async def check(out: str, message: bytes) -> None:
    written = out.encode()
    assert written.endswith(message)
    assert (b"\r\n" in written) == (b"\r\n" in message)
    fact = await verified(written.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n"))
    assert (fact.result, len(fact.signatures), fact.passing) == (Result.PASS, 1, ("demo.test",))
    assert "x-a" in fact.signatures[0].covers


@pytest.mark.parametrize("message", [EML, EML.replace(b"\r\n", b"\n")], ids=["crlf", "lf"])
def test_a_file_is_signed(signing: Cli, message: bytes) -> None:
    ran = signing("domain", "dkim", "sign", "--eml", file(signing, message))
    assert (ran.code, ran.err) == (0, "")
    asyncio.run(check(ran.out, message))


def test_standard_input_and_another_domain(signing: Cli) -> None:
    ran = signing("domain", "dkim", "sign", "--eml", "-", "--domain", "Demo.Test", stdin=MAIL.decode())
    assert (ran.code, ran.err) == (0, "")
    assert "d=demo.test;" in ran.out
    assert ran.out.endswith(MAIL.decode())


def test_messages_that_cannot_be_signed(signing: Cli, tmp_path: Path) -> None:
    def sign(message: bytes, *more: str) -> tuple[int, str, str]:
        ran = signing("domain", "dkim", "sign", "--eml", file(signing, message), *more)
        return ran.code, ran.out, ran.err

    assert sign(MAIL) == (1, "", "inbox: no tenant hosts sender.test (inbox domain add TENANT sender.test)\n")
    code, out, err = sign(b"Subject: x\r\n\r\n")
    assert (code, out) == (1, "")
    assert "From contains no address" in err
    assert sign(b"From: x@demo.test\r\n" + EML)[2] == "inbox: there must be exactly one From field\n"
    assert signing("domain", "dkim", "sign", "--eml", str(tmp_path / "none")).code == 2
    assert signing("domain", "set", "demo.test", "dkim_selector=").code == 0
    code, out, err = sign(EML)
    assert (code, out) == (1, "")
    assert err == "inbox: no key signs for demo.test (inbox domain dkim rotate demo.test)\n"


def test_the_installations_own_key(signing: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    key = base64.b64encode(RSA_KEY.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())).decode()
    assert signing("domain", "set", "demo.test", "dkim_selector=").code == 0
    for name, value in (("DOMAIN", "own.test"), ("SELECTOR", "s2"), ("PRIVATE_KEY_B64_PKCS8", key)):
        monkeypatch.setenv(f"SMTP_DKIM_{name}", value)
    ran = signing("domain", "dkim", "sign", "--eml", file(signing, EML))
    assert (ran.code, ran.err) == (0, "")
    assert "d=own.test;" in ran.out
