"""Each command's grammar."""

from __future__ import annotations

from datetime import date

import pytest

from inbox.base.limits import IMAP_SET_RANGES, IMAP_WORDS, SEARCH_DEPTH, SEARCH_KEYS
from inbox.mail.flags import Flag
from inbox.wire.imap import commands as c
from inbox.wire.imap import search as k
from inbox.wire.imap.errors import BadCommand
from inbox.wire.imap.fetch import Section, Word
from inbox.wire.imap.framing import LiteralStart, Request
from inbox.wire.imap.parser import parse, parse_append, tag_of
from inbox.wire.imap.sequence import SequenceSet

ONE = SequenceSet(((1, 1),))
ALL = SequenceSet(((1, 0),))


def arguments(text: bytes, *literals: bytes) -> c.Arguments:
    return parse(Request(b"t " + text, literals)).arguments


def bad(text: bytes, *literals: bytes) -> BadCommand:
    with pytest.raises(BadCommand) as caught:
        arguments(text, *literals)
    assert caught.value.tag == "t"
    return caught.value


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"noop", c.Nothing()),
        (b"noop  ", c.Nothing()),
        (b'login ann "a \\"b\\" \\\\"', c.Login("ann", 'a "b" \\')),
        (b'login "\xc3\xa4" ""', c.Login("ä", "")),
        (b"authenticate plain", c.Authenticate("PLAIN")),
        (b"authenticate plain =", c.Authenticate("PLAIN", b"=")),
        (b"enable x y", c.Enable(("X", "Y"))),
        (b"id nil", c.ClientId({})),
        (b'id ("name" "x" "version" nil)', c.ClientId({"name": "x"})),
        (b"select inbox", c.OneMailbox("INBOX")),
        (b"select Inbox/Sub", c.OneMailbox("INBOX/Sub")),
        (b"select inboxes", c.OneMailbox("inboxes")),
        (b"delete &AOQ-/", c.OneMailbox("ä")),
        (b"create x (use (\\Sent))", c.Create("x", ("\\Sent",))),
        (b"create x", c.Create("x")),
        (b"rename a b", c.Rename("a", "b")),
        (b'list "" *', c.List(b"", (b"*",))),
        (b"lsub x %", c.List(b"x", (b"%",))),
        (
            b'list (subscribed) "" (a b) return (children status (unseen messages))',
            c.List(b"", (b"a", b"b"), frozenset({"SUBSCRIBED"}), frozenset({"CHILDREN"}), ("UNSEEN", "MESSAGES"), True),
        ),
        (b"status x (messages messages)", c.Status("x", ("MESSAGES",))),
        (b"fetch 1 flags", c.Fetch(ONE, (Word("FLAGS"),), False)),
        (b"uid fetch 1:* (uid flags uid)", c.Fetch(ALL, (Word("UID"), Word("FLAGS")), True)),
        (b"fetch 1 fast", c.Fetch(ONE, (Word("FLAGS"), Word("INTERNALDATE"), Word("RFC822.SIZE")), False)),
        (b"fetch 1 body[]", c.Fetch(ONE, (Section(),), False)),
        (b"fetch 1 (body.peek[1.2.mime]<3.4>)", c.Fetch(ONE, (Section((1, 2), "MIME", (), True, (3, 4)),), False)),
        (b"fetch 1 body[text]", c.Fetch(ONE, (Section((), "TEXT"),), False)),
        (
            b'fetch 1 body.peek[header.fields.not (to "From")]',
            c.Fetch(ONE, (Section((), "HEADER.FIELDS.NOT", (b"to", b"From"), True),), False),
        ),
        (b"store 1 +flags.silent (\\seen x)", c.Store(ONE, "add", True, Flag.SEEN, ("x",), False)),
        (b"uid store 1 flags ()", c.Store(ONE, "set", False, 0, (), True)),
        (b"store 1 -flags \\seen \\draft", c.Store(ONE, "remove", False, Flag.SEEN | Flag.DRAFT, (), False)),
        (b"copy 1:* x", c.Transfer(ALL, "x", False)),
        (b"uid move 1 x", c.Transfer(ONE, "x", True)),
        (b"expunge", c.Expunge()),
        (b"uid expunge 1", c.Expunge(ONE)),
    ],
)
def test_commands(text: bytes, expected: c.Arguments) -> None:
    assert arguments(text) == expected


