"""Every environment variable of the program: its name, default, bounds and meaning, one model for each group.

A field ``x`` of a group with the prefix ``P_`` is the variable ``P_X``; where the name differs, the field names it in
``json_schema_extra``. An empty value counts as unset. Durations are whole seconds, sizes are octets.
``inbox.app.config.loading`` reads them; ``docs/reference/environment.md`` is generated from them.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, SecretStr, model_validator
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from inbox.mail.address import Address, AddressError, canonical_domain

DAY = 86_400
#: The longest interval is ten years; a larger number is a mistake.
MOST_SECONDS = 3650 * DAY


def _domain(text: str) -> str:
    try:
        return canonical_domain(text)
    except AddressError:
        raise ValueError("not a domain name") from None


def _address(text: str) -> str:
    try:
        return str(Address.parse(text))
    except AddressError:
        raise ValueError("not a mail address") from None


def _bind_address(text: str) -> str:
    try:
        return str(ip_address(text.strip("[]")))
    except ValueError:
        raise ValueError("not an IP address") from None


def _host_port(text: str) -> str:
    """``host:port``, ``[v6]:port``; without a port, 53."""
    parts = urlsplit(f"//{text}")
    try:
        port = parts.port
    except ValueError:
        raise ValueError("not host:port") from None
    if not parts.hostname or parts.path or parts.username or parts.query:
        raise ValueError("not host:port")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{host}:{port or 53}"


def _http_url(text: str) -> str:
    parts = urlsplit(text)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ValueError("not an http:// or https:// address")
    return text.rstrip("/")


def _pkcs8(secret: SecretStr) -> SecretStr:
    # Imported here, because it loads cryptography, which `inbox --help` does not need.
    from inbox.authentication.dkim.configured import check_private_key

    check_private_key(secret.get_secret_value())
    return secret


def _field_names(text: str) -> str:
    from inbox.authentication.dkim.configured import field_names

    return ",".join(field_names(text))


Port = Annotated[int, Field(ge=0, le=65535)]
Seconds = Annotated[int, Field(ge=1, le=MOST_SECONDS)]
Count = Annotated[int, Field(ge=1, le=1_000_000_000)]
Domain = Annotated[str, AfterValidator(_domain)]
HttpUrl = Annotated[str, AfterValidator(_http_url)]


class Given(PydanticBaseSettingsSource):
    """The variables of the process, passed in as a mapping: this module never reads the environment itself."""

    def __init__(self, group: type[BaseSettings], environ: Mapping[str, str]) -> None:
        super().__init__(group)
        self._environ = environ

    def get_field_value(  # pydantic passes these keywords
        self,
        field: FieldInfo,  # noqa: ARG002
        field_name: str,
    ) -> tuple[Any, str, bool]:
        group: Any = self.settings_cls
        return self._environ.get(group.variable(field_name)), field_name, False

    def __call__(self) -> dict[str, Any]:
        found = {name: self.get_field_value(field, name)[0] for name, field in self.settings_cls.model_fields.items()}
        return {name: value for name, value in found.items() if value}


class Group(BaseSettings):
    """Variables that belong together. ``Group(environ=mapping)`` reads them from the mapping."""

    model_config = SettingsConfigDict(
        frozen=True, extra="forbid", use_attribute_docstrings=True, hide_input_in_errors=True, str_strip_whitespace=True
    )
    PREFIX: ClassVar[str] = ""
    #: Fields that are read and checked although this version does not use them; ``*`` for all.
    UNUSED: ClassVar[frozenset[str]] = frozenset()

    @classmethod
    def is_used(cls, field: str) -> bool:
        """False if this version does not use the field."""
        return field not in cls.UNUSED and "*" not in cls.UNUSED

    @classmethod
    def variable(cls, field: str) -> str:
        """The environment variable of a field."""
        extra = cls.model_fields[field].json_schema_extra
        return str(extra["env"]) if isinstance(extra, dict) and "env" in extra else f"{cls.PREFIX}{field.upper()}"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        given = init_settings()
        environ = given.pop("environ", None)
        return (Given(settings_cls, environ),) if environ is not None else (init_settings,)


class Server(Group):
    """The installation as a whole."""

    PREFIX = "SERVER_"
    hostname: Domain = "mail.localhost"
    """The name in banners, Received fields and certificates. Set it to the public name of the machine."""
    bind_addr: Annotated[str, AfterValidator(_bind_address)] = "0.0.0.0"  # noqa: S104  a mail server listens to the world
    """The address that all listeners bind to; ``::`` for IPv6 and IPv4."""
    max_connections: Count = 256
    """Simultaneous connections of all listeners together; further clients get 421 and try again."""
    imap_port: Port = Field(143, json_schema_extra={"env": "IMAP_PORT"})
    """IMAP with STARTTLS. 0: off."""
    imaps_port: Port = Field(993, json_schema_extra={"env": "IMAPS_PORT"})
    """IMAP over TLS. 0: off."""
    http_port: Port = Field(3000, json_schema_extra={"env": "HTTP_PORT"})
    """HTTP: the API for programs, and monitoring; over TLS if TLS_CERT_FILE is set. 0: off."""
    dns_resolver: Annotated[str, AfterValidator(_host_port)] | None = Field(
        None, json_schema_extra={"env": "DNS_RESOLVER"}
    )
    """The DNS resolver, ``host:port``. Its DNSSEC validation is trusted if it is on loopback. Unset: the system's."""


