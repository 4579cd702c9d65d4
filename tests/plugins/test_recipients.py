"""recipients: every answer to RCPT, and a directory that fails."""

from __future__ import annotations

from typing import Any

import pytest
from inbox_plugins.recipients import Recipients, Settings
from pydantic import ValidationError

from inbox.base.errors import StoreUnavailable
from inbox.mail.address import Address
from inbox.plugin import Defer, Redirect, Reject, Resolved
from inbox.plugin.testing import MemoryLog, PluginTest
from tests.support.plugin_services import WatchedDirectory, recipient, services, transaction


def known() -> WatchedDirectory:
    directory = WatchedDirectory()
    directory.add("ann@acme.test", tenant="t1", detail="shop")
    directory.add("ops@acme.test", tenant="t1")
    return directory


def plugin(directory: WatchedDirectory | None = None, log: MemoryLog | None = None, **settings: object) -> Recipients:
    given = services(directory=directory or known(), log=log or MemoryLog())
    return Recipients(Settings.model_validate(settings), given)


async def test_a_known_address_is_resolved_without_an_opinion() -> None:
    to = recipient("Ann@ACME.test")
    assert await plugin().rcpt(transaction(), to) is None
    assert to.facts.get(Resolved) == Resolved(("ann@acme.test",), "shop")


async def test_an_unknown_address_is_refused_and_gets_no_fact() -> None:
    to = recipient("nobody@acme.test")
    assert await plugin().rcpt(transaction(), to) == Reject(550, "5.1.1", "No such user here")
    assert to.facts.get(Resolved) is None


async def test_an_unknown_address_can_be_deferred() -> None:
    answer = await plugin(unknown="defer").rcpt(transaction(), recipient("nobody@acme.test"))
    assert isinstance(answer, Defer)
    assert (answer.code, answer.enhanced) == (450, "4.1.1")


@pytest.mark.parametrize(
    ("settings", "answer"),
    [
        ({}, Defer(450, "4.2.1", "This mailbox is disabled, try again later")),
        ({"disabled": "reject"}, Reject(550, "5.2.1", "This mailbox is disabled")),
        # Neither an answer for unknown users nor a catch-all is about it.
        ({"catch_all": "ops@acme.test"}, Defer(450, "4.2.1", "This mailbox is disabled, try again later")),
    ],
)
async def test_a_disabled_account_is_not_unknown(settings: dict[str, Any], answer: object) -> None:
    directory = known()
    directory.disable("zoe@acme.test", tenant="t1")
    to = recipient("zoe@acme.test")
    assert await plugin(directory, **settings).rcpt(transaction(), to) == answer
    assert to.facts.get(Resolved) is None


async def test_a_postmaster_without_a_setting_is_the_domains_catch_all() -> None:
    directory = known()
    directory.add("@acme.test", "office@acme.test", tenant="t1")
    to = recipient("Postmaster@acme.test")
    assert await plugin(directory).rcpt(transaction(), to) is None
    assert to.facts.get(Resolved) == Resolved(("office@acme.test",))
    named = plugin(directory, postmaster="ops@acme.test")
    assert await named.rcpt(transaction(), recipient("postmaster@acme.test")) == Redirect("ops@acme.test")


async def test_another_tenants_address_is_unknown() -> None:
    answer = await plugin().rcpt(transaction(), recipient("ann@acme.test", tenant="t2"))
    assert isinstance(answer, Reject)


async def test_a_domain_that_nobody_hosts_is_left_to_others() -> None:
    directory = known()
    assert await plugin(directory).rcpt(transaction(), recipient("x@elsewhere.test", tenant="")) is None
    assert directory.asked == []


async def test_a_redirection_of_an_earlier_plugin_is_what_is_resolved() -> None:
    to = recipient("old@acme.test")
    to.redirected = Address.parse("ann@acme.test")
    assert await plugin().rcpt(transaction(), to) is None
    assert to.facts.get(Resolved) is not None


async def test_the_catch_all_gets_mail_for_unknown_users_only() -> None:
    to = recipient("nobody@acme.test")
    catching = plugin(catch_all="Ops@acme.test")
    assert await catching.rcpt(transaction(), to) == Redirect("ops@acme.test")
    assert to.facts.get(Resolved) == Resolved(("ops@acme.test",))
    assert await catching.rcpt(transaction(), recipient("ann@acme.test")) is None


