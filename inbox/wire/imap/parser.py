"""Parser of commands (RFC 3501 §9 and the extensions that the server announces)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

from inbox.mail.flags import FlagError, parse_flags
from inbox.wire.imap import commands as c
from inbox.wire.imap.cursor import Cursor
from inbox.wire.imap.dates import parse_date_time
from inbox.wire.imap.errors import BadCommand
from inbox.wire.imap.fetch import read_items
from inbox.wire.imap.framing import LiteralStart, Request
from inbox.wire.imap.listing import read_list, read_lsub, read_status_items
from inbox.wire.imap.mutf7 import mailbox_name
from inbox.wire.imap.search import read_search
from inbox.wire.imap.sequence import SequenceSet

#: RFC 2971 §3.3: at most 30 pairs, names up to 30 octets, values up to 1024.
_ID_PAIRS: Final = 30


def parse(request: Request) -> c.Command:
    """Parse a request.

    Raises:
        BadCommand: not a valid command; ``tag`` is its tag if that could be read.
    """
    cursor = Cursor(request)
    tag = cursor.tag()
    try:
        cursor.space()
        name = cursor.word("Command")
        if name == "UID":
            cursor.space()
            name = "UID " + cursor.word("Command")
        arguments = GRAMMAR.get(name, _unknown)(cursor)
        cursor.end()
    except BadCommand as error:
        raise error.tagged(tag) from None
    return c.Command(tag, name, arguments)


def parse_append(announced: LiteralStart) -> c.Command | None:
    """The APPEND whose message the announced literal is; None if it is another literal.

    Raises:
        BadCommand: it is the message of an APPEND that cannot be parsed.
    """
    # An empty literal replaces the one that follows: it only has to be skipped.
    cursor = Cursor(Request(announced.text, (*announced.literals, b"")))
    try:
        tag = cursor.tag()
        cursor.space()
        if cursor.word() != "APPEND":
            return None
        cursor.space()
        raw = cursor.astring("Mailbox")
        if cursor.at_end:
            return None
    except BadCommand:
        return None
    try:
        return c.Command(tag, "APPEND", _append(cursor, raw, announced.size))
    except BadCommand as error:
        raise error.tagged(tag) from None


def tag_of(text: bytes) -> str:
    """The tag of a command that cannot be parsed; ``*`` if it has none."""
    try:
        return Cursor(Request(text)).tag()
    except BadCommand:
        return "*"


def _append(cursor: Cursor, raw: bytes, size: int) -> c.Append:
    flags = 0
    keywords: tuple[str, ...] = ()
    internal_date: float | None = None
    cursor.space()
    if cursor.peek() == b"(":
        flags, keywords = _flags(cursor)
        cursor.space()
    if cursor.peek() == b'"':
        internal_date = parse_date_time(cursor.string("Date and time"))
        cursor.space()
    if cursor.peek() != b"{":
        raise cursor.bad("Literal")
    cursor.string("Literal")
    if not cursor.at_end:
        raise cursor.bad("Literal")
    return c.Append(mailbox_name(raw), flags, keywords, internal_date, size)


def _unknown(_cursor: Cursor) -> c.Arguments:
    raise BadCommand("Unknown command")


def _append_without_message(_cursor: Cursor) -> c.Arguments:
    raise BadCommand("APPEND requires a literal")


def _nothing(_cursor: Cursor) -> c.Arguments:
    return c.Nothing()


def _mailbox(cursor: Cursor) -> str:
    cursor.space()
    return mailbox_name(cursor.astring("Mailbox"))


def _one_mailbox(cursor: Cursor) -> c.Arguments:
    return c.OneMailbox(_mailbox(cursor))


def _create(cursor: Cursor) -> c.Arguments:
    name = _mailbox(cursor)
    uses: list[str] = []
    if cursor.skip(b" ("):
        if cursor.word() != "USE":
            raise cursor.bad("USE")
        cursor.space()
        uses = cursor.items(cursor.flag, "Special use")
        cursor.expect(b")", ")")
    return c.Create(name, tuple(uses))


def _rename(cursor: Cursor) -> c.Arguments:
    return c.Rename(_mailbox(cursor), _mailbox(cursor))


def _status(cursor: Cursor) -> c.Arguments:
    name = _mailbox(cursor)
    cursor.space()
    return c.Status(name, read_status_items(cursor))


def _login(cursor: Cursor) -> c.Arguments:
    cursor.space()
    user = _utf8(cursor.astring("User name"))
    cursor.space()
    return c.Login(user, _utf8(cursor.astring("Password")))


def _authenticate(cursor: Cursor) -> c.Arguments:
    cursor.space()
    mechanism = cursor.word("Mechanism")
    initial: bytes | None = None
    if cursor.skip(b" "):
        initial = cursor.text[cursor.pos :]
        cursor.pos = len(cursor.text)
    return c.Authenticate(mechanism, initial)


def _enable(cursor: Cursor) -> c.Arguments:
    words: list[str] = []
    while cursor.skip(b" "):
        words.append(cursor.word("Extension"))
    if not words:
        raise cursor.bad("Extension")
    return c.Enable(tuple(words))


def _id(cursor: Cursor) -> c.Arguments:
    cursor.space()
    if cursor.peek() != b"(":
        if cursor.nstring() is not None:
            raise cursor.bad("NIL or a list")
        return c.ClientId({})
    words = cursor.items(cursor.nstring, "List of fields")
    if len(words) % 2 or len(words) > 2 * _ID_PAIRS:
        raise BadCommand(f"ID accepts at most {_ID_PAIRS} pairs")
    pairs = zip(words[::2], words[1::2], strict=True)
    return c.ClientId({_utf8(name)[:30]: _utf8(value)[:1024] for name, value in pairs if name and value})


def _numbers(cursor: Cursor) -> SequenceSet:
    cursor.space()
    return SequenceSet.read(cursor)


def _fetch(cursor: Cursor, uid: bool) -> c.Arguments:
    numbers = _numbers(cursor)
    cursor.space()
    return c.Fetch(numbers, read_items(cursor), uid)


def _store(cursor: Cursor, uid: bool) -> c.Arguments:
    numbers = _numbers(cursor)
    cursor.space()
    mode = "add" if cursor.skip(b"+") else "remove" if cursor.skip(b"-") else "set"
    name = cursor.word("FLAGS")
    if name not in ("FLAGS", "FLAGS.SILENT"):
        raise BadCommand("FLAGS or FLAGS.SILENT expected")
    cursor.space()
    flags, keywords = _flags(cursor)
    return c.Store(numbers, mode, name == "FLAGS.SILENT", flags, keywords, uid)


def _flags(cursor: Cursor) -> tuple[int, tuple[str, ...]]:
    """A parenthesised list of flags, or (STORE) flags without parentheses."""
    if cursor.peek() == b"(":
        words = cursor.items(cursor.flag, "Flags")
    else:
        words = [cursor.flag()]
        while cursor.skip(b" "):
            words.append(cursor.flag())
    try:
        return parse_flags(words)
    except FlagError:
        raise BadCommand("A flag is unknown or cannot be set, or there are too many flags") from None


def _find(cursor: Cursor, uid: bool) -> c.Arguments:
    return c.Find(read_search(cursor), uid)


def _transfer(cursor: Cursor, uid: bool) -> c.Arguments:
    return c.Transfer(_numbers(cursor), _mailbox(cursor), uid)


def _uid_expunge(cursor: Cursor) -> c.Arguments:
    return c.Expunge(_numbers(cursor))


def _expunge(_cursor: Cursor) -> c.Arguments:
    return c.Expunge()


def _utf8(value: bytes) -> str:
    try:
        return value.decode("utf-8")
    except UnicodeDecodeError:
        raise BadCommand("String is not valid UTF-8") from None


def _both(read: Callable[[Cursor, bool], c.Arguments], uid: bool) -> Callable[[Cursor], c.Arguments]:
    return lambda cursor: read(cursor, uid)


GRAMMAR: Final[Mapping[str, Callable[[Cursor], c.Arguments]]] = {
    **dict.fromkeys(
        ("CAPABILITY", "NOOP", "LOGOUT", "STARTTLS", "NAMESPACE", "CHECK", "CLOSE", "UNSELECT", "IDLE"), _nothing
    ),
    **dict.fromkeys(("SELECT", "EXAMINE", "DELETE", "SUBSCRIBE", "UNSUBSCRIBE"), _one_mailbox),
    "APPEND": _append_without_message,
    "AUTHENTICATE": _authenticate,
    "CREATE": _create,
    "ENABLE": _enable,
    "EXPUNGE": _expunge,
    "ID": _id,
    "LIST": read_list,
    "LOGIN": _login,
    "LSUB": read_lsub,
    "RENAME": _rename,
    "STATUS": _status,
    "UID EXPUNGE": _uid_expunge,
    **{
        prefix + name: _both(read, bool(prefix))
        for prefix in ("", "UID ")
        for name, read in (
            ("FETCH", _fetch),
            ("STORE", _store),
            ("SEARCH", _find),
            ("COPY", _transfer),
            ("MOVE", _transfer),
        )
    },
}
