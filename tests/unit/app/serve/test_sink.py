"""Output that cannot be written: nothing waits or fails, and lost lines are counted and reported."""

from __future__ import annotations

import errno
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from inbox.app.serve.sink import Sink, SinkState, SinkStream
from tests.support.waiting import until

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    reading, writing = os.pipe()
    yield reading, writing
    for descriptor in (reading, writing):
        try:
            os.close(descriptor)
        except OSError as error:
            assert error.errno == errno.EBADF


def test_lines_arrive_in_their_order(pipe: tuple[int, int]) -> None:
    sink = Sink(pipe[1])
    stream = SinkStream(sink, pipe[1])
    for number in range(100):
        print("line", number, file=stream)
    print("no end of line", end="", file=stream)
    stream.flush()
    sink.close()
    assert os.read(pipe[0], 1 << 16).decode() == "".join(f"line {n}\n" for n in range(100)) + "no end of line"
    assert sink.state() == SinkState(0, "")


def test_a_full_disk_loses_lines_and_reports_it_when_there_is_room(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = 10
    written: list[bytes] = []

    def write(_descriptor: int, data: memoryview) -> int:
        nonlocal room
        if not room:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        taken = bytes(data[:room])
        room -= len(taken)
        written.append(taken)
        return len(taken)

    monkeypatch.setattr(os, "write", write)
    sink = Sink(99)
    sink.write(b"first\nsecond\n")  # Ten octets fit: the disk is full in the middle of a line.
    until(lambda: sink.state().why == "No space left on device", "the failure is known")
    assert sink.state().lost == 1
    sink.write(b"third\n")
    until(lambda: sink.state().lost == 2, "what came meanwhile is lost, too")
    room = 1000
    sink.write(b"fourth\n")
    sink.close()
    assert b"".join(written) == (
        b"first\nseco\ninbox: 2 lines of this log were lost: No space left on device\nfourth\n"
    )
    assert sink.state() == SinkState(2, "")


def test_the_loss_is_logged_even_if_nothing_else_is(monkeypatch: pytest.MonkeyPatch) -> None:
    broken, written = True, bytearray()

    def write(_descriptor: int, data: memoryview) -> int:
        if broken:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        written.extend(data)
        return len(data)

    monkeypatch.setattr(os, "write", write)
    monkeypatch.setattr("inbox.app.serve.sink.PROBE_SECONDS", 0.01)
    sink = Sink(99)
    sink.write(b"lost\n")
    until(lambda: sink.state().lost == 1, "the line is lost")
    broken = False
    until(lambda: bool(written), "the loss is reported")
    assert bytes(written) == b"inbox: 1 lines of this log were lost: Input/output error\n"
    sink.close()


def test_a_reader_that_does_not_read_makes_no_other_wait(pipe: tuple[int, int]) -> None:
    seconds = 0.0
    sink = Sink(pipe[1], room=1 << 20, now=lambda: seconds)
    line = b"x" * 999 + b"\n"
    for _ in range(3000):
        sink.write(line)  # More than the pipe and the queue hold: this would block for ever.
    until(lambda: sink.state().lost > 1000, "what has no room is lost")

    def named() -> bool:
        nonlocal seconds
        seconds += 60
        return "its reader has read nothing for" in sink.state().why

    until(named, "a write that does not return is named")
    lost = sink.state().lost
    text, told = b"", 0
    while told < lost:  # There may be several notices: one may have waited for the reader while more was lost.
        text += os.read(pipe[0], 1 << 16)
        sink.write(b"\n")  # lost, too, while there is no room
        told = sum(int(number) for number in re.findall(rb"inbox: (\d+) lines of this log were lost", text))
    sink.close(0)


def test_a_reader_that_went_away(pipe: tuple[int, int]) -> None:
    os.close(pipe[0])
    sink = Sink(pipe[1])
    sink.write(b"nobody reads this\n")
    until(lambda: sink.state() == SinkState(1, "Broken pipe"), "the loss is counted")
    sink.close()


def test_a_descriptor_that_others_made_non_blocking(pipe: tuple[int, int]) -> None:
    os.set_blocking(pipe[1], False)
    sink = Sink(pipe[1])
    data = b"".join(b"%07d\n" % number for number in range(20_000))
    sink.write(data)
    got = b""
    while len(got) < len(data):
        got += os.read(pipe[0], 1 << 16)
    assert got == data
    assert sink.state() == SinkState(0, "")
    sink.close()


def test_a_descriptor_that_was_closed_before_the_start() -> None:
    sink = Sink(None)
    print("nowhere", file=SinkStream(sink, None))
    assert sink.state() == SinkState(1, "it was closed when the program started")
    sink.close()


def test_lines_after_the_end_are_counted(pipe: tuple[int, int]) -> None:
    sink = Sink(pipe[1])
    sink.close()
    sink.write(b"late\n")
    assert sink.state().lost == 1


CLOSED = """
import os, sys
sys.path[:0] = sys.argv[1:]
from inbox.app.serve.sink import open_missing_streams, protect_output
open_missing_streams()
file = os.open(os.environ["PRECIOUS"], os.O_RDWR | os.O_CREAT)
assert file > 2, file
sink = protect_output()
print("to stdout"); print("to stderr", file=sys.stderr); os.write(1, b"straight")
try:
    os.write(2, b"straight")
except OSError:
    pass
sink.close()
sys.exit(sink.state().lost)
"""


def test_no_file_gets_the_number_of_a_closed_stream(tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    done = subprocess.run(
        ["sh", "-c", 'exec "$0" -c "$1" "$2" <&- >&- 2>&-', sys.executable, CLOSED, str(ROOT)],
        env={**os.environ, "PRECIOUS": str(precious)},
        check=False,
    )
    assert done.returncode == 1  # One line of standard error was lost.
    assert precious.read_bytes() == b""


def test_lines_that_follow_closely_share_a_write_and_an_end_does_not_wait_for_more(
    pipe: tuple[int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("inbox.app.serve.sink.GATHER_SECONDS", 3600.0)
    written: list[bytes] = []
    write = os.write

    def recorded(descriptor: int, data: memoryview) -> int:
        written.append(bytes(data))
        return write(descriptor, data)

    monkeypatch.setattr(os, "write", recorded)
    sink = Sink(pipe[1])
    sink.write(b"first\n")
    assert os.read(pipe[0], 100) == b"first\n"
    for number in range(3):
        sink.write(b"%d\n" % number)
    sink.close()
    assert written == [b"first\n", b"0\n1\n2\n"]
