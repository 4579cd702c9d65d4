"""clamav: each answer of clamd and each way in which it can fail; at the end, the real daemon."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import cast

import clamd as clamd_package
import pytest
from inbox_plugins.clamav import ClamAV, ClamdUnavailable, Settings
from pydantic import ValidationError

from inbox.mail.content import Content, FileContent, MemoryContent
from inbox.mail.message import Message
from inbox.plugin import (
    Accept,
    AddHeader,
    Defer,
    Discard,
    Opinion,
    Quarantine,
    Reject,
    Score,
    Transaction,
    Verdict,
    VirusFact,
)
from inbox.plugin.testing import PluginTest
from tests.support.clamd import EICAR, EICAR_NAME, KINDS, MARKER, MARKER_NAME, STREAM_MAX, Clamd, clamd, start
from tests.support.plugin_services import services, transaction

__all__ = ["clamd"]

Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def plugin(address: str, **settings: object) -> ClamAV:
    return ClamAV(Settings.model_validate({"address": address} | settings), services())


@asynccontextmanager
async def daemon(handler: Handler, host: str = "127.0.0.1") -> AsyncIterator[str]:
    """A server that does as ``handler`` says with each connection, then closes it."""
    serving: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(task := cast("asyncio.Task[None]", asyncio.current_task()))
        try:
            with suppress(ConnectionError, asyncio.IncompleteReadError):  # the client is gone
                await handler(reader, writer)
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()
            serving.discard(task)

    server = await asyncio.start_server(serve, host, 0)
    async with server:
        yield f"tcp://{f'[{host}]' if ':' in host else host}:{server.sockets[0].getsockname()[1]}"
        await asyncio.gather(*serving)


def answers(text: bytes, seen: list[bytes] | None = None) -> Handler:
    """Reads a whole INSTREAM as clamd(8) describes it, then says ``text``."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        assert await reader.readuntil(b"\0") == b"zINSTREAM\0"
        pieces = []
        while length := struct.unpack("!I", await reader.readexactly(4))[0]:
            pieces.append(await reader.readexactly(length))
        if seen is not None:
            seen.append(b"".join(pieces))
        writer.write(text)
        await writer.drain()

    return handler


async def scan(address: str, raw: bytes | Content, **settings: object) -> tuple[Opinion | None, VirusFact | None]:
    tx: Transaction = transaction(b"")
    tx.message = Message(MemoryContent(raw) if isinstance(raw, bytes) else raw)
    result = await plugin(address, **settings).data(tx)
    if not isinstance(result, list):
        return result, tx.facts.get(VirusFact)
    (opinion,) = result
    return opinion, tx.facts.get(VirusFact)


def infected(signature: str) -> VirusFact:
    return VirusFact("infected", signature, "clamav", kind="malware", signatures=(signature,))


async def test_a_clean_message_passes_and_arrives_whole() -> None:
    seen: list[bytes] = []
    async with daemon(answers(b"stream: OK\0", seen)) as address:
        assert await scan(address, b"Subject: x\r\n\r\nhello") == (None, VirusFact("clean", scanner="clamav"))
    assert seen == [b"Subject: x\r\n\r\nhello"]


async def test_a_large_file_arrives_whole(tmp_path: Path) -> None:
    raw = os.urandom(3_000_001)
    (tmp_path / "m").write_bytes(raw)
    seen: list[bytes] = []
    async with daemon(answers(b"stream: OK\0", seen)) as address:
        verdict, _ = await scan(address, FileContent(tmp_path / "m"))
    assert verdict is None
    assert seen == [raw]


async def test_an_empty_message_is_no_special_case() -> None:
    async with daemon(answers(b"stream: OK\0")) as address:
        verdict, fact = await scan(address, b"")
    assert (verdict, fact) == (None, VirusFact("clean", scanner="clamav"))


@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ("reject", Reject(550, "5.7.1", "Message contains malware (Win.Test.EICAR_HDB-1)")),
        ("quarantine", Quarantine("malware: Win.Test.EICAR_HDB-1")),
        ("discard", Discard("malware: Win.Test.EICAR_HDB-1")),
    ],
)
async def test_malware(setting: str, expected: Verdict) -> None:
    async with daemon(answers(b"stream: Win.Test.EICAR_HDB-1 FOUND\0")) as address:
        verdict, fact = await scan(address, b"x", infected=setting)
    assert verdict == expected
    assert fact == infected("Win.Test.EICAR_HDB-1")


