"""The port ``Hosting``, and what is made of it: removing and renaming."""

from __future__ import annotations

from dataclasses import replace

import pytest

from inbox.base.errors import AlreadyExists, NotFound
from inbox.mail.tenancy import Account, Alias, DomainOverrides
from inbox.store.ports import Database, DkimKeyRecord, StoredReport, hosting
from inbox.store.ports.decisions import DecisionFilter
from inbox.store.ports.hosting import Holdings, InUse, Scope
from inbox.store.ports.ingest import Indexed
from inbox.store.ports.plugin_state import Changes, Put
from inbox.store.ports.queue import Job, JobRecipient
from inbox.store.removal import Removal
from inbox.store.renaming import rename_account, rename_domain
from inbox.store.sqlite.database import SqliteDatabase
from inbox.store.surreal.database import SurrealDatabase
from inbox.store.surreal.values import LAST, Keys
from tests.support.jobs import deliver
from tests.support.memory_store import MemoryBlobs
from tests.support.store import IDS, Home, decision, email, indexed


def report(tenant: str, domain: str) -> StoredReport:
    return StoredReport(tenant, domain, "Reporter", "id", 1.0, 2.0, 3.0, 1, 1, b"{}")


async def everything(home: Home) -> object:
    """All that a tenant has: what must not change when another one is worked on."""
    db, tenant = home.db, home.tenant
    boxes = [box for account in await db.accounts.all(tenant) for box in await db.mailboxes.all(tenant, account.id)]
    boxes += await db.mailboxes.all(tenant, None)
    return (
        await db.tenants.by_name(home.organization.name),
        await db.tenants.domains(tenant),
        await db.accounts.all(tenant),
        await db.accounts.aliases(tenant),
        await db.dkim_keys.all(tenant, home.domain),
        await db.dmarc_reports.reports(tenant, home.domain),
        await db.decisions.search(DecisionFilter(tenant=tenant)),
        await db.queue.jobs(tenant),
        await db.plugin_state.scan(tenant, "greylist", "seen", 0.0),
        boxes,
        [await db.mailboxes.status(tenant, box.id) for box in boxes],
        [await db.messages.entries(tenant, box.id) for box in boxes],
    )


async def furnish(home: Home) -> list[str]:
    """Gives a tenant one of each; returns its blobs."""
    db, tenant = home.db, home.tenant
    await db.accounts.add(tenant, f"bob@{home.domain}", "hash")
    await db.accounts.add_alias(tenant, f"info@{home.domain}", home.account.address)
    await db.accounts.add_alias(tenant, f"info@{home.domain}", f"bob@{home.domain}")
    await db.accounts.add_alias(tenant, f"desk@{home.domain}", f"info@{home.domain}")
    await db.accounts.add_alias(tenant, f"@{home.domain}", f"info@{home.domain}")
    await db.dkim_keys.add(DkimKeyRecord(tenant, home.domain, "s1", "rsa", "secret"))
    await db.dmarc_reports.add(report(tenant, home.domain))
    await db.decisions.add([decision(tenant)])
    quarantine = await db.mailboxes.create(tenant, None, "Quarantine")
    placed = await home.fill(3) + await home.fill(2, quarantine.id)
    jobs = [
        Job(IDS.new(), home.account.address, (JobRecipient(f"{n}@example.org"),), "example.org", 1.0, 9e9)
        for n in range(3)
    ]
    await db.queue.enqueue(tenant, placed[1].email, jobs)
    (done, _) = [one for one in await db.queue.lease("w", 9, 60.0) if one.tenant == tenant][:2]
    assert await deliver(db.queue, done)
    entries = (Put("a", b"x"), Put("b", b"x", 9e9))
    await db.plugin_state.apply(Changes(tenant, "greylist", "seen", entries, 0.0))
    return sorted(f"msg/{tenant}/m/{one.email}.eml" for one in placed)


