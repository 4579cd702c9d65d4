"""``inbox webhook``."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from inbox.flow.webhooks.signature import key_of
from inbox.store.ports import WebhookMessage
from inbox.store.ports.webhooks import Try
from tests.support.cli import Cli

DEMO = ("--tenant", "demo")
URL = "https://hooks.example.com/mail"


def added(cli: Cli, *options: str) -> dict[str, str]:
    ran = cli("webhook", "add", URL, *DEMO, "--json", *options)
    assert ran.code == 0, ran.err
    made: dict[str, str] = ran.json
    return made


def shown(cli: Cli, id_: str, *options: str) -> dict[str, Any]:
    ran = cli("webhook", "show", id_, *DEMO, "--json", *options)
    assert ran.code == 0, ran.err
    found: dict[str, Any] = ran.json
    return found


async def _put(id_: str) -> None:
    from inbox.cli.context import database

    async with database() as db:
        tenant = await db.tenants.by_name("demo")
        assert tenant is not None
        await db.webhooks.put(
            [WebhookMessage(tenant.id, id_, f"m{n}", "delivered", '{"type":"delivered"}', 100.0 + n) for n in range(2)]
        )
        webhook = await db.webhooks.get(tenant.id, id_)
        assert webhook is not None
        (first,) = await db.webhooks.claim([webhook], 1, 1, 200.0, 260.0)
        await db.webhooks.finish(first, Try(200.0, 0.5, 500, "Internal error"), "failed", 0.0)


@pytest.fixture
def demo(cli: Cli) -> Cli:
    (cli.folder / "policies").mkdir(exist_ok=True)
    (cli.folder / "policies" / "default.yaml").write_text("plugins:\n  recipients: {}\n")
    return cli.demo()


def test_a_secret_is_shown_when_the_webhook_is_added(demo: Cli) -> None:
    assert demo("webhook", "list", *DEMO).out == "no webhooks\n"
    made = added(demo, "--event", "bounced", "--event", "delivered")
    assert key_of(made["secret"])
    ran = demo("webhook", "list", *DEMO, "--json")
    (row,) = ran.json
    assert (row["id"], row["url"], row["events"], row["state"]) == (made["id"], URL, "delivered, bounced", "enabled")
    assert made["secret"] not in ran.out
    assert "secrets" not in shown(demo, made["id"])
    assert shown(demo, made["id"], "--secret")["secrets"] == [made["secret"]]
    assert demo("webhook", "add", URL, *DEMO).out.splitlines()[1].startswith("whsec_")


@pytest.mark.parametrize(
    ("url", "reason"),
    [("http://hooks.example.com/", "not https"), ("https://127.0.0.1/", "neither public"), ("x", "https://")],
)
def test_a_url_that_is_not_allowed(demo: Cli, url: str, reason: str) -> None:
    ran = demo("webhook", "add", url, *DEMO)
    assert ran.code == 1
    assert reason in ran.err


def test_the_policy_allows_more(demo: Cli) -> None:
    (demo.folder / "policies" / "default.yaml").write_text(
        "plugins:\n  recipients: {}\nserver:\n  webhooks: {networks: [127.0.0.0/8], http: [demo]}\n"
    )
    assert demo("webhook", "add", "http://127.0.0.1:8080/", *DEMO).code == 0


def test_wrong_words(demo: Cli) -> None:
    assert "valid words are accepted" in demo("webhook", "add", URL, *DEMO, "--event", "opened").err
    for words in (("show",), ("remove", "--yes"), ("enable",), ("disable",), ("rotate",), ("log",), ("test",)):
        ran = demo("webhook", words[0], "unknown", *DEMO, *words[1:])
        assert (ran.code, "no webhook unknown" in ran.err) == (1, True), words
    made = added(demo)
    assert demo("webhook", "replay", made["id"], *DEMO).code == 2
    assert demo("webhook", "replay", made["id"], *DEMO, "--message", "m9").code == 1
    assert demo("webhook", "log", made["id"], *DEMO, "--message", "m9").code == 1


def test_disable_and_enable(demo: Cli) -> None:
    made = added(demo)
    assert demo("webhook", "disable", made["id"], *DEMO).code == 0
    found = shown(demo, made["id"])
    assert (found["state"], found["reason"]) == ("disabled", "disabled by the operator")
    ran = demo("webhook", "test", made["id"], *DEMO)
    assert (ran.code, "is disabled" in ran.err) == (1, True)
    assert demo("webhook", "enable", made["id"], *DEMO).code == 0
    assert shown(demo, made["id"])["state"] == "enabled"


def test_a_rotation_keeps_the_current_secret(demo: Cli) -> None:
    made = added(demo)
    ran = demo("webhook", "rotate", made["id"], *DEMO, "--keep-hours", "1", "--json")
    found = shown(demo, made["id"], "--secret")
    assert found["secrets"] == [ran.json["secret"], made["secret"]]
    assert found["old_secret_until"] == ran.json["old_secret_until"]
    demo("webhook", "rotate", made["id"], *DEMO, "--keep-hours", "0")
    assert len(shown(demo, made["id"], "--secret")["secrets"]) == 1


def test_the_log_and_a_replay(demo: Cli) -> None:
    made = added(demo)
    assert demo("webhook", "log", made["id"], *DEMO).out == "no messages\n"
    asyncio.run(_put(made["id"]))
    rows = demo("webhook", "log", made["id"], *DEMO, "--json").json
    assert [(row["message"], row["state"], row["status"]) for row in rows] == [
        ("m1", "waiting", None), ("m0", "failed", 500)
    ]  # fmt: skip
    one = demo("webhook", "log", made["id"], *DEMO, "--message", "m0", "--json").json
    assert (one["payload"], one["tries"][0]["reply"]) == ({"type": "delivered"}, "Internal error")
    assert "Internal error" in demo("webhook", "log", made["id"], *DEMO, "--message", "m0").out
    ran = demo("webhook", "replay", made["id"], *DEMO, "--failed-since", "1970-01-01", "--json")
    assert ran.json["messages"] == 1
    assert shown(demo, made["id"])["waiting"] == 2
    assert demo("webhook", "replay", made["id"], *DEMO, "--failed-since", "1970-01-01").code == 1
    assert demo("webhook", "replay", made["id"], *DEMO, "--message", "m1").code == 0


def test_a_test_without_a_server(demo: Cli) -> None:
    made = added(demo)
    ran = demo("webhook", "test", made["id"], *DEMO, "--seconds", "1")
    assert ran.code == 1
    assert "is the server running" in ran.err


def test_a_webhook_is_removed(demo: Cli) -> None:
    made = added(demo)
    assert demo("webhook", "remove", made["id"], *DEMO).code == 2
    assert demo("webhook", "remove", made["id"], *DEMO, "--yes").code == 0
    assert demo("webhook", "list", *DEMO).out == "no webhooks\n"
