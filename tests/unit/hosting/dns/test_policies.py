"""The MTA-STS policy that is fetched with ``--https``; all else is tested before a real DNS."""

from __future__ import annotations

import socket
import subprocess
import sys
from dataclasses import replace

import pytest

from inbox.dns.upstream import Server
from inbox.hosting.dns.findings import Comparison, Outcome, State, Subject
from inbox.hosting.dns.lookup import Lookup, Shown
from inbox.hosting.dns.policies import _policy
from inbox.hosting.dns.records import Needs, policy_text, wanted_records

NEEDS = Needs("acme.test", "mx.acme.test", trusted=True)


def fetched(text: str, monkeypatch: pytest.MonkeyPatch, needs: Needs = NEEDS) -> tuple[Outcome, State, str]:
    import checkdmarc.mta_sts

    def download(domain: str) -> dict[str, object]:
        assert domain == "acme.test"
        return {"policy": text, "warnings": []}

    monkeypatch.setattr(checkdmarc.mta_sts, "download_mta_sts_policy", download)
    subject = Subject(needs, Lookup([Server("127.0.0.1")]), tuple(wanted_records(needs)), https=True)
    found = _policy(subject, Comparison(subject.wants("mta-sts")[2], Shown()))
    assert found.found == (text,)
    return found.outcome, found.state, found.change


@pytest.mark.parametrize("mode", ["enforce", "testing", "none"])
def test_the_policy_that_we_ask_for(mode: str, monkeypatch: pytest.MonkeyPatch) -> None:
    assert fetched(policy_text("mx.acme.test", mode), monkeypatch)[:2] == (Outcome.OK, State.OK)
    assert fetched(policy_text("*.acme.test", mode), monkeypatch)[:2] == (Outcome.OK, State.OK)


def test_a_policy_for_another_host(monkeypatch: pytest.MonkeyPatch) -> None:
    outcome, state, change = fetched(policy_text("mx.other.test", "enforce"), monkeypatch)
    assert (outcome, state) == (Outcome.FAIL, State.DIFFERS)
    assert change.startswith("mx.acme.test is not among its mx")
    assert fetched(policy_text("mx.other.test", "none"), monkeypatch)[0] is Outcome.OK


def test_senders_insist_on_what_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    found = fetched(policy_text("mx.acme.test", "enforce"), monkeypatch, replace(NEEDS, trusted=False))
    assert found[:2] == (Outcome.FAIL, State.DIFFERS)


def test_no_policy_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    assert fetched("<html>", monkeypatch)[:2] == (Outcome.FAIL, State.INVALID)


def test_a_web_server_that_is_not_there() -> None:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        needs = replace(NEEDS, domain="nobody.invalid")
        subject = Subject(needs, Lookup([Server("127.0.0.1", held.getsockname()[1])]), tuple(wanted_records(needs)))
        found = _policy(subject, Comparison(subject.wants("mta-sts")[2], Shown()))
    assert (found.outcome, found.state) == (Outcome.FAIL, State.INVALID)


@pytest.mark.parametrize("module", ["inbox.cli.main", "inbox.hosting.dns.check", "inbox.hosting.dns.policies"])
def test_checkdmarc_is_imported_by_nothing_but_the_check(module: str) -> None:
    code = f"import sys, {module}; sys.exit('checkdmarc' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, env={"PYTHONPATH": ":".join(sys.path)})
