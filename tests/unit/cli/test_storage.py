"""``inbox storage`` over an installation of its own."""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from inbox.app.config.loading import load
from inbox.app.wiring.installation import opened
from inbox.mail.content import MemoryContent
from inbox.store.pairing import WrongStore
from tests.support.cli import Cli
from tests.support.logs import plain_logs
from tests.support.store import IDS, Home, email

pytestmark = pytest.mark.slow
MAILS = 3


@pytest.fixture(autouse=True)
def _logs() -> Iterator[None]:
    """A sweep sets logs up for its process, which here is that of all tests."""
    yield
    plain_logs()


@pytest.fixture
def installed(cli: Cli) -> Cli:
    """An installation that was started once and has some mail."""
    cli.demo()
    asyncio.run(_fill(cli))
    return cli


def _config(cli: Cli) -> dict[str, str]:
    return {"INBOX_DATA_DIR": str(cli.folder / "data")}


async def _fill(cli: Cli) -> None:
    async with opened(load(_config(cli)), serving=True) as here:
        (tenant,) = await here.database.tenants.all()
        account = await here.database.accounts.by_address("ann@demo.test")
        assert account is not None
        boxes = {box.name: box.id for box in await here.database.mailboxes.all(tenant.id, account.id)}
        demo = Home(here.database, tenant, "demo.test", account, boxes)
        for _ in range(MAILS):
            mail = email(tenant.id)
            await here.blobs.put(mail.blob_path, MemoryContent(b"x"))
            await demo.deliver(mail=mail)


def age(cli: Cli, *, days: float) -> None:
    """Makes all blobs older."""
    for path in (cli.folder / "data/incoming").rglob("*.eml"):
        written = path.stat().st_mtime - days * 86_400
        os.utime(path, (written, written))


def orphans(cli: Cli, count: int) -> None:
    folder = cli.folder / "data/incoming/msg/o/m"
    folder.mkdir(parents=True)
    for _ in range(count):
        (folder / f"{IDS.new()}.eml").write_bytes(b"x")


def foreign(cli: Cli) -> Path:
    """Another installation's database takes the place of ours, which is returned."""
    data = cli.folder / "data"
    for path in data.glob("inbox.db*"):
        path.rename(path.with_name(f"ours-{path.name}"))
    assert cli("tenant", "add", "other").code == 0
    return data / "ours-inbox.db"


def test_a_pair_is_shown(installed: Cli) -> None:
    shown = installed("storage", "show", "--json")
    assert shown.code == 0, shown.err
    found = shown.json
    assert found["state"] == "pair"
    assert found["database_installation"] == found["blobs_installation"] != ""
    assert found["database_store"] == found["blobs_store"] != ""
    assert (found["messages_looked_at"], found["messages_with_blob"]) == (MAILS, MAILS)
    assert (found["orphans_waiting"], found["orphans_since"]) == (0, "")


def test_a_database_that_was_never_started_is_new(cli: Cli) -> None:
    cli.demo()
    assert "no folder" in cli("storage", "show").err
    (cli.folder / "data/incoming").mkdir()
    shown = cli("storage", "show", "--json")
    assert (shown.code, shown.json["state"]) == (0, "new")
    assert not (cli.folder / "data/incoming/installation.json").exists(), "only the server makes a pair"


def test_a_sweep_is_looked_at_before_it_is_done(installed: Cli) -> None:
    orphans(installed, 60)
    age(installed, days=2)
    assert installed("storage", "sweep").code == 2
    assert installed("storage", "sweep", "--yes", "--dry-run").code == 2
    looked = installed("storage", "sweep", "--dry-run", "--json")
    assert looked.code == 0, looked.err
    assert (looked.json["seen"], looked.json["orphans"], looked.json["moved"]) == (63, 60, 0)
    swept = installed("storage", "sweep", "--yes", "--json")
    assert (swept.json["seen"], swept.json["moved"], swept.json["waiting"]) == (63, 60, 60)
    shown = installed("storage", "show", "--json").json
    assert shown["orphans_waiting"] == 60
    assert shown["orphans_since"]
    assert installed("storage", "sweep", "--yes", "--keep", "1", "--json").json["removed"] == 0
    age(installed, days=0.01)
    assert installed("storage", "sweep", "--yes", "--keep", "0", "--json").json["removed"] == 60


def test_a_foreign_database_is_explained_and_sweeps_nothing(installed: Cli) -> None:
    foreign(installed)
    age(installed, days=30)
    shown = installed("storage", "show", "--json")
    assert (shown.code, shown.json["state"]) == (1, "database without an id")
    before = sorted((installed.folder / "data/incoming").rglob("*"))
    for options in (["--dry-run"], ["--yes"]):
        swept = installed("storage", "sweep", *options)
        assert swept.code == 1
        assert "belongs to the installation" in swept.err
    assert sorted((installed.folder / "data/incoming").rglob("*")) == before
    doctor = installed("doctor", "--json")
    (storage,) = [
        check for check in doctor.json["checks"] if check["check"] == "storage" and check["outcome"] == "fail"
    ]
    assert "Its disk may not be mounted" in storage["detail"]


def test_adopting_explains_itself_first(installed: Cli) -> None:
    assert "they are already a pair" in installed("storage", "adopt", "--yes").err
    foreign(installed)
    explained = installed("storage", "adopt")
    assert explained.code == 1
    assert "cannot be read" in explained.out
    assert "nothing was changed; inbox storage adopt --yes does it" in explained.err
    assert installed("storage", "show").code == 1
    adopted = installed("storage", "adopt", "--yes")
    assert adopted.code == 0, adopted.err
    assert "are the installation" in adopted.out
    assert installed("storage", "show", "--json").json["state"] == "pair"


def test_the_database_that_was_there_before_is_refused_after_another_was_adopted(installed: Cli) -> None:
    ours = foreign(installed)
    assert installed("storage", "adopt", "--yes").code == 0
    shutil.copy(ours, installed.folder / "data/inbox.db")
    shutil.copy(f"{ours}-wal", installed.folder / "data/inbox.db-wal") if Path(f"{ours}-wal").exists() else None

    async def start() -> None:
        async with opened(load(_config(installed)), serving=True):
            pass

    with pytest.raises(WrongStore, match="belongs to the installation"):
        asyncio.run(start())


def test_mailboxes_are_renumbered_with_yes(installed: Cli) -> None:
    def values() -> set[int]:
        return {row["uidvalidity"] for row in installed("mailbox", "list", "--account", "ann@demo.test", "--json").json}

    before = values()
    refused = installed("storage", "renumber")
    assert refused.code == 1
    assert "nothing was changed" in refused.err
    assert values() == before
    done = installed("storage", "renumber", "--yes")
    assert done.code == 0
    assert "new UIDVALIDITY" in done.out
    assert min(values()) > max(before)


def test_commands_that_open_both_stores_refuse_a_wrong_pair(installed: Cli) -> None:
    foreign(installed)
    (installed.folder / "policies").mkdir()
    (installed.folder / "policies/default.yaml").write_text("plugins:\n  recipients: {}\n")
    (installed.folder / "mail.eml").write_text("Subject: x\n\nbody\n")
    ran = installed(
        "policy", "explain", "--eml", str(installed.folder / "mail.eml"), "--from", "a@b.test", "--to", "ann@demo.test"
    )
    assert ran.code == 1
    assert "belongs to the installation" in ran.err
