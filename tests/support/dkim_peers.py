"""Other programs that sign and verify: OpenDKIM, Mail::DKIM, dkimpy. All of them ask the real DNS of ``dns_world``."""

from __future__ import annotations

import base64
import contextlib
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import dkim
import dns.exception
import dns.message
import dns.query
import dns.rdatatype
import pytest
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from inbox.authentication.results import parse
from inbox.plugin.api.signing import SigningKey
from tests.support.milter import Filtered, ask
from tests.support.ports import free_port
from tests.support.waiting import until_it_answers

OURS, FOREIGN = "127.0.0.1", "192.0.2.1"
_OPENDKIM = """
Syslog no
Background no
Socket inet:{port}@127.0.0.1
Mode sv
Domain {domain}
Selector {selector}
KeyFile {folder}/key.pem
SignatureAlgorithm {algorithm}
Canonicalization {forms}
RequireSafeKeys no
InternalHosts {ours}
AuthservID peer.test
AlwaysAddARHeader yes
ResolverConfiguration {folder}/unbound.conf
TemporaryDirectory {folder}
"""
_UNBOUND = """
server:
  do-not-query-localhost: no
  module-config: "iterator"
  local-zone: "test." nodefault
forward-zone:
  name: "."
  forward-addr: {resolver}
"""
_MAIL_DKIM = """
use strict; use warnings;
use Net::DNS::Resolver; use Mail::DKIM::DNS; use Mail::DKIM::Verifier; use Mail::DKIM::Signer;
my ($what, $host, $port, @more) = @ARGV;
binmode STDIN; binmode STDOUT; my $mail = do { local $/; <STDIN> };
if ($what eq 'verify') {
    Mail::DKIM::DNS::resolver(Net::DNS::Resolver->new(
        nameservers => [$host], port => $port, recurse => 1, retry => 1, tcp_timeout => 20, udp_timeout => 20));
    my $verifier = Mail::DKIM::Verifier->new(); $verifier->PRINT($mail); $verifier->CLOSE;
    print join("\\n", map { $_->result } $verifier->signatures);
} else {
    my ($domain, $selector, $method, $file) = @more;
    my $signer = Mail::DKIM::Signer->new(
        Algorithm => 'rsa-sha256', Method => $method, Domain => $domain, Selector => $selector, KeyFile => $file);
    $signer->PRINT($mail); $signer->CLOSE; print $signer->signature->as_string;
}
"""


def pem(key: SigningKey, folder: Path) -> Path:
    """The private key in a file."""
    path = folder / "key.pem"
    form = PrivateFormat.TraditionalOpenSSL if isinstance(key.private, RSAPrivateKey) else PrivateFormat.PKCS8
    path.write_bytes(key.private.private_bytes(Encoding.PEM, form, NoEncryption()))
    return path


class OpenDkim:
    """A running opendkim. What comes from OURS it signs, what comes from elsewhere it verifies."""

    def __init__(self, port: int) -> None:
        self._port = port

    async def verify(self, message: bytes) -> list[str]:
        """Its results, in the order of the message's signatures."""
        said: Filtered = await ask(self._port, message, client=FOREIGN)
        (results,) = said.get("Authentication-Results")
        parsed = parse(results)
        assert parsed is not None, results
        return [result.result for result in parsed.results if result.method == "dkim"]

    async def sign(self, message: bytes, sender: str) -> bytes:
        """The message with its signature."""
        return (await ask(self._port, message, client=OURS, sender=sender)).block() + message


@contextlib.contextmanager
def opendkim(folder: Path, resolver: str, key: SigningKey, forms: str = "relaxed/relaxed") -> Iterator[OpenDkim]:
    """Starts one. ``resolver`` is ``host:port``."""
    program = shutil.which("opendkim", path="/usr/sbin:/usr/bin")
    if program is None:
        pytest.skip("opendkim is not installed (Debian: opendkim)")
    folder.mkdir(exist_ok=True)
    pem(key, folder)
    port = free_port()
    (folder / "unbound.conf").write_text(_UNBOUND.format(resolver=resolver.replace(":", "@")))
    (folder / "conf").write_text(
        _OPENDKIM.format(
            port=port,
            folder=folder,
            forms=forms,
            ours=OURS,
            domain=key.domain,
            selector=key.selector,
            algorithm=key.algorithm,
        )
    )
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen([program, "-f", "-x", str(folder / "conf")], stdout=log, stderr=log, cwd=folder)
    try:
        until_it_answers(process, lambda: _listens(port), folder / "log")
        yield OpenDkim(port)
    finally:
        process.terminate()
        process.wait()


