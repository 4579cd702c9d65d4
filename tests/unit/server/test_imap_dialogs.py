"""The dialogs: one for each command, and some for what commands do together."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from inbox.server.imap.dispatch import COMMANDS
from tests.support.imap_dialog import run_dialog
from tests.support.imap_world import world

#: By announced capability: what a dialog has to have that uses it.
USES = {
    "IMAP4rev1": r"C: \S+ SELECT",
    "LITERAL+": r"\{\d+\+\}$",
    "SASL-IR": r"C: \S+ AUTHENTICATE PLAIN \S{9}",
    "ID": r"S: \* ID \(",
    "ENABLE": r"S: \* ENABLED",
    "AUTH=PLAIN": r"C: \S+ AUTHENTICATE PLAIN$",
    "STARTTLS": r"C: \S+ STARTTLS$",
    "LOGINDISABLED": r"S: \S+ NO \[PRIVACYREQUIRED\]",
    "CHILDREN": r"\\HasChildren",
    "CREATE-SPECIAL-USE": r"C: \S+ CREATE \S+ \(USE \(\\\w+\)\)",
    "ESEARCH": r"S: \* ESEARCH \(TAG",
    "IDLE": r"S: \+ Idling",
    "LIST-EXTENDED": r"C: \S+ LIST \(SUBSCRIBED\)",
    "LIST-STATUS": r"C: \S+ LIST .*RETURN \(.*STATUS \(",
    "MOVE": r"C: \S+ (UID )?MOVE \d",
    "NAMESPACE": r"S: \* NAMESPACE",
    "SPECIAL-USE": r"C: \S+ LIST \(SPECIAL-USE\)",
    "STATUS=SIZE": r"S: \* STATUS \S+ \(.*\bSIZE \d",
    "UIDPLUS": r"\[COPYUID .*\]",
    "UNSELECT": r"C: \S+ UNSELECT$",
    "APPENDLIMIT": r"APPENDLIMIT \d",
}
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


def test_every_capability_has_its_dialog() -> None:
    texts = [path.read_text(encoding="utf-8") for path in (*COMMAND, *TOGETHER)]
    announced = {
        word.partition("=")[0] if word.startswith("APPENDLIMIT") else word
        for text in texts
        for words in re.findall(r"^S: \* CAPABILITY (.*)$", text, re.MULTILINE)
        for word in words.split()
    }
    assert announced == set(USES)
    for word, use in USES.items():
        assert any(re.search(use, text, re.MULTILINE) for text in texts), word


@pytest.mark.parametrize("script", [*COMMAND, *TOGETHER], ids=lambda path: path.stem)
async def test_dialog(tmp_path: Path, script: Path) -> None:
    async with world(tmp_path, max_message_octets=2_000_000) as w:
        await w.deliver(PLAIN, flags=1, internal_date=1_644_267_145.0, prepended=b"Delivered-To: ann@demo.test\r\n")
        await w.deliver(MIXED, keywords=("$Label",), internal_date=1_600_000_000.0)
        await run_dialog(w, script)
        assert not w.log.errors
