"""Mail clients that people use, against the server over TCP and TLS."""

from __future__ import annotations

import asyncio
import imaplib
import re
import shutil
import sys
from pathlib import Path

import aioimaplib
import pytest

from inbox.store.blobs.local import LocalBlobs
from tests.support.imap_world import ADDRESS, PASSWORD, World, client_tls, world, write_authority

pytestmark = pytest.mark.real

MESSAGES = [
    (
        f"From: Ann <ann@demo.test>\r\nTo: bob@demo.test\r\nSubject: Message {number}\r\n"
        f"Message-ID: <{number}@demo.test>\r\nDate: Mon, 7 Feb 2022 21:52:25 +0100\r\n\r\nBody {number}\r\n"
    ).encode()
    for number in range(1, 6)
]


async def run(*arguments: str, env: dict[str, str] | None = None) -> tuple[int, str]:
    """Exit code and output of a program."""
    process = await asyncio.create_subprocess_exec(
        *arguments, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT, env=env
    )
    output, _ = await asyncio.wait_for(process.communicate(), 100)
    return process.returncode or 0, output.decode(errors="replace")


def needs(program: str) -> str:
    found = shutil.which(program)
    if found is None:
        pytest.skip(f"{program} is not installed")
    return found


async def test_imaplib_reads_appends_and_expunges(tmp_path: Path) -> None:
    def work(port: int) -> None:
        with imaplib.IMAP4("127.0.0.1", port) as client:
            client.starttls(client_tls())
            client.login(ADDRESS, PASSWORD)
            assert client.select() == ("OK", [b"2"])
            assert client.search(None, "SUBJECT", '"message 2"') == ("OK", [b"2"])
            status, data = client.fetch("1:2", "(RFC822)")
            assert status == "OK" and [part[1] for part in data if isinstance(part, tuple)] == MESSAGES[:2]
            assert client.append("INBOX", "\\Flagged", None, MESSAGES[2])[0] == "OK"
            assert client.noop()[0] == "OK"
            assert client.search(None, "FLAGGED") == ("OK", [b"3"])
            assert client.store("1", "+FLAGS", "\\Deleted")[0] == "OK"
            assert client.expunge() == ("OK", [b"1"])
            assert client.uid("COPY", "2:3", "Archive")[0] == "OK"
            assert client.status("Archive", "(MESSAGES)") == ("OK", [b'"Archive" (MESSAGES 2)'])

    async with world(tmp_path, LocalBlobs(tmp_path / "blobs")) as w:
        for message in MESSAGES[:2]:
            await w.deliver(message)
        await asyncio.to_thread(work, w.plain_port)
        assert not w.log.errors


async def test_curl_gets_the_same_octets(tmp_path: Path) -> None:
    curl = needs("curl")
    authority = tmp_path / "ca.pem"
    write_authority(authority)
    async with world(tmp_path, LocalBlobs(tmp_path / "blobs")) as w:
        await w.deliver(MESSAGES[0])
        common = (curl, "--silent", "--show-error", "--cacert", str(authority), "--user", f"{ADDRESS}:{PASSWORD}")
        code, output = await run(*common, f"imaps://localhost:{w.tls_port}/INBOX;UID=1")
        assert (code, output.encode()) == (0, MESSAGES[0])
        code, output = await run(
            *common, "--ssl-reqd", f"imap://localhost:{w.plain_port}/", "-X", "STATUS INBOX (MESSAGES)"
        )
        assert code == 0 and "MESSAGES 1" in output
        upload = tmp_path / "new.eml"
        upload.write_bytes(MESSAGES[1])
        code, output = await run(*common, "--upload-file", str(upload), f"imaps://localhost:{w.tls_port}/Sent")
        assert code == 0, output
        assert (await w.database.mailboxes.status(w.organization.id, (await w.mailbox("Sent")).id)).messages == 1
        assert not w.log.errors


async def _mbsync(w: World, folder: Path) -> None:
    mbsync = needs("mbsync")
    authority = folder / "ca.pem"
    write_authority(authority)
    (folder / "mail").mkdir(exist_ok=True)
    (folder / "mbsyncrc").write_text(
        f"""
IMAPAccount demo
Host localhost
Port {w.tls_port}
User {ADDRESS}
Pass "{PASSWORD}"
SSLType IMAPS
CertificateFile {authority}

IMAPStore far
Account demo

MaildirStore near
Path {folder}/mail/
Inbox {folder}/mail/INBOX
SubFolders Verbatim

Channel demo
Far :far:
Near :near:
Patterns *
Create Both
Expunge Both
Sync All
SyncState *
"""
    )
    code, output = await run(mbsync, "-c", str(folder / "mbsyncrc"), "-a")
    assert code == 0, output


