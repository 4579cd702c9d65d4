"""A database and a blob store that do not belong together: no mail is lost, whatever an operator mistook."""

from __future__ import annotations

import os
import shutil
import signal
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx2
import pytest

from tests.e2e.test_crash import found_numbers, mail, send_one
from tests.support.faulty import Faulty, faulty_s3  # noqa: F401  (a fixture)
from tests.support.ministack import Ministack, ministack  # noqa: F401  (a fixture)
from tests.support.server import COMMAND, PORTS, RunningServer
from tests.support.surreal_server import SurrealServer
from tests.support.surreal_server import server as start_engine
from tests.support.waiting import until

pytestmark = pytest.mark.real

MESSAGES = 30
#: A server that looks at its stores, and sweeps, all the time.
EAGER = f"import inbox.app.serve.server as s; s.PAIR_SECONDS = s.SWEEP_SECONDS = 0.05; {COMMAND}"

Make = Callable[..., RunningServer]


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """Makes servers, each in a folder of its own."""
    with ExitStack() as stack:

        def made(name: str, *, populated: bool = True, **environment: str) -> RunningServer:
            folder = tmp_path / name
            folder.mkdir(exist_ok=True)
            server = RunningServer(folder, environment=environment, command=EAGER)
            stack.callback(server.close)
            if populated:
                server.populate()
            return server

        yield made


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[SurrealServer]:
    engine = start_engine(tmp_path / "engine")
    yield engine
    engine.kill()


def s3(ministack: Ministack, bucket: str) -> dict[str, str]:  # noqa: F811
    config = ministack.config(bucket)
    return {
        "S3_ENDPOINT": str(config.endpoint),
        "S3_REGION": config.region,
        "S3_BUCKET": config.bucket,
        "S3_ACCESS_KEY_ID": config.access_key_id,
        "S3_SECRET_ACCESS_KEY": config.secret_access_key,
        "S3_FORCE_PATH_STYLE": "true",
    }


def surreal(engine: SurrealServer) -> dict[str, str]:
    return {"DATABASE_URL": engine.url, "DATABASE_USERNAME": "root", "DATABASE_PASSWORD": "root"}


def fill(server: RunningServer, numbers: range) -> None:
    for number in numbers:
        assert send_one(server, mail(number))[0] == 250


def age(server: RunningServer) -> None:
    """Makes all blobs two days old."""
    written = time.time() - 2 * 86_400
    for path in (server.data / "incoming").rglob("*.eml"):
        os.utime(path, (written, written))


def refusal(server: RunningServer) -> str:
    """The line with which the server refuses to start."""
    server.log.write_text("")
    with pytest.raises(AssertionError, match="did not start"):
        server.start()
    assert server.process is not None
    assert server.process.wait(60) == 1
    server.process = None
    return server.log.read_text()


def swept(server: RunningServer, times: int = 2) -> None:
    """Waits until the server has swept some times from now on: its status shows when it did so last."""
    seen = {last_sweep(server)}

    def enough() -> bool:
        seen.add(last_sweep(server))
        return len(seen) > times

    until(enough, "the server sweeps")


def last_sweep(server: RunningServer) -> float:
    return float(status(server)["storage"]["sweep"].get("at", 0))


def status(server: RunningServer, target: str = "/status") -> dict[str, Any]:
    with httpx2.Client(transport=httpx2.HTTPTransport(uds=str(server.data / "inbox.sock")), timeout=30) as http:
        answer: dict[str, Any] = http.get(f"http://inbox{target}").json()
    return answer


def test_an_empty_database_is_refused_and_no_mail_is_lost(make: Make) -> None:
    server = make("one").start()
    fill(server, range(MESSAGES))
    server.stop()
    age(server)
    (server.folder / "away").mkdir()
    for path in server.data.glob("inbox.db*"):
        path.rename(server.folder / "away" / path.name)

    told = refusal(server)
    assert "incoming belongs to the installation" in told
    assert "has no id: it is new, or another database" in told
    assert "Restore the right database and start again" in told
    # Tenants that somebody makes in it change nothing, and an operator cannot sweep by mistake either.
    server.populate()
    assert "has no id" in refusal(server)
    assert server.cli("storage", "sweep", "--yes").returncode == 1

    for path in server.data.glob("inbox.db*"):
        path.unlink()
    for path in (server.folder / "away").iterdir():
        path.rename(server.data / path.name)
    server.start()
    swept(server)
    assert found_numbers(server).keys() == set(range(MESSAGES))


