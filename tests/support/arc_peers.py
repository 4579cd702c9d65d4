"""Other programs that seal and validate: dkimpy's command line tools, and rspamd. They ask the DNS of ``dns_world``."""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from inbox.plugin.api.signing import SigningKey
from tests.support.ports import free_port
from tests.support.waiting import until_it_answers

_RSPAMD = """
options {{
    filters = "dkim";
    explicit_modules = [];
    dns {{ timeout = 5s; nameserver = ["{resolver}"]; }}
    tempdir = "{folder}"; pidfile = "{folder}/pid"; control_socket = "{folder}/socket mode=0600";
    url_tld = "{folder}/suffixes";
}}
logging {{ type = "file"; filename = "{folder}/log"; level = "info"; }}
worker "normal" {{ bind_socket = "127.0.0.1:{port}"; count = 1; }}
modules {{ path = "{share}/plugins/arc.lua"; }}
lua = "{share}/rules/rspamd.lua";
arc {{
    sign_inbound = true; sign_local = true; allow_hdrfrom_mismatch = true; use_domain = "recipient"; use_esld = false;
    whitelisted_signers_map = [];
    domain {{ {domain} {{ path = "{key}"; selector = "{selector}"; }} }}
}}
"""
_SHARE = Path("/usr/share/rspamd")
#: dkimpy's tools as they are, but for the resolver, for which they have no option.
_TOOL = """
import runpy, sys
import dns.resolver
host, port, name = sys.argv[1:4]
resolver = dns.resolver.Resolver(configure=False)
resolver.nameservers, resolver.port = [host], int(port)
dns.resolver.default_resolver = resolver
sys.argv[:] = [name, *sys.argv[4:]]
runpy.run_module("dkim." + name, run_name="__main__")
"""


def _tool(name: str, message: bytes, resolver: str, *arguments: str) -> bytes:
    host, _, port = resolver.rpartition(":")
    ran = subprocess.run(
        [sys.executable, "-c", _TOOL, host, port, name, *arguments], input=message, capture_output=True, check=False
    )
    assert ran.returncode == 0, ran.stderr.decode()
    return ran.stdout


def arcverify(message: bytes, resolver: str) -> str:
    """The output of dkimpy's ``arcverify`` for the chain: ``cv=b'pass' success``."""
    return _tool("arcverify", message, resolver).decode().partition(": ")[2].strip()


def pem(key: SigningKey, folder: Path) -> Path:
    """The private key in a file."""
    path = folder / "key.pem"
    path.write_bytes(key.private.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()))
    return path


class Rspamd:
    """A running rspamd with its ARC module alone."""

    def __init__(self, port: int, domain: str) -> None:
        self._url = f"http://127.0.0.1:{port}"
        self._domain = domain

    def alive(self) -> bool:
        """Whether it answers. Raises OSError: it does not."""
        with urllib.request.urlopen(f"{self._url}/ping", timeout=5) as answer:
            return bool(answer.status == 200)

    def symbol(self, message: bytes) -> str:
        """Its result for the chain: ARC_ALLOW, ARC_REJECT, ARC_NA, …"""
        found = self._check(message)["symbols"]
        (symbol,) = (name for name in found if name.startswith("ARC_") and name != "ARC_SIGNED")
        return str(symbol)

    def sealed(self, message: bytes) -> bytes:
        """The message with the set that it adds, as its milter would."""
        fields = self._check(message)["milter"]["add_headers"]
        names = ("ARC-Seal", "ARC-Message-Signature", "ARC-Authentication-Results")
        return b"".join(f"{name}: {fields[name]['value']}\r\n".encode() for name in names) + message

    def _check(self, message: bytes) -> Any:
        headers = {"From": "ann@author.example", "Rcpt": f"list@{self._domain}", "IP": "192.0.2.7", "Helo": "a.example"}
        request = urllib.request.Request(f"{self._url}/checkv2", data=message, headers=headers)
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.load(answer)


@contextlib.contextmanager
def rspamd(folder: Path, resolver: str, key: SigningKey) -> Iterator[Rspamd]:
    """Starts one that seals what goes to the key's domain. ``resolver`` is ``host:port``."""
    program = shutil.which("rspamd")
    if program is None or not _SHARE.is_dir():
        pytest.skip("rspamd is not installed (Debian: rspamd)")
    port = free_port()
    # Of the whole list of public suffixes it makes a matcher, which takes half a minute.
    (folder / "suffixes").write_text("example\ntest\n")
    (folder / "conf").write_text(
        _RSPAMD.format(
            resolver=resolver,
            folder=folder,
            port=port,
            share=_SHARE,
            domain=key.domain,
            selector=key.selector,
            key=pem(key, folder),
        )
    )
    with (folder / "out").open("wb") as out:
        process = subprocess.Popen([program, "-f", "-i", "-c", str(folder / "conf")], stdout=out, stderr=out)
    try:
        running = Rspamd(port, key.domain)
        until_it_answers(process, running.alive, folder / "out")
        yield running
    finally:
        process.terminate()
        process.wait()
