"""Certificates that change while the server runs."""

from __future__ import annotations

import signal
import ssl
from pathlib import Path

import pytest
import trustme

from tests.support.server import RunningServer
from tests.support.waiting import until

pytestmark = pytest.mark.real


def test_a_new_certificate_is_used_and_a_wrong_one_is_reported(tmp_path: Path) -> None:
    def issue(name: str, *, key: bool) -> None:
        leaf = trustme.CA().issue_cert(name)
        (tmp_path / "cert.pem").write_bytes(leaf.cert_chain_pems[0].bytes())
        if key:
            (tmp_path / "key.pem").write_bytes(leaf.private_key_pem.bytes())

    issue("one.test", key=True)
    files = {"TLS_CERT_FILE": str(tmp_path / "cert.pem"), "TLS_KEY_FILE": str(tmp_path / "key.pem")}
    here = RunningServer(tmp_path, environment=files)
    here.populate()
    try:
        here.start()
        assert here.process is not None
        issue("two.test", key=False)
        here.process.send_signal(signal.SIGHUP)
        until(lambda: b'"certificate_refused"' in here.log.read_bytes(), "the mismatch was not logged")
        issue("three.test", key=True)
        here.process.send_signal(signal.SIGHUP)
        until(lambda: b'"certificate_changed"' in here.log.read_bytes(), "the change was not logged")
        shown = ssl.get_server_certificate(("127.0.0.1", here.port("imaps")))
        assert shown.strip() in (tmp_path / "cert.pem").read_text()
    finally:
        here.close()
