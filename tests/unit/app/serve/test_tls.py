"""Certificates: made, taken up, renewed, exchanged under a live server."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import ssl
import subprocess
import threading
from collections.abc import Callable
from datetime import datetime
from pathlib import Path

import pytest
import trustme

from inbox.app.config.settings import Tls
from inbox.app.serve.tls import LIFETIME, Certificates, self_signed_pem
from inbox.base.errors import ConfigError
from inbox.plugin.api.testing import FakeClock


def tls(cert: Path | None = None, key: Path | None = None) -> Tls:
    return Tls(environ={"TLS_CERT_FILE": str(cert or ""), "TLS_KEY_FILE": str(key or "")})  # type: ignore[call-arg]


async def peer_certificate(server: Certificates) -> bytes:
    """The certificate that a client gets, over a real socket."""

    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=server.context())
    async with listener:
        port = listener.sockets[0].getsockname()[1]
        client = ssl.create_default_context()
        client.check_hostname = False
        client.verify_mode = ssl.CERT_NONE
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=client)
        shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
        await writer.wait_closed()
    return bytes(shown)


def test_a_self_signed_certificate_is_for_the_hostname_and_for_the_owner_only(tmp_path: Path) -> None:
    server = Certificates(tls(), tmp_path / "tls", "mx.example.org", FakeClock())
    server.context()
    info = server.info()
    assert info.self_signed
    assert info.names == ("mx.example.org", "localhost")
    assert info.path.stat().st_mode & 0o777 == 0o600
    assert server.context().minimum_version is ssl.TLSVersion.TLSv1_2


def test_a_self_signed_certificate_is_kept_until_it_is_near_its_end(tmp_path: Path) -> None:
    clock = FakeClock()
    server = Certificates(tls(), tmp_path, "mx.example.org", clock)
    server.context()
    first = server.cert_file.read_bytes()
    clock.advance(LIFETIME.total_seconds() / 2)
    assert server.refresh() is False
    assert Certificates(tls(), tmp_path, "mx.example.org", clock).context()
    assert server.cert_file.read_bytes() == first
    clock.advance(LIFETIME.total_seconds() * 0.45)
    assert server.refresh() is True
    assert server.cert_file.read_bytes() != first
    assert server.info().expires_at == clock.now() + LIFETIME.total_seconds()


def test_two_processes_that_start_together_serve_the_same_certificate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    together, loaded = threading.Barrier(2), threading.Event()

    def create_slowly(hostname: str, now: datetime) -> bytes:
        # Two that create at the same time meet here, and one of them goes on when the other serves.
        with contextlib.suppress(threading.BrokenBarrierError):
            if together.wait(0.5) == 1:
                loaded.wait(30)
        return self_signed_pem(hostname, now)

    def start(server: Certificates) -> None:
        server.context()
        loaded.set()

    monkeypatch.setattr("inbox.app.serve.tls.self_signed_pem", create_slowly)
    servers = [Certificates(tls(), tmp_path, "mx.example.org", FakeClock()) for _ in range(2)]
    threads = [threading.Thread(target=start, args=(server,)) for server in servers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    first, second = (asyncio.run(peer_certificate(server)) for server in servers)
    assert first == second


def test_another_hostname_gets_another_certificate(tmp_path: Path) -> None:
    Certificates(tls(), tmp_path, "old.example.org", FakeClock()).context()
    server = Certificates(tls(), tmp_path, "new.example.org", FakeClock())
    server.context()
    assert "new.example.org" in server.info().names


async def test_changed_files_are_taken_up_by_the_context_that_is_in_use(tmp_path: Path) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    authority = trustme.CA()

    def write() -> None:
        leaf = authority.issue_cert("mx.example.org")
        cert.write_bytes(leaf.cert_chain_pems[0].bytes())
        key.write_bytes(leaf.private_key_pem.bytes())

    write()
    server = Certificates(tls(cert, key), tmp_path / "unused", "mx.example.org", FakeClock())
    before = await peer_certificate(server)
    context = server.context()
    assert server.refresh() is False
    write()
    assert server.refresh() is True
    assert server.context() is context
    assert await peer_certificate(server) != before
    assert not (tmp_path / "unused").exists()


async def test_a_bad_pair_leaves_the_old_certificate_in_use(tmp_path: Path) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    authority = trustme.CA()
    leaf = authority.issue_cert("mx.example.org")
    cert.write_bytes(leaf.cert_chain_pems[0].bytes())
    key.write_bytes(leaf.private_key_pem.bytes())
    server = Certificates(tls(cert, key), tmp_path, "mx.example.org", FakeClock())
    before = await peer_certificate(server)
    key.write_bytes(authority.issue_cert("mx.example.org").private_key_pem.bytes())
    with pytest.raises(ConfigError, match="TLS_CERT_FILE"):
        server.refresh()
    assert await peer_certificate(server) == before


def test_missing_files_are_named(tmp_path: Path) -> None:
    server = Certificates(tls(tmp_path / "no.pem", tmp_path / "no.key"), tmp_path, "mx.example.org", FakeClock())
    with pytest.raises(ConfigError, match=r"no\.pem: No such file"):
        server.context()
    with pytest.raises(ConfigError, match=r"no\.pem: No such file"):
        server.info()


def test_a_data_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ConfigError, match="INBOX_DATA_DIR"):
        Certificates(tls(), tmp_path / "file" / "tls", "mx.example.org", FakeClock()).context()


def all_suites() -> list[str]:
    """Every suite of TLS 1.2 that the openssl of this machine can offer, the insecure ones included."""
    ran = subprocess.run(
        ["openssl", "ciphers", "-s", "-tls1_2", "ALL:COMPLEMENTOFALL:@SECLEVEL=0"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return ran.stdout.strip().split(":")


def taken(port: int, *options: str) -> bool:
    """Whether openssl s_client completes a handshake."""
    ran = subprocess.run(
        ["openssl", "s_client", "-connect", f"127.0.0.1:{port}", *options],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    return ran.returncode == 0 and "Cipher is (NONE)" not in ran.stdout


@pytest.mark.real
@pytest.mark.parametrize("key_type", [trustme.KeyType.ECDSA, trustme.KeyType.RSA])
async def test_tls_1_2_has_forward_secrecy_and_authenticated_encryption(
    key_type: trustme.KeyType, tmp_path: Path
) -> None:
    leaf = trustme.CA().issue_cert("mx.example.org", key_type=key_type)
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    leaf.private_key_pem.write_to_path(key)
    for blob in leaf.cert_chain_pems:
        blob.write_to_path(cert, append=True)
    context = Certificates(tls(cert, key), tmp_path, "mx.example.org", FakeClock()).context()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1)
        writer.close()

    listener = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with listener:
        port = listener.sockets[0].getsockname()[1]
        taken_suites = {
            suite
            for suite in all_suites()
            if await asyncio.to_thread(taken, port, "-tls1_2", "-cipher", f"{suite}:@SECLEVEL=0")
        }
        kind = "ECDSA" if key_type is trustme.KeyType.ECDSA else "RSA"
        assert taken_suites == {
            f"ECDHE-{kind}-AES256-GCM-SHA384",
            f"ECDHE-{kind}-AES128-GCM-SHA256",
            f"ECDHE-{kind}-CHACHA20-POLY1305",
        }
        assert await asyncio.to_thread(taken, port, "-tls1_3")
        assert not await asyncio.to_thread(taken, port, "-tls1_1", "-cipher", "ALL:@SECLEVEL=0")


def _remove(path: Path) -> None:
    path.unlink()


def _empty(path: Path) -> None:
    path.write_bytes(b"")


def _garbage(path: Path) -> None:
    path.write_bytes(b"\x00\xff-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n")


def _pipe(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)  # A reader waits until another program writes.


@pytest.mark.parametrize("name", ["cert.pem", "key.pem"])
@pytest.mark.parametrize("harm", [_remove, _empty, _garbage, _pipe])
async def test_whatever_becomes_of_the_files_the_old_certificate_stays_until_they_are_right(
    tmp_path: Path, name: str, harm: Callable[[Path], None]
) -> None:
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    leaf = trustme.CA().issue_cert("mx.example.org")

    def write() -> None:
        for path, content in ((cert, leaf.cert_chain_pems[0]), (key, leaf.private_key_pem)):
            path.unlink(missing_ok=True)
            path.write_bytes(content.bytes())

    write()
    server = Certificates(tls(cert, key), tmp_path, "mx.example.org", FakeClock())
    before = await peer_certificate(server)
    harm(tmp_path / name)
    for _ in range(2):  # It is reported each time.
        with pytest.raises(ConfigError, match="TLS_CERT_FILE"):
            server.refresh()
    assert await peer_certificate(server) == before
    with pytest.raises(ConfigError, match="TLS_CERT_FILE"):  # A server that starts now says so and ends.
        Certificates(tls(cert, key), tmp_path, "mx.example.org", FakeClock()).context()
    write()
    assert server.refresh() is True
    assert await peer_certificate(server) == before


async def test_a_full_disk_leaves_the_self_signed_certificate_in_use(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = FakeClock()
    server = Certificates(tls(), tmp_path, "mx.example.org", clock)
    before = await peer_certificate(server)
    clock.advance(LIFETIME.total_seconds() - 86_400)

    def full(_descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patched:
        patched.setattr(os, "fsync", full)
        with pytest.raises(ConfigError, match=r"self-signed.pem: No space left on device"):
            server.refresh()
    assert await peer_certificate(server) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["self-signed.lock", "self-signed.pem"]
    assert server.refresh() is True
    assert await peer_certificate(server) != before
