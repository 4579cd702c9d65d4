"""The mail server's half of the milter protocol (version 6), as much of it as a test needs to ask a filter."""

from __future__ import annotations

import asyncio
import struct
from dataclasses import dataclass, field

from inbox.authentication.dkim.section import HeaderSection
from inbox.mail.content import MemoryContent

#: SMFIP_HDR_LEADSPC: values keep the space behind the colon.
_LEADING_SPACE = 0x100000
_ALL_ACTIONS = 0x1FF


@dataclass
class Filtered:
    """The answers of the filter: its last one (``c`` continue, ``a`` accept, ``t`` later, …), and fields to add."""

    verdict: str = ""
    fields: list[tuple[str, str]] = field(default_factory=list)

    def get(self, name: str) -> list[str]:
        """Values of added fields, unfolded."""
        return [" ".join(value.split()) for added, value in self.fields if added.lower() == name.lower()]

    def block(self) -> bytes:
        """The added fields as they would precede the message."""
        lines = []
        for name, value in self.fields:
            space = "" if value.startswith((" ", "\t")) else " "
            lines.append(f"{name}:{space}{value}\n")
        return "".join(lines).replace("\n", "\r\n").encode()


async def ask(port: int, message: bytes, *, client: str, sender: str = "a@b.test") -> Filtered:
    """Sends one message through the filter on a loopback port, as if it came from the address ``client``."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        return await _Link(reader, writer).message(message, client, sender)
    finally:
        writer.close()
        await writer.wait_closed()


class _Link:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    async def message(self, message: bytes, client: str, sender: str) -> Filtered:
        await self._send(b"O", struct.pack("!III", 6, _ALL_ACTIONS, _LEADING_SPACE))
        kind, options = await self._receive()
        assert kind == b"O", kind
        keeps_space = bool(struct.unpack("!III", options[:12])[2] & _LEADING_SPACE)
        await self._step(b"C", b"client.test\x004" + struct.pack("!H", 40000) + client.encode() + b"\0")
        await self._step(b"H", b"client.test\0")
        await self._send(b"D", b"Mi\0test1\0")
        await self._step(b"M", f"<{sender}>\0".encode())
        await self._step(b"R", b"<to@test>\0")
        section = HeaderSection.of(MemoryContent(message))
        for raw in section.raw:
            name, _, value = raw.removesuffix(b"\r\n").partition(b":")
            value = value if keeps_space else value.removeprefix(b" ")
            await self._step(b"L", name + b"\0" + value.replace(b"\r\n", b"\n") + b"\0")
        await self._step(b"N", b"")
        for start in range(section.body, len(message), 65_535):
            await self._step(b"B", message[start : start + 65_535])
        return await self._end()

    async def _end(self) -> Filtered:
        found = Filtered()
        await self._send(b"E", b"")
        while True:
            kind, data = await self._receive()
            if kind in {b"h", b"i"}:
                name, value = (data if kind == b"h" else data[4:]).split(b"\0")[:2]
                # Each is put on top of the one before it (smfi_insheader with index 0 or 1).
                found.fields.insert(0, (name.decode(), value.decode()))
            elif kind not in {b"p", b"m"}:
                found.verdict = kind.decode()
                return found

    async def _step(self, command: bytes, data: bytes) -> None:
        await self._send(command, data)
        kind, _ = await self._receive()
        assert kind == b"c", (command, kind)

    async def _send(self, command: bytes, data: bytes) -> None:
        self._writer.write(struct.pack("!I", len(data) + 1) + command + data)
        await self._writer.drain()

    async def _receive(self) -> tuple[bytes, bytes]:
        (size,) = struct.unpack("!I", await self._reader.readexactly(4))
        packet = await self._reader.readexactly(size)
        return packet[:1], packet[1:]