def test_an_older_database_puts_newer_mail_aside_and_the_right_one_has_it_all(make: Make) -> None:
    server = make("one").start()
    fill(server, range(10))
    backup = server.folder / "backup.db"
    with sqlite3.connect(server.data / "inbox.db") as source, sqlite3.connect(backup) as copy:
        source.backup(copy)
    fill(server, range(10, MESSAGES))
    server.stop()
    age(server)
    right = server.folder / "right"
    right.mkdir()
    for path in server.data.glob("inbox.db*"):
        path.rename(right / path.name)

    shutil.copy(backup, server.data / "inbox.db")
    server.start()
    until(lambda: "moved" in server.log.read_text(), "newer mail is put aside")
    assert found_numbers(server).keys() == set(range(10))
    assert f"{MESSAGES - 10} orphaned blobs wait under orphan/" in server.cli("doctor").stdout
    server.stop()

    for path in server.data.glob("inbox.db*"):
        path.unlink()
    for path in right.iterdir():
        path.rename(server.data / path.name)
    server.start()
    assert found_numbers(server).keys() == set(range(MESSAGES)), "also while it is still aside"
    swept(server)
    assert found_numbers(server).keys() == set(range(MESSAGES))
    assert not list((server.data / "incoming" / "orphan").rglob("*.eml"))


def test_an_installation_from_before_identities_starts_with_all_its_mail(make: Make) -> None:
    server = make("one").start()
    fill(server, range(3))
    server.stop()
    age(server)
    (server.data / "incoming" / "installation.json").unlink()
    with sqlite3.connect(server.data / "inbox.db") as database:
        database.execute("DELETE FROM installation")
    server.start()
    swept(server)
    assert found_numbers(server).keys() == set(range(3))
    assert (server.data / "incoming" / "installation.json").exists()


def test_a_mistyped_namespace_is_refused_and_no_mail_is_lost(
    make: Make,
    engine: SurrealServer,
    ministack: Ministack,  # noqa: F811
) -> None:
    shared = surreal(engine) | s3(ministack, "namespace")
    server = make("one", **shared).start()
    fill(server, range(3))
    identity = status(server)["storage"]["installation"]
    server.stop()
    server.environment["DATABASE_NAMESPACE"] = "imbox"
    told = refusal(server)
    assert f"s3://namespace at {shared['S3_ENDPOINT']} belongs to the installation {identity}" in told
    assert "(imbox/inbox) has no id" in told
    server.populate()
    assert "(imbox/inbox) has no id" in refusal(server)
    del server.environment["DATABASE_NAMESPACE"]
    server.start()
    assert found_numbers(server).keys() == set(range(3))


def test_a_second_installation_on_a_bucket_is_refused(make: Make, ministack: Ministack) -> None:  # noqa: F811
    bucket = s3(ministack, "shared-bucket")
    one = make("one", **bucket).start()
    fill(one, range(3))
    # One that never ran, and one that ran with a bucket of its own.
    assert "has no id" in refusal(make("two", **bucket))
    three = make("three", **s3(ministack, "own-bucket")).start()
    theirs, ours = (status(server)["storage"]["installation"] for server in (three, one))
    three.stop()
    three.environment |= bucket
    told = refusal(three)
    assert f"belongs to the installation {theirs}, s3://shared-bucket" in told
    assert f"to the installation {ours}: one of the two settings names another installation's data" in told
    assert found_numbers(one).keys() == set(range(3))


@pytest.mark.parametrize("mails", [0, 3])
def test_a_second_instance_with_a_folder_of_its_own_is_refused(make: Make, engine: SurrealServer, mails: int) -> None:
    one = make("one", **surreal(engine)).start()
    fill(one, range(mails))
    two = make("two", populated=False, **surreal(engine))
    told = refusal(two)
    assert f"{two.data}/incoming is empty, but ws://" in told
    assert "this machine has its own folder for a shared database" in told
    # If somebody copies the file it starts, and doctor sees that mail of the others is not there.
    shutil.copy(one.data / "incoming" / "installation.json", two.data / "incoming")
    doctor = two.cli("doctor", "--json").stdout
    assert (f"{mails} of {mails} messages that were looked at" in doctor) is bool(mails)
    # With one shared folder both run.
    two.environment["INBOX_INCOMING_DIR"] = str(one.data / "incoming")
    two.start()
    fill(two, range(mails, 6))
    assert found_numbers(one) == found_numbers(two)
    assert found_numbers(one).keys() == set(range(6))


