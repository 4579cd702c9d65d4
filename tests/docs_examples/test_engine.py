"""Settings, order, errors and life of a plugin: docs/plugins.md shows these tests."""

from __future__ import annotations

from pathlib import Path
from types import MappingProxyType

import pytest
from pydantic import Field

from inbox.plugin import (
    Accept,
    Defer,
    DeleteHeader,
    Edit,
    Plugin,
    PluginInvalid,
    PluginSettings,
    Quarantine,
    Recipient,
    Reject,
    Score,
    Secret,
    Services,
    Stage,
    Transaction,
    hookimpl,
)
from inbox.plugin.testing import PluginTest, PolicyMistakes, Status, load


class LimitSettings(PluginSettings):
    """Each field has a type, a default, bounds, and a sentence for the operator."""

    limit: int = Field(
        10,
        ge=1,
        le=1000,
        description="Messages an hour.",
        json_schema_extra={"env": "SMTP_INBOUND_MAX_RCPT_TO"},
        examples=[25],
    )
    strict: bool = Field(False, description="Refuse the rest.", json_schema_extra={"domain_field": "require_spf_pass"})
    key: Secret = Field(description="Key of the service.")


class Limit(Plugin):
    Settings = LimitSettings

    def __init__(self, settings: LimitSettings, services: Services) -> None:
        self.settings = settings

    @hookimpl
    def data(self, tx: Transaction) -> Score:
        return Score("LIMIT", self.settings.limit, self.settings.key.get_secret_value()[:0])


