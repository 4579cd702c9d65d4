"""Mail authentication: inbound with SPF, DKIM, DMARC and durable delivery; Postfix with rspamd, and with opendkim & co.

Every mail has 8 KB and a DKIM signature (RSA-2048) of its author's domain; SPF, DKIM and DMARC pass. All sides ask
the same resolver, have warm caches and the same client; each fsyncs before its 250. Before anything is measured, each
side shows that it looks: a mail that only its signature authenticates is taken, and refused with one letter changed.

The network is one of its own (unshare), since the peers ask port 53 only: nothing of this machine is touched.

    python -m benchmarks authentication
"""

from __future__ import annotations

import base64
import json
import smtplib
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from email.utils import formatdate
from pathlib import Path

import dkim
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from benchmarks import loopback_dns, milters, postfix_dovecot
from benchmarks.delivery import Run, Side, account, folder_for, measure
from benchmarks.ours import ROOT, serving
from benchmarks.support import Failed, Result, Skipped, end, ending_on_signals, machine, program, set_apart

OCTETS = 8192
MESSAGES = 400
WARM = 200
ROUNDS = 3
TARGET = 2.0
SHAPES = {False: "a connection for each mail", True: "connections reused"}
SELECTOR = "bench"
#: The sender of the measured mails; whom SPF lets send for nobody's From; whom only its signature authenticates. Not
#: below ``test``: opendkim's libunbound answers by itself that nothing is there (RFC 6761 §6.2).
SENDER, BOUNCE, AUTHOR = "client.example", "bounce.example", "author.example"
POLICY = """\
plugins:
  recipients: {}
  rate_limit: {transfer_messages: 10000000, transfer_connections: 10000000}
  spf: {exempt: []}
  dkim: {}
  dmarc: {}
"""


def run() -> list[Result]:
    """The measurement in a network of its own; what is not installed of the peers is left out and named.

    Raises:
        Skipped: what the measurement itself needs is not here.
        Failed: a side lost or refused a message, did not look at it, or did not start.
    """
    for name, package in (("smtp-source", "postfix"), ("unbound", "unbound"), ("ip", "iproute2")):
        program(name, package)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        resolv, answer = Path(folder, "resolv.conf"), Path(folder, "results.json")
        resolv.write_text("nameserver 127.0.0.1\n")
        script = 'ip link set lo up && mount --bind "$1" /etc/resolv.conf && shift && exec "$@"'
        ours = [sys.executable, "-m", "benchmarks.authentication", str(answer)]
        apart = [program("unshare", "util-linux"), "--net", "--mount", "sh", "-c", script, "sh", str(resolv), *ours]
        if subprocess.run([*apart[:5], "ip link set lo up"], capture_output=True, check=False).returncode:
            raise Skipped("no network of its own can be made here (unshare --net --mount needs root)")
        process = subprocess.Popen(apart, cwd=ROOT, start_new_session=True)
        try:
            code = process.wait()
        finally:
            end(process, 60)
        if code or not answer.exists():
            raise Failed(f"the measurement ended with {code}")
        said = json.loads(answer.read_text())
    if "failed" in said:
        raise Failed(said["failed"])
    return [Result(**each) for each in said["results"]]


def apart(answer: Path) -> None:
    """The measurement itself, in the network that :func:`run` made."""
    said: dict[str, object]
    try:
        with ending_on_signals():
            said = {"results": [asdict(each) for each in _measured()]}
    except Failed as reason:
        said = {"failed": str(reason)}
    answer.write_text(json.dumps(said))


def _measured() -> list[Result]:
    print(f"  {machine()}", flush=True)
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    with ExitStack() as stack:
        parent = folder_for(stack, None)
        set_apart(parent)
        stack.enter_context(loopback_dns.resolver(folder_for(stack, parent), records(key)))
        content = parent / "message"
        content.write_bytes(signed(key, SENDER).replace(b"\r\n", b"\n"))
        running, notes = stack.enter_context(_sides(parent))
        for side in running:
            check(side, key)
            measure(side, "warm", messages=WARM, reuse=False, content=content, sender=SENDER)
        for number in range(ROUNDS):
            for reuse, shape in SHAPES.items():
                for side in running:
                    result = measure(
                        side, account(reuse, number), messages=MESSAGES, reuse=reuse, content=content, sender=SENDER
                    )
                    side.runs[reuse].append(result)
                    print(f"  round {number + 1}, {shape:26} {side.name:46} {_shown(result)}", flush=True)
    return results(running, notes)


def _shown(result: Run) -> str:
    return (
        f"acknowledged {result.acknowledged:7.0f}/s  delivered {result.delivered:7.0f}/s"
        f"  CPU {result.cpu_ms:6.2f} ms/mail"
    )


@contextmanager
def _sides(parent: Path) -> Iterator[tuple[list[Side], dict[str, str]]]:
    """All sides, running; and for each peer its versions, or why it is left out."""
    accounts = ["warm", "checked", *(account(reuse, number) for reuse in SHAPES for number in range(ROUNDS))]
    extra = {"DNS_RESOLVER": loopback_dns.ADDRESS, "SMTP_RATE_LIMIT_ENABLED": "true"}
    running: list[Side] = []
    notes: dict[str, str] = {}
    with ExitStack() as stack:
        for processes, peer in ((1, "rspamd"), (2, "opendkim + opendmarc + policyd-spf")):
            folder = folder_for(stack, parent)
            server = stack.enter_context(serving(folder, accounts, processes=processes, policy=POLICY, extra=extra))
            running.append(Side(f"ours, {processes} process{'es' if processes > 1 else ''}", server, starttls=True))
            try:
                folder = folder_for(stack, parent)
                made = milters.rspamd(folder) if peer == "rspamd" else milters.open_filters(folder, "peer.test")
                filters = stack.enter_context(made)
                postfix = postfix_dovecot.versions()
                server_of_peer = stack.enter_context(
                    postfix_dovecot.postfix_dovecot(
                        folder_for(stack, parent), filters.main, filters.master, filters.roots
                    )
                )
            except Skipped as reason:
                notes[peer] = f"skipped: {reason}"
                print(f"  Postfix + Dovecot + {peer}: {notes[peer]}", flush=True)
                continue
            notes[peer] = f"{postfix} + {filters.version}"
            print(f"  peer: {notes[peer]}", flush=True)
            running.append(Side(f"Postfix + Dovecot + {peer}", server_of_peer, starttls=False))
        yield running, notes


