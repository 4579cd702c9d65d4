"""Counters and histograms, and their text for Prometheus (exposition format 0.0.4).

They belong to the event loop of one process: an increment is a look-up in a dictionary, without a lock. Each metric has
at most ``MOST_SERIES`` combinations of label values; further ones are counted together under ``other``. The package
prometheus_client takes a lock for each increment, writes a mapped file for each one if there are several processes, and
does not bound label values.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, Literal

import msgspec

#: Combinations of label values of one metric.
MOST_SERIES: Final = 200
#: Upper bounds of histograms in seconds.
SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)
OTHER: Final = "other"
CONTENT_TYPE: Final = "text/plain; version=0.0.4; charset=utf-8"

Kind = Literal["counter", "gauge", "histogram"]


class Sample(msgspec.Struct, frozen=True):
    """One line: ``suffix`` is ``_bucket``, ``_sum`` or ``_count`` in a histogram."""

    labels: dict[str, str]
    value: float
    suffix: str = ""


class Family(msgspec.Struct, frozen=True):
    """A metric with its samples."""

    name: str
    kind: Kind
    help: str
    samples: list[Sample]


class _Series:
    """Label values of a metric; at most ``MOST_SERIES`` of them."""

    def __init__(self, name: str, help_: str, labels: Sequence[str]) -> None:
        self.name = name
        self.help = help_
        self.labels = tuple(labels)
        self._others = (OTHER,) * len(self.labels)

    def bounded(self, values: tuple[str, ...], known: Mapping[tuple[str, ...], object]) -> tuple[str, ...]:
        """The key under which new label values are counted."""
        return values if len(known) < MOST_SERIES else self._others

    def named(self, values: tuple[str, ...]) -> dict[str, str]:
        return dict(zip(self.labels, values, strict=True))


class Counter(_Series):
    """Counts events by their label values."""

    def __init__(self, name: str, help_: str, labels: Sequence[str] = ()) -> None:
        super().__init__(name, help_, labels)
        self._counts: dict[tuple[str, ...], float] = {}

    def add(self, *values: str, amount: float = 1.0) -> None:
        """Counts one event; ``values`` are those of the labels, in their order."""
        try:
            self._counts[values] += amount
        except KeyError:
            key = self.bounded(values, self._counts)
            self._counts[key] = self._counts.get(key, 0.0) + amount

    def family(self) -> Family:
        samples = [Sample(self.named(values), count) for values, count in self._counts.items()]
        return Family(self.name, "counter", self.help, samples)


class Histogram(_Series):
    """Counts durations in seconds by their label values."""

    def __init__(self, name: str, help_: str, labels: Sequence[str] = (), bounds: Sequence[float] = SECONDS) -> None:
        super().__init__(name, help_, labels)
        self._bounds = tuple(bounds)
        #: Counts of each bucket and beyond the last one, then the sum.
        self._counts: dict[tuple[str, ...], list[float]] = {}

    def observe(self, seconds: float, *values: str) -> None:
        """Counts one duration; a negative one, after the clock was set back, counts as 0."""
        counts = self._counts.get(values)
        if counts is None:
            key = self.bounded(values, self._counts)
            counts = self._counts.setdefault(key, [0.0] * (len(self._bounds) + 2))
        seconds = max(0.0, seconds)
        counts[bisect_left(self._bounds, seconds)] += 1
        counts[-1] += seconds

    def family(self) -> Family:
        return Family(self.name, "histogram", self.help, [one for key in self._counts for one in self._samples(key)])

    def _samples(self, key: tuple[str, ...]) -> Iterator[Sample]:
        labels, counts = self.named(key), self._counts[key]
        total = 0.0
        for bound, count in zip((*map(_number, self._bounds), "+Inf"), counts[:-1], strict=True):
            total += count
            yield Sample({**labels, "le": bound}, total, "_bucket")
        yield Sample(labels, counts[-1], "_sum")
        yield Sample(labels, total, "_count")


def gauge(name: str, help_: str, values: Iterable[tuple[dict[str, str], float]]) -> Family:
    """A metric whose values are read when it is asked for, at most ``MOST_SERIES`` of them."""
    samples = [Sample(labels, value) for labels, value in values]
    return Family(name, "gauge", help_, samples[:MOST_SERIES])


def merged(parts: Iterable[tuple[str, Sequence[Family]]], label: str) -> list[Family]:
    """The metrics of several processes: each sample gets the name of its process as ``label``."""
    found: dict[str, Family] = {}
    for name, families in parts:
        for family in families:
            whole = found.setdefault(family.name, Family(family.name, family.kind, family.help, []))
            whole.samples.extend(Sample({label: name, **one.labels}, one.value, one.suffix) for one in family.samples)
    return list(found.values())


def rendered(families: Iterable[Family]) -> str:
    """The text of ``GET /metrics``."""
    lines: list[str] = []
    for family in families:
        lines.append(f"# HELP {family.name} {_escaped(family.help)}")
        lines.append(f"# TYPE {family.name} {family.kind}")
        lines += [f"{family.name}{one.suffix}{_labels(one.labels)} {_number(one.value)}" for one in family.samples]
    return "\n".join(lines) + "\n"


def decoded(values: Any) -> list[Family]:
    """The metrics of another process, from JSON. Raises msgspec.ValidationError."""
    return msgspec.convert(values, list[Family])


def _labels(labels: Mapping[str, str]) -> str:
    if not labels:
        return ""
    inner = ",".join(f'{name}="{_quoted(value)}"' for name, value in labels.items())
    return f"{{{inner}}}"


def _escaped(text: str) -> str:
    return text.replace("\\", r"\\").replace("\n", r"\n")


def _quoted(text: str) -> str:
    return _escaped(text).replace('"', r"\"")


def _number(value: float) -> str:
    return str(int(value)) if float(value).is_integer() else repr(float(value))