async def test_settings(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("s3cret\n")
    key = {"key": {"file": str(tmp_path / "key")}}
    assert (await PluginTest(Limit, key).data()).total == 10
    assert (await PluginTest(Limit, key, environment={"SMTP_INBOUND_MAX_RCPT_TO": 20}).data()).total == 20
    assert (
        await PluginTest(Limit, key | {"limit": 30}, environment={"SMTP_INBOUND_MAX_RCPT_TO": 20}).data()
    ).total == 30
    assert "s3cret" not in repr(PluginTest(Limit, {"key": "s3cret"}).policy)
    for wrong in ({"limit": 0}, {"limti": 5}, {"limit": "many"}, {"key": {"file": "/nowhere"}}):
        with pytest.raises(PolicyMistakes):
            PluginTest(Limit, key | wrong)


class Everything(Plugin):
    """Every attribute that the engine reads."""

    gives = ()
    needs = ()
    after = ()
    essential = False
    shareable = True
    always = False
    on_error = MappingProxyType({"data": "quarantine", "rcpt": "accept"})
    timeout = 5.0
    dependency = "https://service.example"

    async def start(self) -> None:
        """Opens what the hooks need."""

    async def check(self) -> str:
        """Asked by ``inbox doctor``. Raises if the plugin could not work."""
        return "the service answers"

    async def close(self) -> None:
        """Closes what ``start`` opened."""

    @hookimpl
    def data(self, tx: Transaction) -> None:
        raise RuntimeError("broken")

    @hookimpl
    def rcpt(self, recipient: Recipient) -> None:
        raise RuntimeError("broken")

    def at_least(self, tx: Transaction) -> list[Edit]:
        """The edits to make even though ``data`` failed or was not called."""
        return [DeleteHeader("X-Forged")]


class Misspelt(Plugin):
    on_eror = "accept"

    @hookimpl
    def data(self, tx: Transaction) -> Score:
        return Score("CAPITALS", self.points(tx))

    def points(self, tx: Transaction) -> float:
        return 1.0 if tx.message is not None and tx.message.subject.isupper() else 0.0


def test_a_misspelt_name_is_refused() -> None:
    with pytest.raises(PluginInvalid) as caught:
        load(Misspelt)
    assert str(caught.value).startswith(f"class Misspelt in {__file__}: on_eror: unknown attribute")
    assert "did you mean on_error?" in str(caught.value)
    assert "the plugin's own names must start with an underscore: _points" in str(caught.value)


async def test_an_error_becomes_what_on_error_says() -> None:
    test = PluginTest(Everything, errors="outcome")
    at_data = await test.data()
    assert at_data.verdict == Quarantine("everything could not check the message")
    assert at_data.edits == [DeleteHeader("X-Forged")], "what the plugin does at least"
    assert (await test.rcpt()).verdict == Accept()
    assert at_data.trace.status is Status.FAILED
    assert at_data.trace.why == "RuntimeError: broken"
    assert [event["on_error"] for event in test.log.named("plugin_failed")] == ["quarantine", "accept"]


async def test_the_policy_has_the_last_word_on_errors() -> None:
    test = PluginTest(Everything, {"on_error": "defer", "timeout": 2}, errors="outcome")
    assert (await test.data()).verdict == Defer(451, "4.3.0", "Local problem, try again later")


async def test_the_breaker_opens_after_five_failures() -> None:
    test = PluginTest(Everything, errors="outcome")
    for _ in range(5):
        assert (await test.data()).trace.status is Status.FAILED
    broken = (await test.data()).trace
    assert broken.status is Status.BROKEN
    assert broken.why == "not called after several failures; the last: RuntimeError: broken"
    test.clock.advance(30)
    assert (await test.data()).trace.status is Status.FAILED, "after 30 seconds one call is let through"


class Judge(Plugin):
    @hookimpl
    def data(self, tx: Transaction) -> Reject:
        return Reject(550, "5.7.1", "No")


async def test_shadow_mode_records_and_enforces_nothing() -> None:
    outcome = await PluginTest(Judge, {"mode": "shadow"}).data()
    assert outcome.verdict == Accept()
    assert outcome.trace.opinions == (Reject(550, "5.7.1", "No"),)


class Kept(Plugin):
    """State of a plugin: bounded memory of this process, without messages."""

    def __init__(self, settings: PluginSettings, services: Services) -> None:
        self.seen: dict[str, int] = {}

    @hookimpl
    def data(self, tx: Transaction) -> Score | None:
        # Tenants with the same settings share this object: the key says whose knowledge it is.
        key = f"{tx.tenant} {tx.sender.key if tx.sender is not None else '<>'}"
        count = self.seen.pop(key, 0) + 1
        if len(self.seen) >= 10_000:
            del self.seen[next(iter(self.seen))]  # the one that was seen longest ago
        self.seen[key] = count
        return Score("FIRST_CONTACT", 0.5) if count == 1 else None


async def test_memory_lasts_as_long_as_the_object() -> None:
    test = PluginTest(Kept)
    assert (await test.data(sender="bob@elsewhere.test")).symbols == {"FIRST_CONTACT": 0.5}
    assert (await test.data(sender="bob@elsewhere.test")).symbols == {}
    other = test.transaction(sender="bob@elsewhere.test", eml=b"\r\n")
    other.tenant = "another"
    assert (await test.run(Stage.DATA, tx=other)).symbols == {"FIRST_CONTACT": 0.5}, "tenants learn for themselves"
    assert (await PluginTest(Kept).data(sender="bob@elsewhere.test")).symbols == {"FIRST_CONTACT": 0.5}


async def test_start_and_close() -> None:
    events: list[str] = []

    class Opens(Plugin):
        async def start(self) -> None:
            events.append("start")

        async def close(self) -> None:
            events.append("close")

        @hookimpl
        def data(self, tx: Transaction) -> None:
            events.append("data")

    test = PluginTest(Opens)
    await test.data()
    await test.data()
    await test.close()
    assert events == ["start", "data", "data", "close"]


def test_files_cannot_import_one_another(tmp_path: Path) -> None:
    source = (
        "from inbox.plugin import Plugin, hookimpl\n"
        "class A(Plugin):\n    @hookimpl\n    def connect(self, session): pass\n"
    )
    (tmp_path / "first.py").write_text(source)
    (tmp_path / "second.py").write_text("import first\n" + source)
    assert load(tmp_path / "first.py").name == "first"
    with pytest.raises(PluginInvalid, match="line 1: ModuleNotFoundError: No module named 'first'"):
        load(tmp_path / "second.py")


def test_loaded_plugins() -> None:
    plugin = load(Everything)
    assert (plugin.shareable, plugin.at_least, plugin.timeout) == (True, True, 5.0)
    assert {stage.value for stage in plugin.stages} == {"rcpt", "data"}