async def test_mbsync_keeps_two_sides_equal(tmp_path: Path) -> None:
    async with world(tmp_path, LocalBlobs(tmp_path / "blobs")) as w:
        for message in MESSAGES:
            await w.deliver(message)
        await _mbsync(w, tmp_path)
        inbox = tmp_path / "mail" / "INBOX"
        # Far to near: the same octets, with the line ends of a Maildir.
        near = sorted(path.read_bytes() for path in (inbox / "new").iterdir())
        assert [message.replace(b"\r\n", b"\n") for message in MESSAGES] == [
            b"".join(line for line in data.splitlines(keepends=True) if not line.startswith(b"X-TUID")) for data in near
        ]
        # Near to far: a new message, a flag, a message that is gone.
        (inbox / "cur" / "1.local:2,F").write_bytes(b"Subject: Local\nMessage-ID: <local@demo.test>\n\nHello\n")
        paths = {path.read_bytes().split(b"Message ")[1][:1]: path for path in (inbox / "new").iterdir()}
        seen = paths[b"1"]
        seen.rename(inbox / "cur" / (seen.name.partition(":")[0] + ":2,S"))
        paths[b"2"].rename(inbox / "cur" / (paths[b"2"].name.partition(":")[0] + ":2,T"))
        await _mbsync(w, tmp_path)
        mailbox = await w.mailbox()
        entries = await w.database.messages.entries(w.organization.id, mailbox.id)
        assert [(entry.uid, entry.flags) for entry in entries] == [(1, 1), (3, 0), (4, 0), (5, 0), (6, 4)]
        # And back: what the server changes reaches the Maildir.
        await w.database.messages.store(w.organization.id, mailbox.id, [3], "add", 2)
        await _mbsync(w, tmp_path)
        assert any(path.name.endswith(":2,R") for path in (inbox / "cur").iterdir())
        assert not w.log.errors


#: Checks of the suite that no server can pass, and why.
LIVETEST_FAULTS = {
    "test_fetch": "compares an Envelope, which is not a sequence, with assertSequenceEqual",
    "test_move": "imaplib of Python 3.11 knows no MOVE without UID; the UID form of the same check passes",
    "test_small_connection_timeout_fail": "wants a connection over loopback to take more than a millisecond",
    "test_small_read_timeout_fail": "wants an answer over loopback to take more than ten microseconds",
}


async def test_the_checks_of_imapclient(tmp_path: Path) -> None:
    authority, settings = tmp_path / "ca.pem", tmp_path / "live.ini"
    write_authority(authority)
    async with world(tmp_path, LocalBlobs(tmp_path / "blobs")) as w:
        settings.write_text(
            f"[DEFAULT]\nhost=localhost\nport={w.tls_port}\nusername={ADDRESS}\npassword={PASSWORD}\nssl=true\n"
            f"ssl_ca_file={authority}\nssl_check_hostname=true\n"
        )
        _, output = await run(sys.executable, "-m", "imapclient.livetest", str(settings), "-v")
        assert not w.log.errors
    assert re.search(r"^Ran (\d+) tests", output, re.MULTILINE), output
    failed = set(re.findall(r"^(?:ERROR|FAIL): (\w+)", output, re.MULTILINE))
    assert failed <= LIVETEST_FAULTS.keys(), output
    skipped = set(re.findall(r"skipped [\"'](.*)[\"']$", output, re.MULTILINE))
    assert skipped <= {
        "Server doesn't support " + name
        for name in ("ACL", "CONDSTORE", "Gmail search", "QUOTA", "SORT", "THREAD=REFERENCES", "XLIST", "labels")
    } | {"test instance not configured for UID operations"}, skipped


async def test_aioimaplib_hears_of_new_mail_while_it_idles(tmp_path: Path) -> None:
    async with world(tmp_path, LocalBlobs(tmp_path / "blobs")) as w:
        client = aioimaplib.IMAP4_SSL("127.0.0.1", w.tls_port, ssl_context=client_tls())
        await client.wait_hello_from_server()
        assert (await client.login(ADDRESS, PASSWORD)).result == "OK"
        assert (await client.select("INBOX")).result == "OK"
        idling = await client.idle_start(timeout=20)
        await w.deliver(MESSAGES[0])
        assert await client.wait_server_push() == [b"1 EXISTS", b"1 RECENT"]
        client.idle_done()
        await asyncio.wait_for(idling, 20)
        fetched = await client.fetch("1", "(BODY.PEEK[])")
        assert MESSAGES[0] in [bytes(line) for line in fetched.lines]
        await client.logout()
        assert not w.log.errors
