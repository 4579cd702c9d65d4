"""LIST and LSUB (RFC 3501 §6.3.8, §6.3.9) with RFC 5258, RFC 5819 and RFC 6154."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from inbox.base.errors import NotFound
from inbox.mail.tenancy import Mailbox
from inbox.server.imap.mailboxes import counters
from inbox.server.imap.outcome import Done
from inbox.server.imap.session import ImapSession
from inbox.wire.imap import render
from inbox.wire.imap.commands import List
from inbox.wire.imap.listing import Pattern


class Tree:
    """All names of an account: mailboxes, names that are only subscribed, and levels that exist because something lies
    below them (None for the latter two).

    Attributes:
        subscribed: names, whether or not a mailbox has them (RFC 3501 §6.3.9).
    """

    def __init__(self, mailboxes: list[Mailbox], subscribed: AbstractSet[str]) -> None:
        self.nodes: dict[str, Mailbox | None] = {mailbox.name: mailbox for mailbox in mailboxes}
        self.parents = {name for mailbox in mailboxes for name in _ancestors(mailbox.name)}
        self.subscribed = subscribed
        for name in (*self.parents, *subscribed):
            self.nodes.setdefault(name, None)

    def chosen(self, test: str) -> set[str]:
        """Names with a property: ``SUBSCRIBED`` or ``SPECIAL-USE``."""
        if test == "SUBSCRIBED":
            return set(self.subscribed)
        return {name for name, mailbox in self.nodes.items() if mailbox is not None and mailbox.special_use is not None}

    def above(self, names: AbstractSet[str]) -> set[str]:
        """The levels above these names; those that no mailbox lies below join the tree."""
        levels = {level for name in names for level in _ancestors(name)}
        for level in levels:
            self.nodes.setdefault(level, None)
        return levels

    def is_plain(self, name: str) -> bool:
        """Whether LIST without selection options shows the name: a mailbox, or a level above one."""
        return self.nodes[name] is not None or name in self.parents


def _ancestors(name: str) -> list[str]:
    parts = name.split("/")
    return ["/".join(parts[:depth]) for depth in range(1, len(parts))]


async def _tree(s: ImapSession) -> Tree:
    mailboxes = s.backend.database.mailboxes
    found = await mailboxes.all(s.identity.tenant, s.identity.account)
    return Tree(found, await mailboxes.subscriptions(s.identity.tenant, s.identity.account))


async def list_(s: ImapSession, wanted: List) -> Done:
    if wanted.patterns == (b"",) and not wanted.selecting:
        s.send(b'* LIST (\\Noselect) "/" ""\r\n')  # RFC 3501 §6.3.8: asks for the separator
        return Done()
    tree = await _tree(s)
    patterns = [Pattern.read(wanted.reference + pattern) for pattern in wanted.patterns]
    tests = wanted.selecting & {"SUBSCRIBED", "SPECIAL-USE"}
    chosen = set.intersection(*map(tree.chosen, tests)) if tests else set(filter(tree.is_plain, tree.nodes))
    above = tree.above(chosen) if "RECURSIVEMATCH" in wanted.selecting else set()
    for name in sorted(chosen | above):
        if not any(pattern.matches(name) for pattern in patterns):
            continue
        # RFC 5258 §3.5 and §6: CHILDINFO names base options only, and SPECIAL-USE is none (RFC 6154 §6).
        below = b' ("CHILDINFO" ("SUBSCRIBED"))' if name in above and "SUBSCRIBED" in wanted.selecting else b""
        s.send(render.list_response("LIST", _attributes(tree, name, wanted), name, below))
        mailbox = tree.nodes[name]
        if wanted.status and mailbox is not None and name in chosen:
            await _send_status(s, mailbox, wanted)
        await s.pace()
    return Done()


async def _send_status(s: ImapSession, mailbox: Mailbox, wanted: List) -> None:
    try:
        found = await counters(s.backend.database.mailboxes, s.config, s.identity.tenant, mailbox, wanted.status)
    except NotFound:
        return  # deleted a moment ago; RFC 5819 §2 lets a STATUS be left out
    s.send(render.status_response(mailbox.name, found))


def _attributes(tree: Tree, name: str, wanted: List) -> list[str]:
    mailbox = tree.nodes[name]
    words = ["\\HasChildren" if name in tree.parents else "\\HasNoChildren"]
    if mailbox is None:
        # RFC 5258 §3.4: \NonExistent says more, and only those who use the extension know it.
        words.append("\\NonExistent" if wanted.extended else "\\Noselect")
    if name in tree.subscribed and "SUBSCRIBED" in wanted.returning | wanted.selecting:
        words.append("\\Subscribed")
    if mailbox is not None and mailbox.special_use is not None:
        words.append(mailbox.special_use)
    return words


async def lsub(s: ImapSession, wanted: List) -> Done:
    """Subscribed names; ``%`` also shows a level that has only subscribed ones below (RFC 3501 §6.3.9)."""
    tree = await _tree(s)
    written = wanted.reference + wanted.patterns[0]
    pattern = Pattern.read(written)
    names = set(tree.subscribed)
    if written.endswith(b"%"):
        names |= tree.above(tree.subscribed)
    for name in sorted(names):
        if pattern.matches(name):
            s.send(render.list_response("LSUB", [] if name in tree.subscribed else ["\\Noselect"], name))
            await s.pace()
    return Done()
