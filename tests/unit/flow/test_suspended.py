"""A tenant whose policy is wrong at the start is answered 451 at every door; the others are served."""

from __future__ import annotations

from collections.abc import AsyncIterator
from ipaddress import ip_address
from pathlib import Path

import pytest

from inbox.base.errors import PolicyError
from inbox.flow.appending import Refused
from inbox.flow.judge import AuthHooks
from inbox.mail.content import MemoryContent
from inbox.plugin.api.context import Door, Identity, Session
from inbox.policy.rendering import render
from inbox.policy.verdicts import Accept
from tests.support.flow import World, world

ANN = "ann@acme.test"
AUTH = """
from inbox.plugin import Plugin, Reject, hookimpl
class P(Plugin):
    @hookimpl
    def auth(self, session, identity): return Reject(text="not today")
"""


@pytest.fixture
async def here(tmp_path: Path) -> AsyncIterator[World]:
    async with world(tmp_path) as made:
        yield made


def restarted(here: World, text: str) -> Path:
    """The policy of acme is ``text`` when the server starts."""
    path = here.folder / "policies" / "tenants" / "acme.yaml"
    path.write_text(text)
    here.parts.live.open()
    return path


async def session(here: World) -> Session:
    account = await here.installation.database.accounts.by_address(ANN)
    assert account is not None
    identity = Identity(ANN, account.id, account.tenant, "acme")
    return Session("s1", Door.IMAP, ip_address("192.0.2.7"), identity=identity)


async def test_mail_for_the_tenant_is_deferred_and_explained_and_the_others_get_theirs(here: World) -> None:
    path = restarted(here, "plugins:\n  recipients: {catch_all: 7}\n")
    (reply,) = await here.receive([ANN, "eve@umbra.test"])
    assert reply.code == 250
    (reply,) = await here.receive([ANN])
    assert (reply.code, reply.enhanced) == (451, "4.3.5")
    assert len(await here.mailbox("eve@umbra.test")) == 1
    (decision, *_) = await here.decisions("acme")
    assert f"(id {decision.id})" in reply.text
    assert f"  why         {path}:2:27: catch_all: must be a valid string, not a number" in "\n".join(render(decision))


async def test_an_append_is_refused_and_explained(here: World) -> None:
    path = restarted(here, "mode: x\n")
    opened = await session(here)
    assert opened.identity is not None
    mailbox = await here.installation.database.mailboxes.by_name(
        opened.identity.tenant, opened.identity.account, "INBOX"
    )
    assert mailbox is not None
    with pytest.raises(Refused, match=r"451 4.3.5 System incorrectly configured") as refused:
        await here.parts.appending.append(opened, mailbox, MemoryContent(b"Subject: a\r\n\r\n"), 0, (), None)
    (decision,) = await here.decisions("acme")
    assert f"(id {decision.id})" in refused.value.text
    assert decision.why.startswith(f"{path}:1:7: mode: must be")


@pytest.mark.parametrize(
    ("plugin", "allowed"),
    [
        ("", True),
        ("class : # a rule that cannot be loaded, about data", True),
        (AUTH, False),
        (AUTH.replace("class P", "class"), False),  # What cannot be loaded may have forbidden it.
    ],
)
async def test_a_login_works_unless_a_plugin_may_forbid_it(here: World, plugin: str, allowed: bool) -> None:
    if plugin:
        (here.folder / "plugins" / "mine.py").write_text(plugin)
    restarted(here, "mode: x\n")
    opened = await session(here)
    domain = await here.parts.directory.domain("acme.test")
    assert domain is not None
    assert opened.identity is not None
    hooks = AuthHooks(here.parts.judge)
    if allowed:
        assert await hooks.judge(opened, opened.identity, domain) == Accept()
    else:
        with pytest.raises(PolicyError, match=r"acme.yaml:1:7: mode"):
            await hooks.judge(opened, opened.identity, domain)


async def test_all_is_well_when_the_file_is_right(here: World) -> None:
    path = restarted(here, "mode: x\n")
    path.write_text("mode: enforce\n")
    await here.parts.live.changed([path.resolve()])
    (reply,) = await here.receive([ANN])
    assert reply.code == 250


@pytest.mark.parametrize("text", ["{enabled: false}", "{mode: 'off'}", "{mode: shadow}"])
async def test_where_nobody_resolves_recipients_mail_is_deferred(here: World, text: str) -> None:
    await here.policy("tenants/acme.yaml", f"plugins:\n  recipients: {text}\n")
    for address in (ANN, "nobody@acme.test"):
        (reply,) = await here.receive([address])
        assert (reply.code, reply.enhanced) == (451, "4.3.5")
    (decision, *_) = await here.decisions("acme")
    assert decision.why == (
        "no plugin in the policy of acme resolves recipients: inbox plugins enable recipients --tenant acme"
    )
    (reply,) = await here.receive(["nobody@umbra.test"])
    assert (reply.code, reply.enhanced) == (550, "5.1.1")