# -- mails ------------------------------------------------------------------------------------------------------------


def records(key: rsa.RSAPrivateKey) -> Mapping[tuple[str, str], str]:
    """The records of the resolver: SPF, DKIM key and DMARC policy of the domains."""
    public = base64.b64encode(key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()
    found = {("1.0.0.127.in-addr.arpa", "PTR"): f"{SENDER}."}
    for domain in (SENDER, BOUNCE, AUTHOR):
        found[domain, "A"] = "127.0.0.1"
        found[domain, "MX"] = f"10 {domain}."
        found[domain, "TXT"] = "v=spf1 -all" if domain == AUTHOR else "v=spf1 ip4:127.0.0.1 -all"
    for domain in (SENDER, AUTHOR):
        found[f"{SELECTOR}._domainkey.{domain}", "TXT"] = f"v=DKIM1; k=rsa; p={public}"
        found[f"_dmarc.{domain}", "TXT"] = "v=DMARC1; p=reject"
    return found


def signed(key: rsa.RSAPrivateKey, domain: str) -> bytes:
    """A mail of OCTETS octets from ``domain`` with its signature in front.

    It has no Message-ID: smtp-source sends the same mail again and again, and we recognise by it what we have already.
    """
    head = (
        f"From: Sender <sender@{domain}>\r\nTo: Recipient <recipient@example.test>\r\nSubject: To be measured\r\n"
        f"Date: {formatdate()}\r\nMIME-Version: 1.0\r\n"
        "Content-Type: text/plain; charset=us-ascii\r\n\r\n"
    ).encode()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    body = b"".join(b"%04d %s\r\n" % (number, b"x" * 65) for number in range((OCTETS - len(head) - 600) // 72))
    names = [b"from", b"to", b"subject", b"date", b"mime-version", b"content-type"]
    signature = dkim.sign(
        head + body,
        SELECTOR.encode(),
        domain.encode(),
        pem,
        canonicalize=(b"relaxed", b"relaxed"),
        include_headers=names,
    )
    return bytes(signature) + head + body


def _octets(text: bytes | str) -> bytes:
    return text.encode() if isinstance(text, str) else text


def check(side: Side, key: rsa.RSAPrivateKey) -> None:
    """Raises Failed unless the side takes a mail that only its signature authenticates, and refuses it once changed."""
    mail = signed(key, AUTHOR)
    for content, taken in ((mail, True), (mail.replace(b"0001 x", b"0001 y"), False)):
        with smtplib.SMTP("127.0.0.1", side.server.smtp_port, SENDER, timeout=30) as client:
            try:
                client.sendmail(f"sender@{BOUNCE}", side.server.address("checked"), content)
                code, text = 250, b""
            except smtplib.SMTPResponseException as error:
                code, text = error.smtp_code, _octets(error.smtp_error)
        if (code == 250) is not taken or (not taken and not 500 <= code <= 599):
            raise Failed(f"{side.name} answers {code} {text!r} to a {'genuine' if taken else 'forged'} mail")


# -- figures ----------------------------------------------------------------------------------------------------------


def results(running: list[Side], notes: Mapping[str, str]) -> list[Result]:
    """The final lines. A ratio is the median of the rounds' ratios: what slows the machine slows both of a round."""
    ours = [side for side in running if side.starttls]
    lines: list[Result] = []
    for reuse, shape in SHAPES.items():
        for side in ours:
            for peer_name, note in notes.items():
                peer = next((each for each in running if not each.starttls and each.name.endswith(peer_name)), None)
                target = TARGET if peer_name == "rspamd" else None
                lines += _lines(f"8 KB, DKIM-signed, {shape}; {side.name}", side, peer, reuse, target, note)
    return lines


def _lines(claim: str, side: Side, peer: Side | None, reuse: bool, target: float | None, note: str) -> Iterator[Result]:
    speed = f"{side.median(reuse, 'delivered'):.0f} mails/s"
    cpu = f"{side.median(reuse, 'cpu_ms'):.2f} ms"
    promised = f">= {target:g}" if target is not None else ""
    if peer is None:
        yield Result(f"authentication, {claim}", speed, note, target=promised)
        return
    ratio = _ratio(side.runs[reuse], peer.runs[reuse], "delivered")
    theirs = f"{peer.name}: {peer.median(reuse, 'delivered'):.0f} mails/s"
    met = None if target is None else ratio >= target
    yield Result(f"authentication, {claim}", speed, theirs, ratio, promised, met, f"authentication: {note}")
    saved = _ratio(peer.runs[reuse], side.runs[reuse], "cpu_ms")
    yield Result(f"CPU, {claim}", cpu, f"{peer.name}: {peer.median(reuse, 'cpu_ms'):.2f} ms", saved)


def _ratio(above: list[Run], below: list[Run], what: str) -> float:
    pairs = zip(above, below, strict=True)
    return float(statistics.median(getattr(a, what) / getattr(b, what) for a, b in pairs))


if __name__ == "__main__":
    apart(Path(sys.argv[1]))