def test_literals_stand_where_strings_do() -> None:
    assert arguments(b"login {3}\r\n {4}\r\n", b"ann", b"p w)") == c.Login("ann", "p w)")


@pytest.mark.parametrize(
    "text",
    [
        b"", b"nonsense", b"uid noop", b"noop x", b"select", b"select a b", b"login ann", b'login "ann',
        b"login ann\x00 x",
        b"login a b\x7f c", b"fetch 0 flags", b"fetch 1, flags", b"fetch 4294967296 flags", b"fetch 1 ()",
        b"fetch 1 (flags",
        b"fetch 1 all flags", b"fetch 1 (all)", b"fetch 1 nonsense", b"fetch 1 body[0]", b"fetch 1 body[mime]",
        b"fetch 1 body[1.]",
        b"fetch 1 body[header.fields]", b"fetch 1 body[header.fields ()]", b"fetch 1 body[]<0.0>", b"fetch 1 body[]<1>",
        b"store 1 flags \\recent", b"store 1 flags (\\nonsense)", b"store 1 flag x", b"search", b"search nonsense",
        b"search return (nonsense) all", b"search charset utf-8", b"search (all", b"search or all",
        b"search since 31-feb-2020",
        b"search keyword \\seen", b"select \xc3\xa4",
        b'list (recursivematch) "" *',
        b'list (nonsense) "" *', b'list "" * return (nonsense)', b'list "" ()', b"status x ()", b"status x (nonsense)",
        b"append x", b'id ("a")', b"create x (use)", b"enable", b"\x00",
    ],
)  # fmt: skip
def test_invalid_commands(text: bytes) -> None:
    assert bad(text).word == "BAD"


def test_a_command_without_a_tag() -> None:
    for text in (b"", b" noop", b"+ noop", b"\x00"):
        with pytest.raises(BadCommand) as caught:
            parse(Request(text))
        assert caught.value.tag == "*"
    assert tag_of(b"a1 \x00") == "a1"
    assert tag_of(b"") == "*"


def test_search_keys() -> None:
    found = arguments(
        b'search return (min count) charset utf-8 unseen or from "x" (not new larger 5) uid 1 header subject ""'
        b" sentsince 1-Feb-1994 keyword $x unkeyword y 1:* body \xc3\xa4"[:-2]
        + b'"\xc3\xa4"'
    )
    assert isinstance(found, c.Find) and isinstance(found.search.key, k.And)
    assert found.search.returning == ("MIN", "COUNT")
    assert found.search.key.keys == (
        k.Not(k.Flagged(Flag.SEEN)),
        k.Or(
            (
                k.Header("FROM", "x"),
                k.And((k.Not(k.And((k.Recent(), k.Not(k.Flagged(Flag.SEEN))))), k.Size(True, 5))),
            )
        ),
        k.Numbers(ONE, uid=True),
        k.Header("SUBJECT", ""),
        k.Dated(True, "SINCE", date(1994, 2, 1)),
        k.Keyword("$x"),
        k.Not(k.Keyword("y")),
        k.Numbers(ALL, uid=False),
        k.Text(False, "ä"),
    )
    assert arguments(b"search return () all") == c.Find(k.Search(k.All(), ("ALL",)), False)


def test_a_charset_that_is_not_ours() -> None:
    error = bad(b"search charset koi8-r all")
    assert (error.word, error.response_code) == ("NO", "BADCHARSET (US-ASCII UTF-8)")
    assert bad(b'search body "\xe4"').response_code == "BADCHARSET (US-ASCII UTF-8)"


