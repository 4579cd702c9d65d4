"""Shared parts of the benchmarks: the table, ratios, and the accounting of processes."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from benchmarks.__main__ import main
from benchmarks.support import TICKS, Failed, Result, compared, cpu_seconds, descendants, end, table, until

BUSY = "import time\nwhile time.process_time() < 0.3: pass\n"


def test_a_ratio_is_judged_by_its_target() -> None:
    assert compared("a", [300], "peer", [100], "mails/s", 3.0).met is True
    assert compared("a", [299], "peer", [100], "mails/s", 3.0).met is False
    assert compared("a", [1], "peer", [100], "mails/s", None).met is None


def test_a_ratio_is_that_of_the_median_round() -> None:
    # In the second round the machine was slow, in the third one something slowed the peer alone.
    result = compared("a", [300, 150, 310], "peer", [100, 50, 31], "mails/s", 3.0)
    assert (result.ratio, result.ours, result.peer) == (3.0, "300 mails/s", "peer: 50 mails/s")


def test_the_table_has_a_row_for_each_result_and_each_note_once() -> None:
    rows = [Result("speed", "3", "2", 1.5, ">= 1", met=True, note="why"), Result("room", "9", met=False, note="why")]
    lines = table(rows).splitlines()
    assert [line.count("|") for line in lines[:4]] == [7, 7, 7, 7]
    assert len({len(line) for line in lines[:4]}) == 1
    assert "1.50" in lines[2]
    assert lines[2].endswith("| yes  |")
    assert lines[3].endswith("| NO   |")
    assert lines[4:] == ["", "why"]


def test_cpu_time_of_children_that_ended_is_counted() -> None:
    parent = subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {BUSY!r}])\nprint(1, flush=True)\ninput()",
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    try:
        assert parent.stdout is not None
        parent.stdout.readline()
        # proc(5) counts in whole ticks, and each of the four fields is rounded down.
        assert cpu_seconds(parent.pid) > 0.3 - 4 / TICKS
        assert (parent.pid in {pid for pid, _ in descendants(os.getpid())}) is True
    finally:
        end(parent)
        for stream in (parent.stdin, parent.stdout):
            assert stream is not None
            stream.close()
    assert parent.returncode is not None
    assert descendants(parent.pid) == []


def test_waiting_ends_with_a_word() -> None:
    with pytest.raises(Failed, match="the moon answers: not within 0 s"):
        until(lambda: False, 0.0, "the moon answers")


def test_an_unknown_benchmark_is_wrong_usage(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["nothing"]) == 2
    assert "no benchmark nothing; there are api, authentication, backlog, claiming, delivery" in capsys.readouterr().err
