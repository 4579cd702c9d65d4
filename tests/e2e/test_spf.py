"""SPF from the DNS to the mailbox: a real server process, real name servers, a dialogue over TCP."""

from __future__ import annotations

import imaplib
import re
import smtplib
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.dns_world import DnsWorld, dns_servers, dns_world  # noqa: F401 - fixtures
from tests.support.server import PASSWORD, RunningServer

pytestmark = pytest.mark.real

#: We come from loopback, which is exempt otherwise.
POLICY = """\
plugins:
  recipients: {}
  spf: {exempt: [], results: {softfail: {score: 3}, neutral: ignore, none: ignore}}
  authentication_results: {}
"""
FORGED = "Authentication-Results: (x) MX.test; spf=pass smtp.mailfrom=fail.signed.test"
OTHERS = "Authentication-Results: other.test; spf=pass smtp.mailfrom=a.test"
MESSAGE = f"{FORGED}\r\n{OTHERS}\r\nSubject: hello\r\n\r\nHello Ann.\r\n".encode()


@pytest.fixture
async def server(tmp_path: Path, dns_world: DnsWorld) -> RunningServer:  # noqa: F811
    await dns_world.publish(
        "signed.test",
        'fail TXT "v=spf1 ip4:192.0.2.0/24 -all exp=why.fail.signed.test"',
        'why.fail TXT "555 go away"',
        'soft TXT "v=spf1 include:fail.signed.test ~all"',
        'pass TXT "v=spf1 a:client.signed.test -all"',
        'broken TXT "v=spf1 nonsense"',
        "client A 127.0.0.1",
    )
    return RunningServer(tmp_path, environment={"DNS_RESOLVER": dns_world.resolver})


@pytest.fixture
def running(server: RunningServer) -> Iterator[RunningServer]:
    server.policy("default.yaml", POLICY)
    try:
        yield server
    finally:
        server.close()


def say(server: RunningServer, sender: str, helo: str = "client.signed.test") -> tuple[str, int, str]:
    """The dialogue up to the first refusal, or to its end: the command, the reply's code and text."""
    with smtplib.SMTP("127.0.0.1", server.port("smtp"), timeout=30) as client:
        client.ehlo(helo)
        for command, words in (("MAIL", f"FROM:<{sender}>"), ("RCPT", "TO:<ann@demo.test>")):
            code, text = client.docmd(command, words)
            if code != 250:
                return command, code, text.decode()
        code, text = client.data(MESSAGE)
        return "DATA", code, text.decode()


def header(server: RunningServer) -> list[str]:
    """The header lines of the newest mail, unfolded."""
    context = ssl.create_default_context(cafile=str(server.certificate))
    context.check_hostname = False
    with imaplib.IMAP4_SSL("127.0.0.1", server.port("imaps"), ssl_context=context) as client:
        client.login("ann@demo.test", PASSWORD)
        client.select("INBOX", readonly=True)
        _, parts = client.fetch("*", "(BODY.PEEK[HEADER])")
    assert isinstance(parts[0], tuple)
    return re.sub(r"\r\n[ \t]", " ", parts[0][1].decode()).split("\r\n")


def named(lines: list[str], name: str) -> list[str]:
    return [line.partition(": ")[2] for line in lines if line.lower().startswith(f"{name.lower()}:")]


def test_a_domain_that_does_not_permit_us_is_refused_unless_the_database_says_otherwise(
    running: RunningServer,
) -> None:
    running.populate()
    running.start()
    stage, code, text = say(running, "x@fail.signed.test")
    assert (stage, code) == ("RCPT", 550)
    refused = re.fullmatch(
        r"5\.7\.23 The domain fail\.signed\.test does not permit 127\.0\.0\.1 to send its mail \(SPF fail\) "
        r"\(id ([0-9a-z]{20})\)",
        text,
    )
    assert refused, text
    explained = running.cli("explain", refused[1]).stdout
    assert "SpfFact result=fail domain=fail.signed.test" in explained
    assert "555 go away" in explained

    assert running.cli("domain", "set", "demo.test", "require_spf_pass=false").returncode == 0
    running.stop()
    running.start()
    assert say(running, "x@fail.signed.test")[:2] == ("DATA", 250)
    lines = header(running)
    (received,) = named(lines, "Received-SPF")
    assert received.startswith("fail (mx.test: fail.signed.test does not permit 127.0.0.1) receiver=mx.test; ")
    assert 'envelope-from="x@fail.signed.test"; helo=client.signed.test; identity=mailfrom' in received
    assert named(lines, "Authentication-Results") == [
        "mx.test; spf=fail smtp.mailfrom=x@fail.signed.test",
        OTHERS.partition(": ")[2],
    ]


@pytest.mark.parametrize(
    ("sender", "stage", "code", "enhanced"),
    [
        ("x@pass.signed.test", "DATA", 250, "2.0.0"),
        ("x@soft.signed.test", "DATA", 250, "2.0.0"),
        ("x@nobody.signed.test", "DATA", 250, "2.0.0"),
        ("x@broken.signed.test", "RCPT", 550, "5.7.24"),
        ("x@bogus.test", "RCPT", 451, "4.7.24"),
        ("", "DATA", 250, "2.0.0"),
    ],
)
def test_the_policy_has_an_action_for_each_result(
    running: RunningServer, sender: str, stage: str, code: int, enhanced: str
) -> None:
    running.populate()
    running.start()
    said = say(running, sender)
    assert said[:2] == (stage, code), said
    assert said[2].startswith(f"{enhanced} ")
