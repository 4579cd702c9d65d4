"""``inbox dev``: one process on high ports with a sample tenant, its user, and a self-signed certificate."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from typing import TextIO

from inbox.app.config.loading import Config, load
from inbox.app.listeners import bind
from inbox.app.serve.devclamd import DevClamd
from inbox.app.serve.devsink import PORT, ROUTE, DevSink
from inbox.app.serve.server import serve
from inbox.app.wiring.installation import opened
from inbox.base.clock import SystemClock
from inbox.base.errors import ConfigError
from inbox.identity.passwords import Passwords
from inbox.server.listener import Endpoint
from inbox.store.ports import Database

TENANT, DOMAIN, USER = "demo", "demo.test", "ann@demo.test"
#: Defaults of the sample installation.
DEFAULTS: Mapping[str, str] = {
    "SERVER_BIND_ADDR": "127.0.0.1",
    "SERVER_HOSTNAME": "mail.demo.test",
    "SMTP_TRANSFER_PORT": "2525",
    "LMTP_PORT": "2424",
    "IMAP_PORT": "1143",
    "IMAPS_PORT": "1993",
    "SMTP_SUBMISSION_PORT": "2587",
    "SMTP_SUBMISSIONS_PORT": "2465",
    "HTTP_PORT": "3000",
}
#: The address of clamd in the sample policy; each demo has a clamd of its own.
SAMPLE_CLAMD = "tcp://127.0.0.1:3310"
#: Attempts to find free ports.
TRIES = 5
PORTS = (
    "SMTP_TRANSFER_PORT",
    "SMTP_SUBMISSION_PORT",
    "SMTP_SUBMISSIONS_PORT",
    "LMTP_PORT",
    "IMAP_PORT",
    "IMAPS_PORT",
    "HTTP_PORT",
)


async def run_dev(out: TextIO, environ: Mapping[str, str] = os.environ) -> None:
    """Creates the sample if it is missing, starts the server, prints how to use it, and serves until it is stopped.

    Raises:
        InboxError: see :func:`inbox.app.serve.server.serve`.
    """
    config, endpoints = _bound(environ)
    try:
        await _run(out, config, endpoints)
    finally:
        for endpoint in endpoints:
            endpoint.socket.close()


async def _run(out: TextIO, config: Config, endpoints: list[Endpoint]) -> None:
    clamd = DevClamd(config.folders.data_dir / "clamav")
    _put_policies(config.folders.policy_dir, clamd.socket)
    sink = DevSink(config.folders.data_dir / "left", config.folders.policy_dir / "default.yaml", out)
    password = _password(config.folders.data_dir / "dev-password")
    await _make_sample(config, password)
    try:
        notes = {"virus scanner": await clamd.start(), "mail to other servers goes": await sink.start()}
        await serve(config, endpoints, ready=lambda: _print_usage(out, config, endpoints, password, notes))
    finally:
        await sink.stop()
        await clamd.stop()


def _bound(environ: Mapping[str, str]) -> tuple[Config, list[Endpoint]]:
    """The configuration, and its ports. Another program can take a port that was free a moment ago: then others are
    tried.

    Raises:
        ConfigError: the configuration is invalid, or a port that the environment names is taken.
    """
    tries = 0
    while True:
        config = load(_environment(environ))
        try:
            return config, bind(config, frozenset())
        except ConfigError:
            tries += 1
            if tries == TRIES:
                raise


def _environment(environ: Mapping[str, str]) -> dict[str, str]:
    chosen = {**DEFAULTS, **environ}
    if not chosen.get("INBOX_POLICY_DIR"):
        # The shipped policies, which are tracked in a checkout, are not changed.
        chosen["INBOX_POLICY_DIR"] = str(Path(chosen.get("INBOX_DATA_DIR") or "data") / "policies")
    for name in PORTS:
        if name not in environ and not _is_free(int(chosen[name])):
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", 0))
                chosen[name] = str(probe.getsockname()[1])
    return chosen


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def _put_policies(folder: Path, clamd: Path) -> None:
    """Copies the shipped policies if there are none."""
    package = files("inbox")
    shipped = package / "data" / "policies"
    if not shipped.is_dir():  # a checkout: the wheel has them inside of the package
        shipped = Path(str(package)).parent / "policies"
    for name in ("default.yaml", f"tenants/{TENANT}.yaml"):
        target = folder / name
        if not target.exists():
            target.parent.mkdir(parents=True, exist_ok=True)
            text = shipped.joinpath(name).read_text(encoding="utf-8")
            text = text.replace(SAMPLE_CLAMD, f"unix://{clamd}")
            if name == "default.yaml":
                why = "# Mail to other servers goes to a server of the demo, which shows it."
                text += f"\n{why}\n{ROUTE.format(port=PORT)}\n"
            target.write_text(text, encoding="utf-8")


def _password(path: Path) -> str:
    """The sample user's password, the same at every start."""
    if path.exists():
        return path.read_text(encoding="ascii").strip()
    password = secrets.token_urlsafe(9)
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    path.touch(mode=0o600)
    path.write_text(f"{password}\n", encoding="ascii")
    return password


