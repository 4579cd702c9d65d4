"""Real mail clients send to the server."""

from __future__ import annotations

import asyncio
import shutil
import smtplib
import ssl
import sys
from collections.abc import AsyncIterator
from email.message import EmailMessage
from pathlib import Path

import pytest
import trustme

from tests.support.smtp_world import World, smtp_world

pytestmark = pytest.mark.real


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with smtp_world(tmp_path) as world:
        yield world


async def run(program: str, *arguments: str, stdin: bytes = b"") -> tuple[int, str]:
    """Runs a program to its end; its exit code and everything it printed. Skips if it is not installed."""
    found = shutil.which(program) or shutil.which(program, path="/usr/sbin:/sbin")
    if found is None:
        pytest.skip(f"{program} is not installed")
    process = await asyncio.create_subprocess_exec(
        found, *arguments, stdin=-1, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    async with asyncio.timeout(60):
        output, _ = await process.communicate(stdin)
    assert process.returncode is not None
    return process.returncode, output.decode("utf-8", "replace")


@pytest.mark.parametrize("options", [[], ["--pipeline"], ["--protocol", "SMTP"]])
async def test_swaks(world: World, options: list[str]) -> None:
    server = f"127.0.0.1:{world.port}"
    addresses = ["--to", "bob@demo.test,carol@demo.test", "--from", "ann@client.example"]
    code, said = await run("swaks", "--server", server, *addresses, "--body", ".dot\nline", *options)
    assert code == 0, said
    (got,) = world.receiving.got
    assert (got.sender, got.recipients) == ("ann@client.example", ["bob@demo.test", "carol@demo.test"])
    assert b"\r\n\r\n.dot\r\nline\r\n" in got.content


async def test_swaks_shows_the_reason(world: World) -> None:
    code, said = await run("swaks", "--server", f"127.0.0.1:{world.port}", "--to", "unknown@demo.test", "--from", "<>")
    assert code == 24, said
    assert "550 5.1.1 Refused" in said


async def test_swaks_over_lmtp(tmp_path: Path) -> None:
    async with smtp_world(tmp_path, lmtp=True) as world:
        server = ["--protocol", "LMTP", "--server", f"127.0.0.1:{world.port}"]
        code, said = await run("swaks", *server, "--to", "r1@demo.test,r2@demo.test", "--from", "ann@client.example")
        assert code == 0, said
        assert "<r1@demo.test> OK" in said
        assert "<r2@demo.test> OK" in said
        assert len(world.receiving.got) == 1


@pytest.mark.parametrize(
    ("options", "messages", "size"),
    [
        (["-l", "4096"], 40, 4096),
        (["-d", "-l", "4096"], 40, 4096),
        (["-N", "-l", "2000"], 20, 2000),
        (["-l", "3000000"], 4, 3_000_000),
        (["-r", "5", "-l", "1000"], 10, 1000),
    ],
)
async def test_smtp_source(world: World, options: list[str], messages: int, size: int) -> None:
    counts = ["-s", "4", "-m", str(messages), "-t", "bob@demo.test", "-f", "ann@client.example"]
    code, said = await run("smtp-source", *counts, *options, f"127.0.0.1:{world.port}")
    assert code == 0, said
    assert len(world.receiving.got) == messages
    assert all(len(got.content) >= size for got in world.receiving.got)
    assert {got.kind for got in world.receiving.got} == {"FileContent" if size > 1 << 20 else "MemoryContent"}


async def test_smtp_source_over_lmtp(tmp_path: Path) -> None:
    async with smtp_world(tmp_path, lmtp=True) as world:
        counts = ["-L", "-s", "2", "-m", "10", "-r", "3", "-t", "bob@demo.test"]
        code, said = await run("smtp-source", *counts, f"127.0.0.1:{world.port}")
        assert code == 0, said
        assert [len(got.recipients) for got in world.receiving.got] == [3] * 10


async def test_curl(world: World, tmp_path: Path) -> None:
    message = b"Subject: from curl\r\n\r\n.\r\n..two\r\nend\r\n"
    (tmp_path / "message").write_bytes(message)
    envelope = ["--mail-from", "ann@client.example", "--mail-rcpt", "bob@demo.test", "-T", str(tmp_path / "message")]
    code, said = await run("curl", "-sS", f"smtp://127.0.0.1:{world.port}/client.example", *envelope)
    assert code == 0, said
    (got,) = world.receiving.got
    assert got.content == message
    assert got.params["SIZE"] == str(len(message))


async def test_curl_over_starttls(tmp_path: Path) -> None:
    authority = trustme.CA()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    # Debian's Python leaves the least version to OpenSSL's own settings.
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    authority.issue_cert("localhost").configure_cert(context)
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    (tmp_path / "message").write_bytes(b"Subject: x\r\n\r\n" + b"line\r\n" * 300_000)
    async with smtp_world(tmp_path, tls=context) as world:
        envelope = ["--mail-from", "ann@client.example", "--mail-rcpt", "bob@demo.test"]
        envelope += ["-T", str(tmp_path / "message")]
        trust = ["--ssl-reqd", "--cacert", str(tmp_path / "ca.pem"), "--resolve", f"localhost:{world.port}:127.0.0.1"]
        code, said = await run("curl", "-sS", *trust, f"smtp://localhost:{world.port}/client.example", *envelope)
        assert code == 0, said
        (got,) = world.receiving.got
        assert len(got.content) == 14 + 6 * 300_000
        assert world.receiving.sessions[0].tls is not None


async def test_smtplib(world: World) -> None:
    message = EmailMessage()
    message["Subject"], message["To"], message["From"] = "Grüße", "Jürgen <jürgen@demo.test>", "ann@client.example"
    message.set_content("Füße\n.\n..\n")

    def send() -> None:
        with smtplib.SMTP("127.0.0.1", world.port, local_hostname="client.example") as client:
            client.send_message(message)
            assert client.verify("bob@demo.test")[0] == 252
            with pytest.raises(smtplib.SMTPRecipientsRefused) as caught:
                client.sendmail("ann@client.example", ["unknown@demo.test"], "x")
            assert caught.value.recipients["unknown@demo.test"][0] == 550

    await asyncio.to_thread(send)
    (got,) = world.receiving.got
    assert got.recipients == ["jürgen@demo.test"]
    assert "SMTPUTF8" in got.params
    assert got.content.endswith(b"\r\n.\r\n..\r\n")


async def test_a_large_message_takes_little_memory(tmp_path: Path) -> None:
    """25 MB in one message: the memory of a server of its own grows by less than 16 MB while it streams in."""
    code, said = await run(sys.executable, str(Path(__file__).parents[1] / "support" / "smtp_memory.py"), str(tmp_path))
    assert code == 0, said
    grown, size = map(int, said.split())
    assert size > 25 << 20
    assert grown < 16 << 20
