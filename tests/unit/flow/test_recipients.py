"""RCPT: from an address to a tenant, a policy and accounts; and what plugins may change of it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest

from inbox.flow.destinations import IntoMailbox, Relay
from inbox.flow.envelope import Admitted, Envelope, NotAdmitted
from inbox.flow.recipients import MISCONFIGURED, ONE_TENANT, RELAY, SUSPENDED, UNKNOWN, Recipients
from inbox.mail.address import Address
from inbox.mail.reply import Reply
from inbox.mail.tenancy import HostedDomain, Tenant
from inbox.plugin.api.context import Door, Identity, Recipient, Session, Transaction
from inbox.plugin.api.testing import MemoryLog
from inbox.store.ports.hosting import Scope
from inbox.store.sqlite.gateway import Gateway
from tests.support.flow import POLICY, World, world

#: At rcpt says what the policy says; remembers the recipients that it was shown in a reply that refuses "show".
ASKED = '''
"""Answers at rcpt."""
import inbox.plugin as api
from inbox.plugin import Plugin, PluginSettings, Reject, hookimpl

class Settings(PluginSettings):
    answer: str = "None"
    """What to answer."""

class Asked(Plugin):
    def __init__(self, settings, services):
        self.settings = settings

    @hookimpl
    def rcpt(self, tx, recipient):
        if recipient.address.local == "show":
            seen = " ".join(str(each.address) for each in tx.recipients)
            return Reject(text=f"{tx.tenant_name}: {seen}")
        return eval(self.settings.answer, vars(api))
'''


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        await made.plugin("asked", ASKED)
        yield made


async def asked(here: World, tenant: str, answer: str = "None") -> None:
    await here.policy(f"tenants/{tenant}.yaml", f'plugins:\n  asked: {{answer: "{answer}"}}\n')


def same(reply: Reply, expected: Reply) -> bool:
    """The same reply, but for the id of its decision record."""
    return (reply.code, reply.enhanced) == (expected.code, expected.enhanced) and reply.text.startswith(expected.text)


@pytest.mark.parametrize(
    ("address", "reply"),
    [("ann@nowhere.test", RELAY), ("nobody@acme.test", UNKNOWN), ("eve@acme.test", UNKNOWN)],
)
async def test_an_unknown_recipient_is_refused(here: World, address: str, reply: Reply) -> None:
    (said,) = await here.receive([address])
    assert same(said, reply)
    (decision, *_) = await here.decisions()
    assert decision.recipients == [address]
    assert decision.stage == "rcpt"


@pytest.mark.parametrize("whole", [True, False])
async def test_mail_for_what_is_disabled_waits(here: World, whole: bool) -> None:
    """451 and not 550: what is disabled is meant to come back, and nothing is bounced meanwhile."""
    database = here.installation.database
    acme = await database.tenants.by_name("acme")
    assert acme is not None
    scope = Scope(acme.id) if whole else Scope(acme.id, "acme.test")
    await database.hosting.set_active(scope, False)
    here.parts.directory.forget()
    for address in ("ann@acme.test", "nobody@acme.test"):
        (said,) = await here.receive([address])
        assert same(said, SUSPENDED)
        assert "(id " in said.text
    (decision, *_) = await here.decisions("acme")
    assert (decision.recipients, decision.outcome) == (["nobody@acme.test"], "defer")
    assert "is disabled" in decision.why
    (reply,) = await here.receive(["eve@umbra.test"])
    assert reply.positive
    await database.hosting.set_active(scope, True)
    (reply,) = await here.receive(["ann@acme.test"])
    assert reply.positive


async def test_mail_for_a_disabled_account_waits(here: World) -> None:
    database = here.installation.database
    acme = await database.tenants.by_name("acme")
    assert acme is not None
    await database.hosting.set_active(Scope(acme.id, account="ann@acme.test"), False)
    (said,) = await here.receive(["ann@acme.test"])
    assert (said.code, said.enhanced) == (450, "4.2.1")


async def test_a_catch_all_receives_mail_for_unknown_addresses(here: World) -> None:
    database = here.installation.database
    acme = await database.tenants.by_name("acme")
    assert acme is not None
    await database.accounts.add_alias(acme.id, "@acme.test", "bob@acme.test")
    (reply,) = await here.receive(["nobody@acme.test", "ann@acme.test"])
    assert reply.positive
    assert len(await here.mailbox("ann@acme.test")) == 1
    assert len(await here.mailbox("bob@acme.test")) == 1


async def test_a_server_without_any_tenant_refuses_nothing_permanently(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its database may be the empty one that was made because the disk with the right one was not there."""

    async def none() -> list[Tenant]:
        return []

    tenants = here.installation.database.tenants
    with monkeypatch.context() as empty:
        empty.setattr(tenants, "all", none)
        (said,) = await here.receive(["ann@nowhere.test"])
        assert same(said, MISCONFIGURED)
    (said,) = await here.receive(["ann@nowhere.test"])
    assert same(said, RELAY)


async def test_a_hook_sees_the_recipients_of_its_own_tenant_only(here: World) -> None:
    await asked(here, "acme")
    await asked(here, "umbra")
    (reply,) = await here.receive(["ann@acme.test", "eve@umbra.test"])
    assert reply.positive
    session_of_both = ["ann@acme.test", "eve@umbra.test", "show@umbra.test"]
    await here.receive(session_of_both)
    (shown,) = [each for each in await here.decisions("umbra") if each.recipients == ["show@umbra.test"]]
    assert "umbra: eve@umbra.test" in shown.text
    assert "ann" not in shown.text


