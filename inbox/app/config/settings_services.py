"""Environment variables of external services: database, S3, DKIM keys, TLS reports, telemetry."""

from __future__ import annotations

from ipaddress import ip_address
from pathlib import Path
from typing import Annotated
from urllib.parse import quote, unquote, urlsplit

from pydantic import AfterValidator, Field, SecretStr, model_validator

from inbox.app.config.settings import Domain, Group, HttpUrl, _address, _field_names, _pkcs8

#: Embedded engines: they return the same value twice under concurrent writes, which loses acknowledged mail.
EMBEDDED_ENGINES = frozenset({"mem", "memory", "file", "rocksdb", "surrealkv", "tikv"})


def _database_url(text: str) -> str:
    scheme, _, rest = text.partition("://")
    if scheme in EMBEDDED_ENGINES:
        raise ValueError(
            f"SurrealDB's embedded engine {scheme}:// loses acknowledged updates; use sqlite:/// or a server (ws://)"
        )
    if scheme == "sqlite":
        if not rest.startswith("/") or not rest.strip("/"):
            raise ValueError("must be sqlite:///relative/path or sqlite:////absolute/path")
    elif scheme not in {"ws", "wss"} or not _has_host_and_port(text):
        raise ValueError("must be sqlite:///path, ws://host:port or wss://host:port")
    return text


def _has_host_and_port(url: str) -> bool:
    parts = urlsplit(url)
    try:
        return bool(parts.hostname) and parts.port != 0
    except ValueError:  # urlsplit parses the port only on access
        return False


def _database_host(text: str) -> str:
    if "://" in text:
        return _database_url(text)
    if not _has_host_and_port(f"ws://{text}"):
        raise ValueError("not host, host:port or ws://host:port")
    return text


class Database(Group):
    """The embedded SQLite database by default; a SurrealDB 3.x server when DATABASE_HOSTNAME or a ws:// URL is set."""

    PREFIX = "DATABASE_"
    url: Annotated[str, AfterValidator(_database_url)] | None = None
    """``sqlite:///data/inbox.db`` (under INBOX_DATA_DIR) by default; ``ws://`` or ``wss://`` for SurrealDB."""
    hostname: Annotated[str, AfterValidator(_database_host)] | None = None
    """The SurrealDB server: ``host``, ``host:port`` (8000 by default) or a ``ws://`` URL."""
    namespace: str = "inbox"
    """SurrealDB's namespace."""
    database: str = "inbox"
    """SurrealDB's database."""
    username: str | None = None
    """The user that logs in to SurrealDB."""
    password: SecretStr | None = None
    """The password of that user."""

    @model_validator(mode="after")
    def _consistent(self) -> Database:
        if self.url is not None and self.hostname is not None:
            raise ValueError("DATABASE_URL and DATABASE_HOSTNAME are both set; set one of them")
        if (self.username is None) != (self.password is None):
            raise ValueError("DATABASE_USERNAME and DATABASE_PASSWORD must be set together")
        return self

    @property
    def surreal_url(self) -> str | None:
        """The server's ``ws://`` address without credentials, or None if SQLite is used."""
        text = self.hostname or self.url
        if text is None or text.startswith("sqlite:"):
            return None
        parts = urlsplit(text if "://" in text else f"ws://{text}")
        host = f"[{parts.hostname}]" if ":" in str(parts.hostname) else parts.hostname
        return f"{parts.scheme}://{host}:{parts.port or 8000}{parts.path.rstrip('/') or '/rpc'}"

    @property
    def credentials(self) -> tuple[str, str] | None:
        """User and password for SurrealDB: from the variables, or from the URL."""
        if self.username is not None and self.password is not None:
            return self.username, self.password.get_secret_value()
        parts = urlsplit(self.url or self.hostname or "")
        return (unquote(parts.username), unquote(parts.password)) if parts.username and parts.password else None

    def sqlite_path(self, data_dir: Path) -> Path:
        """The file of the embedded database (RFC 3986: three slashes for a relative path, four for an absolute)."""
        return data_dir / "inbox.db" if self.url is None else Path(unquote(self.url.removeprefix("sqlite:///")))

    def masked_url(self, data_dir: Path) -> str:
        """The URL in effect, without a password."""
        if self.surreal_url is None:
            return self.url or f"sqlite:///{self.sqlite_path(data_dir)}"
        user = self.credentials
        return self.surreal_url.replace("://", f"://{quote(user[0])}@" if user else "://", 1)


