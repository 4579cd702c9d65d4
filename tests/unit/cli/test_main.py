"""The program as a whole: exit codes, one line on standard error, and what it does not import."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import structlog

from inbox import __version__
from tests.support.cli import Cli

ROOT = Path(__file__).parents[3]
#: Each costs a tenth of a second or more; help needs none of them.
HEAVY = (
    "boto3",
    "surrealdb",
    "cryptography",
    "pydantic",
    "uvicorn",
    "httpx2",
    "selectolax",
    "cel",
    "argon2",
    "structlog",
)


def test_help_imports_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['inbox', '--help']\n"
        "from inbox.cli.main import main\n"
        "try: main()\n"
        "except SystemExit: pass\n"
        f"print('HEAVY', sorted(set({HEAVY!r}) & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert "HEAVY []" in done.stdout
    assert "tenant" in done.stdout


def test_no_command_shows_the_help_and_is_wrong_usage(cli: Cli) -> None:
    ran = cli()
    assert ran.code == 2
    assert "Commands" in ran.out + ran.err


@pytest.mark.parametrize(
    "args", [("nope",), ("tenant", "add"), ("tenant", "list", "--nope"), ("decisions", "list", "--limit", "0")]
)
def test_wrong_usage_is_2(cli: Cli, args: tuple[str, ...]) -> None:
    ran = cli(*args)
    assert ran.code == 2
    assert ran.out == ""
    assert ran.err != ""


def test_a_wrong_setting_is_one_line_that_names_it(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SMTP_TRANSFER_PROT", "25")
    ran = cli("tenant", "list")
    assert ran.code == 2
    assert ran.err == "inbox: SMTP_TRANSFER_PROT: unknown setting; did you mean SMTP_TRANSFER_PORT?\n"


def test_a_database_that_cannot_be_opened_is_1_and_one_line(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    (cli.folder / "file").write_text("")
    monkeypatch.setenv("INBOX_DATA_DIR", str(cli.folder / "file" / "data"))
    ran = cli("tenant", "list")
    assert ran.code == 1
    assert ran.err.count("\n") == 1
    assert "file" in ran.err


@pytest.mark.slow
def test_a_reader_that_goes_away_is_no_traceback(cli: Cli) -> None:
    cli.demo()
    code = "import sys; sys.argv = ['inbox', 'tenant', 'list', '--json']\nfrom inbox.cli.main import main\nmain()"
    # The reading end is closed before anything is written.
    running = subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert running.stdout is not None
    assert running.stderr is not None
    running.stdout.close()
    errors = running.stderr.read()
    running.stderr.close()
    assert running.wait() == 1
    assert errors == b""


@pytest.mark.slow
@pytest.mark.parametrize(
    ("redirection", "code", "said"),
    [
        (">/dev/full", 1, "inbox: standard output cannot be written: No space left on device\n"),
        (">/dev/full 2>/dev/full", 1, ""),
        (">&-", 0, ""),
        (">&- 2>&- <&-", 0, ""),
        ("2>&-", 0, ""),
    ],
)
def test_output_that_cannot_be_written_is_no_traceback(cli: Cli, redirection: str, code: int, said: str) -> None:
    cli.demo()
    program = "import sys; sys.argv = ['inbox', 'decisions', 'list', '--json']\nfrom inbox.cli.main import main\nmain()"
    done = subprocess.run(
        ["sh", "-c", f'exec "$0" -c "$1" {redirection}', sys.executable, program],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (code, said)


def test_an_error_that_nobody_can_read_is_an_exit_code(cli: Cli) -> None:
    program = "import sys; sys.argv = ['inbox', 'tenant', 'list']\nfrom inbox.cli.main import main\nmain()"
    done = subprocess.run(
        ["sh", "-c", 'exec "$0" -c "$1" 2>/dev/full', sys.executable, program], cwd=cli.folder.parent, check=False,
        env={**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'plugins'}"},
    )  # fmt: skip
    assert done.returncode == 1


@pytest.mark.parametrize(
    "args",
    [
        ("tenant", "list"),
        ("account", "list"),
        ("decisions", "list"),
        ("explain", "06h07td1g1cmr2t5bdts"),
        ("quarantine", "list"),
        ("queue", "list"),
        ("domain", "add", "demo", "demo.test"),
        ("policy", "explain", "--eml", str(ROOT / "README.md"), "--from", "", "--to", "ann@demo.test"),
        ("doctor",),
    ],
)
def test_a_wrong_data_folder_is_reported_and_no_empty_database_is_created(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, args: tuple[str, ...]
) -> None:
    cli.demo()
    (cli.folder / "policies").mkdir()
    (cli.folder / "policies" / "default.yaml").write_text("plugins: {}\n")
    monkeypatch.setenv("DNS_RESOLVER", "127.0.0.1:9")
    monkeypatch.setenv("INBOX_DATA_DIR", str(cli.folder / "daat"))
    ran = cli(*args)
    assert ran.code == 1
    assert str(cli.folder / "daat") in ran.out + ran.err
    assert not (cli.folder / "daat").exists()


def test_the_log_goes_to_standard_error(cli: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    from inbox.store.sqlite import SqliteDatabase

    cli.demo()
    close = SqliteDatabase.close

    async def loud(self: SqliteDatabase) -> None:
        structlog.get_logger("inbox.store").error("disk_full_reserve_released", path="x")
        await close(self)

    monkeypatch.setattr(SqliteDatabase, "close", loud)
    ran = cli("tenant", "list", "--json")
    assert [row["name"] for row in ran.json] == ["demo"]
    assert '"event":"disk_full_reserve_released"' in ran.err


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be another user for a moment")
@pytest.mark.parametrize(
    ("mode", "args", "said"),
    [
        (0o755, ("tenant", "list"), "inbox.db.lock may not be opened by this user: run inbox as the user that owns it"),
        (0o700, ("tenant", "list"), "may not be opened by this user: run inbox as the user of the server"),
        (0o700, ("storage", "show"), "may not be opened by this user: run inbox as the user of the server"),
        (0o700, ("policy", "check"), "Permission denied: run inbox as the user of the server"),
        (0o700, ("plugins", "list"), "Permission denied: run inbox as the user of the server"),
        (0o700, ("doctor",), "belongs to root"),
    ],
)
def test_another_users_data_folder_is_no_missing_database_and_no_traceback(
    cli: Cli, monkeypatch: pytest.MonkeyPatch, mode: int, args: tuple[str, ...], said: str
) -> None:
    cli.demo()
    monkeypatch.setenv("INBOX_PLUGIN_DIR", "")
    monkeypatch.setenv("DNS_RESOLVER", "127.0.0.1:9")
    (cli.folder / "policies").mkdir()
    (cli.folder / "policies" / "default.yaml").write_text("plugins: {}\n")
    for folder in (cli.folder, *list(cli.folder.parents)[:-2]):
        folder.chmod(0o755)
    (cli.folder / "data").chmod(mode)
    try:
        os.seteuid(65534)
        ran = cli(*args)
    finally:
        os.seteuid(0)
    assert ran.code == 1
    assert said in ran.out + ran.err
    assert "create a new one" not in ran.out + ran.err


def test_the_version(cli: Cli) -> None:
    ran = cli("--version")
    assert (ran.code, ran.out) == (0, f"inbox {__version__}\n")


def test_a_file_that_is_no_database_is_named(cli: Cli) -> None:
    (cli.folder / "data").mkdir()
    (cli.folder / "data" / "inbox.db").write_text("some text, long enough to be looked at as a database's header")
    ran = cli("tenant", "list")
    assert (ran.code, ran.err) == (1, f"inbox: {cli.folder}/data/inbox.db: file is not a database\n")
