"""rm, disable, enable and rename: what they would do, the question, the receipt, and that others keep theirs."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from inbox.base.errors import ConfigError
from inbox.cli import changing, tenant_changes
from inbox.cli.account_changes import alias_key
from inbox.cli.context import CommandFailed
from inbox.mail.content import MemoryContent
from inbox.policy.tenant_files import copy_policy
from inbox.store.blobs.local import LocalBlobs
from tests.support.cli import Cli
from tests.support.store import email, indexed

#: Each test takes long by itself or with its setup: `make check` leaves them out.
pytestmark = pytest.mark.slow


@pytest.fixture
def full(cli: Cli) -> Cli:
    """The tenant demo with ann, bob, two aliases and mail, and the tenant other with oscar and mail."""
    (cli.folder / "policies" / "tenants").mkdir(parents=True)
    (cli.folder / "policies" / "default.yaml").write_text("plugins:\n  recipients: {}\n")
    (cli.folder / "policies" / "tenants" / "demo.yaml").write_text(
        "# of demo\naccounts:\n  ann@demo.test: {thresholds: {quarantine: 9}}\n"
    )
    cli.demo()
    cli("account", "add", "bob@demo.test", "--password-stdin", stdin="correct horse\n")
    cli("alias", "add", "info@demo.test", "ann@demo.test", "bob@demo.test")
    cli("alias", "add", "desk@demo.test", "info@demo.test")
    cli("tenant", "add", "other")
    cli("domain", "add", "other", "other.test")
    cli("account", "add", "oscar@other.test", "--password-stdin", stdin="correct horse\n")
    cli("alias", "add", "team@other.test", "oscar@other.test")
    asyncio.run(fill(cli, "ann@demo.test", 3))
    asyncio.run(fill(cli, "oscar@other.test", 2))
    return cli


async def fill(cli: Cli, address: str, count: int) -> None:
    """Files mails with their blobs."""
    from inbox.base.clock import SystemClock
    from inbox.base.ids import RandomIds
    from inbox.store.ports.ingest import Indexed
    from inbox.store.sqlite import SqliteDatabase

    clock = SystemClock()
    db = SqliteDatabase(cli.folder / "data" / "inbox.db", clock, RandomIds(clock.now))
    blobs = LocalBlobs(cli.folder / "data" / "incoming")
    await db.open()
    await blobs.open()
    account = await db.accounts.by_address(address)
    assert account is not None
    box = await db.mailboxes.by_name(account.tenant, account.id, "INBOX")
    assert box is not None
    for _ in range(count):
        mail = email(account.tenant)
        await blobs.put(mail.blob_path, MemoryContent(b"Subject: x\r\n\r\n"))
        await db.writer.write(Indexed((indexed(mail, box.id),)))
    await blobs.close()
    await db.close()


def files(cli: Cli) -> int:
    return sum(path.suffix == ".eml" for path in (cli.folder / "data" / "incoming").rglob("*"))


def others(cli: Cli) -> list[Any]:
    """The data of the tenant other."""
    listed = [cli(kind, "list", "--tenant", "other", "--json").json for kind in ("domain", "account", "alias")]
    return [*listed, cli("mailbox", "list", "--tenant", "other", "--json").json]


def test_nothing_changes_without_a_yes(full: Cli) -> None:
    before = others(full), full("account", "list", "--json").json
    for command in (
        ("tenant", "rm", "demo", "--recursive"), ("tenant", "disable", "demo"), ("tenant", "rename", "demo", "new"),
        ("domain", "rm", "demo.test", "--recursive"), ("domain", "disable", "demo.test"),
        ("domain", "rename", "demo.test", "new.test"), ("account", "rm", "ann@demo.test", "--recursive"),
        ("account", "disable", "ann@demo.test"), ("account", "rename", "ann@demo.test", "anna@demo.test"),
        ("alias", "rm", "desk@demo.test"),
    ):  # fmt: skip
        ran = full(*command)
        assert (ran.code, ran.out) == (2, ""), command
        assert "--yes" in ran.err
        assert full(*command, "--dry-run").code == 0, command
        assert full(*command, "--dry-run", "--json").json["dry_run"] is True
    assert (others(full), full("account", "list", "--json").json) == before
    assert files(full) == 5


def test_the_question_is_answered_at_a_terminal(full: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    change = changing.Change("remove", "account", "ann@demo.test", "demo")
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    asked: list[str] = []

    def answer(text: str) -> bool:
        asked.append(text)
        return len(asked) == 1

    monkeypatch.setattr("typer.confirm", answer)
    change.ask(False, "deletes 3 messages permanently")
    assert asked == ["remove account ann@demo.test? This deletes 3 messages permanently."]
    with pytest.raises(CommandFailed):
        change.ask(False, "deletes 3 messages permanently")


def test_a_dry_run_counts(full: Cli) -> None:
    values = full("tenant", "rm", "demo", "--dry-run", "--json").json
    assert values["holds"] == {
        "domains": 1, "accounts": 2, "aliases": 3, "mailboxes": 12, "messages": 3,
        "octets": values["holds"]["octets"], "dkim_keys": 0, "reports": 0, "decisions": 0, "jobs": 0,
            "plugin_state": 0,
    }  # fmt: skip
    assert values["decision_records"].startswith("kept")
    out = full("tenant", "rm", "demo", "--dry-run").out
    assert "would remove tenant demo" in out
    assert "1 domains, 2 accounts, 3 aliases, 12 mailboxes, 3 messages" in out


def test_an_account_goes_with_its_mail(full: Cli) -> None:
    before = others(full)
    refused = full("account", "rm", "ann@demo.test", "--yes")
    assert refused.code == 1
    assert "alias info@demo.test" in refused.err
    assert "--recursive" in refused.err
    ran = full("account", "rm", "Ann@demo.test", "--recursive", "--yes", "--json")
    receipt = ran.json
    assert (receipt["action"], receipt["name"], receipt["tenant"]) == ("remove", "ann@demo.test", "demo")
    assert (receipt["removed"]["messages"], receipt["removed"]["aliases"], receipt["blobs"]) == (3, 1, 3)
    assert receipt["at"].endswith("Z")
    # Its policy has an entry of its own, which is the operator's to remove.
    assert "still names ann@demo.test" in ran.err
    assert [row["address"] for row in full("account", "list", "--tenant", "demo", "--json").json] == ["bob@demo.test"]
    assert files(full) == 2
    assert others(full) == before
    assert full("account", "rm", "ann@demo.test", "--yes").code == 1


def test_a_tenant_goes_with_everything(full: Cli) -> None:
    before = others(full)
    assert "1 domains, 2 accounts, 3 aliases, 3 messages" in full("tenant", "rm", "demo", "--yes").err
    ran = full("tenant", "rm", "demo", "--recursive", "--yes")
    assert ran.code == 0
    assert "removed tenant demo" in ran.out
    assert "blobs: 3" in ran.out
    assert "decision records: kept" in ran.out
    assert [row["name"] for row in full("tenant", "list", "--json").json] == ["other"]
    # A later tenant of this name begins with the default policy.
    policies = full.folder / "policies" / "tenants"
    assert [path.name for path in policies.iterdir()] == ["demo.yaml.removed"]
    assert full("policy", "check").code == 0
    assert files(full) == 2
    assert others(full) == before
    assert full("tenant", "rm", "demo", "--yes").code == 1
    full.demo()


def test_a_domain_goes_with_everything(full: Cli) -> None:
    before = others(full)
    assert full("domain", "rm", "demo.test", "--yes").code == 1
    ran = full("domain", "rm", "DEMO.test", "--recursive", "--yes", "--json")
    assert ran.json["removed"]["accounts"] == 2
    assert full("domain", "list", "--tenant", "demo", "--json").json == []
    assert others(full) == before
    assert full("domain", "rm", "demo.test", "--yes").code == 1
    # An empty one needs no --recursive.
    full("domain", "add", "demo", "second.test")
    assert full("domain", "rm", "second.test", "--yes").code == 0


def test_a_disabled_object_is_enabled_again(full: Cli) -> None:
    for kind, name in (("tenant", "demo"), ("domain", "demo.test"), ("account", "ann@demo.test")):
        assert full(kind, "disable", name, "--dry-run", "--json").json["changes"] is True
        assert full(kind, "disable", name, "--yes", "--json").json["changed"] is True
        assert full(kind, "disable", name, "--yes", "--json").json["changed"] is False
        active = {row.get("name") or row.get("domain") or row["address"]: row["active"]
                  for row in full(kind, "list", "--json").json}  # fmt: skip
        assert [one for one, on in active.items() if not on] == [name]
        assert full(kind, "enable", name, "--dry-run").code == 0
        assert full(kind, "enable", name).out.startswith(f"enabled {kind} {name}")
        assert all(row["active"] for row in full(kind, "list", "--json").json)
    for kind, name in (("tenant", "nobody"), ("domain", "nowhere.test"), ("account", "nobody@demo.test")):
        assert full(kind, "disable", name, "--yes").code == 1


def test_a_tenants_policy_file_moves_with_its_name(full: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    before = others(full)
    policies = full.folder / "policies" / "tenants"
    assert full("tenant", "rename", "demo", "other", "--yes").code == 1
    assert full("tenant", "rename", "demo", "No Name", "--yes").code == 2
    assert full("tenant", "rename", "nobody", "new", "--yes").code == 1
    assert [path.name for path in policies.iterdir()] == ["demo.yaml"]
    (policies / "fresh.yaml").write_text("# somebody's\n")
    assert "fresh.yaml is another tenant's policy" in full("tenant", "rename", "demo", "fresh", "--yes").err
    ran = full("tenant", "rename", "demo", "new", "--yes")
    assert ran.code == 0
    assert sorted(row["name"] for row in full("tenant", "list", "--json").json) == ["new", "other"]
    assert (policies / "new.yaml").read_text().startswith("# of demo")
    assert not (policies / "demo.yaml").exists()
    assert others(full) == before
    # A run that was interrupted after the name had changed is finished by the next one.
    (policies / "demo.yaml").write_text((policies / "new.yaml").read_text())
    assert full("tenant", "rename", "demo", "new", "--yes").code == 0
    assert not (policies / "demo.yaml").exists()


def test_a_running_server_reloads_before_the_old_policy_goes(full: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    policies = full.folder / "policies" / "tenants"
    calls: list[tuple[str, list[str]]] = []

    class Running:
        def running(self) -> bool:
            return True

        def call(self, method: str, path: str) -> None:
            calls.append((path, sorted(each.name for each in policies.iterdir())))

    monkeypatch.setattr(tenant_changes, "server", Running)
    monkeypatch.setattr(tenant_changes, "SETTLED_SECONDS", 0)
    assert full("tenant", "rename", "demo", "new", "--yes").code == 0
    assert calls == [("/reload", ["demo.yaml", "new.yaml"]), ("/reload", ["new.yaml"])]


def test_a_policy_that_cannot_be_written_stops_the_renaming(tmp_path: Path) -> None:
    assert copy_policy(tmp_path, "demo", "new") is None
    (tmp_path / "tenants").mkdir()
    (tmp_path / "tenants" / "demo.yaml").write_bytes(b"\xff")
    with pytest.raises(ConfigError):
        copy_policy(tmp_path, "demo", "new")


def test_an_account_keeps_its_mail_under_its_new_address(full: Cli) -> None:
    assert full("account", "rename", "ann@demo.test", "bob@demo.test", "--yes").code == 1
    ran = full("account", "rename", "ann@demo.test", "anna@demo.test", "--keep-alias", "--yes")
    assert ran.code == 0
    assert "still names ann@demo.test" in ran.err
    boxes = full("mailbox", "list", "--account", "anna@demo.test", "--json").json
    assert sum(box["messages"] for box in boxes) == 3
    targets = {(row["address"], row["target"]) for row in full("alias", "list", "--tenant", "demo", "--json").json}
    assert {("ann@demo.test", "anna@demo.test"), ("info@demo.test", "anna@demo.test")} <= targets


def test_a_domain_moves_its_addresses(full: Cli) -> None:
    before = others(full)
    assert full("domain", "rename", "demo.test", "other.test", "--yes").code == 1
    receipt = full("domain", "rename", "demo.test", "new.test", "--yes", "--json").json
    assert (receipt["to"], receipt["moved"]) == ("new.test", {"addresses": 4})
    assert "dkim rotate new.test" in receipt["next"]
    rows = full("account", "list", "--tenant", "demo", "--json").json
    assert [row["address"] for row in rows] == ["ann@new.test", "bob@new.test"]
    assert [row["domain"] for row in full("domain", "list", "--tenant", "demo", "--json").json] == ["new.test"]
    assert others(full) == before


def test_an_alias_or_one_target_of_it_goes(full: Cli) -> None:
    assert full("alias", "rm", "info@demo.test", "ann@demo.test", "--yes", "--json").json["targets"] == [
        "ann@demo.test"
    ]
    refused = full("alias", "rm", "info@demo.test", "--yes")
    assert refused.code == 1
    assert "desk@demo.test" in refused.err
    assert full("alias", "rm", "info@demo.test", "--recursive", "--yes").code == 0
    assert full("alias", "list", "--tenant", "demo", "--json").json == []
    assert full("alias", "rm", "info@demo.test", "--yes").code == 1
    assert full("alias", "rm", "ann@demo.test", "--yes").code == 1


def test_a_receipt_is_in_words(full: Cli) -> None:
    assert "  targets: ann@demo.test\n" in full("alias", "rm", "info@demo.test", "ann@demo.test", "--yes").out
    assert "  changed: yes\n" in full("account", "disable", "ann@demo.test", "--yes").out


def test_a_catch_all_is_made_and_removed(full: Cli) -> None:
    assert full("alias", "add", "@DEMO.test", "ann@demo.test").code == 0
    assert "@demo.test" in [row["address"] for row in full("alias", "list", "--json").json]
    assert full("alias", "add", "@nowhere.test", "ann@demo.test").code == 1
    assert full("alias", "add", "x@demo.test", "@demo.test").code == 2
    assert full("alias", "rm", "@demo.test", "--yes").code == 0
    assert alias_key("@Bücher.test") == "@xn--bcher-kva.test"


def test_a_domains_postmaster_must_exist(full: Cli) -> None:
    assert full("domain", "set", "demo.test", "postmaster=nobody@demo.test").code == 1
    assert full("domain", "set", "demo.test", "postmaster=oscar@other.test").code == 1
    assert full("domain", "set", "demo.test", "postmaster=no address").code == 2
    ran = full("domain", "set", "demo.test", "postmaster=Info@demo.test")
    assert (ran.code, ran.err) == (0, "")
    rows = full("domain", "list", "--tenant", "demo", "--json").json
    assert rows[0]["overrides"] == {"postmaster": "info@demo.test"}


def test_a_removal_that_is_interrupted_says_how_to_continue(full: Cli, monkeypatch: pytest.MonkeyPatch) -> None:
    from inbox.base.errors import StoreUnavailable

    class Failing:
        async def open(self) -> None: ...

        async def close(self) -> None: ...

        async def delete(self, key: str) -> None:
            raise StoreUnavailable("the bucket is away")

    with monkeypatch.context() as away:
        away.setattr("inbox.app.wiring.stores.make_blobs", lambda config: Failing())
        ran = full("tenant", "rm", "demo", "--recursive", "--yes")
    assert ran.code == 1
    assert "to continue: inbox tenant rm demo --recursive --yes" in ran.err
    assert "the bucket is away" in ran.err
    assert full("tenant", "list", "--json").json[0]["active"] is False
    assert full("tenant", "rm", "demo", "--recursive", "--yes").code == 0
    assert [row["name"] for row in full("tenant", "list", "--json").json] == ["other"]


def test_a_domain_that_is_hosted_already_is_refused_before_anything_changes(full: Cli) -> None:
    for more in ("--yes", "--dry-run"):
        ran = full("domain", "rename", "demo.test", "other.test", more)
        assert (ran.code, ran.out, ran.err) == (1, "", "inbox: domain other.test is already hosted\n")
    ran = full("account", "rename", "ann@demo.test", "ann@other.test", "--yes")
    assert (ran.code, ran.err) == (1, "inbox: the tenant does not host the domain of ann@other.test\n")


def test_counts_of_zero_are_omitted() -> None:
    held = {"domains": 0, "accounts": 1, "octets": 1_500_000, "dkim_keys": 2}
    assert changing.counted(held) == "1 accounts, 1.5 MB of mail, 2 dkim keys"
    assert changing.counted({"domains": 0}) == "nothing"


def test_help_names_the_commands(cli: Cli) -> None:
    for kind in ("tenant", "domain", "account"):
        out = cli(kind, "--help").out
        assert all(name in out for name in ("rm", "disable", "enable", "rename"))
