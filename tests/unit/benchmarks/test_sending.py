"""The benchmark of sending: its mails, its counting sink, its client, and its figures."""

from __future__ import annotations

import smtplib
import sys
from contextlib import nullcontext
from pathlib import Path

import dkim
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from benchmarks import submitting
from benchmarks.senders import SELECTOR, SIGNED, Sender
from benchmarks.sending import SHAPES, Run, Side, contends, made_keys, results, settings, steadiness, verify
from benchmarks.sink import COUNTS, SAMPLE, Sink, sink
from benchmarks.submitting import LATER_EVERY, OCTETS, Submission, message, recipient
from benchmarks.support import Failed, until
from tests.support.ports import free_port
from tests.support.rsa_keys import rsa_key

RATES = {"ours": 800.0, "fast": 400.0, "near": 320.0, "slow": 200.0}
KEY = rsa_key(0, 2048)


def side(name: str, rate: float, *, ours: bool) -> Side:
    made = Side(name, lambda *_: nullcontext(Sender(0, ())), is_ours=ours)
    for shape in SHAPES:
        made.runs[shape] = [Run(rate, rate, 1000 / rate)]
    return made


def mail_signed_by(key: rsa.RSAPrivateKey, fields: tuple[str, ...] = SIGNED) -> bytes:
    mail = message(1, "ann@ours.test", "user1@remote.test")
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    names = [each.lower().encode() for each in fields]
    return bytes(dkim.sign(mail, SELECTOR.encode(), b"ours.test", pem, include_headers=names)) + mail


def kept(folder: Path, *mails: bytes) -> Sink:
    for number, mail in enumerate(mails):
        (folder / f"{number:02}.eml").write_bytes(mail)
    return Sink(0, folder)


def test_a_mail_has_the_promised_size_and_lines_that_are_not_too_long() -> None:
    mail = message(7, "ann@ours.test", "user7@remote.test")
    assert len(mail) == OCTETS
    assert max(map(len, mail.split(b"\r\n"))) <= 998
    assert b"\n." not in mail


def test_every_tenth_recipient_is_one_that_is_refused_for_now() -> None:
    found = [recipient(number, "remote.test") for number in range(200, 300)]
    assert sum(each.startswith("later") for each in found) == 100 // LATER_EVERY
    assert len(set(found)) == 100


def test_messages_must_be_signed_with_the_key_over_all_fields(tmp_path: Path) -> None:
    verify("a side", kept(tmp_path, mail_signed_by(KEY)), KEY)
    other = rsa_key(1, 2048)
    with pytest.raises(Failed, match="no valid signature"):
        verify("a side", kept(tmp_path, mail_signed_by(other)), KEY)
    with pytest.raises(Failed, match="does not sign"):
        verify("a side", kept(tmp_path, mail_signed_by(KEY, ("From", "To"))), KEY)


def test_a_sink_that_kept_nothing_proves_nothing(tmp_path: Path) -> None:
    with pytest.raises(Failed, match="kept no message"):
        verify("a side", kept(tmp_path), KEY)


def test_our_side_signs_with_the_key_of_all_sides(tmp_path: Path) -> None:
    found = settings(made_keys(tmp_path, KEY), 587)
    assert found["SMTP_DKIM_PRIVATE_KEY_B64_PKCS8"] in (tmp_path / "dkim.pem").read_text().replace("\n", "")
    assert found["SMTP_DKIM_HEADERS"].split(",") == list(SIGNED)


def test_ours_is_compared_with_the_fastest_peer() -> None:
    sides = [side("ours", 210, ours=True), side("slow", 50, ours=False), side("fast", 100, ours=False)]
    by_claim = {line.claim: line for line in results(sides, ["both"])}
    plain = by_claim["sending, 4 KB; ours"]
    assert (plain.peer, plain.ratio, plain.met) == ("fast: 100 mails/s", 2.1, True)
    assert by_claim["sending, 4 KB, the sink answers after 50 ms; ours"].met is None
    assert by_claim["CPU, sending, 4 KB; ours"].ratio == pytest.approx(2.1)


def test_without_peers_there_is_no_ratio() -> None:
    (line, *_) = results([side("ours", 210, ours=True)], [])
    assert (line.ratio, line.met) == (None, None)


def test_a_rate_that_falls_with_the_backlog_misses_the_target() -> None:
    from benchmarks.sending import BACKLOGS

    small, large = BACKLOGS
    assert steadiness({small: 280, large: 12}).met is False
    assert steadiness({small: 280, large: 270}).met is True


def test_the_client_submits_after_it_reported_its_logins(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """So the CPU time of a run does not contain that of the logins, which hash passwords."""
    steps: list[str] = []

    class Session:
        def __init__(self, _what: Submission) -> None:
            steps.append("login")

        def send(self, _numbers: range) -> None:
            steps.append("send")

        def quit(self) -> None:
            steps.append("quit")

    class Asked:
        def readline(self) -> str:
            steps.append(capsys.readouterr().out)
            return "\n"

    monkeypatch.setattr(submitting, "Session", Session)
    monkeypatch.setattr(sys, "stdin", Asked())
    submitting._main(["25", "ann@ours.test", "secret", "ann@ours.test", "remote.test", "2", "2", "0"])
    assert steps == ["login", "login", submitting.READY, "send", "send", "quit", "quit"]


def test_the_caller_learns_of_the_logins_before_the_client_goes_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    script = tmp_path / "benchmarks" / "submitting.py"
    script.parent.mkdir()
    script.write_text("print('ready', flush=True)\nassert input() == ''\nprint(open('logged in').read(), 2.5)\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    what = Submission(25, "ann@ours.test", "secret", "ann@ours.test", "remote.test", 1)

    def logged_in() -> None:
        Path("logged in").write_text("1.5")

    assert submitting.submit(what, logged_in) == (1.5, 2.5)


@pytest.mark.real
def test_the_sink_counts_what_it_takes_and_what_it_refuses(tmp_path: Path) -> None:
    port = free_port()
    with sink(tmp_path / "sink", port, refuses=True) as taking:
        with smtplib.SMTP("127.0.0.1", port, timeout=30) as client:
            for number in range(SAMPLE + 1):
                client.sendmail("ann@ours.test", f"user{number}@remote.test", b"Subject: x\r\n\r\n.dots\r\n..\r\n")
            with pytest.raises(smtplib.SMTPRecipientsRefused):
                client.sendmail("ann@ours.test", "later1@remote.test", b"Subject: x\r\n\r\n")
        until(lambda: taking.counts() == (SAMPLE + 1, 1), 10, "both are counted")
        assert len(taking.sample()) == SAMPLE
        assert taking.sample()[0] == b"Subject: x\r\n\r\n.dots\r\n..\r\n"
    assert len((tmp_path / "sink" / "counts").read_bytes()) == COUNTS.size


def test_a_peer_far_from_the_fastest_one_is_measured_once() -> None:
    ours, fast, near, slow = (side(name, rate, ours=name == "ours") for name, rate in RATES.items())
    sides = [ours, fast, near, slow]
    assert [contends(each, sides, "plain") for each in sides] == [True, True, True, False]
    assert not any(contends(each, sides, "slow") for each in sides), "a shape without a target has one round"
    for each in (ours, fast):
        each.runs["plain"] *= 3
    slow.runs["plain"] = [Run(999, 999, 1)]
    (line, *_) = results([ours, fast, slow], [])
    assert line.peer.startswith("fast"), "one run of a slower peer does not replace three"
