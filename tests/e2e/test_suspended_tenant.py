"""One tenant's mistake at the start of the server harms that tenant alone; a mistake of everybody's ends the server."""

from __future__ import annotations

import imaplib
import json
import os
import re
import smtplib
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.server import COMMAND, NO_SENDING, PASSWORD, ROOT, RunningServer
from tests.support.waiting import until

pytestmark = pytest.mark.real
TENANTS = {"acme": {"acme.test": ("ann",)}, "globex": {"globex.test": ("gus",)}}
ANN, GUS = "ann@acme.test", "gus@globex.test"
MESSAGE = b"Subject: hi\r\n\r\nbody\r\n"
#: Its settings are right, and it cannot be made with them.
FRAIL = """
from inbox.plugin import Plugin, PluginSettings, hookimpl
class Settings(PluginSettings):
    fail: bool = False
class Frail(Plugin):
    def __init__(self, settings, services):
        if settings.fail:
            raise OSError("no such device")
    @hookimpl
    def data(self): return None
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    running = RunningServer(tmp_path)
    running.populate(TENANTS)
    yield running
    running.close()


def answer(server: RunningServer, recipient: str) -> tuple[int, str]:
    """The last reply to a mail for one recipient."""
    with smtplib.SMTP("127.0.0.1", server.port("smtp"), timeout=30) as smtp:
        smtp.ehlo("client.test")
        smtp.mail("bob@elsewhere.test")
        code, text = smtp.rcpt(recipient)
        if code == 250:
            code, text = smtp.data(MESSAGE)
    return code, text.decode()


def opened(server: RunningServer, user: str) -> imaplib.IMAP4_SSL:
    context = ssl.create_default_context(cafile=server.certificate)
    context.check_hostname = False
    imap = imaplib.IMAP4_SSL("127.0.0.1", server.port("imaps"), ssl_context=context, timeout=30)
    imap.login(user, PASSWORD)
    return imap


def ask(server: RunningServer, path: str) -> dict[str, Any]:
    socket = str(server.data / "inbox.sock")
    done = subprocess.run(
        ["curl", "-s", "--unix-socket", socket, f"http://inbox{path}"], capture_output=True, timeout=30, check=True
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_the_tenant_is_suspended_alone_until_its_file_is_right(server: RunningServer) -> None:
    path = server.policy("tenants/acme.yaml", "mode: enforce\n")
    server.start()
    assert answer(server, ANN)[0] == 250
    server.stop()
    server.policy("tenants/acme.yaml", "plugins:\n  recipients: {catch_all: 7}\n")
    server.start()
    mistake = f"{path}:2:27: catch_all: must be a valid string, not a number"

    code, text = answer(server, ANN)
    assert (code, text.partition(" ")[0]) == (451, "4.3.5")
    assert answer(server, GUS)[0] == 250
    explained = server.cli("explain", id_in(text))
    assert f"why         {mistake}" in explained.stdout

    imap = opened(server, ANN)
    assert imap.select("INBOX") == ("OK", [b"1"])
    assert imap.fetch("1", "(BODY[TEXT])")[0] == "OK"
    status, said = imap.append("INBOX", "", "", MESSAGE)
    assert (status, said[0][:13]) == ("NO", b"[UNAVAILABLE]")
    assert f"why         {mistake}" in server.cli("explain", id_in(said[0].decode())).stdout
    imap.logout()

    assert ask(server, "/health") == {
        "status": "ok",
        "warnings": [f"the tenant acme is suspended, its mail is answered 451: {mistake}"],
    }
    assert ask(server, "/status")["suspended_tenants"] == [{"tenant": "acme", "why": mistake}]
    doctor = server.cli("doctor", "--json")
    assert doctor.returncode == 1
    failed = {
        each["check"]: each["detail"] for each in json.loads(doctor.stdout)["checks"] if each["outcome"] == "fail"
    }
    assert failed["server"] == f"the tenant acme is suspended, its mail is answered 451: {mistake}"
    assert failed["policy acme"] == f"a server that starts now answers its mail 451: {mistake}"
    events = [json.loads(line) for line in server.log.read_text().splitlines() if "tenant_suspended" in line]
    assert [(each["tenant"], each["mistake"]) for each in events] == [("acme", mistake)]
    for arguments in (("decisions", "list"), ("quarantine", "list"), ("tenant", "list"), ("plugins", "list")):
        assert server.cli(*arguments).returncode == 0, arguments

    server.policy("tenants/acme.yaml", "mode: enforce\n")
    until(lambda: ask(server, "/health") == {"status": "ok"}, "it is taken up without a restart")
    assert answer(server, ANN)[0] == 250


def id_in(text: str) -> str:
    found = re.search(r"\(id (\w+)\)", text)
    assert found is not None, text
    return found[1]


def test_a_plugin_that_does_not_load_or_cannot_be_made(server: RunningServer) -> None:
    (server.folder / "plugins" / "broken.py").write_text("def data(:\n")
    server.policy("tenants/acme.yaml", "plugins: {broken: {}}\n")
    (server.folder / "plugins" / "frail.py").write_text(FRAIL)
    server.policy("tenants/globex.yaml", "plugins: {frail: {fail: true}}\n")
    server.policy("default.yaml", "plugins: {recipients: {}, frail: {}}\n")
    server.populate({"third": {"third.test": ("tom",)}})
    server.start()
    code, text = answer(server, ANN)
    assert code == 451
    assert "unknown plugin 'broken'" in server.cli("explain", id_in(text)).stdout
    code, text = answer(server, GUS)
    assert code == 451
    assert "OSError: no such device" in server.cli("explain", id_in(text)).stdout
    assert answer(server, "tom@third.test")[0] == 250


@pytest.mark.parametrize("options", [(), ("--processes", "2")])
def test_a_wrong_default_ends_the_server_permanently(server: RunningServer, options: tuple[str, ...]) -> None:
    path = server.policy("default.yaml", "plugins:\n  recipients: {}\nserver: {multi_tenant: both}\n")
    ports = {
        "SMTP_TRANSFER_PORT": "0",
        "IMAP_PORT": "0",
        "IMAPS_PORT": "0",
        **NO_SENDING,
        "LMTP_PORT": str(server.port("smtp")),
    }
    server.sockets["smtp"].close()
    done = subprocess.run(
        [sys.executable, "-c", COMMAND, "serve", *options],
        env=server.env | ports,
        cwd=server.folder,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 78
    assert f"{path}:3:24: multi_tenant: must be" in done.stderr
    assert ("processes_given_up" in done.stderr) is bool(options)


def install(site: Path) -> None:
    """The files of an installed package with a plugin."""
    source = (ROOT / "examples" / "plugins" / "hello_world.py").read_text()
    (site / "greeter_plugin.py").write_text(source.replace('__version__ = "1.0.0"\n', ""))
    info = site / "greeter-1.2.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: greeter\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text("[inbox.plugins]\ngreeter = greeter_plugin\n")


@pytest.mark.parametrize("processes", [1, 2])
def test_a_plugin_that_is_installed_while_the_server_runs(tmp_path: Path, processes: int) -> None:
    site = tmp_path / "site"
    site.mkdir()
    server = RunningServer(tmp_path, processes=processes)
    server.environment["PYTHONPATH"] = os.pathsep.join((str(ROOT), str(ROOT / "plugins"), str(site)))
    server.populate(TENANTS)
    try:
        server.start()
        install(site)
        done = server.cli("plugins", "enable", "greeter", "--tenant", "acme")
        assert done.returncode == 0, done.stderr
        assert done.stdout.endswith("in force in the running server\n")
        assert answer(server, ANN)[0] == 250
        imap = opened(server, ANN)
        imap.select("INBOX", readonly=True)
        assert "X-Hello" in str(imap.fetch("1", "(BODY[HEADER])"))
        imap.logout()
        assert ask(server, "/status")["policy_error"] == ""
    finally:
        server.close()


def test_a_policy_that_the_server_refuses_is_not_reported_as_enabled(server: RunningServer) -> None:
    """The server has other plugins than the command: its package folder cannot be read by it, say."""
    server.start()
    site = server.folder / "site"
    site.mkdir()
    install(site)
    server.environment["PYTHONPATH"] = os.pathsep.join((str(ROOT), str(ROOT / "plugins"), str(site)))
    done = server.cli("plugins", "enable", "greeter", "--tenant", "acme")
    assert done.returncode == 1
    assert "unknown plugin 'greeter'" in done.stderr
    assert "the running server did not apply it: greeter is off there for acme" in done.stderr
    assert answer(server, ANN)[0] == 250


def test_a_removed_policy_is_out_of_force(server: RunningServer) -> None:
    path = server.policy("tenants/acme.yaml", "plugins: {recipients: {unknown: defer}}\n")
    server.start()
    assert answer(server, "nobody@acme.test")[0] == 450
    path.unlink()
    until(lambda: answer(server, "nobody@acme.test")[0] == 550, "the tenant has the default")
    until(lambda: b"policy_removed" in server.log.read_bytes(), "it is logged")