class Tls(Group):
    """The certificate of all listeners."""

    PREFIX = "TLS_"
    cert_file: Path | None = None
    """The certificate chain in PEM. Unset: a self-signed one is created under INBOX_DATA_DIR."""
    key_file: Path | None = None
    """Its private key in PEM."""

    @model_validator(mode="after")
    def _together(self) -> Tls:
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("TLS_CERT_FILE and TLS_KEY_FILE must be set together")
        return self


class Folders(Group):
    """Folders and files on this machine."""

    PREFIX = "INBOX_"
    UNUSED = frozenset({"store_parsed_parts"})
    data_dir: Path = Path("data")
    """The program's own files: the embedded database, local blobs, the self-signed certificate, the admin socket."""
    policy_dir: Path = Path("policies")
    """``default.yaml`` and ``tenants/*.yaml``."""
    plugin_dir: Path | None = None
    """The operator's own plugins, ``*.py``. Unset: ``plugins`` under INBOX_DATA_DIR."""
    incoming_dir: Path | None = None
    """Local blobs, when no S3 is set. Unset: ``incoming`` under INBOX_DATA_DIR."""
    store_parsed_parts: bool = False
    """Also store each body part of a mail as a separate blob (not for tenants with end-to-end encryption)."""

    @property
    def plugins(self) -> Path:
        """The folder of the operator's plugins."""
        return self.plugin_dir or self.data_dir / "plugins"

    @property
    def incoming(self) -> Path:
        """The folder of local blobs."""
        return self.incoming_dir or self.data_dir / "incoming"

    @property
    def admin_socket(self) -> Path:
        """The Unix socket of the running server."""
        return self.data_dir / "inbox.sock"


class Smtp(Group):
    """Receiving mail."""

    PREFIX = "SMTP_"
    transfer_port: Port = 25
    """SMTP from other servers (RFC 5321). 0: off."""
    submission_port: Port = 587
    """Submission with STARTTLS (RFC 6409). 0: off."""
    submissions_port: Port = 465
    """Submission over TLS (RFC 8314). 0: off."""
    lmtp_port: Port = Field(0, json_schema_extra={"env": "LMTP_PORT"})
    """LMTP (RFC 2033), usually 24. 0: off."""
    inbound_max_rcpt_to: Annotated[int, Field(ge=1, le=100_000)] = 100
    """Maximum number of recipients of a message; clients send the rest in another transaction (RFC 5321 §4.5.3.1.8)."""
    max_message_bytes: Annotated[int, Field(ge=65_536, le=1 << 31)] = 26_214_400
    """The maximum size of a message in octets (SIZE, RFC 1870). RFC 5321 §4.5.3.1.7 requires at least 64 KiB."""
    require_spf_pass: bool = True
    """Refuse mail whose SPF result is not ``pass``, and defer it on a temporary error; policies may name exceptions."""
    require_dkim_pass: bool = False
    """Refuse mail without a valid DKIM signature."""
    require_dmarc_pass: bool = False
    """Refuse mail that does not pass DMARC, even without a policy of its domain; defer it on a temporary error."""
    auth_allow_header_override: bool = False
    """Trust Authentication-Results in incoming mail. Set it only behind a gateway that removes forged ones."""


