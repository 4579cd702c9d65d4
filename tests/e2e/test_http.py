"""The HTTP server of a real process: health, metrics, TLS, reload; and that a server without HTTP does not load it."""

from __future__ import annotations

import hashlib
import ssl
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx2
import pytest

from inbox.app.admin import AdminClient
from inbox.app.serve.tls import self_signed_pem
from tests.support.server import DEFAULT_POLICY, RunningServer

pytestmark = pytest.mark.real


@pytest.fixture
def server(tmp_path: Path) -> Iterator[RunningServer]:
    server = RunningServer(tmp_path, ("smtp", "http"))
    server.populate()
    yield server
    server.close()


def get(server: RunningServer, path: str) -> httpx2.Response:
    return httpx2.get(f"http://127.0.0.1:{server.port('http')}{path}", timeout=60)


def test_a_certificate_makes_it_https(server: RunningServer, tmp_path: Path) -> None:
    pem = tmp_path / "certificate.pem"
    pem.write_bytes(self_signed_pem("mx.test", datetime.now(UTC)))
    server.environment |= {"TLS_CERT_FILE": str(pem), "TLS_KEY_FILE": str(pem)}
    server.start()
    trusted = ssl.create_default_context(cafile=str(pem))
    answer = httpx2.get(f"https://localhost:{server.port('http')}/readyz", verify=trusted, timeout=60)
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
    assert "strict-transport-security" in answer.headers
    with pytest.raises(httpx2.HTTPError):
        get(server, "/healthz")


def test_metrics_are_those_of_all_processes(tmp_path: Path) -> None:
    server = RunningServer(tmp_path, ("smtp", "http"), processes=2)
    server.populate()
    server.start()
    try:
        text = get(server, "/metrics").text
    finally:
        server.close()
    assert 'inbox_process_up{process="0"} 1' in text
    assert 'inbox_process_up{process="1"}' in text


def test_a_database_that_is_gone_and_back_again(server: RunningServer) -> None:
    server.start()
    database, away = server.data / "inbox.db", server.data / "away.db"
    database.rename(away)
    failing = get(server, "/readyz")
    assert (failing.status_code, failing.json()["status"]) == (503, "failing")
    assert "inbox.db" in failing.json()["reason"]
    assert get(server, "/healthz").status_code == 200
    away.rename(database)
    assert get(server, "/readyz").status_code == 200


def test_a_reload_applies_changed_settings(server: RunningServer) -> None:
    server.start()
    assert get(server, "/metrics").status_code == 200
    server.policy("default.yaml", DEFAULT_POLICY + "server: {http: {metrics_networks: [192.0.2.0/24]}}\n")
    assert AdminClient(server.data / "inbox.sock").call("POST", "/reload") == {"problems": []}
    assert get(server, "/metrics").status_code == 403


def test_the_mta_sts_policy_is_the_one_of_the_dns_record(server: RunningServer) -> None:
    server.start()
    url = f"http://127.0.0.1:{server.port('http')}/.well-known/mta-sts.txt"
    answer = httpx2.get(url, headers={"Host": "mta-sts.demo.test"}, timeout=60)
    assert answer.status_code == 200
    identity = hashlib.sha256(answer.content).hexdigest()[:20]
    records = server.cli("domain", "records", "demo.test", "--json").stdout
    assert f"v=STSv1; id={identity}" in records
    assert httpx2.get(url, headers={"Host": "mta-sts.other.test"}, timeout=60).status_code == 404


def test_a_server_without_http_does_not_load_it() -> None:
    """It would take a quarter of a second of each start."""
    code = "import sys, inbox.app.serve.server; print([m for m in ('strawberry', 'httptools') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
