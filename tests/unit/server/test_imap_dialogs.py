"""The dialogs: one for each command, and some for what commands do together."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from inbox.server.imap.dispatch import COMMANDS
from tests.support.imap_dialog import run_dialog
from tests.support.imap_world import world

FOLDER = Path(__file__).parents[2] / "dialogs"
COMMAND = sorted((FOLDER / "imap").glob("*.dialog"))
TOGETHER = sorted(FOLDER.glob("imap-*.dialog"))

PLAIN = (
    b"From: Ann <ann@demo.test>\r\nTo: Bob <bob@demo.test>\r\nSubject: =?utf-8?q?Gr=C3=BC=C3=9Fe?= aus Wien\r\n"
    b"Date: Mon, 7 Feb 2022 21:52:25 +0100\r\nMessage-ID: <1@demo.test>\r\n\r\nSchnitzel\r\n"
)
MIXED = (
    b"From: Cid <cid@demo.test>\r\nSubject: Two parts\r\nMIME-Version: 1.0\r\n"
    b'Content-Type: multipart/mixed; boundary="x"\r\n\r\npreamble\r\n--x\r\nContent-Type: text/plain; charset=utf-8\r\n'
    b"Content-Transfer-Encoding: base64\r\n\r\nSMOkbmRlbA==\r\n--x\r\nContent-Type: message/rfc822\r\n\r\n"
    b"Subject: Inner\r\nTo: dan@demo.test\r\n\r\nInside\r\n--x--\r\n"
)


def test_every_command_has_its_dialog() -> None:
    said = {path.stem.upper(): path.read_text(encoding="utf-8") for path in COMMAND}
    for name in COMMANDS:
        assert re.search(rf"^\d*C: \S+ {name}\b", said[name.removeprefix("UID ")], re.MULTILINE), name
    assert TOGETHER


@pytest.mark.parametrize("script", [*COMMAND, *TOGETHER], ids=lambda path: path.stem)
async def test_dialog(tmp_path: Path, script: Path) -> None:
    async with world(tmp_path, max_message_octets=2_000_000) as w:
        await w.deliver(PLAIN, flags=1, internal_date=1_644_267_145.0, prepended=b"Delivered-To: ann@demo.test\r\n")
        await w.deliver(MIXED, keywords=("$Label",), internal_date=1_600_000_000.0)
        await run_dialog(w, script)
        assert not w.log.errors
