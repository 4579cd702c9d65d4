"""Prints by how many octets a server's memory grows while one message of 25 MiB comes in, and the size that came.

Run in a process of its own: ``python tests/support/smtp_memory.py FOLDER``.
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from inbox.flow.envelope import Envelope
from inbox.mail.content import Content
from inbox.mail.reply import Reply
from tests.support.smtp_world import Recording, smtp_world

LINE = b"A" * 76 + b"\r\n"
PIECE = LINE * 1000


def resident() -> int:
    """Octets of this process that are in memory."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


class Counting(Recording):
    """Takes the message's size and nothing else."""

    size = 0

    async def data(self, envelope: Envelope, content: Content) -> list[Reply]:
        self.size = content.size
        return [Reply(250, "2.0.0", "OK")]


async def main(folder: Path) -> None:
    receiving = Counting()
    async with smtp_world(folder, receiving=receiving, max_message_octets=40 << 20) as world:
        done, peak = threading.Event(), [0]

        def watch() -> None:
            while not done.wait(0.001):
                peak[0] = max(peak[0], resident())

        reader, writer = await asyncio.open_connection("127.0.0.1", world.port)
        writer.write(b"EHLO x.test\r\nMAIL FROM:<>\r\nRCPT TO:<bob@demo.test>\r\nDATA\r\n")
        while not (await reader.readline()).startswith(b"354"):
            pass
        before = resident()
        watcher = threading.Thread(target=watch)
        watcher.start()
        for _ in range((26 << 20) // len(PIECE)):
            writer.write(PIECE)
            await writer.drain()
        writer.write(b".\r\n")
        assert (await reader.readline()).startswith(b"250")
        done.set()
        watcher.join()
        writer.close()
        print(peak[0] - before, receiving.size)


asyncio.run(main(Path(sys.argv[1])))