def blobs_with(*paths: str) -> MemoryBlobs:
    blobs = MemoryBlobs()
    blobs.data = dict.fromkeys(paths, b"mail")
    return blobs


async def subscriptions(db: Database, account: str) -> int:
    """Number of rows of an account in the table; the port shows them only for an existing account."""
    if isinstance(db, SqliteDatabase):
        sql = "SELECT count(*) FROM subscription WHERE owner = ?"
        return int(await db._main.read(lambda connection: connection.execute(sql, (account,)).fetchone()[0]))
    assert isinstance(db, SurrealDatabase)
    keys = Keys("subscription", [account, ""], [account, LAST])
    (found,) = await db._gateway.query("SELECT VALUE id FROM $keys", keys=keys)
    return len(found)


async def addresses(db: Database, tenant: str) -> list[str]:
    return [account.address for account in await db.accounts.all(tenant)]


# -- disabling -------------------------------------------------------------------------------------------------


async def test_a_disabled_tenant_is_hosted_but_takes_no_mail(db: Database, acme: Home, other: Home) -> None:
    assert await db.hosting.set_active(Scope(acme.tenant), False)
    assert not await db.hosting.set_active(Scope(acme.tenant), False)
    assert await db.tenants.domain("acme.test") is None
    hosted = await db.tenants.hosted("acme.test")
    assert hosted is not None
    assert (hosted.is_active, hosted.tenant.is_active) == (True, False)
    assert await db.tenants.domain("other.test") is not None
    assert await db.hosting.without_access([acme.account.id, other.account.id, "nobody"]) == {acme.account.id, "nobody"}
    assert await db.hosting.set_active(Scope(acme.tenant), True)
    assert await db.tenants.domain("acme.test") is not None
    assert await db.hosting.without_access([acme.account.id, other.account.id]) == set()
    assert await db.hosting.without_access([]) == set()


async def test_a_disabled_domain(db: Database, acme: Home) -> None:
    assert await db.hosting.set_active(Scope(acme.tenant, "acme.test"), False)
    assert await db.tenants.domain("acme.test") is None
    hosted = await db.tenants.hosted("acme.test")
    assert hosted is not None
    assert not hosted.is_active
    assert await db.hosting.without_access([acme.account.id]) == {acme.account.id}
    assert await db.tenants.hosted("nowhere.test") is None
    with pytest.raises(NotFound):
        await db.hosting.set_active(Scope(acme.tenant, "nowhere.test"), False)


async def test_a_disabled_account(db: Database, acme: Home) -> None:
    await db.accounts.add_alias(acme.tenant, "info@acme.test", "ann@acme.test")
    assert await db.hosting.set_active(Scope(acme.tenant, account="ann@acme.test"), False)
    account = await db.accounts.by_address("ann@acme.test")
    assert account is not None
    assert not account.is_active
    assert await db.hosting.without_access([acme.account.id]) == {acme.account.id}
    for address in ("ann@acme.test", "info@acme.test"):
        assert await db.accounts.targets(acme.tenant, address) == []
        assert await db.accounts.targets(acme.tenant, address, active=False) == [account]
    for address in ("info@acme.test", "nobody@acme.test"):
        with pytest.raises(NotFound):
            await db.hosting.set_active(Scope(acme.tenant, account=address), False)


# -- renaming --------------------------------------------------------------------------------------------------


async def test_a_renamed_tenant(db: Database, acme: Home, other: Home) -> None:
    await db.hosting.rename_tenant(acme.tenant, "apex")
    assert await db.tenants.by_name("acme") is None
    renamed = await db.tenants.by_name("apex")
    assert renamed == replace(acme.organization, name="apex")
    for name in ("other", "apex"):
        with pytest.raises(AlreadyExists):
            await db.hosting.rename_tenant(acme.tenant, name)
    assert await db.tenants.by_name("apex") == renamed
    assert await db.tenants.by_name("other") == other.organization
    with pytest.raises(NotFound):
        await db.hosting.rename_tenant("no-such-tenant", "new")
    assert await db.tenants.by_name("new") is None


