"""Signs of life."""

from __future__ import annotations

import asyncio
import os

from inbox.app.serve.pulse import Pulse, beat


def test_a_child_that_has_not_begun_is_not_silent() -> None:
    pulse = Pulse()
    assert [pulse.silent() for _ in range(3)] == [0, 0, 0]
    os.write(pulse.writing, b"..")
    assert [pulse.silent() for _ in range(3)] == [0, 1, 2]
    os.write(pulse.writing, b".")
    assert [pulse.silent() for _ in range(2)] == [0, 1]
    pulse.handed_over()
    assert pulse.silent() == 2, "the other end is closed"
    pulse.close()


async def test_a_beat_reaches_the_parent_and_never_blocks() -> None:
    pulse = Pulse()
    while True:
        try:
            os.write(pulse.writing, b"x" * 4096)
        except BlockingIOError:
            break
    beating = asyncio.create_task(beat(pulse.writing))
    await asyncio.sleep(0)
    assert not beating.done(), "a parent that does not read holds nobody up"
    beating.cancel()
    assert pulse.silent() == 0
    pulse.close()
    again = asyncio.create_task(beat(pulse.writing))
    await asyncio.sleep(0)
    assert not again.done(), "nor does one that has ended"
    again.cancel()
    pulse.handed_over()
