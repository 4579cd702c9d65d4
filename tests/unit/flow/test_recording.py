"""Writing the records of refusals."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from inbox.base.errors import StoreUnavailable
from inbox.flow import recording
from inbox.flow.meters import FlowMeters
from inbox.flow.recording import Recorder
from inbox.plugin.api.testing import FakeClock, MemoryLog
from inbox.store.ports.decisions import DecisionRecord

RECORD = DecisionRecord("d1", "o1", 1.0, "smtp", "reject", "", (), "192.0.2.1", b'{"why": "x"}')


class Decisions:
    """A database that answers with an error, or not at all."""

    def __init__(self, error: StoreUnavailable | None) -> None:
        self._error = error

    async def add(self, _records: Sequence[DecisionRecord]) -> None:
        if self._error is not None:
            raise self._error
        await asyncio.Event().wait()


@pytest.mark.parametrize(
    ("error", "told"),
    [(StoreUnavailable("gone"), "gone"), (None, "the database did not answer within 0 s")],
)
async def test_a_record_that_cannot_be_written_is_in_the_log(
    error: StoreUnavailable | None, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording, "RECORD_SECONDS", 0.01)
    log = MemoryLog()
    recorder = Recorder(None, Decisions(error), FakeClock(), None, log, FlowMeters())  # type: ignore[arg-type]  # enough
    await recorder.write([RECORD])
    assert log.named("decision_not_recorded") == [{"id": "d1", "error": told, "body": '{"why": "x"}'}]