@pytest.mark.parametrize("text", [b"(", b"not ", b"or or all all "])
def test_a_search_may_not_be_deep(text: bytes) -> None:
    assert bad(b"search " + text * 5000 + b"all").response_code == "LIMIT"
    closing = b")" if text == b"(" else b""
    arguments(b"search " + text * SEARCH_DEPTH + b"all" + closing * SEARCH_DEPTH)


def test_a_long_chain_of_ors_is_not_deep() -> None:
    names = [b"a%d" % number for number in range(300)]
    chain = b" ".join([b"or from %b" % name for name in names[:-1]]) + b" from " + names[-1]
    found = arguments(b"search " + chain)
    assert found == c.Find(k.Search(k.Or(tuple(k.Header("FROM", name.decode()) for name in names))), False)
    left = b"or " * 40 + b"from x " * 40 + b"from y"
    arguments(b"search " + left)


@pytest.mark.parametrize("name", [b"&AOQ", b"&&-", b"&AGE-"])
def test_a_name_that_no_mailbox_can_have_is_answered_with_no(name: bytes) -> None:
    for command in (b"select ", b"examine ", b"delete ", b"create ", b"subscribe "):
        error = bad(command + name)
        assert (error.word, error.response_code) == ("NO", "CANNOT")


def test_a_search_may_not_be_wide() -> None:
    arguments(b"search" + b" all" * SEARCH_KEYS)
    assert bad(b"search" + b" all" * (SEARCH_KEYS + 1)).response_code == "LIMIT"


def test_a_fetch_may_not_be_wide_or_deep() -> None:
    assert bad(b"fetch 1 (" + b" ".join(b"body[%d]" % n for n in range(1, 200)) + b")").response_code == "LIMIT"
    assert bad(b"fetch 1 body[" + b".".join([b"1"] * 1000) + b"]").response_code == "LIMIT"


def test_append_is_read_when_its_message_is_announced() -> None:
    announced = LiteralStart(
        b't append {5}\r\n (\\Seen x) "17-Jul-1996 02:44:25 -0700" {310}\r\n', (b"INBOX",), 310, synchronizing=True
    )
    command = parse_append(announced)
    assert command == c.Command("t", "APPEND", c.Append("INBOX", Flag.SEEN, ("x",), 837596665.0, 310))
    assert parse_append(LiteralStart(b"t append {5}\r\n", (), 5, synchronizing=True)) is None
    assert parse_append(LiteralStart(b"t login x {5}\r\n", (), 5, synchronizing=True)) is None
    for text in (b"t append x (\\Nonsense) {3}\r\n", b't append x "yesterday" {3}\r\n', b"t append x y {3}\r\n"):
        with pytest.raises(BadCommand) as caught:
            parse_append(LiteralStart(text, (), 3, synchronizing=True))
        assert caught.value.tag == "t"


def test_passwords_do_not_show_in_repr() -> None:
    assert "secret" not in repr(arguments(b"login ann secret"))
    assert "secret" not in repr(arguments(b"authenticate plain secret"))


@pytest.mark.parametrize(
    "text",
    [
        b"FETCH 1 BODY[HEADER.FIELDS (" + b" ".join([b"X"] * (IMAP_WORDS + 1)) + b")]",
        b"STORE 1 +FLAGS (" + b" ".join([b"X"] * (IMAP_WORDS + 1)) + b")",
        b"ENABLE" + b" X" * (IMAP_WORDS + 1),
        b"ID (" + b" ".join([b"NIL"] * (IMAP_WORDS + 1)) + b")",
        b'ID ("a" ' + b" ".join([b'"a"'] * (IMAP_WORDS + 1)) + b")",
        b"FETCH 1" + b",1" * IMAP_SET_RANGES + b" FLAGS",
    ],
)
def test_words_and_ranges_of_one_command_are_bounded(text: bytes) -> None:
    error = bad(text)
    assert (error.word, error.response_code) == ("NO", "LIMIT")


def test_every_escape_of_a_quoted_string_is_undone_once() -> None:
    found = arguments(rb'LOGIN "\\\"\"\\\\\"" "\\\\"')
    assert found == c.Login(r'\""\\"', r"\\")