def test_a_disk_that_is_swapped_while_the_server_runs_takes_no_mail(make: Make) -> None:
    server = make("one").start()
    fill(server, range(3))
    incoming, away = server.data / "incoming", server.data / "away"
    incoming.rename(away)
    (incoming / ".unfinished").mkdir(parents=True)
    code, text = send_one(server, mail(3))
    assert (code, text[:5]) == (451, "4.3.0")
    until(lambda: status(server, "/health")["status"] == "failing", "health fails")
    assert "incoming is empty" in str(status(server, "/health"))
    assert send_one(server, mail(3))[0] == 451
    assert not list(incoming.rglob("*.eml"))
    shutil.rmtree(incoming)
    away.rename(incoming)
    until(lambda: status(server, "/health")["status"] == "ok", "health is back")
    assert send_one(server, mail(3))[0] == 250
    assert found_numbers(server).keys() == set(range(4))


def test_a_new_process_that_files_takes_no_mail_on_a_swapped_disk(tmp_path: Path) -> None:
    """It never saw the right disk, and the server checks the stores only periodically."""
    server = RunningServer(tmp_path)
    server.populate()
    server.start()
    try:
        fill(server, range(3))
        incoming, away = server.data / "incoming", server.data / "away"
        incoming.rename(away)
        (incoming / ".unfinished").mkdir(parents=True)
        (worker,) = server.workers()
        os.kill(worker, signal.SIGKILL)
        codes = [send_one(server, mail(number))[0] for number in (3, 4)]
        assert not list(incoming.rglob("*.eml"))
        assert set(codes) == {451}
        shutil.rmtree(incoming)
        away.rename(incoming)
        until(lambda: send_one(server, mail(3))[0] == 250, "mail is taken again")
        assert found_numbers(server).keys() == set(range(4))
    finally:
        server.close()


def test_several_processes_refuse_before_they_start_children(tmp_path: Path) -> None:
    server = RunningServer(tmp_path, processes=2)
    server.populate()
    server.start().stop()
    for path in server.data.glob("inbox.db*"):
        path.unlink()
    server.populate()
    server.environment |= {variable: str(server.ports.get(name, 0)) for name, variable in PORTS.items()}
    done = server.cli("serve", "--processes", "2")
    assert done.returncode == 1
    assert done.stderr.count("has no id") == 1
    assert "process_ended" not in done.stderr


def test_a_bucket_that_is_gone_for_a_while(make: Make, ministack: Ministack, faulty_s3: Faulty) -> None:  # noqa: F811
    bucket = s3(ministack, "gone-for-a-while") | {"S3_ENDPOINT": faulty_s3.endpoint}
    server = make("one", **bucket).start()
    fill(server, range(2))
    faulty_s3.become("refuse")
    code, text = send_one(server, mail(2))
    assert (code, text[:5]) == (451, "4.3.0")
    until(lambda: status(server, "/health")["status"] == "failing", "health fails")
    assert not found_numbers(server), "the mailbox opens, its messages are answered NO"
    assert "stores_do_not_match" not in server.log.read_text(), "it is unknown whether it is the right one"
    faulty_s3.become("pass")
    assert send_one(server, mail(2))[0] == 250
    until(lambda: status(server, "/health")["status"] == "ok", "health is back")
    assert found_numbers(server).keys() == {0, 1, 2}


def test_a_bucket_that_is_gone_at_the_start_is_named(make: Make, ministack: Ministack, faulty_s3: Faulty) -> None:  # noqa: F811
    server = make("one", **s3(ministack, "gone-at-start") | {"S3_ENDPOINT": faulty_s3.endpoint})
    faulty_s3.become("refuse")
    assert faulty_s3.endpoint in refusal(server)
    faulty_s3.become("pass")
    server.start()
    fill(server, range(1))
    assert found_numbers(server).keys() == {0}
