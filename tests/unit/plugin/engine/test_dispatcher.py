"""The one place where hooks are called: order, verdicts, failures, shadow mode, reuse."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, cast

import pytest

from inbox.base.errors import InboxError
from inbox.plugin import (
    Accept,
    AddHeader,
    Defer,
    DeleteHeader,
    Delivery,
    Failure,
    FileInto,
    HookResult,
    Plugin,
    PluginSettings,
    Quarantine,
    Recipient,
    Redirect,
    Reject,
    Score,
    Services,
    Session,
    Shadow,
    Transaction,
    hookimpl,
)
from inbox.plugin.engine.dispatcher import Memo
from inbox.policy.outcome import StageOutcome, Status
from inbox.policy.stages import Stage
from tests.support.engine import Engine, delivery, make_recipient, make_session, transaction


@dataclass(frozen=True)
class First:
    value: int = 1


@dataclass(frozen=True)
class Second:
    value: int = 2


class Says(Plugin):
    """Answers what its settings say."""

    class Settings(PluginSettings):
        say: str = "nothing"

    _answers: dict[str, Any] = {  # noqa: RUF012  Never changed.
        "nothing": None, "accept": Accept(), "reject": Reject(text="no"), "defer": Defer(text="later"),
        "quarantine": Quarantine("odd"), "score": Score("S", 2.5), "header": AddHeader("X-A", "1"),
        "text": "nonsense", "file": FileInto("Junk"), "mixed": [Score("M", 1, group="g"), AddHeader("X-M", "1")],
        "shadow": Shadow(Reject()), "injection": AddHeader("X-A", "1\r\nX-B: 2"), "nan": Score("N", float("nan")),
    }  # fmt: skip

    def __init__(self, settings: Settings, services: Services) -> None:
        self.say = settings.say

    @hookimpl
    def data(self) -> HookResult:
        return self._answers[self.say]  # type: ignore[no-any-return]  # the table holds nonsense on purpose


class SaysLater(Says):
    @hookimpl
    async def data(self) -> HookResult:  # type: ignore[override]  # the same, but awaited
        await asyncio.sleep(0)
        return self._answers[self.say]  # type: ignore[no-any-return]  # as above


BOTH = {"a": Says, "b": Says, "c": SaysLater, "d": SaysLater}


def says(**what: str) -> str:
    return "plugins: {" + ", ".join(f"{name}: {{say: {say}}}" for name, say in what.items()) + "}\n"


@pytest.mark.parametrize(
    ("what", "verdict", "by"),
    [
        ({"a": "nothing", "b": "accept"}, Accept(), ""),
        ({"a": "quarantine", "b": "accept"}, Quarantine("odd"), "a"),
        ({"a": "quarantine", "b": "defer"}, Defer(text="later"), "b"),
        ({"c": "quarantine", "d": "defer"}, Defer(text="later"), "d"),
        ({"a": "defer", "c": "reject"}, Reject(text="no"), "c"),
        ({"a": "shadow"}, Accept(), ""),
    ],
)
async def test_the_strictest_verdict_wins(what: dict[str, str], verdict: object, by: str) -> None:
    outcome = await Engine(BOTH, says(**what)).data()
    assert (outcome.verdict, outcome.decided_by) == (verdict, by)


async def test_a_reject_ends_the_stage() -> None:
    outcome = await Engine(BOTH, says(a="reject", b="score", c="score")).data()
    assert [trace.status for trace in outcome.traces] == [Status.DONE, Status.SKIPPED, Status.SKIPPED]
    assert outcome.traces[1].why == "a had already decided"
    assert outcome.tally.scores == ()


class WritesAlways(Plugin):
    always = True

    @hookimpl
    def data(self) -> HookResult:
        return [AddHeader("X-Always", "1"), Reject(550, "5.7.1", "too late")]


class WaitsAlways(Plugin):
    always = True

    @hookimpl
    async def data(self) -> HookResult:
        return AddHeader("X-Later", "1")


async def test_an_always_plugin_edits_a_decided_message() -> None:
    plugins = {**BOTH, "writes": WritesAlways, "later": WaitsAlways}
    outcome = await Engine(plugins, "plugins: {a: {say: reject}, b: {say: score}, writes: {}, later: {}}").data()
    assert [(trace.entry.name, trace.status) for trace in outcome.traces] == [
        ("a", Status.DONE), ("b", Status.SKIPPED), ("writes", Status.DONE), ("later", Status.SKIPPED),
    ]  # fmt: skip
    assert (outcome.decided_by, outcome.edits) == ("a", (AddHeader("X-Always", "1"),))


class Least(SaysLater):
    """Waits forever if it is to give no answer; removes a field in any case."""

    def at_least(self, tx: Transaction) -> list[DeleteHeader]:
        assert tx.id == "t"
        return [DeleteHeader("X-Forged")]

    @hookimpl
    async def data(self) -> HookResult:  # type: ignore[override]  # awaited, as in SaysLater
        if self.say == "nothing":
            await asyncio.Event().wait()
        return [DeleteHeader("X-Forged"), AddHeader("X-A", "1")]


class LeastOnError(Least):
    on_error = "accept"

    @hookimpl
    async def data(self) -> HookResult:  # type: ignore[override]  # awaited, as in SaysLater
        if self.say == "nothing":
            raise OSError("nobody there")
        return object()  # type: ignore[return-value]  # nonsense on purpose


class LeastRefuses(Least):
    def at_least(self, tx: Transaction) -> Reject:  # type: ignore[override]  # a plugin that breaks the rule
        return Reject(550, "5.7.1", "once more")


class LeastFails(Least):
    def at_least(self, tx: Transaction) -> list[DeleteHeader]:
        raise KeyError(tx.id)


@pytest.mark.parametrize("text", ["plugins: {a: {say: reject}, x: {}}", "plugins: {c: {say: reject}, x: {}}"])
async def test_at_least_edits_apply_to_a_decided_message(text: str) -> None:
    """Whether it was not called, or was waiting beside the one who refused."""
    outcome = await Engine({**BOTH, "x": Least}, text).data()
    assert (outcome.verdict, outcome.edits) == (Reject(text="no"), (DeleteHeader("X-Forged"),))
    assert outcome.traces[-1].status is Status.SKIPPED
    assert outcome.traces[-1].opinions == (DeleteHeader("X-Forged"),)


@pytest.mark.parametrize(("say", "status"), [("nothing", Status.FAILED), ("score", Status.NONSENSE)])
async def test_at_least_edits_apply_when_the_plugin_fails(say: str, status: Status) -> None:
    engine = Engine({"x": LeastOnError}, f"plugins: {{x: {{say: {say}}}}}", failures=1)
    for expected in (status, Status.BROKEN):
        outcome = await engine.data()
        assert (outcome.verdict, outcome.edits) == (Accept(), (DeleteHeader("X-Forged"),))
        assert outcome.traces[0].status is expected


async def test_at_least_edits_apply_neither_twice_nor_in_shadow_mode() -> None:
    outcome = await Engine({"x": Least}, says(x="score")).data()
    assert outcome.edits == (DeleteHeader("X-Forged"), AddHeader("X-A", "1"))
    outcome = await Engine({**BOTH, "x": Least}, "plugins: {a: {say: reject}, x: {mode: shadow}}").data()
    assert (outcome.edits, len(outcome.traces[-1].opinions)) == ((), 1)


@pytest.mark.parametrize(
    ("plugin", "why"), [(LeastRefuses, "where it may only return edits"), (LeastFails, "KeyError")]
)
async def test_a_plugin_whose_at_least_fails_is_named(plugin: type, why: str) -> None:
    engine = Engine({**BOTH, "x": plugin}, "plugins: {a: {say: reject}, x: {}}")
    outcome = await engine.data()
    assert (outcome.decided_by, outcome.edits, outcome.traces[-1].opinions) == ("a", (), ())
    (logged,) = engine.log.named("plugin_failed")
    assert (logged["plugin"], logged["stage"]) == ("x", "at_least")
    assert why in logged["why"]


async def test_scores_and_edits_are_in_the_order_of_the_policy() -> None:
    text = says(d="mixed", b="header", a="score", c="mixed") + "groups: {g: {cap: 1.5}}\nthresholds: {tag: 4}"
    outcome = await Engine(BOTH, text).data()
    assert outcome.edits[:3] == (AddHeader("X-M", "1"), AddHeader("X-A", "1"), AddHeader("X-M", "1"))
    assert outcome.tally.total == 4
    assert outcome.tally.capped == (("g", 2),)
    assert outcome.action.tag
    assert AddHeader("X-Spam-Flag", "YES") in outcome.edits


async def test_a_threshold_is_a_verdict() -> None:
    outcome = await Engine(BOTH, says(a="score", c="score") + "thresholds: {junk: 2, quarantine: 5}").data()
    assert outcome.verdict == Quarantine("score 5 reached the threshold 5")
    assert (outcome.decided_by, outcome.action.junk) == ("score", True)


@pytest.mark.parametrize("name", ["a", "c"])
@pytest.mark.parametrize(
    ("say", "why"),
    [
        ("text", "returned str at data"),
        ("file", "returned FileInto at data"),
        ("injection", "X-A: the value must be one line"),
        ("nan", "N: points must be a finite number"),
    ],
)
async def test_nonsense_is_an_error_of_the_plugin(name: str, say: str, why: str) -> None:
    engine = Engine(BOTH, says(**{name: say}))
    outcome = await engine.data()
    assert isinstance(outcome.verdict, Defer)
    assert outcome.traces[0].status is Status.NONSENSE
    assert outcome.traces[0].why.startswith(why)
    assert [fields["plugin"] for fields in engine.log.named("plugin_failed")] == [name]


class Raises(Plugin):
    class Settings(PluginSettings):
        how: str = "error"

    def __init__(self, settings: Settings, services: Services) -> None:
        self.how = settings.how

    def _raise(self) -> HookResult:
        match self.how:
            case "exit":
                raise SystemExit(1)
            case "cancel":
                raise asyncio.CancelledError
            case "foreseen":
                raise InboxError("clamd is gone")
            case _:
                raise RuntimeError("boom")

    @hookimpl
    def data(self) -> HookResult:
        return self._raise()

    @hookimpl
    async def rcpt(self) -> HookResult:
        await asyncio.sleep(0)
        return self._raise()

    @hookimpl
    def bounce(self) -> HookResult:
        return self._raise()


@pytest.mark.parametrize("how", ["error", "exit", "cancel"])
async def test_whatever_a_plugin_raises_becomes_its_outcome(how: str) -> None:
    engine = Engine({"bad": Raises}, f"plugins: {{bad: {{how: {how}}}}}")
    for outcome in (await engine.data(), await engine.rcpt()):
        assert outcome.verdict == Defer(451, "4.3.0", "Local problem, try again later")
        assert outcome.failures[0].status is Status.FAILED
    assert len(engine.log.named("plugin_failed")) == 2


async def test_an_expected_error_is_logged_without_a_traceback_and_counted() -> None:
    engine = Engine({"bad": Raises}, "plugins: {bad: {how: foreseen}}")
    assert engine.instances.failing() == []
    await engine.data()
    (line,) = engine.log.named("plugin_failed")
    assert line["exc_info"] is None
    assert line["why"] == "InboxError: clamd is gone"
    (failing,) = engine.instances.failing()
    assert (failing["plugin"], failing["failures"], failing["breaker"]) == ("bad", 1, "closed")
    assert failing["why"] == "InboxError: clamd is gone"
    for _ in range(4):
        await engine.data()
    assert engine.instances.failing()[0]["breaker"] == "open"


@pytest.mark.parametrize(
    ("on_error", "data", "rcpt"),
    [
        ("accept", Accept, Accept),
        ("reject", Reject, Reject),
        ("quarantine", Quarantine, Defer),
        ("{data: reject}", Reject, Defer),
        ("{rcpt: accept, data: quarantine}", Quarantine, Accept),
    ],
)
async def test_on_error_is_declared_by_stage(on_error: str, data: type, rcpt: type) -> None:
    engine = Engine({"bad": Raises}, f"plugins: {{bad: {{on_error: {on_error}}}}}")
    assert type((await engine.data()).verdict) is data
    assert type((await engine.rcpt()).verdict) is rcpt
    bounced = await engine.run(Stage.BOUNCE, failure=Failure(delivery(), 550, "5.1.1", "no such user"))
    assert bounced.verdict == Accept()
    assert bounced.failures[0].why == "RuntimeError: boom"


class Waits(Plugin):
    """Never answers, unless it is cancelled; then it may go on waiting."""

    class Settings(PluginSettings):
        stubborn: bool = False

    def __init__(self, settings: Settings, services: Services) -> None:
        self.settings = settings
        self.cancelled = 0
        self.waiting = False

    @hookimpl
    async def data(self) -> HookResult:
        self.waiting = True
        while True:
            try:
                await asyncio.get_running_loop().create_future()
            except asyncio.CancelledError:
                self.cancelled += 1
                if not self.settings.stubborn:
                    raise


class Finishes(Plugin):
    """Swallows its cancellation and answers late."""

    @hookimpl
    async def data(self) -> HookResult:
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            return Reject()
        return None


@pytest.mark.parametrize("plugins", [("waits",), ("waits", "more")])
async def test_late_is_an_error(plugins: tuple[str, ...]) -> None:
    text = "plugins: {" + ", ".join(f"{name}: {{timeout: 0.01}}" for name in plugins) + "}"
    outcome = await Engine(dict.fromkeys(plugins, Waits), text).data()
    assert isinstance(outcome.verdict, Defer)
    assert {trace.status for trace in outcome.traces} == {Status.LATE}
    assert outcome.traces[0].why == "no answer within 0.01 s"


async def test_an_answer_that_comes_too_late_does_not_count() -> None:
    outcome = await Engine({"f": Finishes}, "plugins: {f: {timeout: 0.01}}").data()
    assert isinstance(outcome.verdict, Defer)
    assert outcome.traces[0].status is Status.LATE


async def test_cancelling_the_stage_cancels_the_hooks() -> None:
    engine = Engine({"one": Waits, "two": Waits})
    task = asyncio.ensure_future(engine.data())
    await asyncio.sleep(0)
    plugins = [cast(Waits, instance.plugin) for instance in engine.instances.living()]
    while not all(plugin.waiting for plugin in plugins):
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert [plugin.cancelled for plugin in plugins] == [1, 1]
    assert engine.log.named("plugin_failed") == []


async def test_a_reject_cancels_those_who_still_wait() -> None:
    engine = Engine({"waits": Waits, "c": SaysLater}, "plugins: {waits: {}, c: {say: reject}}")
    outcome = await engine.data()
    assert outcome.decided_by == "c"
    assert [(trace.entry.name, trace.status) for trace in outcome.traces] == [
        ("waits", Status.SKIPPED), ("c", Status.DONE),
    ]  # fmt: skip


class GivesFirst(Plugin):
    gives = (First,)

    @hookimpl
    async def data(self, tx: Transaction) -> HookResult:
        await asyncio.sleep(0)
        tx.facts.put(First())
        return None


class NeedsFirst(Plugin):
    needs = (First,)
    gives = (Second,)

    @hookimpl
    def data(self, tx: Transaction) -> HookResult:
        first = tx.facts.get(First)
        tx.facts.put(Second(first.value if first else 0))
        return None


class ReadsBoth(Plugin):
    after = (First, Second)

    @hookimpl
    def data(self, tx: Transaction) -> HookResult:
        return [Score(fact.__name__, 1) for fact in (First, Second) if tx.facts.get(fact)]


class Undeclared(Plugin):
    @hookimpl
    def data(self, tx: Transaction) -> HookResult:
        tx.facts.put(First())
        return None


CHAIN = {"reads": ReadsBoth, "needs": NeedsFirst, "gives": GivesFirst}


async def test_facts_decide_the_order_and_are_recorded() -> None:
    outcome = await Engine(CHAIN).data()
    assert [trace.entry.name for trace in outcome.traces] == ["gives", "needs", "reads"]
    assert [trace.facts for trace in outcome.traces] == [(First(),), (Second(1),), ()]
    assert outcome.tally.total == 2


async def test_facts_of_shadowed_plugins_are_for_shadowed_plugins() -> None:
    text = "plugins: {reads: {}, needs: {mode: shadow}, gives: {mode: shadow}}"
    tx = transaction()
    outcome = await Engine(CHAIN, text).data(tx)
    facts = {trace.entry.name: trace.facts for trace in outcome.traces}
    assert facts == {"gives": (First(),), "needs": (Second(1),), "reads": ()}
    assert tx.facts.get(First) is None
    assert outcome.tally.total == 0


async def test_an_undeclared_fact_is_an_error() -> None:
    engine = Engine({"u": Undeclared})
    outcome = await engine.data()
    assert outcome.traces[0].why == "put First, which is not in its gives"
    assert isinstance(outcome.verdict, Defer)


@pytest.mark.parametrize("say", ["reject", "score", "header", "text"])
async def test_shadow_mode_enforces_nothing(say: str) -> None:
    engine = Engine(BOTH, f"plugins: {{a: {{say: {say}, mode: shadow}}}}\nthresholds: {{tag: 1, reject: 2}}")
    outcome = await engine.data()
    assert (outcome.verdict, outcome.edits, outcome.tally.total) == (Accept(), (), 0)
    assert len(outcome.traces[0].opinions) == 1


async def test_a_tenant_in_shadow_mode_is_judged_and_let_through() -> None:
    outcome = await Engine(BOTH, "mode: shadow\n" + says(a="reject", b="quarantine")).data()
    assert outcome.verdict == Accept()
    assert [trace.status for trace in outcome.traces] == [Status.DONE, Status.DONE]


async def test_a_breaker_spares_a_failing_dependency() -> None:
    engine = Engine({"bad": Raises}, failures=2)
    for _ in range(2):
        await engine.data()
    outcome = await engine.data()
    assert outcome.traces[0].status is Status.BROKEN
    assert outcome.traces[0].why == "not called after several failures; the last: RuntimeError: boom"
    assert isinstance(outcome.verdict, Defer)
    assert [fields["breaker"] for fields in engine.log.named("plugin_failed")] == ["closed", "open"]
    engine.clock.advance(30)
    assert (await engine.data()).traces[0].status is Status.FAILED
    assert (await engine.data()).traces[0].status is Status.BROKEN


class Takes(Plugin):
    """Takes its time, and tells which dependency it waits for."""

    dependency = "the same"
    _there: asyncio.Event

    @hookimpl
    async def data(self) -> HookResult:
        await self._there.wait()
        return None


async def test_a_tenants_short_time_out_does_not_break_the_plugin_for_others() -> None:
    Takes._there = asyncio.Event()
    engine = Engine({"takes": Takes}, failures=2)
    hasty = engine.policy("plugins: {takes: {timeout: 0.00001}}")
    for status in (Status.LATE, Status.LATE, Status.BROKEN):
        assert (await engine.data(policy=hasty)).traces[0].status is status
    Takes._there.set()
    assert (await engine.data()).traces[0].status is Status.DONE


class Counts(Plugin):
    shareable = True
    gives = (First,)
    _calls = 0

    @hookimpl
    async def data(self, tx: Transaction) -> HookResult:
        type(self)._calls += 1
        tx.facts.put(First(self._calls))
        return Score("C", 1)


async def test_results_are_reused_for_another_tenant_of_the_same_message() -> None:
    engine, memo = Engine({"counts": Counts}), Memo()
    Counts._calls = 0
    first = await engine.data(memo=memo)
    tx = transaction()
    other = await engine.data(tx, policy=engine.policy("plugins: {counts: {}}\nthresholds: {tag: 1}"), memo=memo)
    assert Counts._calls == 1
    assert (first.traces[0].status, other.traces[0].status) == (Status.DONE, Status.REUSED)
    assert tx.facts.get(First) == First(1)
    assert other.traces[0].facts == (First(1),)
    assert other.action.tag
    await engine.data(memo=Memo())
    assert Counts._calls == 2


async def test_a_result_that_contradicts_what_is_known_here_is_not_reused() -> None:
    engine, memo = Engine({"counts": Counts}, "plugins: {counts: {on_error: reject}}"), Memo()
    Counts._calls = 0
    await engine.data(memo=memo)
    tx = transaction()
    tx.facts.put(First(9))
    again = await engine.data(tx, memo=memo)
    assert Counts._calls == 2
    assert again.traces[0].why == "ValueError: First is known already"


class Slow(Counts):
    """Waits for ``_gate``; the first ``_fails`` calls raise."""

    _gate: asyncio.Event
    _fails = 0

    @hookimpl
    async def data(self, tx: Transaction) -> HookResult:
        type(self)._calls += 1
        number = self._calls
        await self._gate.wait()
        if number <= self._fails:
            raise RuntimeError("boom")
        tx.facts.put(First(1))
        return Score("C", 1)


async def judged_at_once(engine: Engine, tenants: int, memo: Memo) -> list[StageOutcome]:
    """The outcomes for several tenants of one message, judged as the flow does it."""
    Slow._calls, Slow._gate = 0, asyncio.Event()
    judging = [asyncio.ensure_future(engine.data(memo=memo)) for _ in range(tenants)]
    while not Slow._calls:
        await asyncio.sleep(0)
    Slow._gate.set()
    return list(await asyncio.gather(*judging))


async def test_tenants_that_are_judged_at_once_share_one_call() -> None:
    memo = Memo()
    Slow._fails = 0
    outcomes = await judged_at_once(Engine({"slow": Slow}), 50, memo)
    assert Slow._calls == 1
    assert [each.traces[0].status for each in outcomes] == [Status.DONE] + [Status.REUSED] * 49
    assert all(each.tally.total == 1 and each.traces[0].facts == (First(1),) for each in outcomes)
    assert not memo.underway


async def test_a_hook_that_failed_for_one_tenant_is_called_again_for_the_others() -> None:
    memo = Memo()
    Slow._fails = 1
    outcomes = await judged_at_once(Engine({"slow": Slow}), 3, memo)
    assert Slow._calls > 1
    assert outcomes[0].traces[0].status is Status.FAILED
    assert [each.tally.total for each in outcomes[1:]] == [1, 1]
    assert not memo.underway


class ForgetsToAwait(Plugin):
    @hookimpl
    def data(self) -> HookResult:
        return asyncio.sleep(0)  # type: ignore[return-value]  # what is tested


async def test_a_coroutine_is_no_answer() -> None:
    outcome = await Engine({"f": ForgetsToAwait}).data()
    assert outcome.traces[0].status is Status.NONSENSE
    assert outcome.traces[0].why.startswith("returned coroutine at data")


class Everywhere(Plugin):
    @hookimpl
    def connect(self, session: Session) -> HookResult:
        return Reject(text=session.id)

    @hookimpl
    def rcpt(self, recipient: Recipient, tx: Transaction) -> HookResult:
        return Redirect(f"{tx.id}@{recipient.address.domain}")

    @hookimpl
    def store(self, delivery: Delivery) -> HookResult:
        return FileInto("Archive")


async def test_each_stage_has_its_arguments_and_its_words() -> None:
    engine = Engine({"e": Everywhere})
    assert (await engine.run(Stage.CONNECT, session=make_session())).verdict == Reject(text="s")
    redirected = await engine.run(Stage.RCPT, tx=transaction(), recipient=make_recipient())
    assert redirected.verdict == Redirect("t@demo.test")
    assert (await engine.run(Stage.STORE, delivery=delivery())).edits == (FileInto("Archive"),)
    assert (await engine.run(Stage.HELO, session=make_session())).traces == ()


class Unmakeable(Plugin):
    _made = 0

    def __init__(self, settings: PluginSettings, services: Services) -> None:
        type(self)._made += 1
        if self._made == 1:
            raise OSError("no license")

    @hookimpl
    def data(self) -> HookResult:
        return Score("OK", 1)


async def test_a_plugin_that_cannot_be_made_fails_and_is_tried_again() -> None:
    Unmakeable._made = 0
    engine = Engine({"u": Unmakeable})
    assert (await engine.data()).traces[0].why == "OSError: no license"
    assert (await engine.data()).tally.total == 1


class Starts(Plugin):
    _log: list[str] = []  # noqa: RUF012  Emptied by the test.

    def __init__(self, settings: PluginSettings, services: Services) -> None:
        pass

    async def start(self) -> None:
        self._log.append("start")

    async def close(self) -> None:
        self._log.append("close")

    @hookimpl
    def data(self) -> HookResult:
        self._log.append("data")
        return None


async def test_plugins_are_started_once_and_closed() -> None:
    Starts._log.clear()
    engine = Engine({"s": Starts})
    await asyncio.gather(engine.data(), engine.data())
    await engine.instances.close()
    assert Starts._log == ["start", "data", "data", "close"]


async def test_plugins_that_no_policy_uses_any_more_are_closed() -> None:
    Starts._log.clear()
    engine = Engine({"s": Starts})
    old = engine.policies
    await engine.data()
    engine.policies = engine.policies.reload(["default.yaml"], {"default.yaml": b"plugins: {}"})
    await engine.instances.close_retired()
    assert Starts._log == ["start", "data"], "somebody holds the old policy still"
    del old
    await engine.instances.close_retired()
    assert Starts._log == ["start", "data", "close"]
