"""The benchmark of mail authentication: its mails are what it says they are."""

from __future__ import annotations

import dkim

from benchmarks.authentication import AUTHOR, BOUNCE, OCTETS, SENDER, SHAPES, TARGET, records, results, signed
from benchmarks.delivery import Run, Side
from benchmarks.ours import Ours
from benchmarks.postfix_dovecot import Peer
from tests.support.rsa_keys import rsa_key

KEY = rsa_key(0, 2048)


def test_its_mails_are_signed_and_of_the_promised_size() -> None:
    zone = records(KEY)

    def ask(name: bytes, timeout: int = 5) -> bytes | None:
        found = zone.get((name.decode().rstrip("."), "TXT"))
        return None if found is None else found.encode()

    mail = signed(KEY, SENDER)
    assert 0.97 * OCTETS < len(mail) <= OCTETS
    assert dkim.verify(mail, dnsfunc=ask)
    assert not dkim.verify(mail.replace(b"0001 x", b"0001 y"), dnsfunc=ask)


def test_only_the_signature_authenticates_the_checked_mail() -> None:
    zone = records(KEY)
    assert zone[AUTHOR, "TXT"] == "v=spf1 -all"
    assert (f"_dmarc.{BOUNCE}", "TXT") not in zone
    assert zone[f"_dmarc.{AUTHOR}", "TXT"].endswith("p=reject")


def side(name: str, rate: float, *, ours: bool) -> Side:
    server: Ours | Peer = Ours(1, 2, 3, (), None) if ours else Peer(1, 2, 3, (), None)  # type: ignore[arg-type]  # no folder
    made = Side(name, server, starttls=ours)
    for reuse in SHAPES:
        made.runs[reuse] = [Run(rate, rate, 1000 / rate)]
    return made


def test_the_promise_is_about_rspamd() -> None:
    sides = [
        side("ours", 200, ours=True),
        side("Postfix + a", 150, ours=False),
        side("Postfix + rspamd", 90, ours=False),
    ]
    lines = results(sides, {"rspamd": "version 1", "a": "version 2", "b": "skipped: b is not installed"})
    speeds = [line for line in lines if not line.claim.startswith("CPU")]
    assert [(line.met, line.target) for line in speeds[:3]] == [(True, f">= {TARGET:g}"), (None, ""), (None, "")]
    assert speeds[2].peer == "skipped: b is not installed"
    assert speeds[0].ratio is not None and round(speeds[0].ratio, 2) == 2.22
