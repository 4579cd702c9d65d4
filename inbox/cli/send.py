"""``inbox send``: submits a message as a user of this server, for scripts."""

from __future__ import annotations

import mimetypes
import sys
from email.message import EmailMessage
from email.policy import SMTP
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from inbox.base.errors import NotFound
from inbox.base.limits import SUBMITTED_MESSAGE_OCTETS
from inbox.cli.context import CommandFailed, WrongUsage, command, config, hosting
from inbox.cli.output import Json, print_json, say

if TYPE_CHECKING:
    from inbox.app.wiring.installation import Installation
    from inbox.app.wiring.program import Parts
    from inbox.flow.envelope import Envelope
    from inbox.mail.address import Address
    from inbox.mail.reply import Reply
    from inbox.plugin.api.context import Identity, Session

#: The client's address in the decision record: the command has no connection.
_LOOPBACK = "127.0.0.1"


def register(root: typer.Typer) -> None:
    """Adds ``inbox send``."""
    command(root, "send")(send)


async def send(
    sender: Annotated[str, typer.Option("--from", metavar="ADDRESS", help="An address of an account of this server.")],
    to: Annotated[list[str], typer.Option("--to", metavar="ADDRESS", help="A recipient; may be repeated.")],
    subject: Annotated[str, typer.Option(help="The subject.")],
    cc: Annotated[list[str] | None, typer.Option(metavar="ADDRESS", help="A further one; may be repeated.")] = None,
    body: Annotated[
        str | None, typer.Option(metavar="FILE", help="The text in UTF-8; - for standard input. [empty]")
    ] = None,
    attach: Annotated[
        list[Path] | None, typer.Option(metavar="FILE", help="A file to attach; may be repeated.")
    ] = None,
    html: Annotated[bool, typer.Option("--html", help="Send the text as HTML.")] = False,
    idempotency_key: Annotated[
        str | None,
        typer.Option(metavar="KEY", help="Send the message once, however often the command is repeated with this key."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Send a message as one of this server's users, and print the id for inbox explain.

    It runs the checks and plugins of submission, with and without a running server, and asks for no password. The exit
    code is 0 only if the message is durable for all recipients; otherwise nothing is sent.
    """
    author, recipients = _address("--from", sender), [_address("--to", one) for one in to]
    copied = [_address("--cc", one) for one in cc or ()]
    message = _built(author, recipients, copied, subject, _text(body), attach or [], html=html)
    everybody = list(dict.fromkeys((*recipients, *copied)))
    transaction, reply = await _submitted(author, everybody, message, idempotency_key)
    if as_json:
        print_json({"id": transaction, "reply": reply, "recipients": [str(one) for one in everybody]})
    else:
        say(transaction)


def _address(option: str, text: str) -> Address:
    from inbox.mail.address import Address, AddressError

    try:
        return Address.parse(text.strip())
    except AddressError as error:
        raise WrongUsage(f"{option} {text}: {error}") from None


def _text(body: str | None) -> str:
    """The text. Raises CommandFailed, WrongUsage."""
    if body is None:
        return ""
    if body != "-":
        octets = _read("--body", Path(body))
    elif sys.stdin.isatty():
        raise WrongUsage("--body -: standard input is a terminal, use a pipe or a file")
    else:
        octets = sys.stdin.buffer.read(SUBMITTED_MESSAGE_OCTETS + 1)
        _check_size(len(octets))
    try:
        return octets.decode()
    except UnicodeDecodeError:
        raise CommandFailed(f"--body {body}: not text in UTF-8") from None


def _read(option: str, path: Path) -> bytes:
    """The content of a file that fits into a message. Raises CommandFailed."""
    try:
        with path.open("rb") as file:
            octets = file.read(SUBMITTED_MESSAGE_OCTETS + 1)
    except OSError as error:
        raise CommandFailed(f"{option} {path}: {error.strerror}") from error
    _check_size(len(octets))
    return octets


def _check_size(octets: int) -> None:
    if octets > SUBMITTED_MESSAGE_OCTETS:
        raise CommandFailed(f"the message exceeds the limit of {SUBMITTED_MESSAGE_OCTETS} octets")


def _built(
    author: Address, to: list[Address], cc: list[Address], subject: str, text: str, attach: list[Path], *, html: bool
) -> bytes:
    """The message with CRLF lines; submission adds Date and Message-ID. Raises CommandFailed."""
    international = not all(one.is_ascii for one in (author, *to, *cc))
    message = EmailMessage(policy=SMTP.clone(cte_type="7bit", utf8=international))
    try:
        message["From"] = str(author)
        message["To"] = ", ".join(map(str, to))
        if cc:
            message["Cc"] = ", ".join(map(str, cc))
        message["Subject"] = subject
    except ValueError as error:
        # A line break would begin a new field.
        raise WrongUsage(f"--subject: {error}") from error
    message.set_content(text, subtype="html" if html else "plain", cte="quoted-printable")
    for path in attach:
        kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        main, _, sub = kind.partition("/")
        if main in ("message", "multipart"):
            main, sub = "application", "octet-stream"
        message.add_attachment(_read("--attach", path), maintype=main, subtype=sub, filename=path.name, cte="base64")
    made = message.as_bytes()
    _check_size(len(made))
    return made


async def _submitted(author: Address, recipients: list[Address], message: bytes, key: str | None) -> tuple[str, str]:
    """Submits the message; returns the transaction's id and the reply.

    Raises:
        NotFound: no account may send as this address.
        CommandFailed: a reply refuses the message or a recipient.
    """
    from inbox.app.wiring.installation import opened
    from inbox.app.wiring.program import wire
    from inbox.app.wiring.stores import missing_database
    from inbox.mail.content import MemoryContent

    settings = config()
    missing = missing_database(settings)
    if missing is not None:
        raise NotFound(missing)
    async with opened(settings) as installation, wire(installation) as parts:
        session = await _session(installation, parts, author)
        submission = parts.submission
        for refusal in (await submission.connect(session), await submission.helo(session)):
            if refusal is not None:
                raise CommandFailed(_in_words("", refusal))
        reply, envelope = await submission.mail(session, author, _parameters(author, recipients))
        if envelope is None:
            raise CommandFailed(_in_words(f"<{author}>: ", reply))
        await _recipients(parts, envelope, recipients)
        reply, transaction = await submission.submit(envelope, MemoryContent(message), key)
        if not reply.positive:
            raise CommandFailed(_in_words("", reply))
        return transaction, _in_words("", reply)


async def _recipients(parts: Parts, envelope: Envelope, recipients: list[Address]) -> None:
    """All recipients or none: a script cannot tell which ones are missing."""
    for one in recipients:
        reply = await parts.submission.rcpt(envelope, one, frozenset(), None)
        if not reply.positive:
            raise CommandFailed(_in_words(f"nothing was sent: <{one}>: ", reply))


def _parameters(author: Address, recipients: list[Address]) -> dict[str, str]:
    international = not all(one.is_ascii for one in (author, *recipients))
    return {"SMTPUTF8": "", "BODY": "8BITMIME"} if international else {}


async def _session(installation: Installation, parts: Parts, author: Address) -> Session:
    from ipaddress import ip_address

    from inbox.plugin.api.context import Door, Session

    return Session(
        installation.ids.new(), Door.SUBMISSION, ip_address(_LOOPBACK), helo=installation.config.server.hostname,
        esmtp=True, identity=await _identity(installation, parts, author), started_at=installation.clock.now(),
    )  # fmt: skip


async def _identity(installation: Installation, parts: Parts, author: Address) -> Identity:
    """The account behind an address. Raises NotFound."""
    from inbox.plugin.api.context import Identity

    domain = await hosting(installation.database, author.domain)
    reached, _ = await parts.directory.named(domain, author.key)
    account = next((one for one in reached.accounts if one.is_active and one.tenant == domain.tenant.id), None)
    if account is None:
        raise NotFound(f"no active account has the address {author} (inbox account add {author})")
    return Identity(account.address, account.id, domain.tenant.id, domain.tenant.name)


def _in_words(before: str, reply: Reply) -> str:
    return f"{before}{reply.code} {reply.enhanced} {reply.text}"
