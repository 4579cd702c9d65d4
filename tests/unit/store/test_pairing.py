"""When a database and a blob store are a pair, over real stores; the contract suite has the other kinds of stores."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from inbox.mail.content import MemoryContent
from inbox.plugin.api.testing import FakeClock
from inbox.store.blobs.local import LocalBlobs
from inbox.store.pairing import Examined, Places, State, WrongStore, adopt, establish, examine, explain, verify
from inbox.store.ports import Blobs, Database
from inbox.store.ports.installation import Identity
from inbox.store.sqlite.database import SqliteDatabase
from tests.support.store import IDS, Home, email, home

A, B = Identity("a", "s"), Identity("b", "t")
UNPAIRED, OTHER = Identity("a"), Identity("a", "t")

CASES = [
    ("the same identity", Examined(A, A), State.PAIR),
    ("a crash before the database remembered the blob store", Examined(UNPAIRED, A), State.PAIR),
    ("another installation", Examined(A, B), State.OTHER_INSTALLATION),
    ("another installation that was not finished", Examined(UNPAIRED, B), State.OTHER_INSTALLATION),
    ("a second folder for one database", Examined(A, OTHER), State.OTHER_STORE),
    ("a new database", Examined(None, A), State.NEW_DATABASE),
    ("a new database and a blob store with mail", Examined(None, A, has_blobs=True), State.NEW_DATABASE),
    ("an unmounted disk", Examined(A, None, messages=9), State.STORE_EMPTY),
    ("an unmounted disk before the first mail", Examined(A, None), State.STORE_EMPTY),
    ("the file was deleted", Examined(A, None, has_blobs=True, messages=9, present=9), State.STORE_LOST_ID),
    ("another store without an id", Examined(A, None, has_blobs=True, messages=9), State.STORE_LOST_ID),
    ("the first start", Examined(None, None), State.NEW),
    ("a crash at the first start", Examined(UNPAIRED, None), State.NEW),
    ("an upgrade", Examined(None, None, has_blobs=True, messages=9, present=9), State.RECOGNISED),
    ("an upgrade with lost blobs", Examined(None, None, has_blobs=True, messages=9, present=5), State.RECOGNISED),
    ("a crash at an upgrade", Examined(UNPAIRED, None, has_blobs=True, messages=9, present=9), State.RECOGNISED),
    ("an upgrade, disk not mounted", Examined(None, None, messages=9), State.STORE_EMPTY),
    ("an upgrade with a foreign store", Examined(None, None, has_blobs=True, messages=9), State.STORE_UNKNOWN),
    ("mostly foreign", Examined(None, None, has_blobs=True, messages=9, present=4), State.STORE_UNKNOWN),
    ("an upgrade, all mail deleted", Examined(None, None, has_blobs=True, blobs=9, known=9), State.RECOGNISED),
    ("an upgrade with an empty database", Examined(None, None, has_blobs=True, blobs=9), State.DATABASE_EMPTY),
    ("one foreign tenant", Examined(None, None, has_blobs=True, blobs=9, known=8), State.DATABASE_EMPTY),
    ("garbage", Examined(A, None, damaged=True), State.DAMAGED),
]


@pytest.mark.parametrize(("found", "state"), [case[1:] for case in CASES], ids=[case[0] for case in CASES])
def test_every_combination_has_its_state_and_its_text(found: Examined, state: State) -> None:
    assert found.state is state
    text = explain(found, Places("THE-DATABASE", "THE-BLOBS"))
    assert "THE-DATABASE" in text
    assert "THE-BLOBS" in text
    assert "{" not in text
    assert ("inbox storage adopt" in text) is (state not in (State.PAIR, State.NEW, State.RECOGNISED))


class AsyncPair:
    """A database file and a folder of blobs, both open."""

    def __init__(self, database: Database, blobs: Blobs, places: Places) -> None:
        self.database, self.blobs, self.places = database, blobs, places

    async def establish(self) -> Identity:
        return await establish(self.database, self.blobs, IDS, self.places)

    async def mails(self, count: int = 3, name: str = "acme") -> Home:
        acme = await home(self.database, name)
        for _ in range(count):
            mail = email(acme.tenant)
            await self.blobs.put(mail.blob_path, MemoryContent(b"Subject: x\r\n\r\nbody\r\n"))
            await acme.deliver(mail=mail)
        return acme


Opening = Callable[..., Awaitable[AsyncPair]]


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
def pair(tmp_path: Path, stack: AsyncExitStack) -> Opening:
    async def opened(database: str = "one", blobs: str = "one") -> AsyncPair:
        opened_database = SqliteDatabase(tmp_path / f"{database}.db", FakeClock(), IDS)
        opened_blobs = LocalBlobs(tmp_path / blobs)
        await opened_database.open()
        stack.push_async_callback(opened_database.close)
        await opened_blobs.open()
        stack.push_async_callback(opened_blobs.close)
        return AsyncPair(opened_database, opened_blobs, Places(f"{database}.db", f"{blobs}/"))

    return opened


async def test_the_first_start_makes_a_pair_that_stays(pair: Opening, tmp_path: Path) -> None:
    one = await pair()
    made = await one.establish()
    assert made.installation and made.store
    again = await pair()
    assert await again.establish() == made == await verify(again.database, again.blobs, again.places)
    assert made.installation in (tmp_path / "one" / "installation.json").read_text()


async def refusal(one: AsyncPair) -> str:
    """The text with which it is refused at the start and while it runs; neither changes anything."""
    before = await examine(one.database, one.blobs)
    with pytest.raises(WrongStore) as verified:
        await verify(one.database, one.blobs, one.places)
    with pytest.raises(WrongStore) as refused:
        await one.establish()
    assert await examine(one.database, one.blobs) == before
    assert str(verified.value) == str(refused.value)
    return str(refused.value)


async def test_an_empty_database_is_refused(pair: Opening) -> None:
    one = await pair()
    identity = await one.establish()
    await one.mails()
    text = await refusal(await pair("two", "one"))
    assert f"one/ belongs to the installation {identity.installation}, but two.db has no id" in text
    assert "Its disk may not be mounted" in text


async def test_two_installations_on_one_blob_store_are_refused(pair: Opening) -> None:
    one, two = await pair(), await pair("two", "two")
    ids = (await one.establish()).installation, (await two.establish()).installation
    text = await refusal(await pair("two", "one"))
    assert f"two.db belongs to the installation {ids[1]}, one/ to the installation {ids[0]}" in text


async def test_a_second_folder_for_one_database_is_refused(pair: Opening) -> None:
    await (await pair()).establish()
    assert "two/ is empty, but one.db" in await refusal(await pair("one", "two"))


async def test_of_two_folders_that_are_set_up_at_once_one_loses(pair: Opening) -> None:
    """Both saw a database without a blob store, and both have written their own identity file."""
    one, two = await pair("one", "one"), await pair("one", "two")
    claimed = await one.database.installation.claim(IDS.new())
    for each in (one, two):
        text = f'{{"installation": "{claimed.installation}", "store": "{IDS.new()}"}}'
        assert await each.blobs.create("installation.json", MemoryContent(text.encode()))
    assert (await one.establish()).installation == claimed.installation
    assert "is a second folder or bucket for the same database" in await refusal(two)


async def test_a_start_that_crashed_is_continued(pair: Opening) -> None:
    one = await pair()
    claimed = await one.database.installation.claim(IDS.new())
    made = await (await pair()).establish()
    assert made.installation == claimed.installation


async def test_an_installation_from_before_identities_is_recognised(pair: Opening) -> None:
    one = await pair()
    await one.mails(100)
    assert (await one.establish()).store


async def test_blobs_of_other_mail_are_refused(pair: Opening) -> None:
    one, two = await pair(), await pair("two", "two")
    await one.mails(3)
    await two.mails(3)
    text = await refusal(await pair("one", "two"))
    assert "Of 3 checked messages 0 have their blob there" in text


async def test_an_empty_database_from_before_identities_is_refused(pair: Opening) -> None:
    one = await pair()
    await one.mails(3)
    two = await pair("two", "one")
    await home(two.database)
    assert "one/ holds mail, but two.db has no messages" in await refusal(two)


async def test_a_deleted_file_is_refused_and_may_be_put_back(pair: Opening, tmp_path: Path) -> None:
    one = await pair()
    identity = await one.establish()
    await one.mails(3)
    shutil.move(tmp_path / "one/installation.json", tmp_path / "kept")
    assert "Of 3 checked messages 3 have their blob there" in await refusal(one)
    shutil.move(tmp_path / "kept", tmp_path / "one/installation.json")
    assert await one.establish() == identity


@pytest.mark.parametrize("garbage", [b"", b"{", b"[]", b'{"installation": "x"}', b"\xff" * 100])
async def test_a_damaged_file_is_refused(pair: Opening, tmp_path: Path, garbage: bytes) -> None:
    one = await pair()
    identity = await one.establish()
    (tmp_path / "one/installation.json").write_bytes(garbage)
    text = await refusal(one)
    assert "installation.json in one/ cannot be read" in text
    assert identity.installation in text


async def test_adopting_makes_a_new_pair_and_refuses_the_former_partners(pair: Opening) -> None:
    one, two = await pair(), await pair("two", "two")
    before = {(await one.establish()).installation, (await two.establish()).installation}
    crossed = await pair("two", "one")
    identity = await adopt(crossed.database, crossed.blobs, IDS, crossed.places)
    assert identity.installation not in before
    assert await crossed.establish() == identity
    assert "belongs to the installation" in await refusal(one)
    assert "belongs to the installation" in await refusal(two)


async def test_a_restored_database_of_the_same_installation_is_a_pair(pair: Opening, tmp_path: Path) -> None:
    one = await pair()
    identity = await one.establish()
    await one.database.close()
    shutil.copy(tmp_path / "one.db", tmp_path / "restored.db")
    restored = await pair("restored", "one")
    assert await restored.establish() == identity