def _listens(port: int) -> bool:
    """Raises OSError: it does not."""
    with socket.create_connection(("127.0.0.1", port), timeout=5):
        return True


def mail_dkim(message: bytes, resolver: str) -> list[str]:
    """The results of Mail::DKIM (dkimproxy), in the order in which it looks at signatures."""
    return _perl(message, "verify", *resolver.split(":")).decode().split("\n")


def mail_dkim_signed(message: bytes, key: SigningKey, folder: Path, forms: str = "relaxed/relaxed") -> bytes:
    """The message with a signature of Mail::DKIM; RSA only."""
    field = _perl(message, "sign", "-", "-", key.domain, key.selector, forms, str(pem(key, folder)))
    return field.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n") + b"\r\n" + message


def dkimproxy_verify(message: bytes, resolver: str) -> str:
    """The output of the command ``dkimproxy-verify``."""
    program = shutil.which("dkimproxy-verify")
    if program is None:
        pytest.skip("dkimproxy-verify is not installed (Debian: libmail-dkim-perl)")
    host, _, port = resolver.rpartition(":")
    environment = os.environ | {"RES_NAMESERVERS": host, "RES_OPTIONS": f"port:{port}"}
    return _ran([program], message, environment)


def dkimverify(message: bytes, resolver: str) -> str:
    """The output of dkimpy's command ``dkimverify``; it queries ``resolver`` instead of the system's."""
    host, _, port = resolver.rpartition(":")
    program = (
        "import dns.resolver as r, sys; from dkim.dkimverify import main; "
        f"r.default_resolver = d = r.Resolver(configure=False); d.nameservers = ['{host}']; d.port = {port}; "
        "sys.exit(main())"
    )
    return _ran([sys.executable, "-W", "ignore", "-c", program], message, dict(os.environ))


def _ran(command: list[str], message: bytes, environment: dict[str, str]) -> str:
    ran = subprocess.run(command, input=message, capture_output=True, check=False, env=environment)
    return (ran.stdout + ran.stderr).decode()


def _perl(message: bytes, *arguments: str) -> bytes:
    perl = shutil.which("perl")
    if perl is None or subprocess.run([perl, "-MMail::DKIM", "-e", "1"], capture_output=True, check=False).returncode:
        pytest.skip("Mail::DKIM is not installed (Debian: libmail-dkim-perl)")
    ran = subprocess.run([perl, "-e", _MAIL_DKIM, *arguments], input=message, capture_output=True, check=False)
    assert ran.returncode == 0, ran.stderr.decode()
    return ran.stdout


def dkimpy(message: bytes, resolver: str, index: int = 0) -> bool:
    """Whether dkimpy takes the message's signature of this index (from the top)."""
    host, _, port = resolver.rpartition(":")

    def txt(name: bytes, timeout: float = 30) -> bytes | None:
        query = dns.message.make_query(name.decode(), dns.rdatatype.TXT)
        answer = dns.query.tcp(query, host, port=int(port), timeout=timeout)
        records = [record for rrset in answer.answer if rrset.rdtype == dns.rdatatype.TXT for record in rrset]
        return b"".join(records[0].strings) if records else None

    try:
        return bool(dkim.DKIM(message).verify(index, dnsfunc=txt))
    except dkim.ValidationError:
        return False


def dkimpy_signed(message: bytes, key: SigningKey, forms: str = "relaxed/relaxed") -> bytes:
    """The message with a signature of dkimpy."""
    header, body = forms.encode().split(b"/")
    if isinstance(key.private, RSAPrivateKey):
        private = key.private.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    else:
        private = base64.b64encode(key.private.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption()))
    return bytes(
        dkim.sign(
            message,
            key.selector.encode(),
            key.domain.encode(),
            private,
            canonicalize=(header, body),
            signature_algorithm=key.algorithm.encode(),
        )
        + message
    )