async def test_postmaster_goes_where_the_policy_says() -> None:
    given = plugin(postmaster="ops@acme.test", catch_all="ann@acme.test")
    assert await given.rcpt(transaction(), recipient("PostMaster@acme.test")) == Redirect("ops@acme.test")


async def test_postmaster_that_exists_is_not_redirected() -> None:
    directory = known()
    directory.add("postmaster@acme.test", "pam@acme.test", tenant="t1")
    to = recipient("postmaster@acme.test")
    assert await plugin(directory, postmaster="ops@acme.test").rcpt(transaction(), to) is None
    assert to.facts.get(Resolved) == Resolved(("pam@acme.test",))


@pytest.mark.parametrize("local", ["postmaster", "Postmaster", "POSTMASTER"])
async def test_postmaster_without_a_setting_is_the_tenants_first_account(local: str) -> None:
    to = recipient(f"{local}@acme.test")
    assert await plugin().rcpt(transaction(), to) == Redirect("ann@acme.test")
    assert to.facts.get(Resolved) == Resolved(("ann@acme.test",), "shop")
    caught = plugin(catch_all="ops@acme.test")
    assert await caught.rcpt(transaction(), recipient(f"{local}@acme.test")) == Redirect("ops@acme.test")
    for other in ("postmaster2@acme.test", "abuse@acme.test"):
        assert isinstance(await plugin().rcpt(transaction(), recipient(other)), Reject)


async def test_postmaster_of_a_tenant_without_accounts_is_asked_to_come_again() -> None:
    log = MemoryLog()
    answer = await plugin(log=log).rcpt(transaction(), recipient("postmaster@new.test", tenant="t9"))
    assert answer == Defer(451, "4.3.5", "This domain has no account yet, try again later")
    assert log.named("recipients_no_postmaster")


async def test_a_catch_all_that_does_not_exist_loses_no_mail() -> None:
    log = MemoryLog()
    to = recipient("nobody@acme.test")
    answer = await plugin(log=log, catch_all="gone@acme.test").rcpt(transaction(), to)
    assert isinstance(answer, Defer)
    assert answer.enhanced == "4.3.5"
    assert to.facts.get(Resolved) is None
    assert [fields["address"] for fields in log.named("recipients_stand_in_unknown")] == ["gone@acme.test"]


async def test_the_recipient_past_the_limit_is_deferred_before_the_directory_is_asked() -> None:
    directory = known()
    given = plugin(directory, max_recipients=2)
    one_left = transaction(to=("a@acme.test",))
    assert await given.rcpt(one_left, recipient("ann@acme.test")) is None
    full = transaction(to=("a@acme.test", "b@other.test"))
    answer = await given.rcpt(full, recipient("ann@acme.test"))
    assert isinstance(answer, Defer)
    assert (answer.code, answer.enhanced) == (452, "4.5.3")
    assert len(directory.asked) == 1


async def test_a_directory_that_fails_is_never_an_unknown_user() -> None:
    to = recipient("ann@acme.test")
    directory = known()
    directory.fails = StoreUnavailable("no database")
    with pytest.raises(StoreUnavailable):
        await plugin(directory, catch_all="ops@acme.test").rcpt(transaction(), to)
    assert to.facts.get(Resolved) is None


@pytest.mark.parametrize(
    "settings",
    [{"catch_all": "no address"}, {"postmaster": "a@b@c"}, {"unknown": "bounce"}, {"max_recipients": 0}, {"typo": 1}],
)
def test_wrong_settings_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValidationError) as caught:
        Settings.model_validate(settings)
    assert caught.value.errors()[0]["loc"] == (next(iter(settings)),)


def test_the_limit_comes_from_the_environment() -> None:
    extra = Settings.model_fields["max_recipients"].json_schema_extra
    assert extra == {"env": "SMTP_INBOUND_MAX_RCPT_TO"}
    assert Settings().max_recipients == 100


async def test_in_the_engine_a_database_that_fails_defers() -> None:
    test = PluginTest("recipients", {"catch_all": "ann@demo.test"}, errors="outcome")
    test.directory.add("ann@demo.test")
    assert isinstance((await test.rcpt("nobody@demo.test")).verdict, Redirect)
    test.directory.fails = StoreUnavailable("no database")
    verdict = (await test.rcpt("nobody@demo.test")).verdict
    assert isinstance(verdict, Defer)
    assert verdict.code == 451


async def test_it_runs_even_when_the_policy_is_off() -> None:
    assert PluginTest("recipients").loaded.essential