class S3(Group):
    """Object storage for blobs. All of the four without a default are set, or none: then blobs are local files."""

    PREFIX = "S3_"
    endpoint: HttpUrl | None = None
    """``https://`` address; ``http://`` only to this machine, because keys and mail would cross the network openly."""
    region: str = "auto"
    """The region that requests are signed for."""
    bucket: str | None = None
    """The bucket."""
    access_key_id: str | None = None
    """Access key."""
    secret_access_key: SecretStr | None = None
    """The secret key that belongs to it."""
    force_path_style: bool = False
    """``https://host/bucket/key`` instead of ``https://bucket.host/key``."""

    @model_validator(mode="after")
    def _all_or_nothing(self) -> S3:
        needed = ("endpoint", "bucket", "access_key_id", "secret_access_key")
        missing = [self.variable(name) for name in needed if getattr(self, name) is None]
        if missing and len(missing) < len(needed):
            raise ValueError(f"{missing[0]} is missing: set all S3_ variables or none")
        if self.endpoint and not self.sse_c_allowed and not _is_loopback(str(urlsplit(self.endpoint).hostname)):
            raise ValueError("S3_ENDPOINT must be https:// unless it is on this machine")
        return self

    @property
    def enabled(self) -> bool:
        """True if blobs go to S3."""
        return self.endpoint is not None

    @property
    def sse_c_allowed(self) -> bool:
        """Whether requests may carry a customer key (SSE-C): only over TLS."""
        return self.endpoint is not None and self.endpoint.startswith("https://")


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


class Dkim(Group):
    """The signature of outbound mail of domains without a key of their own; in use when the first three are set."""

    PREFIX = "SMTP_DKIM_"
    domain: Domain | None = None
    """The signing domain (``d=``)."""
    selector: Domain | None = None
    """The selector (``s=``)."""
    private_key_b64_pkcs8: Annotated[SecretStr, AfterValidator(_pkcs8)] | None = None
    """The private key: PKCS8 in base64, RSA or Ed25519."""
    headers: Annotated[str, AfterValidator(_field_names)] = "From,To,Subject,Date"
    """The fields to sign, separated by commas; From is always among them."""

    @property
    def enabled(self) -> bool:
        """True if there is a key to sign with."""
        return None not in {self.domain, self.selector, self.private_key_b64_pkcs8}

    @model_validator(mode="after")
    def _complete(self) -> Dkim:
        if self.private_key_b64_pkcs8 is not None and not self.enabled:
            missing = "SMTP_DKIM_DOMAIN" if self.domain is None else "SMTP_DKIM_SELECTOR"
            raise ValueError(f"{missing} is missing: SMTP_DKIM_PRIVATE_KEY_B64_PKCS8 is set")
        return self


class TlsReports(Group):
    """Reports about TLS to the domains that we send to (RFC 8460)."""

    PREFIX = "SMTP_TLS_"
    UNUSED = frozenset({"*"})
    report_dir: Path | None = None
    """The folder of failures as JSON lines. Unset: ``tlsrpt`` under INBOX_DATA_DIR."""
    rpt_enabled: bool = True
    """Whether reports are sent."""
    rpt_send_hour_utc: Annotated[int, Field(ge=0, le=23)] = 2
    """The hour of the day (UTC) at which they are sent."""
    rpt_max_recipients_per_domain: Annotated[int, Field(ge=1, le=100)] = 5
    """Addresses of one domain that get a report."""
    rpt_fallback_from: Annotated[str, AfterValidator(_address)] | None = None
    """The sender of reports if no better one is known."""


class Otel(Group):
    """OpenTelemetry traces; needs the extra ``inbox[otel]``."""

    PREFIX = "OTEL_"
    enabled: bool = False
    """Whether traces are exported."""
    exporter_otlp_endpoint: HttpUrl = "http://localhost:4318/v1/traces"
    """Their destination (OTLP over HTTP): a URL as it is; without a path, ``/v1/traces`` is added."""
    service_name: str = "inbox"
    """The service's name in them."""
    sample_ratio: Annotated[float, Field(ge=0, le=1)] = 1.0
    """The share of messages that are traced; the same in all processes and instances."""
    console_logs: bool = True
    """Whether the log goes to standard error; if not, only errors do."""
