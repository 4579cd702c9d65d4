"""schemathesis sends requests that it makes from the descriptions of REST and GraphQL to a server process."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from typing import Any, cast

import httpx2
import pytest
from hypothesis import HealthCheck, Phase, given, settings

from tests.e2e.test_api import NAMES, NOT_SENT, url
from tests.support.server import RunningServer

pytestmark = [pytest.mark.real, pytest.mark.slow]
#: Requests for each operation and phase.
EXAMPLES = 30


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    server = RunningServer(tmp_path_factory.mktemp("server"), NAMES, environment=dict(NOT_SENT))
    server.populate()
    server.start()
    yield server
    server.close()


@pytest.fixture(scope="module")
def key(server: RunningServer) -> str:
    made = server.cli("apikey", "create", "--tenant", "demo", "--name", "test", "--role", "admin", "--json")
    return str(json.loads(made.stdout)["key"])


@pytest.mark.parametrize(
    ("operations", "options"),
    [
        ("5 selected", ["--exclude-path", "/v1/send/batch"]),
        # Its answer is 200, with an error for each message that is invalid.
        ("1 selected", ["--include-path", "/v1/send/batch", "--exclude-checks", "negative_data_rejection"]),
    ],
)
def test_rest_is_as_described(server: RunningServer, key: str, operations: str, options: list[str]) -> None:
    """No 5xx, and every status, media type, body and header field is described. That every described request is
    accepted is not checked: the form of an address, for example, cannot be described."""
    # A target that the client chose may have been removed by an earlier request.
    excluded = "positive_data_acceptance,ensure_resource_availability"
    if "--exclude-checks" in options:
        excluded += f",{options[-1]}"
        options = options[:-2]
    command = [
        sys.executable, "-m", "schemathesis.cli", "run", url(server, "/v1/openapi.json"),
        "--header", f"Authorization: Bearer {key}", "--exclude-checks", excluded, *options,
        "--max-examples", str(EXAMPLES), "--seed", "1", "--no-color", "--generation-database", "none",
    ]  # fmt: skip
    done = subprocess.run(command, cwd=server.folder, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout[-9000:]
    assert f"{operations} / 6 total" in done.stdout
    assert_nothing_failed(server)


@pytest.mark.parametrize("name", ["sendEmail", "send", "sendBatch", "message", "caller"])
def test_graphql_fails_with_codes_only(server: RunningServer, key: str, name: str) -> None:
    """An error names its code; there is no 5xx."""
    import schemathesis  # takes seconds, which runs of other tests need not spend

    headers = {"Authorization": f"Bearer {key}"}
    schema = schemathesis.graphql.from_url(url(server, "/graphql"), headers=headers)
    # Their classes are not part of its public types.
    found: list[Any] = [each.ok() for each in cast("Any", schema.get_all_operations())]
    operations = {each.definition.field_name: each for each in found}
    assert len(operations) == 5
    with httpx2.Client(headers=headers, timeout=30) as client:

        @given(case=operations[name].as_strategy())
        @settings(
            max_examples=EXAMPLES, deadline=None, database=None, derandomize=True, phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )  # fmt: skip
        def run(case: Any) -> None:
            answer = client.post(url(server, "/graphql"), json={"query": case.body})
            assert answer.status_code in (200, 400, 422), answer.text
            codes = {each.get("extensions", {}).get("code") for each in answer.json().get("errors", ())}
            assert "temporarily_unavailable" not in codes, answer.text
            if answer.status_code == 200:
                assert None not in codes, answer.text

        run()
    assert_nothing_failed(server)


def assert_nothing_failed(server: RunningServer) -> None:
    log = server.log.read_text()
    assert "Traceback" not in log
    assert '"level":"error"' not in log
