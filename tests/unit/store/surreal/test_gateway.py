"""Errors of failed queries."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from inbox.base.errors import (
    AlreadyExists,
    Conflict,
    InboxError,
    NotFound,
    StorageFull,
    StoreError,
    StoreUnavailable,
)
from inbox.store.surreal.gateway import Stale, _results

BEFORE = "The query was not executed due to a failed transaction"
AFTER = "The query was not executed due to a cancelled transaction"


def test_the_results_of_all_statements_come_in_order() -> None:
    assert _results([{"status": "OK", "result": 1}, {"status": "OK", "result": [2]}]) == [1, [2]]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("Transaction conflict: Resource busy: . This transaction can be retried", Conflict),
        ("Database record `email:e1` already exists", AlreadyExists),
        ("Database index `x` already contains 'a', with record `b:c`", AlreadyExists),
        ("An error occurred: inbox gone mailbox m1", NotFound),
        ("An error occurred: inbox stale", Stale),
        ("An error occurred: inbox taken", AlreadyExists),
        ("There was a problem with the datastore: IO error: No space left on device", StorageFull),
        ("There was a problem with the datastore: IO error: Input/output error", StoreUnavailable),
        ("The query was not executed because it exceeded the timeout: timed out", StoreUnavailable),
        ("Parse error: unexpected token", StoreError),
    ],
)
def test_the_error_behind_a_failed_transaction(text: str, error: type[InboxError]) -> None:
    statements: list[Mapping[str, object]] = [{"status": "OK", "result": None}]
    statements += [{"status": "ERR", "result": one} for one in (BEFORE, BEFORE, text, AFTER)]
    with pytest.raises(error) as raised:
        _results(statements)
    assert type(raised.value) is error


def test_a_conflict_at_commit_is_not_hidden_by_the_noise() -> None:
    statements: list[Mapping[str, object]] = [
        {"status": "ERR", "result": BEFORE},
        {"status": "ERR", "result": "Cannot COMMIT: Transaction conflict: This transaction can be retried"},
    ]
    with pytest.raises(Conflict):
        _results(statements)
