"""The audits of npm's graphql-http, pinned, against a server process."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from tests.e2e.test_api import NAMES, NOT_SENT, new_key, url
from tests.e2e.test_submission import tool
from tests.support.server import ROOT, RunningServer

pytestmark = pytest.mark.real
AUDITS = ROOT / "tests" / "support" / "graphql-http"
#: Optional audits that do not pass, and the reason.
NOT_PASSED = {
    "86EE": "its document does not use its variable, so that validation refuses it with 422 before values are read",
}


def test_the_audits_pass(tmp_path: Path) -> None:
    if not (AUDITS / "node_modules").is_dir():
        pytest.skip("graphql-http is not installed (./run setup test)")
    server = RunningServer(tmp_path, NAMES, environment=dict(NOT_SENT))
    server.populate()
    server.start()
    try:
        command = [tool("node"), str(AUDITS / "audit.mjs"), url(server, "/graphql"), new_key(server)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    finally:
        server.close()
    assert done.returncode == 0, done.stderr
    results = json.loads(done.stdout)
    assert len(results) > 50
    assert {each["id"]: each["name"] for each in results if each["status"] != "ok"}.keys() == NOT_PASSED.keys()
    assert all("MUST" not in each["name"] for each in results if each["status"] != "ok")
