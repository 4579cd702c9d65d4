"""Every ``smtp-*.dialog``, in memory and over TCP, on both event loops."""

from __future__ import annotations

from pathlib import Path

import pytest

from inbox.wire.smtp.state import Verb
from tests.support.dialog import Dialog, DialogError, load, run
from tests.support.imap_world import server_tls
from tests.support.smtp_world import smtp_world

DIALOGS = [load(path) for path in sorted((Path(__file__).parents[2] / "dialogs").glob("smtp-*.dialog"))]


@pytest.mark.parametrize("dialog", [dialog for dialog in DIALOGS if not dialog.tls], ids=lambda dialog: dialog.name)
async def test_in_memory(dialog: Dialog, tmp_path: Path) -> None:
    async with smtp_world(
        tmp_path, lmtp=dialog.lmtp, submission=dialog.submission, listen=False, **dialog.settings
    ) as world:
        await run(dialog, world.memory(), world.receiving)
        assert not world.log.errors


@pytest.mark.parametrize("dialog", DIALOGS, ids=lambda dialog: dialog.name)
async def test_over_tcp(dialog: Dialog, tmp_path: Path) -> None:
    await over_tcp(dialog, tmp_path)


@pytest.mark.parametrize("dialog", DIALOGS, ids=lambda dialog: dialog.name)
def test_over_tcp_with_uvloop(dialog: Dialog, tmp_path: Path) -> None:
    """The loop that the program runs on; its transports are not asyncio's."""
    uvloop = pytest.importorskip("uvloop")
    uvloop.run(over_tcp(dialog, tmp_path))


async def over_tcp(dialog: Dialog, folder: Path) -> None:
    tls = server_tls() if dialog.tls else None
    async with smtp_world(folder, lmtp=dialog.lmtp, submission=dialog.submission, tls=tls, **dialog.settings) as world:
        client = await world.tcp()
        try:
            await run(dialog, client, world.receiving)
        finally:
            client.writer.close()
        assert not world.log.errors


def test_every_command_has_a_dialog_of_its_own() -> None:
    assert {f"smtp-{verb.value.lower()}.dialog" for verb in Verb} <= {dialog.name for dialog in DIALOGS}


async def test_a_dialog_fails_when_the_server_is_configured_something_else(tmp_path: Path) -> None:
    script = tmp_path / "wrong.dialog"
    script.write_text("S: 220 *\nC: NOOP\nS: 500 *\n")
    async with smtp_world(tmp_path, listen=False) as world:
        with pytest.raises(DialogError, match=r"wrong\.dialog:3: expected '500 \*', got '250 2\.0\.0 OK'"):
            await run(load(script), world.memory(), world.receiving)


def test_a_dialog_that_expects_nothing_is_invalid(tmp_path: Path) -> None:
    script = tmp_path / "empty.dialog"
    script.write_text("C: NOOP\n")
    with pytest.raises(DialogError, match="nothing is expected"):
        load(script)
