"""The policy's action for a result."""

from __future__ import annotations

import pytest
from pydantic import TypeAdapter, ValidationError

from inbox.plugin import Defer, Quarantine, Reject, Result, Score, ScoreAction, action_for, opinion_of
from inbox.plugin.api.results import REQUIRED, Action
from inbox.policy.verdicts import AddHeader, Opinion

ADAPTER: TypeAdapter[Action] = TypeAdapter(Action)


def test_every_result_has_an_action_when_a_pass_is_required() -> None:
    assert set(REQUIRED) == set(Result)
    assert [result for result in Result if REQUIRED[result] == "ignore"] == [Result.PASS]
    assert [result for result in Result if REQUIRED[result] == "defer"] == [Result.TEMPERROR]


@pytest.mark.parametrize(
    ("named", "require_pass", "domain", "expected"),
    [
        ({}, False, None, "ignore"),
        ({}, True, None, "reject"),
        ({Result.FAIL: "tag"}, True, None, "tag"),
        ({Result.FAIL: "tag"}, False, True, "reject"),
        ({}, True, False, "ignore"),
        ({Result.FAIL: "quarantine"}, True, False, "quarantine"),
    ],
)
def test_the_domain_field_is_the_last_word(
    named: dict[Result, Action], require_pass: bool, domain: bool | None, expected: Action
) -> None:
    assert action_for(Result.FAIL, named, require_pass=require_pass, domain_requires=domain) == expected


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        ("reject", Reject(550, "5.7.23", "no")),
        ("defer", Defer(451, "4.7.0", "no")),
        ("quarantine", Quarantine("spf=temperror: because")),
        ("tag", AddHeader("X-Authentication-Warning", "mx.test: spf=temperror")),
        (ScoreAction(score=2.5), Score("SPF_TEMPERROR", 2.5, "because", "authentication")),
        ("ignore", None),
    ],
)
def test_an_action_becomes_an_opinion(action: Action, expected: Opinion | None) -> None:
    said = opinion_of(action, "spf", Result.TEMPERROR, text="no", enhanced="5.7.23", why="because", server="mx.test")
    assert said == expected


def test_a_method_may_have_its_own_code_for_a_deferral() -> None:
    said = opinion_of(
        "defer", "spf", Result.TEMPERROR, text="no", enhanced="5.7.23", deferred="4.7.24", why="", server="mx.test"
    )
    assert said == Defer(451, "4.7.24", "no")


@pytest.mark.parametrize("written", ["refuse", {"score": 1000}, {"scores": 1}, 3, None, {}])
def test_an_invalid_action_is_a_mistake(written: object) -> None:
    with pytest.raises(ValidationError):
        ADAPTER.validate_python(written)
