"""suppression: what it refuses, and which failures it adds."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest
from inbox_plugins.suppression import Suppression

from inbox.base.errors import StoreUnavailable
from inbox.mail.address import Address
from inbox.plugin import Accept, Defer, Door, DropRecipient, Recipient, Reject, Stage, Suppress
from inbox.plugin.testing import PluginTest, TestOutcome

BOTH = ("bob@remote.test", "eve@remote.test")


def bench(**settings: object) -> PluginTest:
    return PluginTest(Suppression, settings)


async def test_a_recipient_that_is_not_suppressed_passes() -> None:
    assert (await bench().deliver(kind="remote", to=BOTH)).verdict == Accept()


async def test_suppressed_recipients_are_dropped_and_the_others_get_the_message() -> None:
    test = bench()
    test.suppression.reasons[test.tenant, "bob@remote.test"] = "550 5.1.1 No such user"

    outcome = await test.deliver(kind="remote", to=BOTH)

    assert not isinstance(outcome.verdict, Reject | Defer)
    assert outcome.edits == [
        DropRecipient("bob@remote.test", "This recipient is on your suppression list: 550 5.1.1 No such user")
    ]


async def test_if_all_are_suppressed_the_delivery_is_refused() -> None:
    test = bench()
    for address in BOTH:
        test.suppression.reasons[test.tenant, address] = "left"

    outcome = await test.deliver(kind="remote", to=BOTH)

    assert outcome.verdict == Reject(550, "5.7.1", "This recipient is on your suppression list: left")


async def test_an_unreadable_list_defers() -> None:
    test = bench()
    test.suppression.error = StoreUnavailable("gone")

    outcome = await test.deliver(kind="remote", to=BOTH)

    assert isinstance(outcome.verdict, Defer)
    assert test.log.named("suppression_list_unreadable")


async def test_a_list_that_does_not_answer_defers(monkeypatch: pytest.MonkeyPatch) -> None:
    async def stalled(tenant: str, addresses: Sequence[str]) -> dict[str, str]:
        await asyncio.Event().wait()
        raise AssertionError("nothing sets the event")

    test = PluginTest(Suppression, {"timeout": 0.05}, errors="outcome")
    monkeypatch.setattr(test.suppression, "find", stalled)

    assert isinstance((await test.deliver(kind="remote", to=BOTH)).verdict, Defer)


async def test_delivery_into_a_mailbox_is_not_its_concern() -> None:
    test = bench()
    test.suppression.error = StoreUnavailable("gone")

    assert (await test.deliver()).verdict == Accept()


async def submitted(test: PluginTest, *, door: Door = Door.SUBMISSION, tenant: str = "") -> TestOutcome:
    tx = test.transaction(to=(), door=door)
    recipient = Recipient(Address.parse("bob@remote.test"), tenant)
    return await test.run(Stage.RCPT, tx=tx, recipient=recipient)


async def test_a_user_learns_at_once_that_a_recipient_is_suppressed() -> None:
    test = bench()
    test.suppression.reasons[test.tenant, "bob@remote.test"] = "550 5.1.1 No such user"
    why = "This recipient is on your suppression list: 550 5.1.1 No such user"
    assert (await submitted(test)).verdict == Reject(550, "5.7.1", why)
    assert (await submitted(test, door=Door.SMTP)).verdict == Accept()
    assert (await submitted(test, tenant="another")).verdict == Accept()

    silent = bench(refuse=False)
    silent.suppression.reasons.update(test.suppression.reasons)
    assert (await submitted(silent)).verdict == Accept()


async def test_an_unreadable_list_defers_a_submission() -> None:
    test = bench()
    test.suppression.error = StoreUnavailable("gone")
    assert (await submitted(test)).verdict == Defer(
        451, "4.3.0", "The suppression list cannot be read, try again later"
    )


@pytest.mark.parametrize(("classes", "added"), [(["transactional", "bulk"], True), (["bulk"], False), ([], False)])
async def test_a_complaint_adds_the_recipient_if_the_class_counts(classes: list[str], added: bool) -> None:
    outcome = await bench(complaints=classes, days=None).bounce(0, "", "complaint: abuse", stage="complaint", to=BOTH)
    assert outcome.edits == ([Suppress("address", "complaint: abuse", None)] if added else [])


@pytest.mark.parametrize("enhanced", ["5.1.1", "5.1.2", "5.1.10"])
async def test_an_address_that_does_not_exist_is_added(enhanced: str) -> None:
    outcome = await bench().bounce(550, enhanced, "No such user", to=BOTH)

    assert outcome.edits == [Suppress("address", f"550 {enhanced} No such user", 90 * 86_400.0)]


@pytest.mark.parametrize(
    ("code", "enhanced", "stage"),
    [
        (550, "5.7.1", "rcpt"),
        (554, "5.7.26", "dot"),
        (552, "5.2.2", "rcpt"),
        (550, "5.2.1", "rcpt"),
        (550, "5.1.8", "mail"),
        (550, "", "rcpt"),
        (550, "5.0.0", "rcpt"),
        (0, "4.4.7", "expired"),
        (450, "4.1.1", "expired"),
        (550, "5.1.1", "policy"),
    ],
)
async def test_other_failures_say_nothing_about_the_address(code: int, enhanced: str, stage: str) -> None:
    outcome = await bench().bounce(code, enhanced, "5.1.1 no such user", stage=stage, to=BOTH)

    assert outcome.edits == []


@pytest.mark.parametrize("address", ["postmaster@remote.test", "Abuse@remote.test", "abuse+x@remote.test"])
async def test_role_addresses_are_never_added(address: str) -> None:
    assert (await bench().bounce(550, "5.1.1", "no", to=(address,))).edits == []


async def test_settings_decide() -> None:
    assert (await bench(add=False).bounce(550, "5.1.1", "no", to=BOTH)).edits == []
    assert (await bench(days=None).bounce(550, "5.1.1", "no", to=BOTH)).edits == [
        Suppress("address", "550 5.1.1 no", None)
    ]


def test_only_statuses_about_addresses_are_allowed() -> None:
    with pytest.raises(Exception, match=r"5\.7\.1"):
        bench(statuses=["5.7.1"])
