"""``inbox domain dkim sign``: sign a message as the server would when sending it."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Annotated

import typer

from inbox.cli.context import CommandFailed, WrongUsage, command, config, database, hosting


def register(app: typer.Typer) -> None:
    """Adds the command to the group ``dkim``."""
    command(app, "sign")(sign)


async def sign(
    eml: Annotated[Path, typer.Option("--eml", help="The message, a file; - is standard input.")],
    domain: Annotated[
        str | None, typer.Option(help="The hosted domain whose keys sign. [the domain of the first address in From]")
    ] = None,
) -> None:
    """Write a message to standard output with a DKIM-Signature for each active key of its domain.

    The message itself is not changed. If its lines end in LF alone, so do those of the signatures, and the message
    is signed with CRLF, as it will be on the wire. Exit code 1 if there is no key, or signing fails.
    """
    from inbox.app.wiring.hosting import make_signing
    from inbox.authentication.dkim.sign import FIELD, sign_all
    from inbox.base.clock import SystemClock
    from inbox.hosting.keys.signing import SigningKeyring
    from inbox.identity.directory import AddressDirectory
    from inbox.mail.address import canonical_domain
    from inbox.mail.content import MemoryContent
    from inbox.mail.edits import render_field
    from inbox.mail.message import Message

    raw = _read(eml)
    # A file has the line endings of its system; on the wire they are CRLF (RFC 5321 §2.3.8, RFC 6376 §5.3).
    content = MemoryContent(re.sub(rb"\r?\n", b"\r\n", raw))
    author = Message(content).from_address.rpartition("@")[2]
    if domain is None and not author:
        raise CommandFailed(f"{eml}: From contains no address; name the signing domain with --domain")
    clock = SystemClock()
    async with database() as db:
        hosted = await hosting(db, canonical_domain(domain or author))
        directory = AddressDirectory(db.tenants, db.accounts, clock)
        ring = SigningKeyring(directory, db.dkim_keys, make_signing(config().dkim), clock)
        keys = await ring.keys(hosted.tenant.id, hosted.fqdn)
    if not keys:
        raise CommandFailed(f"no key signs for {hosted.fqdn} (inbox domain dkim rotate {hosted.fqdn})")
    fields = b"".join(render_field(FIELD, value) for value in sign_all(content, keys, now=clock.now()))
    if b"\r\n" not in raw:
        fields = fields.replace(b"\r\n", b"\n")
    sys.stdout.buffer.write(fields + raw)
    sys.stdout.buffer.flush()


def _read(eml: Path) -> bytes:
    try:
        return sys.stdin.buffer.read() if str(eml) == "-" else eml.read_bytes()
    except OSError as error:
        raise WrongUsage(f"--eml: cannot read {eml}: {error.strerror}") from error
