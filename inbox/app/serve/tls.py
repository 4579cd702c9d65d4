"""The certificate of the listeners: the operator's files, or a self-signed one so that STARTTLS always works."""

from __future__ import annotations

import fcntl
import os
import ssl
import stat as stat_module
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from inbox.app.config.settings import Tls
from inbox.base.clock import Clock
from inbox.base.errors import ConfigError

LIFETIME = timedelta(days=365)
#: A self-signed certificate is replaced when its remaining lifetime is shorter; doctor warns of others then.
RENEW_BEFORE = timedelta(days=30)
#: RFC 5280 Appendix A.1, ub-common-name; a longer name is in the SAN only.
COMMON_NAME_LENGTH = 64
#: Suites of TLS 1.2, in OpenSSL's notation; TLS 1.3 has only such suites.
TLS12_SUITES = "ECDHE+AESGCM:ECDHE+CHACHA20"


@dataclass(frozen=True, slots=True)
class CertificateInfo:
    """The certificate in use: its file, its names, and its end (seconds since the epoch)."""

    path: Path
    names: tuple[str, ...]
    expires_at: float
    self_signed: bool


class Certificates:
    """One server context for all listeners, whose certificate can be replaced while connections are open.

    Args:
        settings: TLS_CERT_FILE and TLS_KEY_FILE.
        folder: where a self-signed certificate is kept.
        hostname: SERVER_HOSTNAME, the name that a self-signed certificate is for.
        clock: the time for checking a certificate's end.
    """

    def __init__(self, settings: Tls, folder: Path, hostname: str, clock: Clock) -> None:
        self._settings = settings
        self._folder = folder
        self._hostname = hostname
        self._clock = clock
        self._context: ssl.SSLContext | None = None
        self._seen: tuple[object, ...] = ()

    @property
    def self_signed(self) -> bool:
        """True if the operator gave no certificate."""
        return self._settings.cert_file is None

    @property
    def cert_file(self) -> Path:
        """The certificate chain in PEM; a self-signed one has its key in the same file, so that both change at once."""
        return self._settings.cert_file or self._folder / "self-signed.pem"

    @property
    def _key_file(self) -> Path:
        return self._settings.key_file or self.cert_file

    def context(self) -> ssl.SSLContext:
        """The context for all listeners: TLS 1.2 or later (RFC 8996, RFC 9325 §3.1.1), and of 1.2 only suites with
        forward secrecy and authenticated encryption (§4.2).

        Raises:
            ConfigError: the files cannot be read, or do not belong together.
        """
        if self._context is None:
            self._renew()
            self._seen = self._stamps()
            self._context = self._load()
        return self._context

    def refresh(self) -> bool:
        """Loads changed files; replaces a self-signed certificate in time. True if anything changed.

        Connections that are open keep their certificate. Call it periodically, and on reload.

        Raises:
            ConfigError: the new files are invalid; the old certificate stays in use.
        """
        context = self.context()
        self._renew()
        stamps = self._stamps()
        if stamps == self._seen:
            return False
        self._load()  # Into a separate context first: a half-written pair must not reach the live one.
        context.load_cert_chain(self.cert_file, self._key_file)
        self._seen = stamps
        return True

    def info(self) -> CertificateInfo:
        """The certificate in use. Raises ConfigError if none can be read."""
        try:
            leaf = x509.load_pem_x509_certificates(self.cert_file.read_bytes())[0]
        except (OSError, ValueError) as error:
            raise ConfigError(f"TLS_CERT_FILE: {self.cert_file}: {_reason(error)}") from error
        return CertificateInfo(self.cert_file, _names(leaf), leaf.not_valid_after_utc.timestamp(), self.self_signed)

    def _load(self) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(TLS12_SUITES)
        context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION | ssl.OP_CIPHER_SERVER_PREFERENCE
        try:
            context.load_cert_chain(self.cert_file, self._key_file)
        except ssl.SSLError as error:
            mismatch = error.reason == "KEY_VALUES_MISMATCH"
            why = "the key does not belong to the certificate" if mismatch else "not a certificate and its key in PEM"
            raise ConfigError(f"TLS_CERT_FILE: {self.cert_file} and {self._key_file}: {why}") from error
        except OSError as error:
            raise ConfigError(f"TLS_CERT_FILE: {self.cert_file} and {self._key_file}: {_reason(error)}") from error
        return context

    def _stamps(self) -> tuple[object, ...]:
        stats = []
        for path in (self.cert_file, self._key_file):
            try:
                stat = path.stat()
            except OSError as error:
                raise ConfigError(f"TLS_CERT_FILE: {path}: {_reason(error)}") from error
            if not stat_module.S_ISREG(stat.st_mode):
                # Reading a pipe blocks until another program writes into it, and all mail waits.
                raise ConfigError(f"TLS_CERT_FILE: {path}: not a regular file")
            stats.append((stat.st_ino, stat.st_size, stat.st_mtime_ns))
        return tuple(stats)

    def _renew(self) -> None:
        if not self.self_signed or self._still_good():
            return
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with _locked(self.cert_file.with_suffix(".lock")):
                if not self._still_good():
                    now = datetime.fromtimestamp(self._clock.now(), UTC)
                    _write_private(self.cert_file, self_signed_pem(self._hostname, now))
        except OSError as error:
            raise ConfigError(f"INBOX_DATA_DIR: cannot write {self.cert_file}: {_reason(error)}") from error

    def _still_good(self) -> bool:
        try:
            leaf = x509.load_pem_x509_certificate(self.cert_file.read_bytes())
        except (OSError, ValueError):
            return False
        left = leaf.not_valid_after_utc.timestamp() - self._clock.now()
        return left > RENEW_BEFORE.total_seconds() and self._hostname in _names(leaf)


def self_signed_pem(hostname: str, now: datetime) -> bytes:
    """Key and certificate (EC P-256) for ``hostname`` and this machine, in one PEM text."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hostname[:COMMON_NAME_LENGTH])])
    names: list[x509.GeneralName] = [x509.DNSName(n) for n in dict.fromkeys((hostname, "localhost"))]
    names += [x509.IPAddress(ip_address(address)) for address in ("127.0.0.1", "::1")]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + LIFETIME)
        .add_extension(x509.SubjectAlternativeName(names), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=False)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return private + certificate.public_bytes(Encoding.PEM)


def _names(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        san = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    return tuple(san.get_values_for_type(x509.DNSName))


@contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Lets one process at a time create the certificate; two that start together would serve different ones."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _write_private(path: Path, content: bytes) -> None:
    """Replaces ``path`` at once, readable by the owner only; a reader sees the old or the new one."""
    descriptor, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except OSError:
        Path(temporary).unlink(missing_ok=True)
        raise


def _reason(error: Exception) -> str:
    return (getattr(error, "strerror", None) or str(error)).splitlines()[0]
