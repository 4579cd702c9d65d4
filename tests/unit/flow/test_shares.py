"""The steps of a share, from value to value."""

from __future__ import annotations

from dataclasses import fields
from ipaddress import ip_address
from typing import cast

import pytest

from inbox.dns.lookups import Lookups
from inbox.flow.destinations import (
    AlreadyServed,
    Destination,
    Discarded,
    IntoMailbox,
    IntoQuarantine,
    Relay,
    mailboxes_of,
)
from inbox.flow.shares import (
    Disposition,
    TenantShare,
    after_verdict,
    combined_refusal,
    into_junk,
    quarantined,
    refused,
    served_once,
    view_for,
)
from inbox.mail.address import Address
from inbox.mail.content import MemoryContent
from inbox.mail.reply import Reply
from inbox.mail.tenancy import HostedDomain, Tenant
from inbox.plugin.api.context import Door, Identity, Recipient, Session, Tls, Transaction
from inbox.plugin.api.facts import Facts, Resolved, Result, SpfFact
from inbox.policy.snapshot import EffectivePolicy
from inbox.policy.verdicts import Accept, Defer, Discard, Quarantine, Reject, Verdict

ANN, BOB = "ann@acme.test", "bob@acme.test"
ELSEWHERE = Relay(Address.parse("x@elsewhere.test"))
NEVER, LATER = Reply(550, "5.7.1", "never"), Reply(451, "4.7.1", "later")


def to(address: str, *destinations: Destination, refusal: Reply | None = None) -> Disposition:
    return Disposition(Recipient(Address.parse(address)), destinations or mailboxes_of([address]), refusal)


def share(*dispositions: Disposition) -> TenantShare:
    domain = HostedDomain(Tenant("o1", "acme"), "acme.test")
    tx = Transaction("t1", Session("s1", Door.SMTP, ip_address("192.0.2.7")), None)
    return TenantShare(domain, tx, cast("EffectivePolicy", None), MemoryContent(b""), dispositions)


@pytest.mark.parametrize(
    ("disposition", "word"),
    [
        (to(ANN), "accept"),
        (to(ANN, refusal=NEVER), "reject"),
        (to(ANN, refusal=LATER), "defer"),
        (to(ANN, Discarded()), "discard"),
        (to(ANN, IntoQuarantine("x")), "quarantine"),
        (to(ANN, IntoMailbox(ANN), IntoQuarantine("x")), "accept"),
        (to(ANN, IntoMailbox(ANN), ELSEWHERE), "accept"),
        (to(ANN, AlreadyServed(ANN, BOB)), "accept"),
    ],
)
def test_one_word_for_a_recipient(disposition: Disposition, word: str) -> None:
    assert disposition.outcome == word


@pytest.mark.parametrize(
    ("verdict", "destinations", "refusal"),
    [
        (Accept(), (IntoMailbox(ANN), ELSEWHERE), None),
        (Quarantine("bad"), (IntoQuarantine("bad"),), None),
        (Quarantine(), (IntoQuarantine("policy"),), None),
        (Discard("old"), (Discarded("old"),), None),
        (Reject(550, "5.7.1", "never"), (IntoMailbox(ANN), ELSEWHERE), NEVER),
        (Defer(451, "4.7.1", "later"), (IntoMailbox(ANN), ELSEWHERE), LATER),
    ],
)
def test_a_verdict_concerns_all_destinations(
    verdict: Verdict, destinations: tuple[Destination, ...], refusal: Reply | None
) -> None:
    before = share(to(ANN, IntoMailbox(ANN), ELSEWHERE), to(BOB, Discarded("dropped")))
    ann, bob = after_verdict(before, verdict).dispositions
    assert (ann.destinations, ann.refusal) == (destinations, refusal)
    assert bob.is_dropped or refusal is not None
    assert before.dispositions[0].refusal is None, "the share before is as it was"


def test_a_refused_recipient_keeps_the_reply() -> None:
    dispositions = refused(share(to(ANN, refusal=NEVER), to(BOB)), LATER).dispositions
    assert [each.refusal for each in dispositions] == [NEVER, LATER]


def test_junk_takes_the_place_of_inbox_alone() -> None:
    moved = into_junk(share(to(ANN, IntoMailbox(ANN), IntoMailbox(ANN, "Lists"), ELSEWHERE)))
    assert moved.dispositions[0].destinations == (IntoMailbox(ANN, "Junk"), IntoMailbox(ANN, "Lists"), ELSEWHERE)


def test_only_refused_copies_are_quarantined() -> None:
    ann, bob = quarantined(share(to(ANN, refusal=NEVER), to(BOB))).dispositions
    assert (ann.refusal, ann.destinations) == (None, (IntoQuarantine("550 5.7.1 never"),))
    assert bob.destinations == mailboxes_of([BOB])


@pytest.mark.parametrize(
    ("refusals", "expected"),
    [((NEVER, None), None), ((NEVER, NEVER), NEVER), ((NEVER, LATER), LATER), ((), None)],
)
def test_one_reply_for_all(refusals: tuple[Reply | None, ...], expected: Reply | None) -> None:
    assert combined_refusal([share(to(ANN, refusal=each)) for each in refusals]) == expected


def test_an_account_is_served_once_by_the_recipient_that_accepts() -> None:
    plus = "ann+news@acme.test"
    first, second = served_once([share(to(ANN)), share(to(plus, IntoMailbox(ANN), IntoMailbox(BOB)))])
    assert first.dispositions[0].destinations == (IntoMailbox(ANN),)
    assert second.dispositions[0].destinations == (AlreadyServed(ANN, ANN), IntoMailbox(BOB))
    _, second = served_once([share(to(ANN, refusal=NEVER)), share(to(plus, IntoMailbox(ANN)))])
    assert second.dispositions[0].destinations == (IntoMailbox(ANN),), "a refused copy serves nobody"


def test_one_recipient_may_have_two_mailboxes_of_one_account() -> None:
    both = to(ANN, IntoMailbox(ANN), IntoMailbox(ANN, "Archive"))
    (only,) = served_once([share(both)])
    assert only.dispositions[0] == both


def test_a_view_has_all_that_is_known_of_the_connection_and_keeps_what_hooks_add() -> None:
    identity = Identity("ann@acme.test", "a1", "o1", "acme")
    peer = ip_address("192.0.2.7")
    session = Session(
        "s1", Door.LMTP, peer, 1, 2, "helo.test", True, Tls("TLSv1.3", "x"), identity, 3.0, 4, {"connect": 5}, True,
        Facts(), Lookups("192.0.2.0/24"),
    )  # fmt: skip
    session.facts.put(SpfFact(Result.PASS, "acme.test", ""))
    for each in fields(Session):
        given = getattr(session, each.name)
        assert each.default != given or each.name == "facts", f"{each.name} is not tried"
    view = view_for(Transaction("t1", session, None), Tenant("o1", "acme"), []).session
    for each in fields(Session):
        if each.name != "facts":
            assert getattr(view, each.name) == getattr(session, each.name)
    assert view.facts.get(SpfFact) == session.facts.get(SpfFact)
    view.facts.put(Resolved(("ann@acme.test",)))
    view.judgements["helo"] = 6
    assert (len(session.facts), session.judgements) == (1, {"connect": 5})
