"""The server of the demo that takes outgoing mail."""

from __future__ import annotations

import asyncio
import io
import smtplib
import socket
from pathlib import Path

from inbox.app.serve.devsink import ROUTE, DevSink


def send(port: int) -> None:
    with smtplib.SMTP("127.0.0.1", port, timeout=10) as client:
        client.sendmail("ann@demo.test", ["bob@elsewhere.test"], b"Subject: hel\x1blo\r\n\r\nHello Bob.\r\n")


def port_of(policy: Path) -> int:
    return int(policy.read_text().rpartition("port: ")[2].partition("}")[0])


async def test_outgoing_mail_is_shown_and_kept(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        policy, out = tmp_path / "default.yaml", io.StringIO()
        policy.write_text("plugins: {}\n" + ROUTE.format(port=other.getsockname()[1]) + "\n")
        sink = DevSink(tmp_path / "left", policy, out)
        assert str(tmp_path / "left") in await sink.start()
        # Another demo has the port: the policy leads to a free one.
        assert port_of(policy) != other.getsockname()[1]
        await asyncio.to_thread(send, port_of(policy))
        await sink.stop()
    assert b"Hello Bob." in (tmp_path / "left" / "1.eml").read_bytes()
    assert out.getvalue() == f"mail left for bob@elsewhere.test: hel lo ({tmp_path / 'left' / '1.eml'})\n"


async def test_a_policy_with_another_route_is_left_alone(tmp_path: Path) -> None:
    policy = tmp_path / "default.yaml"
    policy.write_text("outbound: {smarthost: {host: relay.example.net}}\n")
    sink = DevSink(tmp_path / "left", policy, io.StringIO())
    assert await sink.start() == "as the policy routes it"
    await sink.stop()
    assert not (tmp_path / "left").exists()
