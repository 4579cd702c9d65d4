"""Pass settings and certificate to the hosting layer."""

from __future__ import annotations

import hashlib
from ipaddress import ip_address

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from inbox.app.config.loading import Config
from inbox.app.config.settings import Server, Smtp
from inbox.app.config.settings_services import Dkim
from inbox.app.serve.tls import Certificates
from inbox.base.clock import Clock
from inbox.base.errors import ConfigError
from inbox.hosting.dns.needs import MailHost
from inbox.hosting.dns.records import Service
from inbox.hosting.keys.signing import InstallationSigning, load_private
from inbox.plugin.api.signing import SigningKey


def make_signing(dkim: Dkim) -> InstallationSigning:
    """Raises ConfigError if the installation's key cannot be used."""
    headers = tuple(dkim.headers.split(","))
    if dkim.domain is None or dkim.selector is None or dkim.private_key_b64_pkcs8 is None:
        return InstallationSigning(headers)
    private = load_private(dkim.private_key_b64_pkcs8.get_secret_value())
    return InstallationSigning(headers, SigningKey(dkim.domain, dkim.selector, private, headers))


def make_mail_host(config: Config, clock: Clock) -> MailHost:
    """Raises ConfigError if the certificate or the installation's DKIM key cannot be used."""
    bound = ip_address(config.server.bind_addr)
    certificate, trusted = _certificate(config, clock)
    return MailHost(
        hostname=config.server.hostname,
        services=_services(config),
        addresses=(bound,) if bound.is_global else (),
        certificate=certificate,
        trusted=trusted,
        signing=make_signing(config.dkim),
    )


def _services(config: Config) -> tuple[Service, ...]:
    """The endpoints for mail programs. Of the services without implicit TLS only submission is listed, because many
    programs expect it (RFC 8314 §3.3). DAV and autoconfiguration are on 443, regardless of the port that a proxy
    forwards to."""
    found = [
        Service("_imaps._tcp", config.server.imaps_port, Server.is_used("imaps_port")),
        Service("_submissions._tcp", config.smtp.submissions_port, Smtp.is_used("submissions_port")),
        Service("_submission._tcp", config.smtp.submission_port, Smtp.is_used("submission_port")),
    ]
    if config.server.http_port:
        # The HTTP server has no DAV yet.
        found += [Service("_caldavs._tcp", 443, False), Service("_carddavs._tcp", 443, False)]
    return tuple(service for service in found if service.port)


def _certificate(config: Config, clock: Clock) -> tuple[bytes | None, bool]:
    certificates = Certificates(config.tls, config.folders.data_dir, config.server.hostname, clock)
    if certificates.self_signed and not certificates.cert_file.exists():
        return None, False  # The server creates one when it starts.
    info = certificates.info()
    try:
        leaf = x509.load_pem_x509_certificates(info.path.read_bytes())[0]
    except (OSError, ValueError) as error:
        raise ConfigError(f"TLS_CERT_FILE: {info.path}: {error}") from error
    key = leaf.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    name = config.server.hostname
    covered = any(n == name or (n.startswith("*.") and n[2:] == name.partition(".")[2]) for n in info.names)
    return hashlib.sha256(key).digest(), covered and not info.self_signed
