"""``GET /metrics`` of a real server."""

from __future__ import annotations

import re
import smtplib
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.support.server import RunningServer

pytestmark = pytest.mark.real

LINE = re.compile(r'([a-z_]+)(?:\{((?:[a-z]+="(?:[^"\\]|\\.)*",?)*)\})? ([0-9.e+-]+)')


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    server = RunningServer(tmp_path)
    server.populate({"demo": {"demo.test": ("ann",)}})
    yield server
    server.close()


def test_a_message_and_a_refusal_are_counted(server: RunningServer) -> None:
    server.start()
    with smtplib.SMTP("127.0.0.1", server.port("smtp"), timeout=30) as client:
        client.sendmail("bob@elsewhere.test", "ann@demo.test", "Subject: one\r\n\r\ntext\r\n")
        client.mail("bob@elsewhere.test")
        assert client.rcpt("nobody@demo.test")[0] == 550
    with httpx2.Client(transport=httpx2.HTTPTransport(uds=str(server.data / "inbox.sock"))) as http:
        answer = http.get("http://inbox/metrics")
    assert answer.status_code == 200
    families: set[str] = set()
    values: dict[str, float] = {}
    for line in answer.text.splitlines():
        if line.startswith("# TYPE "):
            name = line.split()[2]
            assert name not in families, "a family has one group of lines"
            families.add(name)
        elif not line.startswith("#"):
            found = LINE.fullmatch(line)
            assert found is not None, line
            values[line.rpartition(" ")[0]] = float(found[3])
    assert values['inbox_messages_accepted_total{process="0",door="smtp",outcome="accept"}'] == 1
    refused = [value for name, value in values.items() if name.startswith("inbox_refusals_total") and "rcpt" in name]
    assert refused == [1]
    assert values['inbox_database_up{process="0"}'] == 1
    assert values['inbox_accept_seconds_count{process="0",door="smtp"}'] == 1
    assert "nobody" not in answer.text
