"""Ids of traces, and the decision which are exported."""

from __future__ import annotations

from opentelemetry.sdk.trace.sampling import Decision, TraceIdRatioBased

from inbox.base.spans import is_sampled, new_span_id, trace_ids


def test_the_ids_of_a_message_follow_from_its_transaction() -> None:
    first, again, other = trace_ids("01t"), trace_ids("01t"), trace_ids("02t")
    assert first == again
    assert len({first.trace, other.trace, first.root, other.root}) == 4
    # Written down: processes of different versions must agree while they share a queue.
    assert f"{first.trace:032x} {first.root:016x}" == "b1746c0f9b1102310547a5f4297d0376 54eefa4e0c40692c"


def test_ids_fit_the_trace_context() -> None:
    for number in range(100):
        ids = trace_ids(str(number))
        assert 0 < ids.trace < 2**128
        assert 0 < ids.root < 2**64
        assert 0 < new_span_id() < 2**64


def test_the_share_is_that_of_opentelemetry() -> None:
    """Other programs of the same trace decide alike."""
    for ratio in (0.0, 0.1, 0.5, 0.999, 1.0):
        theirs = TraceIdRatioBased(ratio)
        ours = [is_sampled(trace_ids(str(number)).trace, ratio) for number in range(2000)]
        assert ours == [
            theirs.should_sample(None, trace_ids(str(number)).trace, "accept").decision is Decision.RECORD_AND_SAMPLE
            for number in range(2000)
        ]
        assert abs(sum(ours) / 2000 - ratio) < 0.05
