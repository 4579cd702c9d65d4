"""The life of a helper process, seen from its two ends."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from inbox.store.frames import HEAD, framed

ROOT = Path(__file__).parents[3]
#: A process that answers with its question, backwards.
PROGRAM = f"import sys; sys.path.append({str(ROOT)!r}); from inbox.store.frames import serve; serve(lambda m: m[::-1])"


def served(given: bytes) -> subprocess.CompletedProcess[bytes]:
    """One life of the process with this input."""
    command = [sys.executable, "-c", PROGRAM]
    return subprocess.run(command, input=given, capture_output=True, timeout=60, check=False)


def test_each_frame_gets_its_answer() -> None:
    large = bytes(range(256)) * 2000
    ended = served(framed(b"abc") + framed(b"") + framed(large))
    assert (ended.returncode, ended.stderr) == (0, b"")
    assert ended.stdout == framed(b"cba") + framed(b"") + framed(large[::-1])


@pytest.mark.parametrize("cut", [0, 2, 5])
def test_an_input_that_ends_within_a_frame(cut: int) -> None:
    ended = served(framed(b"abc")[:cut])
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, b"", b"")


def test_a_frame_is_a_length_and_a_message() -> None:
    frame = framed(b"abc")
    assert (HEAD.unpack(frame[: HEAD.size]), frame[HEAD.size :]) == ((3,), b"abc")
