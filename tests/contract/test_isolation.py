"""One tenant never sees another: every method of every repository, asked by the wrong tenant."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from inbox.base.errors import NotFound
from inbox.mail.flags import Flag
from inbox.mail.tenancy import DomainOverrides
from inbox.store import ports
from inbox.store.ports import ApiKey, AppPassword, DkimKeyRecord, Scope, SharedInbox, StoredReport
from inbox.store.ports.decisions import DecisionFilter
from inbox.store.ports.ingest import Indexed, MessageWriter
from inbox.store.ports.plugin_state import Changes, Delete, Put
from inbox.store.ports.queue import AttemptRecord, Job, JobRecipient, QueuedJob, Sending
from inbox.store.ports.shared import Member, SharedEvent
from inbox.store.ports.webhooks import Try
from tests.support.jobs import ended
from tests.support.store import Home, decision, email, indexed

Attempt = Callable[[Home, Home], Awaitable[object]]


def _report(tenant: str, domain: str) -> StoredReport:
    return StoredReport(tenant, domain, "Reporter", "id", 1.0, 2.0, 3.0, 1, 1, b"{}")


async def _fetch(acme: Home, thief: Home) -> object:
    return [message async for message in thief.db.messages.fetch(thief.tenant, acme.inbox, [1, 2])]


async def _columns(acme: Home, thief: Home) -> object:
    return [page async for page in thief.db.messages.columns(thief.tenant, acme.inbox, [1, 2], ["size"])]


async def _accept(acme: Home, thief: Home) -> object:
    return await thief.db.writer.write(Indexed((indexed(email(thief.tenant), thief.inbox, acme.inbox),)))


async def _accept_in_the_others_name(acme: Home, thief: Home) -> object:
    return await thief.db.writer.write(Indexed((indexed(email(acme.tenant), thief.inbox),)))


JOB = "acmes-job"


def _job(name: str) -> Job:
    return Job(
        name,
        "ann@acme.test",
        (JobRecipient("bob@example.org"),),
        "example.org",
        1.0,
        9e9,
        transaction="acmes-transaction",
    )


async def _enqueue(thief: Home, acme: Home) -> None:
    (mail, *_) = await acme.db.queue.jobs(acme.tenant)
    await thief.db.queue.enqueue(thief.tenant, mail.email, [_job("stolen")])


async def _as_if_its_own(acme: Home, thief: Home) -> QueuedJob:
    (job,) = await acme.db.queue.jobs(acme.tenant)
    return replace(job, tenant=thief.tenant, lease_owner="thief", fence=job.fence)


async def _sending(acme: Home, thief: Home) -> object:
    return await thief.db.queue.sending([Sending(await _as_if_its_own(acme, thief))])


async def _finish(acme: Home, thief: Home) -> object:
    return await thief.db.queue.finish([ended(await _as_if_its_own(acme, thief), "delivered", "stolen")])


async def _renew(acme: Home, thief: Home) -> object:
    return await thief.db.queue.renew([await _as_if_its_own(acme, thief)], 60.0)


SHARED = "shared@acme.test"


async def _shared(acme: Home) -> SharedInbox:
    found = await acme.db.shared_inboxes.by_address(acme.tenant, SHARED)
    assert found is not None
    return found


async def _set_member(acme: Home, thief: Home, new: Home) -> None:
    member = Member(new.account.id, new.account.address)
    await thief.db.shared_inboxes.set_member(thief.tenant, (await _shared(acme)).id, member)


async def _remove_member(acme: Home, thief: Home) -> None:
    await thief.db.shared_inboxes.remove_member(thief.tenant, (await _shared(acme)).id, acme.account.id)


async def _shared_members(acme: Home, thief: Home) -> object:
    return await thief.db.shared_inboxes.members(thief.tenant, (await _shared(acme)).id)


async def _shared_membership(acme: Home, thief: Home) -> object:
    return await thief.db.shared_inboxes.membership(thief.tenant, (await _shared(acme)).id, acme.account.id)


async def _shared_events(acme: Home, thief: Home) -> object:
    return await thief.db.shared_inboxes.events(thief.tenant, (await _shared(acme)).id)


async def _delete_entry(thief: Home) -> bool:
    (there,) = await thief.db.plugin_state.apply(Changes(thief.tenant, "spam", "words", (Delete("k"),), 0.0))
    return bool(there)


#: Calls of ``thief`` with an id of ``acme``; each is answered as if that id did not exist.
NOT_FOUND: dict[str, Attempt] = {
    "Tenants.set_domain_overrides": lambda a, t: t.db.tenants.set_domain_overrides(
        t.tenant, a.domain, DomainOverrides(dkim_selector="stolen")
    ),
    "Accounts.add": lambda a, t: t.db.accounts.add(t.tenant, f"thief@{a.domain}", "hash"),
    "Accounts.set_password": lambda a, t: t.db.accounts.set_password(t.tenant, a.account.address, "stolen"),
    "Accounts.add_alias": lambda a, t: t.db.accounts.add_alias(t.tenant, f"thief@{a.domain}", t.account.address),
    "Accounts.add_alias to": lambda a, t: t.db.accounts.add_alias(t.tenant, f"x@{t.domain}", a.account.address),
    "Accounts.add_forward": lambda a, t: t.db.accounts.add_forward(t.tenant, f"thief@{a.domain}", "x@elsewhere.test"),
    "Credentials.add_app_password": lambda a, t: t.db.credentials.add_app_password(
        t.tenant, a.account.id, AppPassword("stolen", "", ("imap",), "stolen")
    ),
    "Credentials.revoke_app_password": lambda a, t: t.db.credentials.revoke_app_password(
        t.tenant, a.account.id, "phone"
    ),
    "ApiKeys.rotate": lambda a, t: t.db.api_keys.rotate(t.tenant, "acmes-api-key", "stolen", 9e9),
    "ApiKeys.revoke": lambda a, t: t.db.api_keys.revoke(t.tenant, "acmes-api-key"),
    "Webhooks.set_enabled": lambda a, t: t.db.webhooks.set_enabled(t.tenant, "acmes-webhook", False),
    "Webhooks.rotate": lambda a, t: t.db.webhooks.rotate(t.tenant, "acmes-webhook", "stolen", 9e9),
    "Webhooks.remove": lambda a, t: t.db.webhooks.remove(t.tenant, "acmes-webhook"),
    "SharedInboxes.add": lambda a, t: t.db.shared_inboxes.add(t.tenant, f"thief@{a.domain}", ""),
    "SharedInboxes.set_member": lambda a, t: _set_member(a, t, t),
    "SharedInboxes.set_member of the other": lambda a, t: _set_member(a, t, a),
    "SharedInboxes.remove_member": _remove_member,
    "Hosting.set_active domain": lambda a, t: t.db.hosting.set_active(Scope(t.tenant, a.domain), False),
    "Hosting.set_active account": lambda a, t: t.db.hosting.set_active(
        Scope(t.tenant, account=a.account.address), False
    ),
    "Hosting.rename_account": lambda a, t: t.db.hosting.rename_account(
        t.tenant, a.account.address, f"stolen@{t.domain}", keep_alias=False
    ),
    "Hosting.rename_account to": lambda a, t: t.db.hosting.rename_account(
        t.tenant, t.account.address, f"stolen@{a.domain}", keep_alias=False
    ),
    "Hosting.move_addresses": lambda a, t: t.db.hosting.move_addresses(t.tenant, a.domain, t.domain, keep_alias=False),
    "Hosting.move_addresses to": lambda a, t: t.db.hosting.move_addresses(
        t.tenant, t.domain, a.domain, keep_alias=False
    ),
    "Hosting.remove_alias": lambda a, t: t.db.hosting.remove_alias(t.tenant, "info@acme.test"),
    "Hosting.count domain": lambda a, t: t.db.hosting.count(Scope(t.tenant, a.domain)),
    "Hosting.count account": lambda a, t: t.db.hosting.count(Scope(t.tenant, account=a.account.address)),
    "Hosting.clear_mailbox": lambda a, t: t.db.hosting.clear_mailbox(t.tenant, a.inbox),
    "Hosting.end_account": lambda a, t: t.db.hosting.end_account(t.tenant, a.account.address),
    "Hosting.end_domain": lambda a, t: t.db.hosting.end_domain(t.tenant, a.domain),
    "Mailboxes.create": lambda a, t: t.db.mailboxes.create(t.tenant, a.account.id, "Stolen"),
    "Mailboxes.delete": lambda a, t: t.db.mailboxes.delete(t.tenant, a.inbox),
    "Mailboxes.rename": lambda a, t: t.db.mailboxes.rename(t.tenant, a.inbox, "Stolen"),
    "Mailboxes.subscribe": lambda a, t: t.db.mailboxes.subscribe(t.tenant, a.account.id, "INBOX", False),
    "Mailboxes.status": lambda a, t: t.db.mailboxes.status(t.tenant, a.inbox),
    "MessageWriter.write": _accept,
    "MessageWriter.write in the other's name": _accept_in_the_others_name,
    "Messages.entries": lambda a, t: t.db.messages.entries(t.tenant, a.inbox),
    "Messages.changes": lambda a, t: t.db.messages.changes(t.tenant, a.inbox, 0),
    "Messages.claim_recent": lambda a, t: t.db.messages.claim_recent(t.tenant, a.inbox),
    "Messages.listing": lambda a, t: t.db.messages.listing(t.tenant, a.inbox),
    "Messages.fetch": _fetch,
    "Messages.columns": _columns,
    "Messages.store": lambda a, t: t.db.messages.store(t.tenant, a.inbox, [1], "set", Flag.DELETED),
    "Messages.storing": lambda a, t: anext(t.db.messages.storing(t.tenant, a.inbox, [1], "set", Flag.DELETED)),
    "Messages.expunge": lambda a, t: t.db.messages.expunge(t.tenant, a.inbox, [1]),
    "Messages.copy from": lambda a, t: t.db.messages.copy(t.tenant, a.inbox, [1], t.inbox),
    "Messages.copy to": lambda a, t: t.db.messages.copy(t.tenant, t.inbox, [1], a.inbox),
    "Messages.copy move": lambda a, t: t.db.messages.copy(t.tenant, a.inbox, [1], t.inbox, move=True),
    "Messages.release from": lambda a, t: t.db.messages.release(t.tenant, a.inbox, 1, t.inbox),
    "Messages.release to": lambda a, t: t.db.messages.release(t.tenant, t.inbox, 1, a.inbox),
    "Messages.remove": lambda a, t: t.db.messages.remove(t.tenant, a.inbox, [1]),
    "DkimKeys.add": lambda a, t: t.db.dkim_keys.add(DkimKeyRecord(t.tenant, a.domain, "s2", "rsa", "stolen")),
    "DkimKeys.set_state": lambda a, t: t.db.dkim_keys.set_state(t.tenant, a.domain, "s1", "active", 1.0),
    "DkimKeys.activate": lambda a, t: t.db.dkim_keys.activate(t.tenant, a.domain, "s1", 1.0),
    "DkimKeys.remove": lambda a, t: t.db.dkim_keys.remove(t.tenant, a.domain, "s1"),
    "Queue.enqueue": lambda a, t: _enqueue(t, a),
    "DmarcReports.add": lambda a, t: t.db.dmarc_reports.add(_report(t.tenant, a.domain)),
}

#: Those that answer with nothing.
NOTHING: dict[str, Attempt] = {
    "Tenants.domains": lambda a, t: t.db.tenants.domains("no-such-tenant"),
    "Accounts.targets": lambda a, t: t.db.accounts.targets(t.tenant, a.account.address),
    "Accounts.targets disabled": lambda a, t: t.db.accounts.targets(t.tenant, a.account.address, active=False),
    "Accounts.reach": lambda a, t: t.db.accounts.reach(t.tenant, a.account.address),
    "Credentials.app_passwords": lambda a, t: t.db.credentials.app_passwords(t.tenant, a.account.id),
    "Credentials.app_password": lambda a, t: t.db.credentials.app_password(t.tenant, a.account.id, "phone"),
    "Credentials.used_app_password": lambda a, t: t.db.credentials.used_app_password(
        t.tenant, a.account.id, "phone", 9.0, "stolen"
    ),
    "Credentials.set_scram": lambda a, t: t.db.credentials.set_scram(
        t.tenant, a.account.id, "stolen", a.account.password_hash
    ),
    "ApiKeys.get": lambda a, t: t.db.api_keys.get(t.tenant, "acmes-api-key"),
    "ApiKeys.all": lambda a, t: t.db.api_keys.all(t.tenant),
    "ApiKeys.used": lambda a, t: t.db.api_keys.used(t.tenant, "acmes-api-key", 9.0, "stolen"),
    "ApiKeys.forget": lambda a, t: t.db.api_keys.forget(t.tenant),
    "Webhooks.get": lambda a, t: t.db.webhooks.get(t.tenant, "acmes-webhook"),
    "Webhooks.all": lambda a, t: t.db.webhooks.all(t.tenant),
    "Webhooks.claim": lambda a, t: t.db.webhooks.claim([_webhook(t)], 10, 99, 9.0, 99.0),
    "Webhooks.finish": lambda a, t: t.db.webhooks.finish(_event(t), Try(9.0, 1.0, 200), "delivered", 0.0),
    "Webhooks.message": lambda a, t: t.db.webhooks.message(t.tenant, "acmes-webhook", "acmes-event"),
    "Webhooks.messages": lambda a, t: t.db.webhooks.messages(t.tenant, "acmes-webhook", 10),
    "Webhooks.waiting": lambda a, t: t.db.webhooks.waiting(t.tenant, "acmes-webhook", 10),
    "Webhooks.replay": lambda a, t: t.db.webhooks.replay(t.tenant, "acmes-webhook", ["acmes-event"], 9.0),
    "Webhooks.failed": lambda a, t: t.db.webhooks.failed(t.tenant, "acmes-webhook", 0.0, 10),
    "Webhooks.forget": lambda a, t: t.db.webhooks.forget(t.tenant),
    "SharedInboxes.by_address": lambda a, t: t.db.shared_inboxes.by_address(t.tenant, SHARED),
    "SharedInboxes.all": lambda a, t: t.db.shared_inboxes.all(t.tenant),
    "SharedInboxes.members": _shared_members,
    "SharedInboxes.memberships": lambda a, t: t.db.shared_inboxes.memberships(t.tenant, a.account.id),
    "SharedInboxes.membership": _shared_membership,
    "SharedInboxes.events": _shared_events,
    "Hosting.remove_aliases_to": lambda a, t: t.db.hosting.remove_aliases_to(t.tenant, a.account.address),
    "Hosting.forget dkim_keys": lambda a, t: t.db.hosting.forget(t.tenant, "dkim_keys", a.domain),
    "Hosting.forget reports": lambda a, t: t.db.hosting.forget(t.tenant, "reports", a.domain),
    "Hosting.forget decisions": lambda a, t: t.db.hosting.forget(t.tenant, "decisions"),
    "Mailboxes.all": lambda a, t: t.db.mailboxes.all(t.tenant, a.account.id),
    "Mailboxes.by_name": lambda a, t: t.db.mailboxes.by_name(t.tenant, a.account.id, "INBOX"),
    "Mailboxes.get": lambda a, t: t.db.mailboxes.get(t.tenant, a.inbox),
    "Mailboxes.subscriptions": lambda a, t: t.db.mailboxes.subscriptions(t.tenant, a.account.id),
    "DkimKeys.all": lambda a, t: t.db.dkim_keys.all(t.tenant, a.domain),
    "Queue.get": lambda a, t: t.db.queue.get(t.tenant, JOB),
    "Queue.delivery": lambda a, t: t.db.queue.delivery(t.tenant, JOB),
    "Queue.jobs": lambda a, t: t.db.queue.jobs(t.tenant),
    "Queue.pending": lambda a, t: t.db.queue.pending(t.tenant, 10),
    "Queue.count": lambda a, t: t.db.queue.count(t.tenant),
    "Queue.hold": lambda a, t: t.db.queue.hold(t.tenant, [JOB], "stolen"),
    "Queue.release": lambda a, t: t.db.queue.release(t.tenant, [JOB]),
    "Queue.retry": lambda a, t: t.db.queue.retry(t.tenant, [JOB], 60.0),
    "Queue.remove": lambda a, t: t.db.queue.remove(t.tenant, [JOB]),
    "Queue.forget": lambda a, t: t.db.queue.forget(Scope(t.tenant)),
    "Queue.forget domain": lambda a, t: t.db.queue.forget(Scope(t.tenant, a.domain)),
    "Queue.forget account": lambda a, t: t.db.queue.forget(Scope(t.tenant, account=a.account.address)),
    "Queue.forget_deliveries": lambda a, t: t.db.queue.forget_deliveries(t.tenant),
    "Queue.renew": _renew,
    "Queue.sending": _sending,
    "Queue.finish": _finish,
    "JobReports.amend": lambda a, t: t.db.queue.amend(t.tenant, JOB, {}, AttemptRecord(1.0, 0.0, stage="report")),
    "Queue.of_transaction": lambda a, t: t.db.queue.of_transaction(t.tenant, "acmes-transaction"),
    "PluginState.get": lambda a, t: t.db.plugin_state.get(t.tenant, "spam", "words", ["k"], 0.0),
    "PluginState.apply": lambda a, t: _delete_entry(t),
    "PluginState.count": lambda a, t: t.db.plugin_state.count(t.tenant, "spam", "words", 0.0),
    "PluginState.scan": lambda a, t: t.db.plugin_state.scan(t.tenant, "spam", "words", 0.0),
    "PluginState.sizes": lambda a, t: t.db.plugin_state.sizes(t.tenant),
    "PluginState.forget": lambda a, t: t.db.plugin_state.forget(t.tenant),
    "Suppressions.find": lambda a, t: t.db.suppressions.find(t.tenant, ["bob@example.org"], 0.0),
    "Suppressions.get": lambda a, t: t.db.suppressions.get(t.tenant, "address", "bob@example.org"),
    "Suppressions.all": lambda a, t: t.db.suppressions.all(t.tenant),
    "Suppressions.remove": lambda a, t: t.db.suppressions.remove(t.tenant, "address", ["bob@example.org"]),
    "Suppressions.forget": lambda a, t: t.db.suppressions.forget(t.tenant),
    "IdempotencyKeys.get": lambda a, t: t.db.idempotency_keys.get(t.tenant, "acmes-key"),
    "IdempotencyKeys.forget": lambda a, t: t.db.idempotency_keys.forget(t.tenant),
    "DmarcReports.reports": lambda a, t: t.db.dmarc_reports.reports(t.tenant, a.domain),
}

#: Those that list what is the asker's own, and are tried below; those of the operator, and those about no tenant.
ELSEWHERE = {
    "Tenants.add", "Tenants.by_name", "Tenants.all", "Tenants.add_domain", "Tenants.domain",
    "Accounts.by_address", "Credentials.marks", "ApiKeys.add", "ApiKeys.find", "SharedInboxes.prune",
    "Webhooks.add", "Webhooks.enabled", "Webhooks.put", "Webhooks.prune",
    "Messages.blob_in_use", "Decisions.add", "Decisions.prune", "DkimKeys.pending",
    "DmarcReports.count", "DmarcReports.observed", "DmarcReports.forget_observations", "DmarcReports.forget_reports",
    "Mailboxes.renumber", "Tenants.hosted", "Hosting.without_access", "Hosting.rename_tenant", "Hosting.end_tenant",
    "Queue.lease", "Queue.release_expired", "Queue.prune", "PluginState.prune",
    "Suppressions.put", "Suppressions.prune", "IdempotencyKeys.prune",
    "DmarcReports.claim", "DmarcReports.note_sent", "DmarcReports.sent", "Accounts.all", "Accounts.first",
    "Accounts.aliases", "Decisions.get", "Decisions.search",
}  # fmt: skip


def _webhook(home: Home) -> ports.Webhook:
    return ports.Webhook(home.tenant, "acmes-webhook", "https://hooks.acme.test", ("delivered",), "whsec_secret")


def _event(home: Home) -> ports.WebhookMessage:
    return ports.WebhookMessage(home.tenant, "acmes-webhook", "acmes-event", "delivered", "{}", 1.0)


async def _state(home: Home) -> object:
    """All that the tenant has."""
    db, tenant = home.db, home.tenant
    boxes = await db.mailboxes.all(tenant, home.account.id)
    return (
        await db.tenants.domains(tenant),
        await db.accounts.all(tenant),
        await db.accounts.aliases(tenant),
        await db.credentials.app_passwords(tenant, home.account.id),
        await db.api_keys.all(tenant),
        [await db.shared_inboxes.members(tenant, one.id) for one in await db.shared_inboxes.all(tenant)],
        await db.dkim_keys.all(tenant, home.domain),
        await db.dmarc_reports.reports(tenant, home.domain),
        await db.queue.jobs(tenant),
        await db.suppressions.all(tenant),
        await db.idempotency_keys.get(tenant, "acmes-key"),
        await db.webhooks.all(tenant),
        await db.webhooks.messages(tenant, "acmes-webhook", 10),
        await db.plugin_state.scan(tenant, "spam", "words", 0.0),
        boxes,
        [await db.mailboxes.status(tenant, box.id) for box in boxes],
        [await db.messages.entries(tenant, box.id) for box in boxes],
    )


@pytest.mark.parametrize("name", [*NOT_FOUND, *NOTHING])
async def test_an_id_of_another_tenant_is_as_if_it_did_not_exist(acme: Home, other: Home, name: str) -> None:
    await acme.db.accounts.add_alias(acme.tenant, "info@acme.test", "ann@acme.test")
    await acme.db.dkim_keys.add(DkimKeyRecord(acme.tenant, acme.domain, "s1", "rsa", "secret"))
    await acme.db.dmarc_reports.add(_report(acme.tenant, acme.domain))
    await acme.db.credentials.add_app_password(
        acme.tenant, acme.account.id, AppPassword("phone", "", ("imap",), "secret", 1.0)
    )
    await acme.db.api_keys.add(ApiKey(acme.tenant, "acmes-api-key", "", "sender", "secret", created_at=1.0))
    inbox = await acme.db.shared_inboxes.add(acme.tenant, SHARED, "Shared")
    await acme.db.shared_inboxes.set_member(acme.tenant, inbox.id, Member(acme.account.id, acme.account.address))
    event = SharedEvent(inbox.id, acme.account.id, "send_as", 1.0)
    sent = replace(indexed(email(acme.tenant), acme.mailboxes["Sent"]), event=event)
    key = ports.IdempotencyKey(acme.tenant, "acmes-key", "f", "acmes-transaction", 1.0)
    await acme.db.writer.write(Indexed((sent,), key=key))
    (placed, _) = await acme.fill(2, flags=Flag.DELETED)
    await acme.db.queue.enqueue(acme.tenant, placed.email, [_job(JOB)])
    await acme.db.plugin_state.apply(Changes(acme.tenant, "spam", "words", (Put("k", b"secret"),), 0.0))
    await acme.db.suppressions.put([ports.Suppression(acme.tenant, "address", "bob@example.org")])
    await acme.db.webhooks.add(_webhook(acme))
    await acme.db.webhooks.put([_event(acme)])
    await other.fill(1)
    before = await _state(acme), await _state(other)
    if name in NOT_FOUND:
        with pytest.raises(NotFound):
            await NOT_FOUND[name](acme, other)
    else:
        assert not await NOTHING[name](acme, other)
    assert (await _state(acme), await _state(other)) == before


def test_no_method_is_left_out() -> None:
    methods = {
        f"{port.__name__}.{name}"
        for port in (
            ports.Tenants,
            ports.Accounts,
            ports.Credentials,
            ports.ApiKeys,
            ports.SharedInboxes,
            ports.Hosting,
            ports.Mailboxes,
            ports.Messages,
            MessageWriter,
            ports.Decisions,
            ports.DkimKeys,
            ports.DmarcReports,
            ports.JobReports,
            ports.Queue,
            ports.PluginState,
            ports.Suppressions,
            ports.IdempotencyKeys,
            ports.Webhooks,
        )
        for name, _ in inspect.getmembers(port, inspect.isfunction)
        if not name.startswith("_")
    }
    tried = {name.split()[0] for name in (*NOT_FOUND, *NOTHING)} | ELSEWHERE
    assert tried == methods


async def test_listings_show_the_tenants_own(acme: Home, other: Home) -> None:
    await acme.db.accounts.add_alias(acme.tenant, "info@acme.test", "ann@acme.test")
    record = decision(acme.tenant)
    await acme.db.decisions.add([record])
    assert [account.tenant for account in await other.db.accounts.all(other.tenant)] == [other.tenant]
    first = await other.db.accounts.first(other.tenant)
    assert first is not None and first.tenant == other.tenant
    assert await other.db.accounts.aliases(other.tenant) == []
    assert await other.db.decisions.get(record.id, other.tenant) == []
    assert await other.db.decisions.search(DecisionFilter(tenant=other.tenant)) == []
    assert await other.db.decisions.search(DecisionFilter(tenant=acme.tenant)) == [record]
    assert await acme.db.decisions.get(record.id, acme.tenant) == [record]
