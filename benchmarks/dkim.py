"""DKIM: signing 10 KB and verifying 1 MB beside stock dkimpy, in turns; and what the worst messages cost.

python -m benchmarks dkim
"""

from __future__ import annotations

import asyncio
import base64
import gc
import random
import statistics
import time
from collections.abc import Callable

import dkim
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from benchmarks.support import Result
from inbox.authentication.dkim.canonical import Form, body_hash
from inbox.authentication.dkim.sign import FIELD, sign
from inbox.authentication.dkim.verify import verify
from inbox.mail.content import MemoryContent
from inbox.mail.edits import render_field
from inbox.plugin.api.facts import Result as Verdict
from inbox.plugin.api.signing import PrivateKey, SigningKey
from inbox.plugin.api.standins import MemoryResolver

DOMAIN = "example.org"
HEAD = (
    b"From: Ann Example <ann@example.org>\r\nTo: Bob <bob@example.net>,\r\n\tCarol <carol@example.net>\r\n"
    b"Subject: The plan for the second quarter\r\nDate: Mon, 06 Jan 2025 11:20:29 +0100\r\n"
    b"Message-ID: <20250106102029.1234@example.org>\r\nMIME-Version: 1.0\r\nContent-Type: text/plain\r\n\r\n"
)
LINE = b"The quick brown fox jumps over the lazy dog, see https://example.org/a/b?c=d now.\r\n"
MEGABYTE = 1 << 20
#: Milliseconds of a processor that no message may take, whatever is in it.
MOST_MS = 250.0


def text(size: int) -> bytes:
    """A message of about ``size`` octets whose lines are clean."""
    return HEAD + LINE * max(1, (size - len(HEAD)) // len(LINE))


def _record(private: PrivateKey) -> bytes:
    public = private.public_key()
    if isinstance(private, Ed25519PrivateKey):
        return b"v=DKIM1; k=ed25519; p=" + base64.b64encode(public.public_bytes(Encoding.Raw, PublicFormat.Raw))
    return b"v=DKIM1; p=" + base64.b64encode(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))


class _Bench:
    """Keys, a DNS in memory, and both programs with the same of them."""

    def __init__(self) -> None:
        rsa = generate_private_key(65537, 2048)
        self.keys = {
            "rsa": SigningKey(DOMAIN, "rsa", rsa),
            "ed25519": SigningKey(DOMAIN, "ed25519", Ed25519PrivateKey.generate()),
        }
        self.pem = rsa.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
        self.dns = MemoryResolver()
        self.loop = asyncio.new_event_loop()
        for name, key in self.keys.items():
            self.dns.txt_records[f"{name}._domainkey.{DOMAIN}"] = [_record(key.private)]

    def sign(self, message: bytes, name: str = "rsa") -> bytes:
        value = sign(MemoryContent(message), self.keys[name], now=time.time())
        return render_field(FIELD, value) + message

    def theirs_sign(self, message: bytes, forms: str = "relaxed/relaxed") -> bytes:
        header, body = forms.encode().split(b"/")
        return bytes(dkim.sign(message, b"rsa", DOMAIN.encode(), self.pem, canonicalize=(header, body))) + message

    def verify(self, message: bytes) -> Verdict:
        self.dns.asked.clear()
        # One loop for all: a new one for each message would cost as much as a small message does.
        return self.loop.run_until_complete(verify(MemoryContent(message), self.dns, now=time.time())).result

    def theirs_verify(self, message: bytes) -> bool:
        record = self.dns.txt_records[f"rsa._domainkey.{DOMAIN}"][0]
        return bool(dkim.verify(message, dnsfunc=lambda name, timeout=5: record))  # noqa: ARG005  its names


def _in_turns(ours: Callable[[], object], theirs: Callable[[], object], times: int) -> tuple[float, float]:
    """The medians of ``times`` turns of four calls each, in seconds of processor time for one call."""
    found: tuple[list[float], list[float]] = ([], [])
    for _ in range(times):
        for function, taken in zip((ours, theirs), found, strict=True):
            gc.collect()  # Nobody pays for what the other left behind,
            function()  # nor for what that took out of the processor's caches.
            taken.append(statistics.mean(_timed(function) for _ in range(4)))
    return statistics.median(found[0]), statistics.median(found[1])


