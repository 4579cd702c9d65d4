"""``GET /metrics`` of a real server."""

from __future__ import annotations

import imaplib
import re
import smtplib
import ssl
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from tests.support.promtool import promtool
from tests.support.server import PASSWORD, RunningServer
from tests.support.sources import ROOT
from tests.support.waiting import until

pytestmark = pytest.mark.real

LINE = re.compile(r'([a-z_]+)(?:\{((?:[a-z]+="(?:[^"\\]|\\.)*",?)*)\})? ([0-9.e+-]+)')


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    server = RunningServer(tmp_path)
    server.populate({"demo": {"demo.test": ("ann",)}})
    yield server
    server.close()


def scraped(server: RunningServer) -> str:
    with httpx2.Client(transport=httpx2.HTTPTransport(uds=str(server.data / "inbox.sock")), timeout=60) as http:
        answer = http.get("http://inbox/metrics")
    assert answer.status_code == 200
    return answer.text


def documented() -> dict[str, tuple[str, set[str]]]:
    """Type and labels of each metric in the table of the documentation."""
    text = (ROOT / "docs" / "operations.md").read_text()
    rows = re.findall(r"^\| `(inbox_\w+)` \| (\w+) \| (.*?) \|", text, re.MULTILINE)
    return {name: (kind, set(re.findall(r"`(\w+)`", labels))) for name, kind, labels in rows}


def test_the_table_of_the_documentation_is_complete(tmp_path: Path) -> None:
    """Two processes with everything that has metrics; the traces go nowhere."""
    server = RunningServer(tmp_path, ("smtp", "imap"), processes=2)
    server.environment |= {"OTEL_ENABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}
    server.populate({"demo": {"demo.test": ("ann",)}})
    server.start()
    try:
        until(lambda: 'inbox_process_up{process="1"} 1' in scraped(server), "both processes answer")
        for number in range(12):
            with smtplib.SMTP("127.0.0.1", server.port("smtp"), timeout=30) as client:
                client.sendmail("bob@elsewhere.test", "ann@demo.test", f"Subject: {number}\r\n\r\ntext\r\n")
        text = scraped(server)
    finally:
        server.close()
    table = documented()
    kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
    assert kinds == {name: kind for name, (kind, _) in table.items()}
    for name, labels in re.findall(r"^(\w+?)(?:_bucket|_sum|_count)?\{(.*)\} \S+$", text, re.MULTILINE):
        assert set(re.findall(r'(\w+)="', labels)) - {"process", "le"} == table[name][1], name
    accepted = re.findall(r"^inbox_messages_accepted_total\{.*\} (\d+)$", text, re.MULTILINE)
    assert sum(map(int, accepted)) == 12, "the processes add up, whichever the kernel chose"
    assert re.search(r"^inbox_uptime_seconds\{process=\"1\"\}", text, re.MULTILINE), "each process answers"


def test_prometheus_finds_no_fault(server: RunningServer) -> None:
    server.environment |= {"OTEL_ENABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:1"}
    server.start()
    with smtplib.SMTP("127.0.0.1", server.port("smtp"), timeout=30) as client:
        client.sendmail("bob@elsewhere.test", "ann@demo.test", "Subject: one\r\n\r\ntext\r\n")
    context = ssl.create_default_context(cafile=str(server.certificate))
    context.check_hostname = False
    with imaplib.IMAP4_SSL("127.0.0.1", server.port("imaps"), ssl_context=context) as imap:
        with pytest.raises(imaplib.IMAP4.error):
            imap.login("ann@demo.test", "wrong")
        imap.login("ann@demo.test", PASSWORD)
    text = scraped(server)
    assert promtool("check", "metrics", text=text) == ""
    for result in ("succeeded", "failed"):
        assert f'inbox_logins_total{{process="0",door="imap",result="{result}"}} 1' in text


def test_the_rules_for_alerts_are_valid_and_do_what_they_say() -> None:
    folder = ROOT / "examples" / "monitoring"
    assert "SUCCESS" in promtool("check", "rules", str(folder / "alerts.yaml"))
    assert "SUCCESS" in promtool("test", "rules", str(folder / "alerts_test.yaml"))


def test_rules_name_only_metrics_and_labels_that_exist() -> None:
    table = documented()
    text = (ROOT / "examples" / "monitoring" / "alerts.yaml").read_text()
    expressions = re.findall(r"expr: (\|\n(?: {10}.*\n)+|.*)", text)
    named = [name for expression in expressions for name in re.findall(r"\binbox_\w+", expression)]
    assert named
    assert set(named) <= set(table)
    for expression in expressions:
        for name, matchers in re.findall(r"(inbox_\w+)\{(.*?)\}", expression):
            assert set(re.findall(r"(\w+)=", matchers)) <= table[name][1], expression
    alerts = re.findall(r"alert: (\w+)", text)
    tested = (ROOT / "examples" / "monitoring" / "alerts_test.yaml").read_text()
    for alert in alerts:
        assert len(re.findall(rf"alertname: {alert}\b", tested)) == 2, (
            f"{alert}: one case that fires, one that does not"
        )


def test_a_message_and_a_refusal_are_counted(server: RunningServer) -> None:
    server.start()
    with smtplib.SMTP("127.0.0.1", server.port("smtp"), timeout=30) as client:
        client.sendmail("bob@elsewhere.test", "ann@demo.test", "Subject: one\r\n\r\ntext\r\n")
        client.mail("bob@elsewhere.test")
        assert client.rcpt("nobody@demo.test")[0] == 550
    text = scraped(server)
    families: set[str] = set()
    values: dict[str, float] = {}
    for line in text.splitlines():
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
    assert "nobody" not in text