@pytest.mark.parametrize("keep_alias", [True, False])
async def test_a_renamed_account(db: Database, acme: Home, keep_alias: bool) -> None:
    await db.accounts.add_alias(acme.tenant, "info@acme.test", "ann@acme.test")
    await acme.fill(2)
    await db.hosting.rename_account(acme.tenant, "ann@acme.test", "anna@acme.test", keep_alias=keep_alias)
    account = await db.accounts.by_address("anna@acme.test")
    assert account == replace(acme.account, address="anna@acme.test")
    assert await db.accounts.by_address("ann@acme.test") is None
    assert len(await db.messages.entries(acme.tenant, acme.inbox)) == 2
    assert len(await db.mailboxes.all(acme.tenant, account.id)) == len(acme.mailboxes)
    assert await db.accounts.targets(acme.tenant, "info@acme.test") == [account]
    assert await db.accounts.targets(acme.tenant, "anna@acme.test") == [account]
    old = await db.accounts.targets(acme.tenant, "ann@acme.test")
    assert old == ([account] if keep_alias else [])
    kept = [Alias(acme.tenant, "ann@acme.test", "anna@acme.test")] if keep_alias else []
    assert await db.accounts.aliases(acme.tenant) == [*kept, Alias(acme.tenant, "info@acme.test", "anna@acme.test")]
    # The old address can be given away, if it was not kept.
    if not keep_alias:
        await db.accounts.add(acme.tenant, "ann@acme.test", "hash")


async def test_an_account_is_renamed_to_no_address_that_is_taken(db: Database, acme: Home, other: Home) -> None:
    await db.accounts.add(acme.tenant, "bob@acme.test", "hash")
    await db.accounts.add_alias(acme.tenant, "info@acme.test", "bob@acme.test")
    before = await everything(acme), await everything(other)
    for address in ("bob@acme.test", "info@acme.test", "ann@acme.test"):
        with pytest.raises(AlreadyExists):
            await db.hosting.rename_account(acme.tenant, "ann@acme.test", address, keep_alias=False)
    for old, new in (
        ("ann@acme.test", "x@other.test"), ("ann@acme.test", "x@nowhere.test"), ("nobody@acme.test", "x@acme.test"),
        ("info@acme.test", "x@acme.test"), ("oscar@other.test", "x@acme.test"),
    ):  # fmt: skip
        with pytest.raises(NotFound):
            await db.hosting.rename_account(acme.tenant, old, new, keep_alias=True)
    assert (await everything(acme), await everything(other)) == before


@pytest.mark.parametrize("keep_alias", [True, False])
async def test_a_renamed_domain_takes_its_addresses_along(
    db: Database, acme: Home, other: Home, monkeypatch: pytest.MonkeyPatch, keep_alias: bool
) -> None:
    for module in ("sqlite", "surreal"):
        monkeypatch.setattr(f"inbox.store.{module}.hosting.STEP", 20 if module == "surreal" else 2)
    await furnish(acme)
    await furnish(other)
    untouched = await everything(other)
    await db.tenants.set_domain_overrides(
        acme.tenant, "acme.test", DomainOverrides(dkim_selector="s", plus_delimiter="-", postmaster="ann@acme.test")
    )
    steps: list[int] = []
    done = await rename_domain(db, acme.tenant, "acme.test", "apex.test", keep_alias=keep_alias, progress=steps.append)
    # Two accounts, and three addresses that are aliases.
    assert (done.addresses, steps) == (5, [2, 2, 1])
    assert await addresses(db, acme.tenant) == ["ann@apex.test", "bob@apex.test"]
    aliases = {(alias.address, alias.target) for alias in await db.accounts.aliases(acme.tenant)}
    moved = {("info@apex.test", "ann@apex.test"), ("info@apex.test", "bob@apex.test"),
             ("desk@apex.test", "info@apex.test"), ("@apex.test", "info@apex.test")}  # fmt: skip
    assert moved <= aliases
    kept = {(f"{name}@acme.test", f"{name}@apex.test") for name in ("ann", "bob", "info", "desk", "")}
    assert aliases - moved == (kept if keep_alias else set())
    new = await db.tenants.domain("apex.test")
    assert new is not None
    assert new.overrides == DomainOverrides(plus_delimiter="-", postmaster="ann@apex.test")
    assert (await db.tenants.hosted("acme.test") is not None) == keep_alias
    account = await db.accounts.by_address("ann@apex.test")
    assert account is not None
    assert len(await db.messages.entries(acme.tenant, acme.inbox)) == 3
    assert await everything(other) == untouched