def _compared(claim: str, ours: float, theirs: float, at_least: float | None) -> Result:
    ratio = theirs / ours
    target = "" if at_least is None else f">= {at_least:g}"
    met = None if at_least is None else ratio >= at_least
    return Result(claim, f"{ours * 1e6:.0f} us", f"stock dkimpy: {theirs * 1e6:.0f} us", ratio, target, met)


def run() -> list[Result]:
    """All of it, about ten seconds."""
    bench = _Bench()
    try:
        return [*_signing(bench), *_verifying(bench), *_worst(bench)]
    finally:
        bench.loop.close()


def _signing(bench: _Bench) -> list[Result]:
    message = text(10_240)
    ours, theirs = _in_turns(lambda: bench.sign(message), lambda: bench.theirs_sign(message), 7)
    alone = [_timed(lambda: bench.sign(message, "ed25519")) for _ in range(15)]
    return [
        _compared("DKIM sign 10 KB, RSA-2048, relaxed", ours, theirs, 5),
        Result("DKIM sign 10 KB, Ed25519, relaxed", f"{statistics.median(alone) * 1e6:.0f} us"),
    ]


def _verifying(bench: _Bench) -> list[Result]:
    results = []
    for size, name, times, at_least in ((8_192, "8 KB", 9, None), (MEGABYTE, "1 MB", 5, 10.0)):
        for forms in ("relaxed/relaxed", "simple/simple"):
            message = bench.theirs_sign(text(size), forms)
            assert bench.verify(message) is Verdict.PASS
            assert bench.theirs_verify(message)
            ours, theirs = _in_turns(
                lambda message=message: bench.verify(message),  # type: ignore[misc]  # the loop's own
                lambda message=message: bench.theirs_verify(message),  # type: ignore[misc]
                times,
            )
            results.append(_compared(f"DKIM verify {name}, RSA-2048, {forms}", ours, theirs, at_least))
    content = MemoryContent(text(MEGABYTE))
    for form in Form:
        taken = statistics.median(_timed(lambda form=form: body_hash(content, 0, form)) for _ in range(15))  # type: ignore[misc]
        results.append(Result(f"DKIM body hash 1 MB, {form}", f"{taken * 1e6:.0f} us"))
    return results


def _worst(bench: _Bench) -> list[Result]:
    """Processor time of hostile messages that are expensive to verify."""
    body = 25 * MEGABYTE
    signature = bench.sign(text(1000)).partition(b"From:")[0]
    simple = bench.theirs_sign(text(1000), "simple/simple").partition(b"From:")[0]
    chance = random.Random(1)
    noise = bytes(chance.choices(b" \t\r\na", k=MEGABYTE)) * 25
    few = b"".join(b"a" * chance.randrange(15) + b" " * chance.choice((1, 2, 3, 5, 7, 70)) for _ in range(300_000))
    few = (few * (body // len(few) + 1))[:body]
    cases = {
        "25 MB of double spaces": signature + HEAD + b"a  " * (body // 3),
        "25 MB of white space and line ends": signature + HEAD + noise,
        "25 MB of words and runs of spaces": signature + HEAD + few,
        "25 MB of lines that end in a space": signature + HEAD + (b"a" * 30 + b" \r\n") * (body // 33),
        "25 MB of empty lines, both forms": signature + simple + HEAD + b"\r\n" * (body // 2) + b"a",
        "200 signatures on 1 MB": signature * 200 + text(MEGABYTE),
        "8 signatures, header of 256 KB": signature * 8 + b"X: " + b" a" * 125_000 + b"\r\n" + text(10_000),
    }
    results = []
    for name, message in cases.items():
        ms = min(_timed(lambda message=message: bench.verify(message)) for _ in range(3)) * 1e3  # type: ignore[misc]
        results.append(Result(f"DKIM verify {name}", f"{ms:.0f} ms CPU", "", None, f"< {MOST_MS:.0f} ms", ms < MOST_MS))
    return results


def _timed(function: Callable[[], object]) -> float:
    began = time.process_time()
    function()
    return time.process_time() - began
