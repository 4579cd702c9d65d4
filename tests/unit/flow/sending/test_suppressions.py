"""The suppression list over the API."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from inbox.flow.sending.callers import Caller
from inbox.flow.sending.errors import Kind, RequestRefused
from inbox.flow.sending.suppressions import TenantSuppressions
from tests.support.api import new_key, new_session, send, services_of
from tests.support.flow import World, world


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path, SMTP_OUTBOUND_SUPPRESSION_MAX_ENTRIES="3") as made:
        yield made


@pytest.fixture
def tested(here: World) -> TenantSuppressions:
    return services_of(here).suppressions


async def admin(here: World, tenant: str = "acme") -> Caller:
    operations = ("send", "messages", "suppressions")
    key = await new_key(here, tenant, role="admin", operations=operations)
    return await here.parts.callers.by_key(new_session(here), key.shown)


async def test_entries_are_added_listed_and_removed(here: World, tested: TenantSuppressions) -> None:
    caller = await admin(here)
    await tested.add(caller, {"target": "Bob@Elsewhere.test", "reason": "asked", "days": 1})
    await tested.add(caller, {"target": "example.org", "active": False})
    page = await tested.page(caller)
    assert [(each.scope, each.target, each.reason, each.source, each.is_active) for each in page.entries] == [
        ("address", "bob@elsewhere.test", "asked", "operator", True),
        ("domain", "example.org", "", "operator", False),
    ]
    assert page.after is None
    assert page.entries[0].expires_at == page.entries[0].created_at + 86_400
    first = await tested.page(caller, limit=1)
    assert first.after == "bob@elsewhere.test"
    assert [each.target for each in (await tested.page(caller, after=first.after, limit=1)).entries] == ["example.org"]
    await tested.remove(caller, "bob@elsewhere.test")
    assert len((await tested.page(caller)).entries) == 1
    with pytest.raises(RequestRefused) as refused:
        await tested.remove(caller, "bob@elsewhere.test")
    assert refused.value.kind is Kind.NOT_FOUND


async def test_another_tenant_has_its_own_list(here: World, tested: TenantSuppressions) -> None:
    caller, other = await admin(here), await admin(here, "umbra")
    await tested.add(caller, {"target": "x@elsewhere.test"})
    assert (await tested.page(other)).entries == ()
    with pytest.raises(RequestRefused):
        await tested.remove(other, "x@elsewhere.test")
    assert len((await tested.page(caller)).entries) == 1


async def test_a_sender_may_not_touch_the_list(here: World, tested: TenantSuppressions) -> None:
    key = await new_key(here)
    caller = await here.parts.callers.by_key(new_session(here), key.shown)
    for attempt in (tested.page(caller), tested.add(caller, {"target": "a.test"}), tested.remove(caller, "a.test")):
        with pytest.raises(RequestRefused) as refused:
            await attempt
        assert refused.value.kind is Kind.FORBIDDEN


@pytest.mark.parametrize(
    ("values", "field"),
    [
        ({}, "target"),
        ({"target": 7}, "target"),
        ({"target": "a b"}, "target"),
        ({"target": "x@y.test\r\nz"}, "target"),
        ({"target": "@"}, "target"),
        ({"target": "x" * 2000}, "target"),
        ({"target": "a.test", "reason": "a\nb"}, "reason"),
        ({"target": "a.test", "reason": "x" * 501}, "reason"),
        ({"target": "a.test", "days": 0}, "days"),
        ({"target": "a.test", "days": True}, "days"),
        ({"target": "a.test", "days": 1.5}, "days"),
        ({"target": "a.test", "active": "yes"}, "active"),
        ({"target": "a.test", "nope": 1}, "nope"),
    ],
)
async def test_a_wrong_field_is_named(here: World, tested: TenantSuppressions, values: Any, field: str) -> None:
    with pytest.raises(RequestRefused) as refused:
        await tested.add(await admin(here), values)
    assert [each.field for each in refused.value.fields] == [field]


async def test_the_list_has_a_limit(here: World, tested: TenantSuppressions) -> None:
    caller = await admin(here)
    for number in range(3):
        await tested.add(caller, {"target": f"d{number}.test"})
    with pytest.raises(RequestRefused) as refused:
        await tested.add(caller, {"target": "d4.test"})
    assert (refused.value.kind, refused.value.code_name) == (Kind.LIMITED, "list_full")


async def test_no_mail_is_sent_to_an_entry(here: World, tested: TenantSuppressions) -> None:
    await here.policy("default.yaml", "plugins:\n  recipients: {}\n  suppression: {}\n")
    await tested.add(await admin(here), {"target": "x@elsewhere.test", "reason": "asked"})
    with pytest.raises(RequestRefused) as refused:
        await send(here, await new_key(here))
    assert refused.value.fields[0].code == "recipient_refused"
    assert "asked" in refused.value.text
