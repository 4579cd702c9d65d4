"""LIST and LSUB (RFC 3501 §6.3.8, §6.3.9) with RFC 5258, RFC 5819 and RFC 6154."""

from __future__ import annotations

from collections.abc import Set as AbstractSet

from inbox.base.errors import NotFound
from inbox.flow.mailboxes import Access, NotPermitted
from inbox.server.imap.mailboxes import counters
from inbox.server.imap.outcome import Done
from inbox.server.imap.session import ImapSession
from inbox.wire.imap import render
from inbox.wire.imap.commands import List
from inbox.wire.imap.listing import Pattern


class Tree:
    """All names of an account: mailboxes, names that are only subscribed, and levels that exist only because of
    mailboxes below them (None for the latter two).

    Attributes:
        subscribed: subscribed names, whether or not mailboxes have them (RFC 3501 §6.3.9).
    """

    def __init__(self, mailboxes: list[Access], subscribed: AbstractSet[str]) -> None:
        self.nodes: dict[str, Access | None] = {access.name: access for access in mailboxes}
        self.parents = {name for access in mailboxes for name in _ancestors(access.name)}
        self.subscribed = subscribed
        for name in (*self.parents, *subscribed):
            self.nodes.setdefault(name, None)

    def chosen(self, test: str) -> set[str]:
        """Names with an attribute: ``SUBSCRIBED`` or ``SPECIAL-USE``."""
        if test == "SUBSCRIBED":
            return set(self.subscribed)
        found = [(name, access) for name, access in self.nodes.items() if access is not None]
        return {name for name, access in found if access.mailbox.special_use is not None}

    def above(self, names: AbstractSet[str]) -> set[str]:
        """The levels above these names; levels without a mailbox below them are added to the tree."""
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
    names = s.backend.names
    return Tree(await names.all(s.identity), await names.subscriptions(s.identity))


async def list_(s: ImapSession, wanted: List) -> Done:
    if wanted.patterns == (b"",) and not wanted.selecting:
        s.send(b'* LIST (\\Noselect) "/" ""\r\n')  # RFC 3501 §6.3.8: the client asks for the separator
        return Done()
    tree = await _tree(s)
    patterns = [Pattern.read(wanted.reference + pattern) for pattern in wanted.patterns]
    tests = wanted.selecting & {"SUBSCRIBED", "SPECIAL-USE"}
    chosen = set.intersection(*map(tree.chosen, tests)) if tests else set(filter(tree.is_plain, tree.nodes))
    above = tree.above(chosen) if "RECURSIVEMATCH" in wanted.selecting else set()
    for name in sorted(chosen | above):
        if not any(pattern.matches(name) for pattern in patterns):
            continue
        # RFC 5258 §3.5 and §6: CHILDINFO names base options only. SPECIAL-USE is not one (RFC 6154 §6).
        below = b' ("CHILDINFO" ("SUBSCRIBED"))' if name in above and "SUBSCRIBED" in wanted.selecting else b""
        s.send(render.list_response("LIST", _attributes(tree, name, wanted), name, below))
        access = tree.nodes[name]
        if wanted.status and access is not None and name in chosen:
            await _send_status(s, access, wanted)
        await s.pace()
    return Done()


async def _send_status(s: ImapSession, access: Access, wanted: List) -> None:
    try:
        found = await counters(s, access, wanted.status)
    except (NotFound, NotPermitted):
        return  # deleted a moment ago, or not readable; RFC 5819 §2 allows to omit STATUS
    s.send(render.status_response(access.name, found))


def _attributes(tree: Tree, name: str, wanted: List) -> list[str]:
    access = tree.nodes[name]
    words = ["\\HasChildren" if name in tree.parents else "\\HasNoChildren"]
    if access is None:
        # RFC 5258 §3.4: \NonExistent implies \Noselect, and only clients that use the extension know it.
        words.append("\\NonExistent" if wanted.extended else "\\Noselect")
    if name in tree.subscribed and "SUBSCRIBED" in wanted.returning | wanted.selecting:
        words.append("\\Subscribed")
    if access is not None and access.mailbox.special_use is not None:
        words.append(access.mailbox.special_use)
    return words


async def lsub(s: ImapSession, wanted: List) -> Done:
    """Sends subscribed names; ``%`` also matches a level that only has subscribed names below (RFC 3501 §6.3.9)."""
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
