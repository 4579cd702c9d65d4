"""The instructions of docs/surrealdb.md with the real engine: the user's rights, backup and restore."""

from __future__ import annotations

import asyncio
import contextlib
import re
import ssl
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
import trustme

from inbox.base.clock import SystemClock
from inbox.base.errors import StoreError
from inbox.mail.flags import Flag
from inbox.store.ports.ingest import Indexed
from inbox.store.surreal.config import SurrealConfig
from inbox.store.surreal.database import SurrealDatabase
from tests.support.store import IDS, Home, decision, email, home, indexed
from tests.support.surreal_server import SurrealServer, server

pytestmark = pytest.mark.real

ROOT = Path(__file__).resolve().parents[2]
GUIDE = (ROOT / "docs/surrealdb.md").read_text()
Open = Callable[..., Awaitable[SurrealDatabase]]


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[SurrealServer]:
    made = server(tmp_path / "db")
    yield made
    made.kill()


@pytest.fixture
async def opened(engine: SurrealServer) -> AsyncIterator[Open]:
    databases: list[SurrealDatabase] = []

    async def one(user: str = "root", password: str = "root", database: str = "inbox") -> SurrealDatabase:
        made = SurrealDatabase(SurrealConfig(engine.url, "inbox", database, user, password), SystemClock(), IDS)
        await made.open()
        databases.append(made)
        return made

    yield one
    for database in databases:
        await database.close()


def commands(marker: str) -> str:
    """The indented block of the guide that has ``marker`` in it."""
    blocks = re.findall(r"(?:^ {4}.*\n(?:^\n(?=^ {4}))?)+", GUIDE, re.MULTILINE)
    (found,) = [block for block in blocks if marker in block]
    return re.sub(r"^ {4}", "", found, flags=re.MULTILINE)


async def test_the_user_of_the_guide_has_the_rights_that_are_needed_and_no_more(
    engine: SurrealServer, opened: Open
) -> None:
    root = await opened()
    await root._gateway.query(commands("DEFINE NAMESPACE"))
    database = await opened("inbox", "CHANGE-ME")
    acme = await home(database)
    await acme.fill(3)
    await database.messages.store(acme.tenant, acme.inbox, [1], "add", Flag.DELETED)
    assert await database.messages.expunge(acme.tenant, acme.inbox) == [1]
    await database.installation.claim("x")
    with pytest.raises(StoreError, match="Not enough permissions"):
        await database._gateway.query("DEFINE USER other ON DATABASE PASSWORD 'x' ROLES OWNER")
    await home(await opened(database="other"), "secret")
    # Another database's rows are not shown.
    assert (await database._gateway.query("USE DB other; SELECT * FROM organization"))[1] == []
    with pytest.raises(StoreError, match="Not enough permissions"):
        await database._gateway.query("USE DB other; DEFINE TABLE x")
    await root._gateway.query("DEFINE USER reader ON DATABASE PASSWORD 'x' ROLES VIEWER")
    with pytest.raises(StoreError, match="Not enough permissions"):
        await opened("reader", "x")
    with pytest.raises(StoreError, match="authentication"):
        await opened("inbox", "wrong")
    assert engine.port


async def state(acme: Home) -> list[object]:
    db, tenant = acme.db, acme.tenant
    boxes = await db.mailboxes.all(tenant, acme.account.id)
    everything: list[object] = [
        await db.tenants.all(),
        await db.tenants.domains(),
        await db.accounts.all(),
        await db.installation.identity(),
        await db.installation.sample(1000),
        boxes,
    ]
    for box in boxes:
        everything.append(await db.mailboxes.status(tenant, box.id))
        everything.append(await acme.fetched(box.id, await acme.uids(box.id)))
    return everything


async def test_the_backup_of_the_guide_is_all_there_after_a_restore(
    engine: SurrealServer, opened: Open, tmp_path: Path
) -> None:
    acme = await home(await opened())
    await acme.db.installation.claim("the-installation")
    await acme.db.installation.pair("the-store")
    odd = "Grüße ' \" \\ \n 日本語 ⟩"
    mail = email(acme.tenant, subject=odd, header_block=bytes(range(256)), sections=b"\x00\xff" * 500)
    made = decision(acme.tenant, body=bytes(range(256)))
    await acme.db.writer.write(Indexed((indexed(mail, acme.inbox, keywords=("$Label", "ü")),), (made,)))
    await acme.fill(600)
    await acme.db.messages.remove(acme.tenant, acme.inbox, list(range(10, 40)))
    before = await state(acme)
    emptying = commands("REMOVE DATABASE")
    assert "DEFINE USER" in emptying

    def run(marker: str, namespace_of_target: str) -> None:
        script = commands(marker).replace("http://127.0.0.1:8000", f"http://127.0.0.1:{engine.port}")
        script = script.replace("surreal-db: inbox", f"surreal-db: {namespace_of_target}")
        subprocess.run(["sh", "-ec", script], cwd=tmp_path, check=True, capture_output=True, timeout=60)

    await asyncio.to_thread(run, "/export", "inbox")
    restored = await opened(database="restored")
    script = re.sub(r"DATABASE (IF EXISTS )?inbox|DB inbox", lambda m: m[0].replace("inbox", "restored"), emptying)
    await restored._gateway.query(script)
    await asyncio.to_thread(run, "/import", "restored")
    again = Home(
        await opened("inbox", "CHANGE-ME", "restored"), acme.organization, acme.domain, acme.account, acme.mailboxes
    )
    assert await state(again) == before
    assert await again.db.decisions.get(made.id) == [made]
    # It goes on where it was: the next UID, and removals are recorded.
    assert (await again.deliver()).uid == 602
    path = (await again.fetched(acme.inbox, [1]))[0].email.blob_path
    await again.db.messages.remove(acme.tenant, acme.inbox, [1])
    assert await again.db.installation.released([path]) == {path}


async def test_tls_with_an_authority_of_ones_own(
    engine: SurrealServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A TLS terminator in front of the engine, which has no TLS here."""
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)

    async def pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65_536):
            writer.write(data)
        writer.close()

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner = await asyncio.open_connection("127.0.0.1", engine.port)
        with contextlib.suppress(OSError):
            await asyncio.gather(pump(reader, inner[1]), pump(inner[0], writer))

    terminator = await asyncio.start_server(forward, "127.0.0.1", 0, ssl=context)
    url = f"wss://localhost:{terminator.sockets[0].getsockname()[1]}"
    made = [
        SurrealDatabase(SurrealConfig(url, "inbox", "inbox", "root", "root", timeout=30), SystemClock(), IDS)
        for _ in range(2)
    ]
    with pytest.raises(StoreError, match="CERTIFICATE_VERIFY_FAILED"):
        await made[0].open()
    authority.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "ca.pem"))
    await made[1].open()
    assert (await (await home(made[1])).deliver()).uid == 1
    await made[1].close()
    terminator.close()