async def test_the_second_tenant_waits_when_the_server_is_configured_so(here: World) -> None:
    await here.policy("default.yaml", POLICY + "server: {multi_tenant: defer}\n")
    (reply,) = await here.receive(["ann@acme.test", "eve@umbra.test"])
    assert reply.positive
    assert len(await here.mailbox("ann@acme.test")) == 1
    assert await here.mailbox("eve@umbra.test") == []
    (refused,) = await here.decisions("umbra")
    assert same(Reply(refused.code, refused.enhanced, refused.text), ONE_TENANT)


@pytest.mark.parametrize("to", ["nobody@acme.test", "eve@umbra.test", "x@nowhere.test"])
async def test_a_redirect_to_an_unknown_address_waits_for_the_operator(here: World, to: str) -> None:
    await asked(here, "acme", f"Redirect('{to}')")
    (reply,) = await here.receive(["ann@acme.test"])
    assert same(reply, MISCONFIGURED)
    assert await here.mailbox("eve@umbra.test") == []


async def test_a_redirect_goes_to_an_account_of_the_same_tenant(here: World) -> None:
    await asked(here, "acme", "Redirect('bob@acme.test')")
    (reply,) = await here.receive(["ann@acme.test"])
    assert reply.positive
    assert len(await here.mailbox("bob@acme.test")) == 1
    assert await here.mailbox("ann@acme.test") == []


class Trusted:
    """Lets one sender relay, on behalf of its domain."""

    def __init__(self, here: World) -> None:
        self._here = here

    async def on_behalf_of(self, tx: Transaction) -> HostedDomain | None:
        if tx.sender is None or str(tx.sender) != "ann@acme.test":
            return None
        return await self._here.parts.directory.domain("acme.test")


async def admitted(here: World, sender: str, to: str, relaying: Trusted | None) -> Admitted | NotAdmitted:
    recipients = Recipients(here.parts.judge, here.parts.directory, MemoryLog(), "mx.test", relaying)
    identity = Identity("ann@acme.test", "a1", await here.tenant("acme"), "acme")
    session = Session("s1", Door.SUBMISSION, ip_address("192.0.2.7"), identity=identity)
    envelope = Envelope(Transaction("t1", session, Address.parse(sender)))
    return await recipients.admit(envelope, Recipient(Address.parse(to)))


async def test_a_session_that_may_relay_gets_a_relay_destination_under_the_senders_policy(here: World) -> None:
    to = Address.parse("x@elsewhere.test")
    found = await admitted(here, "ann@acme.test", str(to), Trusted(here))
    assert isinstance(found, Admitted)
    assert found.destinations == (Relay(to),)
    assert found.domain.tenant.name == "acme"
    assert found.recipient.tenant == "", "nobody here hosts it"
    found = await admitted(here, "ann@acme.test", "eve@umbra.test", Trusted(here))
    assert isinstance(found, Admitted)
    assert found.destinations == (IntoMailbox("eve@umbra.test"),), "what is hosted is delivered here"


async def test_a_rule_of_the_sender_may_refuse_what_is_relayed(here: World) -> None:
    await asked(here, "acme", "Reject(550, '5.7.1', 'not to there')")
    found = await admitted(here, "ann@acme.test", "x@elsewhere.test", Trusted(here))
    assert isinstance(found, NotAdmitted)
    assert found.reply == Reply(550, "5.7.1", "not to there")
    assert found.judgement is not None


@pytest.mark.parametrize(("sender", "trusts"), [("ann@acme.test", False), ("bob@acme.test", True)])
async def test_nobody_else_relays_and_nobody_at_all_while_nothing_delivers(
    here: World, sender: str, trusts: bool
) -> None:
    found = await admitted(here, sender, "x@elsewhere.test", Trusted(here) if trusts else None)
    assert found == NotAdmitted(RELAY)


async def test_a_suspended_domain_is_not_relayed_to(here: World) -> None:
    """Its MX is this server: the message would come back."""
    await here.installation.database.hosting.set_active(Scope(await here.tenant("umbra")), False)
    here.parts.directory.forget()
    found = await admitted(here, "ann@acme.test", "eve@umbra.test", Trusted(here))
    assert isinstance(found, NotAdmitted)
    assert found.reply == SUSPENDED


async def test_the_domain_of_a_recipient_elsewhere_is_looked_up_once(
    here: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two queries for each message to a busy domain cost more than the rest of RCPT."""
    asked: list[str] = []
    gateway = Gateway.read

    async def read(self: Gateway, work: Any) -> Any:
        asked.append(work.__qualname__)
        return await gateway(self, work)

    assert isinstance(await admitted(here, "ann@acme.test", "x@elsewhere.test", Trusted(here)), Admitted)
    monkeypatch.setattr(Gateway, "read", read)
    assert isinstance(await admitted(here, "ann@acme.test", "y@elsewhere.test", Trusted(here)), Admitted)
    assert not {one for one in asked if "domain" in one or "hosted" in one}
    found = await admitted(here, "bob@acme.test", "x@elsewhere.test", Trusted(here))
    assert found == NotAdmitted(RELAY), "who may not relay is refused as before"
    await here.installation.database.tenants.add_domain(await here.tenant("acme"), "elsewhere.test")
    here.parts.directory.forget()
    found = await admitted(here, "ann@acme.test", "x@elsewhere.test", Trusted(here))
    assert isinstance(found, NotAdmitted), "a domain that was added is hosted a moment later"