async def _make_sample(config: Config, password: str) -> None:
    passwords = Passwords(SystemClock())
    try:
        async with opened(config) as installation:
            await _ensure(installation.database, await passwords.hash(password))
    finally:
        passwords.close()


async def _ensure(database: Database, stored: str) -> None:
    tenant = await database.tenants.by_name(TENANT) or await database.tenants.add(TENANT)
    if await database.tenants.domain(DOMAIN) is None:
        await database.tenants.add_domain(tenant.id, DOMAIN)
    if await database.accounts.by_address(USER) is None:
        await database.accounts.add(tenant.id, USER, stored)
    else:
        await database.accounts.set_password(tenant.id, USER, stored)


def _print_usage(
    out: TextIO, config: Config, endpoints: list[Endpoint], password: str, notes: Mapping[str, str]
) -> None:
    # A port of 0 is switched off.
    at = {endpoint.name: f"{config.server.bind_addr}:{endpoint.port}" for endpoint in endpoints}
    doors = [
        ("SMTP", "smtp", "STARTTLS"),
        ("Submission", "submission", "STARTTLS"),
        ("Submission", "submissions", "TLS"),
        ("LMTP", "lmtp", ""),
        ("IMAP", "imap", "STARTTLS"),
        ("IMAP", "imaps", "TLS"),
        ("HTTP", "http", ""),
    ]
    lines = [
        "",
        "inbox is running. Ctrl-C stops it.",
        "",
        *(f"  {name}   {at[door]}" + (f"  ({tls})" if tls else "") for name, door, tls in doors if door in at),
        f"  tenant {TENANT}, user {USER}, password {password}",
        f"  policy {config.folders.policy_dir / 'tenants' / 'demo.yaml'}   plugins {config.folders.plugins}",
        *(f"  {what}: {note}" for what, note in notes.items()),
        "",
        "In another terminal, send a mail, read it, and see why it was accepted:",
        "",
        f"  export INBOX_DATA_DIR={config.folders.data_dir} INBOX_POLICY_DIR={config.folders.policy_dir}",
        *([f"  swaks --server {at['smtp']} --from bob@example.org --to {USER}"] if "smtp" in at else []),
        *([f"  curl -k -u '{USER}:{password}' 'imaps://{at['imaps']}/INBOX;MAILINDEX=1'"] if "imaps" in at else []),
        *(
            [
                f"  swaks --server {at['submission']} --tls -au {USER} -ap '{password}' --from {USER} "
                "--to bob@elsewhere.test"
            ]
            if "submission" in at
            else []
        ),
        "  .venv/bin/inbox decisions list" if Path(".venv/bin/inbox").exists() else "  inbox decisions list",
        "",
    ]
    out.write("\n".join(lines) + "\n")
    out.flush()
