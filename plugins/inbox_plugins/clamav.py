"""ClamAV: has a clamd daemon scan messages for malware.

Returns at: data (for each finding the action of ``infected``, ``kinds`` or ``signatures``; for a message that cannot
            be scanned that of ``on_unscanned``).
Gives:      VirusFact: ``clean``, ``infected`` with the signature, ``flagged`` with signature and kind (a finding
            other than malware), or ``unscanned`` with the reason.
Asks:       clamd, over TCP or a Unix socket; the whole message is streamed to it (INSTREAM).
On error:   ``on_error`` of the policy (default: defer) if clamd is unreachable, hangs or gives an unknown answer.

A message that could not be scanned is never treated as clean: one above ``max_size`` or above clamd's StreamMaxLength,
and one that clamd gave up on (Heuristics.Limits.Exceeded), is unscanned. Set in clamd.conf: ``StreamMaxLength`` at
least as large as ``max_size``, and ``AlertExceedsMax yes``; without it, clamd reports a large archive as clean.

clamd reports more than malware. The kind of a finding follows from the name of its signature:

===========  ===========================================================================  ============  ================
kind         signatures                                                                   set by        by default
===========  ===========================================================================  ============  ================
malware      every signature that no other row names; Heuristics.W32.*, Trojan, Worm      infected      reject
encrypted    Heuristics.Encrypted.* (clamd.conf: AlertEncrypted)                          kinds         quarantine
macros       Heuristics.OLE2.ContainsMacros* (clamd.conf: AlertOLE2Macros)                kinds         quarantine
phishing     Heuristics.Phishing.*, and every signature with .Phishing. in its name       kinds         quarantine
pua          PUA.* (clamd.conf: DetectPUA)                                                kinds         quarantine
broken       Heuristics.Broken.* (clamd.conf: AlertBrokenExecutables, AlertBrokenMedia)   kinds         quarantine
data_loss    Heuristics.Structured.* (clamd.conf: StructuredDataDetection)                kinds         tag
heuristic    every other Heuristics.*                                                     kinds         quarantine
limits       Heuristics.Limits.*, Heuristics.XZ.DicSizeLimit                              on_unscanned  quarantine
===========  ===========================================================================  ============  ================

``signatures`` has precedence over all of these; its first matching row decides, also for malware and limits. clamd
reports one finding per message. It prefers malware in one file to a PUA or a heuristic in another one (leave
``HeuristicScanPrecedence no`` in clamd.conf), but within one file the first signature that matches hides the others:
a message that ``ignore``, ``tag`` or a score lets in may also contain malware that clamd did not reach.

``inbox doctor`` sends the EICAR test file to check that clamd has signatures. clamd logs the finding, and runs its
VirusEvent if clamd.conf has one.

An example::

    plugins:
      clamav:
        address: "unix:///run/clamav/clamd.ctl"
        infected: quarantine
        kinds: {encrypted: tag, pua: {score: 6}, phishing: reject}
        signatures:
          - {match: "PUA.Win.Packer.*", action: ignore}
          - {match: "Sanesecurity.Spam.*", action: {score: 5}}
        on_error: defer

This plugin has its own client: the package ``clamd`` (last release 2014) sends with ``send()``, so that a partial write
corrupts the stream, sets its time-out only after it has connected, does not support IPv6, and blocks. Each scan uses
its own connection, so a failed scan leaves nothing behind. Measured with clamd 1.4 on loopback and a tiny database: 1
to 2 ms for a 4 KB mail, of which the connection takes 0.2 to 0.3 ms; 1,700 to 2,000 such scans a second with 8 at once;
0.13 s for 25 MB (the package ``clamd``: 1.0 ms and 0.18 s).
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import struct
from collections.abc import AsyncIterator
from typing import Literal
from urllib.parse import urlsplit

from pydantic import ByteSize, Field, field_validator

from inbox.mail.content import Content, MemoryContent
from inbox.plugin import (
    Defer,
    InboxError,
    Opinion,
    Plugin,
    PluginSettings,
    Quarantine,
    Reject,
    Services,
    Transaction,
    Verdict,
    VirusFact,
    hookimpl,
)
from inbox.plugin.limits import SPOOL_OCTETS
from inbox_plugins._clamav_findings import (
    DEFAULTS,
    Finding,
    FindingAction,
    OtherKind,
    SignatureRule,
    chosen,
    fact_of,
    opinions,
)

__version__ = "1.1.0"

#: Octets of one INSTREAM piece; larger ones are not faster.
_PIECE = 256 * 1024
#: clamd's answers are one short line.
_ANSWER_OCTETS = 4096
#: A clamd that reports all matches writes one per line.
_FOUND = re.compile(r"(?:stream: )?(.+) FOUND\Z", re.DOTALL)
_FINDINGS = 20
#: https://www.eicar.org: harmless, and known to every scanner. In two parts, or scanners would report this source.
_EICAR = (r"X5O!P%@AP[4\PZX54(P^)7CC)7}" + "$EICAR-STANDARD-ANTIVIRUS-TEST-FILE!$H+H*").encode()
_UNPRINTABLE = re.compile(r"[^A-Za-z0-9._:/()+-]")


class ClamdUnavailable(InboxError):
    """clamd is unreachable, did not answer in time, or gave an unknown answer."""

    code, status, text = 451, "4.7.1", "The message cannot be scanned now, try again later"


class Settings(PluginSettings):
    """Address of clamd, limits, and actions for its findings."""

    address: str = Field(
        "tcp://127.0.0.1:3310",
        description="tcp://HOST:PORT (IPv6 in brackets) or unix:///PATH of clamd's socket.",
        examples=["unix:///run/clamav/clamd.ctl"],
    )
    max_size: ByteSize = Field(
        ByteSize(25 * 1024 * 1024),
        gt=0,
        description="Larger messages are not sent to clamd and count as unscanned.",
        examples=["50MB"],
    )
    infected: Literal["reject", "quarantine", "discard"] = Field("reject", description="Action for malware.")
    kinds: dict[OtherKind, FindingAction] = Field(
        {},
        description="Actions for findings other than malware, by kind. Kinds that are not named keep their default.",
        examples=[{"encrypted": "tag", "pua": {"score": 6}}],
    )
    signatures: list[SignatureRule] = Field(
        [],
        max_length=500,
        description="Actions for single signatures, whatever their kind. The first row that matches decides.",
        examples=[[{"match": "PUA.Win.Packer.*", "action": "ignore"}]],
    )
    on_unscanned: Literal["defer", "accept", "quarantine", "reject"] = Field(
        "quarantine",
        description="Action for a message that is too large to be scanned. It stays too large: with defer the sender "
        "retries for days.",
    )
    connect_timeout: float = Field(5.0, gt=0, le=30, description="Seconds to connect.")
    scan_timeout: float = Field(60.0, gt=0, le=300, description="Seconds from the connection to the answer.")
    max_scans: int = Field(8, ge=1, le=100, description="Scans at once; keep it below clamd's MaxThreads.")

    @field_validator("address")
    @classmethod
    def _address(cls, value: str) -> str:
        parts = urlsplit(value)
        try:
            is_tcp = parts.scheme == "tcp" and parts.hostname and parts.port and not parts.path.strip("/")
        except ValueError as error:  # the port is not a number
            raise ValueError(f"not an address of clamd: {error}") from error
        is_unix = parts.scheme == "unix" and not parts.netloc and len(parts.path) > 1
        if not (is_tcp or is_unix) or parts.query or parts.fragment or parts.username:
            raise ValueError("clamd's address is tcp://HOST:PORT or unix:///PATH")
        return value


class ClamAV(Plugin):
    """Streams the message to clamd and turns the answer into a fact and a verdict."""

    gives = (VirusFact,)
    needs = ()
    shareable = True
    on_error = "defer"
    #: Above the largest scan_timeout and connect_timeout, whose errors say more about the cause.
    timeout = 360.0

    def __init__(self, settings: Settings, services: Services) -> None:
        self.settings = settings
        self._run_blocking = services.run_blocking
        kinds = {**DEFAULTS, **settings.kinds}
        self._actions: dict[str, FindingAction] = {"malware": settings.infected}
        self._actions.update((str(kind), action) for kind, action in kinds.items())
        self._turns = asyncio.Semaphore(settings.max_scans)

    @property
    def dependency(self) -> str:
        """Key of the circuit breaker, with the time-outs: a scan too slow for one tenant may be in time for others."""
        settings = self.settings
        return f"{settings.address} {settings.connect_timeout:g} {settings.scan_timeout:g}"

    @hookimpl
    async def data(self, tx: Transaction) -> list[Opinion] | Verdict | None:
        """Scans the message. Raises ClamdUnavailable."""
        if tx.message is None:
            return None
        result = await self._judge(tx.message.content)
        if isinstance(result, VirusFact):
            tx.facts.put(result)
            return self._unscanned(result) if result.status == "unscanned" else None
        fact = fact_of(result)
        tx.facts.put(fact)
        return [opinion for finding in result for opinion in self._opinions(finding, fact)] or None

    async def check(self) -> str:
        """Versions of clamd and its signatures, for ``inbox doctor``.

        Raises:
            ClamdUnavailable: clamd is unreachable, is another program, or does not recognise the EICAR test file, as
                every clamd with signatures does.
        """
        if (answer := await self._ask(b"PING")) != "PONG":
            raise ClamdUnavailable(f"{self.settings.address} is not a clamd: it answered {answer[:40]!r} to PING")
        version = _UNPRINTABLE.sub(" ", await self._ask(b"VERSION"))[:100].strip()
        if not (await self._ask(b"INSTREAM", MemoryContent(_EICAR))).endswith(" FOUND"):
            raise ClamdUnavailable(
                f"{version} at {self.settings.address} does not recognise the EICAR test file: it has no signatures. "
                "Run freshclam and restart clamd"
            )
        return version

    async def _judge(self, content: Content) -> VirusFact | list[Finding]:
        """The findings of clamd, or the fact if there are none."""
        if content.size > self.settings.max_size:
            why = f"{content.size} octets, more than max_size ({int(self.settings.max_size)})"
            return VirusFact("unscanned", scanner="clamav", why=why, kind="limits")
        async with self._turns:
            answer = await self._ask(b"INSTREAM", content)
        if answer == "stream: OK":
            return VirusFact("clean", scanner="clamav")
        if answer.startswith("INSTREAM size limit exceeded"):
            why = f"{content.size} octets, more than StreamMaxLength of clamd"
            return VirusFact("unscanned", scanner="clamav", why=why, kind="limits")
        return _findings(answer)

    def _opinions(self, finding: Finding, fact: VirusFact) -> list[Opinion]:
        action = chosen(finding, self.settings.signatures)
        if action is None and finding.kind == "limits":
            unscanned = self._unscanned(fact)
            return [] if unscanned is None else [unscanned]
        if action is None:
            action = self._actions[finding.kind]
        return opinions(finding, action)

    def _unscanned(self, fact: VirusFact) -> Verdict | None:
        match self.settings.on_unscanned:
            case "accept":
                return None
            case "quarantine":
                return Quarantine(f"not scanned for malware: {fact.why}")
            case "defer":
                return Defer(451, "4.7.1", "The message cannot be scanned for malware")
            case "reject":
                return Reject(554, "5.7.1", "The message is too large to be scanned for malware")

    async def _ask(self, command: bytes, content: Content | None = None) -> str:
        """Sends one command and its content; returns clamd's answer. Closes the connection. Raises ClamdUnavailable."""
        try:
            async with asyncio.timeout(self.settings.connect_timeout):
                reader, writer = await self._connect()
        except (OSError, TimeoutError) as error:
            raise ClamdUnavailable(f"cannot connect to {self.settings.address}: {_name(error)}") from error
        # The answer may come while we are still sending: clamd stops reading at its limit.
        answer = asyncio.ensure_future(reader.readuntil(b"\0"))
        try:
            async with asyncio.timeout(self.settings.scan_timeout):
                await self._send(writer, answer, command, content)
                return (await answer)[:-1].decode("utf-8", "replace").strip()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError) as error:
            raise ClamdUnavailable(f"no answer from {self.settings.address}: {_name(error)}") from error
        finally:
            answer.cancel()
            writer.transport.abort()
            await asyncio.gather(answer, return_exceptions=True)
            with contextlib.suppress(OSError):  # the connection is not used any more, however it ended
                await writer.wait_closed()

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        parts = urlsplit(self.settings.address)
        if parts.scheme == "unix":
            return await asyncio.open_unix_connection(parts.path, limit=_ANSWER_OCTETS)
        return await asyncio.open_connection(parts.hostname, parts.port, limit=_ANSWER_OCTETS)

    async def _send(
        self, writer: asyncio.StreamWriter, answer: asyncio.Future[bytes], command: bytes, content: Content | None
    ) -> None:
        """Sends until all is sent, or clamd has answered or closed the connection; ``answer`` shows which."""
        writer.write(b"z" + command + b"\0")
        if content is None:
            return
        # clamd(8): each piece is preceded by its length, four octets in network order; a length of 0 ends it.
        with contextlib.suppress(ConnectionError):
            async for piece in self._pieces(content):
                if answer.done():
                    return
                writer.writelines((struct.pack("!I", len(piece)), piece))
                await writer.drain()
            writer.write(b"\0\0\0\0")
            await writer.drain()

    async def _pieces(self, content: Content) -> AsyncIterator[bytes]:
        """The message in pieces; a message on disk is read in another thread."""
        if content.size <= SPOOL_OCTETS:
            for piece in content.chunks(_PIECE):
                if piece:  # a piece of length 0 would end the stream
                    yield piece
            return
        for start in range(0, content.size, _PIECE):
            yield await self._run_blocking("clamav", content.read, start, _PIECE)


def _findings(answer: str) -> list[Finding]:
    """The findings in an answer of clamd. Raises ClamdUnavailable if it is not a report of findings."""
    lines = answer.split("\n")
    found = [_FOUND.match(line) for line in lines[:_FINDINGS]]
    if not all(found):
        found = [_FOUND.match(answer)]
    if not answer.startswith("stream: ") or not all(found):
        raise ClamdUnavailable(f"clamd answered {answer[:200]!r}")
    return [Finding.of(one[1]) for one in found if one is not None]


def _name(error: BaseException) -> str:
    return str(error) or type(error).__name__