async def test_a_domain_is_renamed_to_none_that_is_hosted(db: Database, acme: Home, other: Home) -> None:
    await db.tenants.add_domain(acme.tenant, "mine.test")
    before = await everything(acme), await everything(other)
    for to in ("mine.test", "other.test", "acme.test"):
        with pytest.raises(AlreadyExists):
            await rename_domain(db, acme.tenant, "acme.test", to, keep_alias=False, progress=lambda _: None)
    for fqdn in ("other.test", "nowhere.test"):
        with pytest.raises(NotFound):
            await rename_domain(db, acme.tenant, fqdn, "new.test", keep_alias=False, progress=lambda _: None)
    assert (await everything(acme), await everything(other)) == before


async def test_a_renaming_that_was_interrupted_continues(
    db: Database, acme: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    await furnish(acme)
    for module in ("sqlite", "surreal"):
        monkeypatch.setattr(f"inbox.store.{module}.hosting.STEP", 20 if module == "surreal" else 2)

    def stop(_: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await rename_domain(db, acme.tenant, "acme.test", "apex.test", keep_alias=False, progress=stop)
    # Neither name takes mail, and neither answers that an address does not exist.
    for fqdn in ("acme.test", "apex.test"):
        assert await db.tenants.domain(fqdn) is None
        assert await db.tenants.hosted(fqdn) is not None
    await rename_domain(db, acme.tenant, "acme.test", "apex.test", keep_alias=False, progress=lambda _: None)
    assert await addresses(db, acme.tenant) == ["ann@apex.test", "bob@apex.test"]
    assert [domain.fqdn for domain in await db.tenants.domains(acme.tenant) if domain.is_active] == ["apex.test"]


# -- removing --------------------------------------------------------------------------------------------------


async def test_an_alias_loses_one_target_or_goes(db: Database, acme: Home) -> None:
    await furnish(acme)
    assert await db.hosting.remove_alias(acme.tenant, "info@acme.test", "ann@acme.test") == [
        Alias(acme.tenant, "info@acme.test", "ann@acme.test")
    ]
    assert [one.address for one in await db.accounts.targets(acme.tenant, "desk@acme.test")] == ["bob@acme.test"]
    for wrong in (("info@acme.test", "ann@acme.test"), ("nobody@acme.test", None), ("ann@acme.test", None)):
        with pytest.raises(NotFound):
            await db.hosting.remove_alias(acme.tenant, *wrong)
    with pytest.raises(InUse):
        await db.hosting.remove_alias(acme.tenant, "info@acme.test")
    assert await db.hosting.remove_aliases_to(acme.tenant, "info@acme.test") == 2
    assert await db.hosting.remove_aliases_to(acme.tenant, "info@acme.test") == 0
    assert await db.accounts.aliases(acme.tenant) == [Alias(acme.tenant, "info@acme.test", "bob@acme.test")]
    await db.hosting.remove_alias(acme.tenant, "info@acme.test")
    assert await db.accounts.aliases(acme.tenant) == []
    await db.accounts.add(acme.tenant, "info@acme.test", "hash")


async def test_circular_aliases_are_removed(db: Database, acme: Home) -> None:
    await db.accounts.add_alias(acme.tenant, "a@acme.test", "ann@acme.test")
    await db.accounts.add_alias(acme.tenant, "b@acme.test", "a@acme.test")
    await db.accounts.add_alias(acme.tenant, "a@acme.test", "b@acme.test")
    await db.accounts.add_alias(acme.tenant, "b@acme.test", "b@acme.test")
    removed = await Removal(db, MemoryBlobs()).run(Scope(acme.tenant, account="ann@acme.test"))
    assert removed.holdings.accounts == 1
    assert await db.accounts.targets(acme.tenant, "a@acme.test") == []
    await Removal(db, MemoryBlobs()).run(Scope(acme.tenant))
    assert await db.tenants.by_name("acme") is None


async def test_many_aliases_go_in_steps(db: Database, acme: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("sqlite", "surreal"):
        monkeypatch.setattr(f"inbox.store.{module}.removing.STEP", 3)
    for number in range(4):
        await db.accounts.add_alias(acme.tenant, f"a{number}@acme.test", "ann@acme.test")
        await db.accounts.add_alias(acme.tenant, f"b{number}@acme.test", f"a{number}@acme.test")
    steps = []
    while count := await db.hosting.remove_aliases_to(acme.tenant, "ann@acme.test"):
        steps.append(count)
    assert sum(steps) == 8
    assert max(steps) <= 4
    assert await db.accounts.aliases(acme.tenant) == []
    for number in range(4):
        await db.accounts.add(acme.tenant, f"a{number}@acme.test", "hash")


async def test_a_removed_account(db: Database, acme: Home, other: Home) -> None:
    paths = await furnish(acme)
    theirs = await furnish(other)
    untouched = await everything(other)
    # One mail is in bob's INBOX as well: it stays, and so does its blob.
    bob = await db.accounts.by_address("bob@acme.test")
    assert bob is not None
    box = await db.mailboxes.by_name(acme.tenant, bob.id, "INBOX")
    assert box is not None
    await db.messages.copy(acme.tenant, acme.inbox, [1], box.id)
    assert await subscriptions(db, acme.account.id) > 0
    scope = Scope(acme.tenant, account="ann@acme.test")
    held = await db.hosting.count(scope)
    assert (held.accounts, held.aliases, held.mailboxes, held.messages, held.jobs) == (1, 1, 6, 3, 2)
    blobs = blobs_with(*paths, *theirs)
    seen: list[Holdings] = []
    removed = await Removal(db, blobs, seen.append).run(scope)
    assert removed.holdings == held
    assert sum(seen, Holdings()) == held
    assert removed.blobs == 2
    assert await db.accounts.by_address("ann@acme.test") is None
    assert await db.mailboxes.all(acme.tenant, acme.account.id) == []
    assert await subscriptions(db, acme.account.id) == 0
    assert [one.address for one in await db.accounts.targets(acme.tenant, "info@acme.test")] == ["bob@acme.test"]
    (kept,) = [message async for message in db.messages.fetch(acme.tenant, box.id, [1])]
    assert kept.email.blob_path in blobs.data
    assert set(theirs) <= set(blobs.data)
    assert await everything(other) == untouched
    await db.accounts.add(acme.tenant, "ann@acme.test", "hash")


async def test_a_removed_domain(db: Database, acme: Home, other: Home) -> None:
    await furnish(acme)
    await furnish(other)
    untouched = await everything(other)
    await db.tenants.add_domain(acme.tenant, "second.test")
    await db.accounts.add(acme.tenant, "zoe@second.test", "hash")
    await db.accounts.add_alias(acme.tenant, "ann@second.test", "ann@acme.test")
    scope = Scope(acme.tenant, "acme.test")
    held = await db.hosting.count(scope)
    assert (held.domains, held.accounts, held.aliases, held.mailboxes) == (1, 2, 4, 12)
    assert (held.messages, held.dkim_keys, held.reports, held.decisions, held.jobs) == (3, 1, 1, 0, 2)
    removed = await Removal(db, MemoryBlobs()).run(scope)
    # An alias of another domain led to one of its accounts.
    assert removed.holdings == replace(held, aliases=5)
    assert await db.tenants.hosted("acme.test") is None
    assert await addresses(db, acme.tenant) == ["zoe@second.test"]
    assert await db.accounts.aliases(acme.tenant) == []
    assert await everything(other) == untouched
    await db.tenants.add_domain(other.tenant, "acme.test")


@pytest.mark.parametrize("purge", [True, False])
async def test_a_removed_tenant_leaves_nothing_and_affects_no_other(
    db: Database, acme: Home, other: Home, purge: bool
) -> None:
    paths = await furnish(acme)
    theirs = await furnish(other)
    untouched = await everything(other)
    held = await db.hosting.count(Scope(acme.tenant))
    assert held == Holdings(1, 2, 4, 13, 5, held.octets, 1, 1, 1, 2, 2)
    blobs = blobs_with(*paths, *theirs)
    removed = await Removal(db, blobs).run(Scope(acme.tenant), purge=purge)
    assert removed.holdings == (held if purge else replace(held, decisions=0))
    assert removed.blobs == len(paths)
    assert sorted(blobs.data) == theirs
    assert await db.tenants.by_name("acme") is None
    assert await db.tenants.hosted("acme.test") is None
    assert await db.accounts.all(acme.tenant) == []
    assert await db.accounts.aliases(acme.tenant) == []
    assert len(await db.decisions.search(DecisionFilter(tenant=acme.tenant))) == (0 if purge else 1)
    assert await db.messages.blob_in_use(paths) == set()
    assert await everything(other) == untouched
    with pytest.raises(NotFound):
        await Removal(db, blobs).run(Scope(acme.tenant))
    again = await db.tenants.add("acme")
    await db.tenants.add_domain(again.id, "acme.test")
    await db.accounts.add(again.id, "ann@acme.test", "hash")


async def test_a_removal_works_in_steps_and_continues_after_an_interruption(
    db: Database, acme: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("sqlite", "surreal"):
        monkeypatch.setattr(f"inbox.store.{module}.removing.STEP", 4)
    placed = await acme.fill(10)
    paths = [f"msg/{acme.tenant}/m/{one.email}.eml" for one in placed]
    blobs = blobs_with(*paths)
    steps: list[int] = []

    def stop(step: Holdings) -> None:
        steps.append(step.messages)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await Removal(db, blobs, stop).run(Scope(acme.tenant))
    assert steps == [4]
    # What still has a row still has its blob, and nobody delivers or logs in meanwhile.
    left = [message async for message in db.messages.fetch(acme.tenant, acme.inbox, await acme.uids())]
    assert len(left) == 6
    assert all(message.email.blob_path in blobs.data for message in left)
    assert await db.tenants.domain("acme.test") is None
    status = await db.mailboxes.status(acme.tenant, acme.inbox)
    assert status.messages == 6
    removed = await Removal(db, blobs).run(Scope(acme.tenant))
    assert removed.holdings.messages == 6
    assert blobs.data == {}
    assert await db.tenants.by_name("acme") is None


async def test_a_tenant_that_mail_leaves_is_in_use(db: Database, acme: Home) -> None:
    await furnish(acme)
    for address in ("ann@acme.test", "bob@acme.test"):
        while await db.hosting.remove_aliases_to(acme.tenant, address):
            pass
    for address in [one.address for one in await db.accounts.aliases(acme.tenant)]:
        await db.hosting.remove_alias(acme.tenant, address)
    for account in await db.accounts.all(acme.tenant):
        for box in await db.mailboxes.all(acme.tenant, account.id):
            while (await db.hosting.clear_mailbox(acme.tenant, box.id)).more:
                pass
        await db.hosting.end_account(acme.tenant, account.address)
    await db.hosting.forget(acme.tenant, "dkim_keys")
    await db.hosting.forget(acme.tenant, "reports")
    await db.hosting.end_domain(acme.tenant, "acme.test")
    for box in await db.mailboxes.all(acme.tenant, None):
        while (await db.hosting.clear_mailbox(acme.tenant, box.id)).more:
            pass
    with pytest.raises(InUse, match="mail in the queue"):
        await db.hosting.end_tenant(acme.tenant)
    await db.queue.forget(Scope(acme.tenant))
    with pytest.raises(InUse, match="records of deliveries"):
        await db.hosting.end_tenant(acme.tenant)
    await db.queue.forget_deliveries(acme.tenant)
    with pytest.raises(InUse, match="entries of plugins"):
        await db.hosting.end_tenant(acme.tenant)
    await db.plugin_state.forget(acme.tenant)
    await db.hosting.end_tenant(acme.tenant)


async def test_an_object_in_use_is_not_removed(db: Database, acme: Home) -> None:
    await furnish(acme)
    with pytest.raises(InUse):
        await db.hosting.end_tenant(acme.tenant)
    with pytest.raises(InUse):
        await db.hosting.end_domain(acme.tenant, "acme.test")
    with pytest.raises(InUse):
        await db.hosting.end_account(acme.tenant, "ann@acme.test")
    while await db.hosting.remove_aliases_to(acme.tenant, "ann@acme.test"):
        pass
    with pytest.raises(InUse):
        await db.hosting.end_account(acme.tenant, "ann@acme.test")
    assert await addresses(db, acme.tenant) == ["ann@acme.test", "bob@acme.test"]
    assert len(await acme.uids()) == 3


async def test_mail_for_a_mailbox_that_was_removed_is_not_taken(db: Database, acme: Home) -> None:
    await Removal(db, MemoryBlobs()).run(Scope(acme.tenant, account="ann@acme.test"))
    with pytest.raises(NotFound):
        await db.writer.write(Indexed((indexed(email(acme.tenant), acme.inbox),)))


def test_a_step_is_bounded() -> None:
    assert hosting.STEP == 1000


async def test_a_catch_all_is_an_alias_without_a_local_part(db: Database, acme: Home, other: Home) -> None:
    await db.accounts.add_alias(acme.tenant, "@acme.test", "ann@acme.test")
    assert [one.address for one in await db.accounts.targets(acme.tenant, "@acme.test")] == ["ann@acme.test"]
    assert await db.accounts.targets(other.tenant, "@acme.test") == []
    assert await db.accounts.by_address("@acme.test") is None
    assert isinstance(await db.accounts.by_address("ann@acme.test"), Account)


async def test_a_domains_postmaster_follows_his_address(db: Database, acme: Home) -> None:
    overrides = DomainOverrides(postmaster="ann@acme.test", plus_delimiter="-")
    await db.tenants.set_domain_overrides(acme.tenant, "acme.test", overrides)
    await db.tenants.add_domain(acme.tenant, "second.test", DomainOverrides(postmaster="bob@acme.test"))
    await db.accounts.add(acme.tenant, "bob@acme.test", "hash")
    await rename_account(db, acme.tenant, "ann@acme.test", "anna@acme.test", keep_alias=False)
    found = {domain.fqdn: domain.overrides for domain in await db.tenants.domains(acme.tenant)}
    assert found["acme.test"] == replace(overrides, postmaster="anna@acme.test")
    assert found["second.test"].postmaster == "bob@acme.test"
    await Removal(db, MemoryBlobs()).run(Scope(acme.tenant, account="anna@acme.test"))
    found = {domain.fqdn: domain.overrides for domain in await db.tenants.domains(acme.tenant)}
    assert found["acme.test"] == replace(overrides, postmaster=None)
    await Removal(db, MemoryBlobs()).run(Scope(acme.tenant, domain="acme.test"))
    assert (await db.tenants.domains(acme.tenant))[0].overrides == DomainOverrides()
