"""Parse a command line into verb and argument (RFC 5321 §4.1), and the arguments of MAIL, RCPT, BDAT and EHLO."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address, IPv6Address

from inbox.base.limits import DOMAIN_OCTETS
from inbox.mail.address import Address, AddressError, canonical_domain
from inbox.wire.smtp.errors import CommandError
from inbox.wire.smtp.parameters import check_mail, check_rcpt, split_parameters
from inbox.wire.smtp.state import Verb

_CONTROLS = re.compile(r"[\x00-\x1f\x7f]")
_VERBS = {verb.value: verb for verb in Verb}
#: RFC 6531 §3.1: only the arguments of these may contain UTF-8.
_UTF8_VERBS = frozenset({"MAIL", "RCPT", "VRFY", "EXPN"})
# A path in angle brackets, perhaps with a source route (to be accepted and ignored: RFC 5321 §4.1.1.3); then the
# parameters. Many clients send one space more or less around the path.
_PATH = re.compile(
    r'<(?:@[^:<>"\s]{1,1000}:)?((?:"(?:[^"\\]|\\.)*"|[^"<>\s])*)>(?:\x20+(.*))?\Z',
    re.DOTALL,
)
_BDAT = re.compile(r"([0-9]{1,20})(\x20+LAST)?\Z", re.IGNORECASE)
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_DOMAIN = re.compile(rf"{_LABEL}(?:\.{_LABEL})*\Z")
_PRINTABLE = re.compile(r"[\x21-\x7e]+\Z")


@dataclass(slots=True)
class Command:
    """A command line. ``verb`` is None for an unknown word; ``argument`` has no spaces around it."""

    verb: Verb | None
    word: str
    argument: str


def parse_command(line: bytes) -> Command:
    """The command in ``line``, which comes without its CRLF.

    Raises:
        CommandError: the line is empty, has a control character, or has octets above 127 that are not UTF-8 or
            occur where RFC 6531 does not allow them.
    """
    try:
        text = line.decode()
    except UnicodeDecodeError:
        raise CommandError(500, "5.5.2", "Command is not valid UTF-8") from None
    # Most lines are printable, which is cheap to check; UTF-8 has unprintable characters besides controls.
    if not text.isprintable() and _CONTROLS.search(text) is not None:
        raise CommandError(500, "5.5.2", "Control characters are not allowed in commands")
    word, _, argument = text.strip(" ").partition(" ")
    word = word.upper()
    if not word:
        raise CommandError(500, "5.5.2", "Empty command")
    if not text.isascii() and word not in _UTF8_VERBS:
        raise CommandError(500, "5.5.2", "Non-ASCII characters are not allowed in this command")
    return Command(_VERBS.get(word), word, argument.lstrip(" "))


@dataclass(frozen=True, slots=True)
class Mail:
    """MAIL. ``sender`` is None for ``<>``; ``params`` are checked, by upper-case keyword; ``size`` 0: not given."""

    sender: Address | None
    params: dict[str, str]
    size: int

    @property
    def utf8(self) -> bool:
        """True if the client asked for SMTPUTF8."""
        return "SMTPUTF8" in self.params


def parse_mail(argument: str, extensions: frozenset[str] = frozenset()) -> Mail:
    """Parses the argument of ``MAIL``; ``extensions`` are keywords that are recognised besides those of every server.

    Raises:
        CommandError: 501 for the syntax, 555 for an unknown parameter, 553 for UTF-8 without SMTPUTF8.
    """
    path, rest = _split_path(argument, "FROM:", "5.1.7", "Bad sender address syntax")
    params = split_parameters(rest)
    size = check_mail(params, extensions)
    if "SMTPUTF8" not in params and not argument.isascii():
        raise CommandError(553, "5.6.7", "A non-ASCII address needs SMTPUTF8")
    if not path:
        return Mail(None, params, size)
    try:
        return Mail(Address.parse(path), params, size)
    except AddressError:
        raise CommandError(501, "5.1.7", "Bad sender address syntax") from None


@dataclass(frozen=True, slots=True)
class Rcpt:
    """RCPT with the parameters of RFC 3461; ``orcpt`` is as received, ``type;xtext``."""

    address: Address
    notify: frozenset[str]
    orcpt: str | None


def parse_rcpt(argument: str, hostname: str, *, utf8: bool) -> Rcpt:
    """Parses the argument of ``RCPT``.

    Args:
        argument: the text after the verb.
        hostname: the server's name: the domain of ``<postmaster>`` (RFC 5321 §4.1.1.3).
        utf8: the transaction was begun with SMTPUTF8.

    Raises:
        CommandError: 501 for the syntax, 555 for an unknown parameter, 553 for UTF-8 without SMTPUTF8.
    """
    path, rest = _split_path(argument, "TO:", "5.1.3", "Bad recipient address syntax")
    if not utf8 and not argument.isascii():
        raise CommandError(553, "5.6.7", "A non-ASCII address needs SMTPUTF8")
    params = split_parameters(rest)
    notify, orcpt = check_rcpt(params)
    try:
        if path.lower() == "postmaster":
            return Rcpt(Address(path, canonical_domain(hostname)), notify, orcpt)
        return Rcpt(Address.parse(path), notify, orcpt)
    except AddressError:
        raise CommandError(501, "5.1.3", "Bad recipient address syntax") from None


def _split_path(argument: str, keyword: str, status: str, text: str) -> tuple[str, str]:
    """The text between the angle brackets, and the text after them."""
    if argument[: len(keyword)].upper() != keyword:
        raise CommandError(501, "5.5.4", f"{keyword}<address> expected")
    found = _PATH.match(argument[len(keyword) :].lstrip(" "))
    if found is None:
        raise CommandError(501, status, text)
    return found[1], found[2] or ""


@dataclass(frozen=True, slots=True)
class Bdat:
    """BDAT: that many octets follow the command line (RFC 3030 §2)."""

    octets: int
    last: bool


def parse_bdat(argument: str) -> Bdat:
    """Parses the argument of ``BDAT``.

    Raises:
        CommandError: 501. It is unknown how many octets follow, so the connection must be closed.
    """
    found = _BDAT.match(argument)
    if found is None:
        raise CommandError(501, "5.5.4", "BDAT size [LAST] expected")
    return Bdat(int(found[1]), found[2] is not None)


def check_helo(argument: str, *, strict: bool) -> None:
    """Checks the argument of EHLO, HELO or LHLO (RFC 5321 §4.1.1.1).

    Args:
        argument: the text after the verb.
        strict: accept only a domain or an address literal, as the RFC requires. Otherwise one word of printable ASCII:
            many machines that send wanted mail use names such as ``my_host``.

    Raises:
        CommandError: 501.
    """
    if not argument or len(argument) > DOMAIN_OCTETS or _PRINTABLE.match(argument) is None:
        raise CommandError(501, "5.5.4", "One domain or address literal expected")
    if strict and _DOMAIN.match(argument) is None and not _is_literal(argument):
        raise CommandError(501, "5.5.4", "Domain or address literal expected")


def _is_literal(text: str) -> bool:
    """True for ``[192.0.2.1]`` and ``[IPv6:2001:db8::1]`` (RFC 5321 §4.1.3)."""
    if text[:1] != "[" or text[-1:] != "]":
        return False
    inner = text[1:-1]
    try:
        if inner[:5].lower() == "ipv6:":
            IPv6Address(inner[5:])
        else:
            IPv4Address(inner)
    except AddressValueError:
        return False
    return True
