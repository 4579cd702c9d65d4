"""LIST and LSUB (RFC 3501 §6.3.8, §6.3.9) with RFC 5258, RFC 5819 and RFC 6154."""

from __future__ import annotations

from inbox.base.errors import NotFound
from inbox.mail.tenancy import Mailbox
from inbox.server.imap.mailboxes import counters
from inbox.server.imap.outcome import Done
from inbox.server.imap.session import ImapSession
from inbox.wire.imap import render
from inbox.wire.imap.commands import List
from inbox.wire.imap.listing import Pattern


class Tree:
    """All mailboxes of an account by name, with the levels that only exist because something lies below them (None)."""

    def __init__(self, mailboxes: list[Mailbox]) -> None:
        self.nodes: dict[str, Mailbox | None] = {mailbox.name: mailbox for mailbox in mailboxes}
        self.parents: set[str] = set()
        for mailbox in mailboxes:
            for name in _ancestors(mailbox.name):
                self.parents.add(name)
                self.nodes.setdefault(name, None)

    def chosen(self, test: str) -> tuple[set[str], set[str]]:
        """Mailboxes with a property (``SUBSCRIBED``, ``SPECIAL-USE``), and the levels above them."""
        names = {name for name, mailbox in self.nodes.items() if mailbox is not None and _has(mailbox, test)}
        return names, {above for name in names for above in _ancestors(name)}


def _ancestors(name: str) -> list[str]:
    parts = name.split("/")
    return ["/".join(parts[:depth]) for depth in range(1, len(parts))]


def _has(mailbox: Mailbox, test: str) -> bool:
    return mailbox.subscribed if test == "SUBSCRIBED" else mailbox.special_use is not None


async def list_(s: ImapSession, wanted: List) -> Done:
    if wanted.patterns == ("",) and not wanted.selecting:
        s.send(b'* LIST (\\Noselect) "/" ""\r\n')  # RFC 3501 §6.3.8: asks for the separator
        return Done()
    mailboxes = s.backend.database.mailboxes
    tree = Tree(await mailboxes.all(s.identity.tenant, s.identity.account))
    patterns = [Pattern(wanted.reference + pattern) for pattern in wanted.patterns]
    tests = sorted(wanted.selecting & {"SUBSCRIBED", "SPECIAL-USE"})
    chosen = [tree.chosen(test) for test in tests]
    above = set.union(*(parents for _, parents in chosen)) if "RECURSIVEMATCH" in wanted.selecting else set()
    for name in sorted(tree.nodes):
        if not any(pattern.matches(name) for pattern in patterns):
            continue
        matched = all(name in names for names, _ in chosen)
        if not matched and name not in above:
            continue
        mailbox = tree.nodes[name]
        s.send(render.list_response("LIST", _attributes(tree, name, wanted), name, _child_info(name, chosen, above)))
        if wanted.status and mailbox is not None and matched:
            try:
                found = await counters(mailboxes, s.config, s.identity.tenant, mailbox, wanted.status)
            except NotFound:
                continue  # deleted a moment ago; RFC 5819 §2 lets a STATUS be left out
            s.send(render.status_response(name, found))
        await s.pace()
    return Done()


def _attributes(tree: Tree, name: str, wanted: List) -> list[str]:
    mailbox = tree.nodes[name]
    words = ["\\HasChildren" if name in tree.parents else "\\HasNoChildren"]
    if mailbox is None:
        # RFC 5258 §3.4: \NonExistent says more, and only those who use the extension know it.
        return [*words, "\\NonExistent" if wanted.extended else "\\Noselect"]
    if mailbox.subscribed and "SUBSCRIBED" in wanted.returning | wanted.selecting:
        words.append("\\Subscribed")
    if mailbox.special_use is not None:
        words.append(mailbox.special_use)
    return words


def _child_info(name: str, chosen: list[tuple[set[str], set[str]]], above: set[str]) -> bytes:
    """RFC 5258 §3.5: says of which kind the mailboxes below are that RECURSIVEMATCH is about."""
    if name not in above or not any(name in parents for _, parents in chosen):
        return b""
    return b' ("CHILDINFO" ("SUBSCRIBED"))'


async def lsub(s: ImapSession, wanted: List) -> Done:
    """Subscribed mailboxes; ``%`` also shows a level that has only subscribed ones below (RFC 3501 §6.3.9)."""
    tree = Tree(await s.backend.database.mailboxes.all(s.identity.tenant, s.identity.account))
    pattern = Pattern(wanted.reference + wanted.patterns[0])
    names, above = tree.chosen("SUBSCRIBED")
    if wanted.patterns[0].endswith("%"):
        names |= above
    for name in sorted(names):
        if pattern.matches(name):
            mailbox = tree.nodes[name]
            known = mailbox is not None and mailbox.subscribed
            s.send(render.list_response("LSUB", [] if known else ["\\Noselect"], name))
            await s.pace()
    return Done()