class RateLimit(Group):
    """Limits for each source address, counted in the database by all instances together."""

    PREFIX = "SMTP_RATE_LIMIT_"
    enabled: bool = True
    """Whether limits are enforced."""
    window_secs: Seconds = 60
    """The length of a window."""
    transfer_connections_per_window: Count = 240
    """Connections to the transfer port."""
    submission_connections_per_window: Count = 120
    """Connections to the submission ports."""
    transfer_messages_per_window: Count = 240
    """Messages over the transfer port."""
    submission_messages_per_window: Count = 120
    """Messages over the submission ports."""
    fail_open_on_db_error: bool = True
    """When the counters cannot be reached: accept everything (true), or answer 451 (false)."""


class Outbound(Group):
    """Sending mail to other servers."""

    PREFIX = "SMTP_OUTBOUND_"
    UNUSED = frozenset({"dane_mode", "dnssec_validate", "mta_sts_enforce"})
    port: Annotated[int, Field(ge=1, le=65535)] = 25
    """The port of other servers."""
    require_starttls: bool = False
    """Fail where a server offers no STARTTLS."""
    allow_invalid_certs: bool = False
    """Accept certificates that cannot be verified."""
    allow_plaintext_fallback: bool = True
    """Continue without TLS if TLS fails; never if the mode is ``required``."""
    tls_mode: Literal["required", "opportunistic"] = "required"
    """``required``: TLS or no delivery. ``opportunistic``: TLS where it is offered."""
    dane_mode: Literal["off", "prefer", "require"] = "prefer"
    """TLSA records (RFC 7672): ignored, used where published, or required."""
    dnssec_validate: bool = True
    """Trust only TLSA records that the resolver validated; ``has_domain.outbound_dnssec_validate`` overrides it."""
    mta_sts_enforce: bool = True
    """Follow MTA-STS policies (RFC 8461)."""
    timeout_secs: Seconds = 30
    """Time limit for one command."""
    queue_enabled: bool = True
    """Whether this instance delivers mail from the queue."""
    queue_poll_interval_secs: Seconds = 2
    """Interval between two checks of the queue while no event announces a job."""
    queue_cleanup_interval_secs: Seconds = 300
    """Interval between removals of old jobs."""
    queue_batch_size: Annotated[int, Field(ge=1, le=10_000)] = 100
    """Maximum number of jobs per claim."""
    queue_lease_secs: Seconds = 120
    """Duration of a lease without renewal."""
    retry_base_delay_secs: Seconds = 30
    """The delay after the first failed attempt; it doubles with each further one."""
    retry_max_delay_secs: Seconds = 3600
    """The longest delay between two attempts."""
    max_attempts: Annotated[int, Field(ge=1, le=10_000)] = 10
    """Attempts before a job is given up."""
    ttl_secs: Seconds = 86_400
    """The age at which a job is given up."""
    dead_job_retention_secs: Seconds = 604_800
    """Time for which a failed job stays visible."""
    delivery_retention_secs: Seconds = 2_592_000
    """Time for which a record of a delivery is kept."""
    suppression_max_entries: Annotated[int, Field(ge=1, le=100_000_000)] = 1_000_000
    """Entries that the suppression list of a tenant may have."""

    @model_validator(mode="after")
    def _order(self) -> Outbound:
        if self.retry_base_delay_secs > self.retry_max_delay_secs:
            raise ValueError("SMTP_OUTBOUND_RETRY_BASE_DELAY_SECS is greater than SMTP_OUTBOUND_RETRY_MAX_DELAY_SECS")
        return self
