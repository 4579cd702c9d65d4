from __future__ import annotations

import msgspec
import pytest

from inbox.base.metrics import MOST_SERIES, Counter, Family, Histogram, decoded, gauge, merged, rendered


def test_a_counter_counts_by_labels() -> None:
    counter = Counter("mails_total", "Mails.", ("door", "outcome"))
    counter.add("smtp", "accept")
    counter.add("smtp", "accept")
    counter.add("imap", "reject", amount=3)
    assert rendered([counter.family()]).splitlines() == [
        "# HELP mails_total Mails.",
        "# TYPE mails_total counter",
        'mails_total{door="smtp",outcome="accept"} 2',
        'mails_total{door="imap",outcome="reject"} 3',
    ]


def test_the_number_of_series_is_bounded() -> None:
    counter, histogram = Counter("c", "C.", ("name",)), Histogram("h", "H.", ("name",), bounds=(1.0,))
    for number in range(MOST_SERIES * 3):
        counter.add(str(number))
        histogram.observe(0.5, str(number))
    counts = {one.labels["name"]: one.value for one in counter.family().samples}
    assert len(counts) == MOST_SERIES + 1
    assert (counts["0"], counts["other"]) == (1, MOST_SERIES * 2)
    assert len({one.labels["name"] for one in histogram.family().samples}) == MOST_SERIES + 1
    assert len(gauge("g", "G.", [({"n": str(n)}, 1.0) for n in range(999)]).samples) == MOST_SERIES


def test_buckets_are_cumulative_and_have_an_inclusive_bound() -> None:
    histogram = Histogram("seconds", "Time.", bounds=(0.5, 1.0))
    for seconds in (0.25, 0.5, 0.75, 30.0, -5.0):
        histogram.observe(seconds)
    assert rendered([histogram.family()]).splitlines()[2:] == [
        'seconds_bucket{le="0.5"} 3',
        'seconds_bucket{le="1"} 4',
        'seconds_bucket{le="+Inf"} 5',
        "seconds_sum 31.5",
        "seconds_count 5",
    ]


def test_processes_are_distinguished_by_a_label() -> None:
    one, two = Counter("c", "C.", ("door",)), Counter("c", "C.", ("door",))
    one.add("smtp")
    two.add("imap")
    families = merged([("0", [one.family()]), ("1", [two.family()])], "process")
    assert rendered(families).splitlines()[2:] == ['c{process="0",door="smtp"} 1', 'c{process="1",door="imap"} 1']


def test_metrics_survive_json() -> None:
    family = gauge("g", "G.", [({"a": "b"}, 1.5)])
    assert decoded(msgspec.to_builtins([family])) == [family]
    assert isinstance(family, Family)
    with pytest.raises(msgspec.ValidationError):
        decoded([{"name": 1}])