async def test_a_signatures_name_cannot_break_the_reply() -> None:
    async with daemon(answers(b"stream: Evil\r\n250 OK \xff" + b"x" * 500 + b" FOUND\0")) as address:
        verdict, _ = await scan(address, b"x")
    assert isinstance(verdict, Reject)
    assert verdict.text.isprintable()
    assert verdict.text.isascii()
    assert len(verdict.text) < 140


UNSCANNED = [
    ("quarantine", Quarantine),
    ("defer", Defer),
    ("reject", Reject),
    ("accept", type(None)),
]


@pytest.mark.parametrize(("setting", "kind"), UNSCANNED)
async def test_a_message_above_max_size_is_not_sent_and_is_unscanned(setting: str, kind: type) -> None:
    verdict, fact = await scan("tcp://127.0.0.1:1", b"x" * 11, max_size=10, on_unscanned=setting)
    assert type(verdict) is kind
    assert fact is not None
    assert fact.status == "unscanned"
    assert "11 octets" in fact.why


async def test_a_message_of_exactly_max_size_is_scanned() -> None:
    async with daemon(answers(b"stream: OK\0")) as address:
        _, fact = await scan(address, b"x" * 10, max_size=10)
    assert fact == VirusFact("clean", scanner="clamav")


async def test_clamds_own_limit_is_unscanned_even_when_it_stops_reading_in_the_middle() -> None:
    async def limited(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(100)
        writer.write(b"INSTREAM size limit exceeded. ERROR\0")
        await writer.drain()

    async with daemon(limited) as address:
        verdict, fact = await scan(address, b"x" * 900_000)
    assert isinstance(verdict, Quarantine)
    assert fact is not None
    assert (fact.status, "StreamMaxLength" in fact.why) == ("unscanned", True)


async def test_a_scan_that_clamd_gave_up_is_unscanned_and_not_malware() -> None:
    async with daemon(answers(b"stream: Heuristics.Limits.Exceeded.MaxScanSize FOUND\0")) as address:
        verdict, fact = await scan(address, b"x")
    assert isinstance(verdict, Quarantine)
    assert fact is not None
    assert fact.status == "unscanned"


@pytest.mark.parametrize(
    "answer",
    [
        b"garbage\0",
        b"\0",
        b"",
        b"stream: OK",  # cut before its end
        b"stream: OK but FOUND? ERROR\0",
        b"stream: Can't allocate memory ERROR\0",
        b"x" * 100_000 + b"\0",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"\xff\xfe\0",
    ],
)
async def test_answers_that_nobody_understands_are_errors_and_never_clean(answer: bytes) -> None:
    async with daemon(answers(answer)) as address:
        tx = transaction(b"hello")
        with pytest.raises(ClamdUnavailable) as caught:
            await plugin(address).data(tx)
    assert tx.facts.get(VirusFact) is None
    assert caught.value.temporary


async def test_a_daemon_that_closes_in_the_middle_is_an_error() -> None:
    async def closes(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(5000)

    async with daemon(closes) as address:
        with pytest.raises(ClamdUnavailable, match="no answer"):
            await scan(address, b"x" * 900_000)


@pytest.mark.parametrize("size", [10, 900_000, 3_000_000])
async def test_a_daemon_that_hangs_is_given_up(size: int) -> None:
    async def hangs(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await done.wait()

    done = asyncio.Event()
    async with daemon(hangs) as address:
        with pytest.raises(ClamdUnavailable, match="TimeoutError"):
            await scan(address, b"x" * size, scan_timeout=0.05)
        done.set()


async def test_nobody_listens() -> None:
    async with daemon(answers(b"")) as address:
        pass
    with pytest.raises(ClamdUnavailable, match="cannot connect"):
        await scan(address, b"x")
    with pytest.raises(ClamdUnavailable, match="cannot connect"):
        await scan("unix:///nonexistent/clamd.ctl", b"x")


async def test_no_more_scans_at_once_than_the_settings_allow() -> None:
    inside = most = 0
    go = asyncio.Event()

    async def counting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal inside, most
        inside += 1
        most = max(most, inside)
        if inside == 2:
            go.set()
        await go.wait()
        inside -= 1
        await answers(b"stream: OK\0")(reader, writer)

    async with daemon(counting) as address:
        scanner = plugin(address, max_scans=2)
        await asyncio.gather(*(scanner.data(transaction(b"x")) for _ in range(8)))
    assert most == 2


async def test_a_scan_that_is_cancelled_gives_its_turn_back() -> None:
    reached = asyncio.Event()

    async def hangs(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reached.set()
        await reader.read()  # until the other side is gone

    async with daemon(hangs) as address:
        scanner = plugin(address, max_scans=1)
        first = asyncio.ensure_future(scanner.data(transaction(b"x")))
        await reached.wait()
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        reached.clear()
        second = asyncio.ensure_future(scanner.data(transaction(b"x")))
        await reached.wait()  # it had its turn
        second.cancel()
        await asyncio.gather(second, return_exceptions=True)


async def test_before_the_message_is_here_there_is_nothing_to_scan() -> None:
    assert await plugin("tcp://127.0.0.1:1").data(transaction()) is None


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1:3310", "tcp://127.0.0.1", "tcp://:3310", "tcp://h:99999", "tcp://h:x", "unix://relative", "unix:///",
        "http://h:1", "tcp://h:1/path", "tcp://u@h:1", "tcp://[::1:3310", "",
    ],
)  # fmt: skip
def test_addresses_that_are_none(address: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Settings(address=address)
    assert caught.value.errors()[0]["loc"] == ("address",)


@pytest.mark.parametrize("address", ["tcp://[::1]:3310", "tcp://clamd.acme.test:3310", "unix:///run/clamav/clamd.ctl"])
def test_addresses(address: str) -> None:
    assert plugin(address).dependency.startswith(address)


@pytest.mark.parametrize(
    "settings", [{"infected": "deliver"}, {"max_size": 0}, {"max_scans": 0}, {"scan_timeout": 0}, {"on_error": "x"}]
)
def test_wrong_settings_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(ValidationError) as caught:
        Settings.model_validate(settings)
    assert caught.value.errors()[0]["loc"] == (next(iter(settings)),)


def test_sizes_may_have_units() -> None:
    assert Settings.model_validate({"max_size": "40MiB"}).max_size == 40 * 1024 * 1024


async def test_ipv6() -> None:
    try:
        async with daemon(answers(b"stream: OK\0"), "::1") as address:
            _, fact = await scan(address, b"x")
    except OSError:
        pytest.skip("no IPv6 on this machine's loopback")
    assert fact == VirusFact("clean", scanner="clamav")


@pytest.mark.parametrize(
    ("on_error", "kind"), [("defer", Defer), ("accept", Accept), ("quarantine", Quarantine), ("reject", Reject)]
)
async def test_in_the_engine_a_daemon_that_is_gone_is_what_on_error_says(on_error: str, kind: type) -> None:
    settings = {"address": "unix:///nonexistent/clamd.ctl", "on_error": on_error}
    outcome = await PluginTest("clamav", settings, errors="outcome").data()
    assert type(outcome.verdict) is kind
    assert outcome.trace.facts == ()
    assert "cannot connect" in outcome.trace.why


async def test_in_the_engine_a_scan_may_take_longer_than_other_hooks() -> None:
    entry = PluginTest("clamav").policy.plugins[-1]
    largest = Settings.model_validate({"connect_timeout": 30, "scan_timeout": 300})
    assert entry.timeout > largest.connect_timeout + largest.scan_timeout


# The real daemon.


@pytest.mark.real
async def test_clamd_finds_what_its_database_knows(clamd: Clamd) -> None:
    for address in (clamd.tcp, clamd.unix):
        verdict, fact = await scan(address, b"Subject: test\r\n\r\n" + EICAR + b"\r\n")
        assert verdict == Reject(550, "5.7.1", f"Message contains malware ({EICAR_NAME})")
        assert fact == infected(EICAR_NAME)
        assert (await scan(address, b"x" * 700_000 + MARKER))[1] == infected(MARKER_NAME)
        assert await scan(address, b"Subject: test\r\n\r\nhello\r\n") == (None, VirusFact("clean", scanner="clamav"))


@pytest.mark.real
async def test_clamd_looks_into_an_encoded_attachment(clamd: Clamd) -> None:
    from email.message import EmailMessage

    mail = EmailMessage()
    mail["Subject"] = "see attachment"
    mail.set_content("Hello")
    mail.add_attachment(b"text before\n" + MARKER, maintype="application", subtype="octet-stream", filename="a.bin")
    assert MARKER not in mail.as_bytes()
    assert (await scan(clamd.tcp, mail.as_bytes()))[1] == infected(MARKER_NAME)


@pytest.mark.real
async def test_clamd_and_the_package_of_the_same_name_agree(clamd: Clamd) -> None:
    from io import BytesIO

    socket_client = clamd_package.ClamdUnixSocket(clamd.unix.removeprefix("unix://"))
    for raw in (b"hello", EICAR, b"a" + MARKER + b"b"):
        said = (await asyncio.to_thread(socket_client.instream, BytesIO(raw)))["stream"]
        _, fact = await scan(clamd.unix, raw)
        assert fact is not None
        assert said == ({"clean": "OK", "infected": "FOUND"}[fact.status], fact.signature)


@pytest.mark.real
async def test_a_message_that_clamd_refuses_is_unscanned(clamd: Clamd, tmp_path: Path) -> None:
    large = b"x" * (STREAM_MAX + 500_000) + MARKER
    (tmp_path / "large").write_bytes(large)
    for address in (clamd.tcp, clamd.unix):
        for content in (MemoryContent(large), FileContent(tmp_path / "large")):
            verdict, fact = await scan(address, content)
            assert isinstance(verdict, Quarantine)
            assert fact is not None
            assert fact.status == "unscanned"


@pytest.mark.real
async def test_many_scans_at_once(clamd: Clamd) -> None:
    scanner = plugin(clamd.unix, max_scans=4)
    mails = [transaction(MARKER if number % 3 == 0 else b"hello %d" % number) for number in range(60)]
    await asyncio.gather(*(scanner.data(mail) for mail in mails))
    found = [fact.status for mail in mails if (fact := mail.facts.get(VirusFact))]
    assert found == ["infected" if number % 3 == 0 else "clean" for number in range(60)]


@pytest.mark.real
async def test_check_says_the_version(clamd: Clamd) -> None:
    assert (await plugin(clamd.tcp).check()).startswith("ClamAV ")


class Telling(MemoryContent):
    """A content that tells when a good part of it was read."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.begun = asyncio.Event()

    def read(self, offset: int, length: int) -> bytes:
        if offset:
            self.begun.set()
        return super().read(offset, length)


@pytest.mark.real
async def test_clamd_stopped_and_killed_in_the_middle_of_a_scan(tmp_path: Path) -> None:
    daemon_ = await asyncio.to_thread(start, tmp_path)
    try:
        daemon_.process.send_signal(signal.SIGSTOP)
        with pytest.raises(ClamdUnavailable, match="TimeoutError"):
            await scan(daemon_.unix, b"hello", scan_timeout=0.05)
        content = Telling(b"x" * 20_000_000)
        scanning = asyncio.ensure_future(scan(daemon_.tcp, content))
        await content.begun.wait()
        daemon_.stop()
        with pytest.raises(ClamdUnavailable):
            await scanning
        with pytest.raises(ClamdUnavailable, match="cannot connect"):
            await scan(daemon_.tcp, b"hello")
    finally:
        daemon_.stop()


@pytest.mark.real
async def test_in_the_engine_with_the_real_daemon(clamd: Clamd) -> None:
    test = PluginTest("clamav", {"address": clamd.unix})
    outcome = await test.data(b"Subject: x\r\n\r\n" + EICAR)
    assert outcome.verdict == Reject(550, "5.7.1", f"Message contains malware ({EICAR_NAME})")
    assert outcome.fact(VirusFact) == infected(EICAR_NAME)


def test_a_breaker_is_shared_with_those_who_wait_as_long() -> None:
    here = "tcp://127.0.0.1:3310"
    assert plugin(here, max_size=1).dependency == plugin(here).dependency
    for other in (
        plugin(here, scan_timeout=0.001), plugin(here, connect_timeout=0.001), plugin("tcp://127.0.0.1:3311"),
    ):  # fmt: skip
        assert other.dependency != plugin(here).dependency


def answering(signature: str) -> Handler:
    return answers(f"stream: {signature} FOUND\0".encode())


FLAGGED = [
    (
        "Heuristics.Encrypted.Zip",
        "encrypted",
        "Message contains an encrypted file, which cannot be scanned for malware",
    ),
    ("Heuristics.OLE2.ContainsMacros.VBA", "macros", "Message contains a document with macros"),
    ("Heuristics.Phishing.Email.SpoofedDomain", "phishing", "Message looks like phishing"),
    ("Sanesecurity.Phishing.Fake.1.UNOFFICIAL", "phishing", "Message looks like phishing"),
    ("Heuristics.Safebrowsing.Suspected-phishing_safebrowsing.clamav.net", "phishing", "Message looks like phishing"),
    ("PUA.Win.Tool.Netcat-1", "pua", "Message contains a potentially unwanted program"),
    ("Heuristics.Broken.Media.JPEG.NoImages", "broken", "Message contains a malformed file"),
    ("Heuristics.Structured.SSN", "data_loss", "Message contains card or social security numbers"),
    ("Heuristics.Zip.OverlappingFiles", "heuristic", "Message contains a suspicious file"),
]


@pytest.mark.parametrize(("signature", "kind", "text"), FLAGGED)
async def test_a_finding_that_is_no_malware_is_not_called_malware(signature: str, kind: str, text: str) -> None:
    async with daemon(answering(signature)) as address:
        verdict, fact = await scan(address, b"x", kinds={kind: "reject"})
    assert fact == VirusFact("flagged", signature, "clamav", kind=kind, signatures=(signature,))
    assert verdict == Reject(550, "5.7.1", f"{text} ({signature})")
    assert "malware" not in text or kind == "encrypted"


@pytest.mark.parametrize(
    ("signature", "expected"),
    [
        ("Heuristics.Encrypted.RAR", Quarantine("virus scanner, encrypted: Heuristics.Encrypted.RAR")),
        ("Heuristics.OLE2.ContainsMacros.V", Quarantine("virus scanner, macros: Heuristics.OLE2.ContainsMacros.V")),
        ("Email.Phishing.Bank-1", Quarantine("virus scanner, phishing: Email.Phishing.Bank-1")),
        ("PUA.Pdf.X", Quarantine("virus scanner, pua: PUA.Pdf.X")),
        ("Heuristics.Broken.Executable", Quarantine("virus scanner, broken: Heuristics.Broken.Executable")),
        ("Heuristics.Structured.SSN", AddHeader("X-Virus-Status", "data_loss (Heuristics.Structured.SSN)")),
        ("Heuristics.PDF.Obfuscated", Quarantine("virus scanner, heuristic: Heuristics.PDF.Obfuscated")),
        ("Heuristics.XZ.DicSizeLimit", Quarantine("not scanned for malware: clamd reached one of its limits")),
        ("Heuristics.W32.Parite.B", Reject(550, "5.7.1", "Message contains malware (Heuristics.W32.Parite.B)")),
        ("Win.Trojan.Agent-1", Reject(550, "5.7.1", "Message contains malware (Win.Trojan.Agent-1)")),
    ],
)
async def test_each_kind_has_a_default(signature: str, expected: Opinion) -> None:
    async with daemon(answering(signature)) as address:
        assert await plugin(address).data(transaction(b"x")) == [expected]


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        ("reject", Reject(550, "5.7.1", "Message contains a potentially unwanted program (PUA.A)")),
        ("quarantine", Quarantine("virus scanner, pua: PUA.A")),
        ("discard", Discard("virus scanner, pua: PUA.A")),
        ("tag", AddHeader("X-Virus-Status", "pua (PUA.A)")),
        ({"score": 2.5}, Score("CLAMAV_PUA", 2.5, "PUA.A", "clamav")),
    ],
)
async def test_the_action_of_a_kind(action: object, expected: Opinion) -> None:
    async with daemon(answering("PUA.A")) as address:
        assert (await scan(address, b"x", kinds={"pua": action}))[0] == expected
        assert (await scan(address, b"x", kinds={"broken": action}))[0] == Quarantine("virus scanner, pua: PUA.A")


@pytest.mark.parametrize(
    ("signature", "expected"),
    [
        ("PUA.Win.Tool.Netcat", None),
        ("pua.win.tool.X.UNOFFICIAL", None),
        ("PUA.Win.Other", Score("CLAMAV_PUA", 1, "PUA.Win.Other", "clamav")),
        ("Win.Test.FalseAlarm-7", AddHeader("X-Virus-Status", "malware (Win.Test.FalseAlarm-7)")),
        ("Heuristics.Limits.Exceeded.A", Discard("virus scanner, limits: Heuristics.Limits.Exceeded.A")),
        ("Win.Test.Other-1", Reject(550, "5.7.1", "Message contains malware (Win.Test.Other-1)")),
    ],
)  # fmt: skip
async def test_the_first_signature_that_matches_decides(signature: str, expected: Opinion | None) -> None:
    rules = [
        {"match": "PUA.Win.Tool.*", "action": "ignore"},
        {"match": "PUA.*", "action": {"score": 1}},
        {"match": "Win.Test.FalseAlarm-?", "action": "tag"},
        {"match": "Heuristics.Limits.Exceeded.A", "action": "discard"},
    ]
    async with daemon(answering(signature)) as address:
        result = await plugin(address, signatures=rules, kinds={"pua": "reject"}).data(transaction(b"x"))
    assert result == (None if expected is None else [expected])


async def test_several_findings_each_have_their_action_and_the_worst_names_the_fact() -> None:
    report = b"stream: PUA.A FOUND\nstream: Win.Trojan.B FOUND\nstream: Heuristics.Encrypted.Zip FOUND\0"
    tx = transaction(b"x")
    async with daemon(answers(report)) as address:
        result = await plugin(address).data(tx)
    assert result == [
        Quarantine("virus scanner, pua: PUA.A"),
        Reject(550, "5.7.1", "Message contains malware (Win.Trojan.B)"),
        Quarantine("virus scanner, encrypted: Heuristics.Encrypted.Zip"),
    ]
    names = ("PUA.A", "Win.Trojan.B", "Heuristics.Encrypted.Zip")
    assert tx.facts.get(VirusFact) == VirusFact("infected", "Win.Trojan.B", "clamav", kind="malware", signatures=names)


@pytest.mark.parametrize(
    ("settings", "where"),
    [
        ({"kinds": {"encripted": "reject"}}, ("kinds", "encripted", "[key]")),
        ({"kinds": {"malware": "reject"}}, ("kinds", "malware", "[key]")),
        ({"kinds": {"pua": "explode"}}, ("kinds", "pua")),
        ({"signatures": [{"match": "A*"}]}, ("signatures", 0, "action")),
        ({"signatures": [{"match": "", "action": "ignore"}]}, ("signatures", 0, "match")),
        ({"signatures": [{"match": "A", "action": {"score": 1000}}]}, ("signatures", 0, "action")),
    ],
)
def test_mistakes_in_kinds_and_signatures_have_their_place(settings: dict[str, object], where: tuple[object]) -> None:
    with pytest.raises(ValidationError) as caught:
        Settings.model_validate(settings)
    assert caught.value.errors()[0]["loc"][: len(where)] == where


async def test_shadow_mode_records_a_finding_and_enforces_nothing() -> None:
    async with daemon(answering("PUA.A")) as address:
        settings = {"address": address, "kinds": {"pua": {"score": 4}}}
        shadow = await PluginTest("clamav", settings | {"mode": "shadow"}, thresholds={"reject": 1}).data()
        enforced = await PluginTest("clamav", settings, thresholds={"reject": 1}).data()
    assert (shadow.total, enforced.total) == (0, 4)
    assert isinstance(enforced.verdict, Reject)
    assert not isinstance(shadow.verdict, Reject)
    assert list(shadow.trace.opinions) == [Score("CLAMAV_PUA", 4, "PUA.A", "clamav")]


@pytest.mark.parametrize("answer", [b"PANG\0", b"SSH-2.0-OpenSSH_9.2\r\n\0", b"HTTP/1.1 400 Bad Request\r\n\r\n\0"])
async def test_another_program_on_clamds_address_is_recognised(answer: bytes) -> None:
    async def other(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await writer.drain()
        await reader.read()

    async with daemon(other) as address:
        with pytest.raises(ClamdUnavailable, match="is not a clamd"):
            await plugin(address).check()
        with pytest.raises(ClamdUnavailable, match="clamd answered"):
            await scan(address, b"x")


@pytest.mark.real
async def test_clamd_reports_each_kind(clamd: Clamd) -> None:
    for text, name in KINDS.items():
        _, fact = await scan(clamd.unix, b"Subject: x\r\n\r\n" + text)
        assert fact is not None
        expected = {"PUA": "pua", "Html": "phishing", "Heuristics": "heuristic"}[name.partition(".")[0]]
        assert (fact.status, fact.kind, fact.signature) == ("flagged", expected, f"{name}.UNOFFICIAL")


@pytest.mark.real
async def test_clamd_reports_an_encrypted_archive_as_encrypted(clamd: Clamd, tmp_path: Path) -> None:
    from email.message import EmailMessage

    program = shutil.which("zip")
    if program is None:
        pytest.skip("zip is not installed")
    (tmp_path / "a.txt").write_bytes(MARKER)
    making = await asyncio.create_subprocess_exec(program, "-q", "-P", "secret", "a.zip", "a.txt", cwd=tmp_path)
    assert await making.wait() == 0
    mail = EmailMessage()
    mail.set_content("The password is secret")
    mail.add_attachment((tmp_path / "a.zip").read_bytes(), maintype="application", subtype="zip", filename="a.zip")
    verdict, fact = await scan(clamd.unix, mail.as_bytes(), kinds={"encrypted": "reject"})
    assert fact is not None
    assert (fact.status, fact.kind, fact.signature) == ("flagged", "encrypted", "Heuristics.Encrypted.Zip")
    assert isinstance(verdict, Reject)
    assert "encrypted" in verdict.text


@pytest.mark.real
async def test_clamd_prefers_malware_in_another_file_to_a_kind_that_is_ignored(clamd: Clamd) -> None:
    from email.message import EmailMessage

    unwanted = next(text for text, name in KINDS.items() if name.startswith("PUA."))
    mail = EmailMessage()
    mail.set_content("two files")
    for text in (unwanted, MARKER):
        mail.add_attachment(text, maintype="application", subtype="octet-stream", filename="a.bin")
    _, fact = await scan(clamd.unix, mail.as_bytes(), kinds={"pua": "ignore"})
    assert fact == infected(MARKER_NAME)


@pytest.mark.real
async def test_clamd_without_signatures_is_reported(tmp_path: Path) -> None:
    daemon_ = await asyncio.to_thread(start, tmp_path, signatures=False)
    try:
        assert (await scan(daemon_.unix, EICAR))[1] == VirusFact("clean", scanner="clamav")
        with pytest.raises(ClamdUnavailable, match="does not recognise the EICAR test file"):
            await plugin(daemon_.unix).check()
    finally:
        daemon_.stop()


@pytest.mark.real
async def test_clamd_that_comes_back_scans_again(tmp_path: Path) -> None:
    daemon_ = await asyncio.to_thread(start, tmp_path)
    scanner = plugin(daemon_.unix)
    daemon_.stop()
    with pytest.raises(ClamdUnavailable, match="cannot connect"):
        await scanner.data(transaction(MARKER))
    shutil.rmtree(tmp_path / "db")
    daemon_ = await asyncio.to_thread(start, tmp_path)
    try:
        tx = transaction(MARKER)
        await scanner.data(tx)
        assert tx.facts.get(VirusFact) == infected(MARKER_NAME)
    finally:
        daemon_.stop()
