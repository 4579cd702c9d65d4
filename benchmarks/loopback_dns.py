"""The resolver of both sides: Debian's unbound on 127.0.0.1:53, with the sender's records in its memory.

It answers as a resolver with a warm cache does. Port 53, because the peers take no other: to be started in a network
of its own (:func:`benchmarks.support.in_private_network`).
"""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

import dns.exception
import dns.message
import dns.query

from benchmarks.support import end, program, until

ADDRESS = "127.0.0.1:53"
#: Seconds; repeated questions within a run are answered from the clients' caches.
TTL = 3600

CONF = """\
server:
  directory: "{folder}"
  chroot: ""
  username: ""
  pidfile: ""
  use-syslog: no
  logfile: "{folder}/unbound.log"
  interface: 127.0.0.1@53
  do-ip6: no
  num-threads: 1
  module-config: "iterator"
  local-zone: "." static
{data}
"""


@contextlib.contextmanager
def resolver(folder: Path, records: Mapping[tuple[str, str], str]) -> Iterator[int]:
    """Runs unbound; yields its process id.

    Args:
        records: data by name and type; the text of a TXT record as it is. Whatever is not there does not exist.

    Raises:
        Skipped: unbound is not installed.
        Failed: it does not answer.
    """
    data = "\n".join(
        f"  local-data: '{name}. {TTL} IN {kind} {_quoted(value) if kind == 'TXT' else value}'"
        for (name, kind), value in records.items()
    )
    conf = folder / "unbound.conf"
    conf.write_text(CONF.format(folder=folder, data=data))
    process = subprocess.Popen(
        [program("unbound", "unbound"), "-d", "-c", str(conf)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    try:
        until(lambda: _answers(next(iter(records))), 20, "unbound answers")
        yield process.pid
    finally:
        end(process)


def _quoted(text: str) -> str:
    """RFC 1035 §3.3.14: strings of at most 255 octets."""
    return " ".join(f'"{text[start : start + 255]}"' for start in range(0, len(text), 255))


def _answers(question: tuple[str, str]) -> bool:
    try:
        return bool(dns.query.udp(dns.message.make_query(*question), "127.0.0.1", timeout=1).answer)
    except (OSError, dns.exception.DNSException):
        return False
