"""The parts of a policy file that belong to the engine, as pydantic models."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping
from ipaddress import IPv4Network, IPv6Network
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, IPvAnyNetwork, field_validator

from inbox.mail.address import Address, AddressError

#: The keys of one level: a tenant's file, or one entry under ``domains:`` or ``accounts:``.
LEVEL_KEYS = ("plugins", "thresholds", "groups", "mode", "outbound", "submission")
FILE_KEYS = (*LEVEL_KEYS, "domains", "accounts")


class Shape(BaseModel):
    """Base: unknown keys are mistakes, NaN and infinity are not numbers."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)


class Thresholds(Shape):
    """Thresholds of the total score; ``null`` removes an inherited one."""

    tag: float | None = None
    """From this total on, X-Spam-Flag and X-Spam-Status are added."""
    junk: float | None = None
    """From this total on, the message is filed in Junk."""
    quarantine: float | None = None
    """From this total on, the message is put into the tenant's quarantine."""
    defer: float | None = None
    """From this total on, the message is deferred."""
    reject: float | None = None
    """From this total on, the message is refused."""


def reversed_thresholds(limits: Mapping[str, float | None]) -> tuple[str, str] | None:
    """Return a milder threshold and a stricter one that is lower, so that the milder one never applies; None otherwise.

    >>> reversed_thresholds({"tag": 8, "quarantine": 5, "reject": 15})
    ('tag', 'quarantine')
    """
    given = [(name, limits[name]) for name in Thresholds.model_fields if limits.get(name) is not None]
    for (milder, low), (stricter, high) in itertools.pairwise(given):
        if low is not None and high is not None and low > high:
            return milder, stricter
    return None


class Group(Shape):
    """A group of scores."""

    cap: float = Field(gt=0)
    """The group's sum counts at most this much, for and against (from -cap to cap)."""


class DecisionSettings(Shape):
    """Retention of decision records."""

    keep_days: int = Field(30, ge=1, le=3650)
    """Days after which a record is removed."""
    reply_id: bool = True
    """Whether the reply line of a refusal carries the short id for ``inbox explain``."""


class ReportSettings(Shape):
    """DMARC aggregate reports: retention, and the sending of our own."""

    sender: str | None = None
    """The address in From of our own reports, in a hosted domain that signs with DKIM; ``null``: none are sent."""
    organization: str = Field("", max_length=200)
    """The name of the reporter in our own reports; empty: SERVER_HOSTNAME."""
    per_day: int = Field(5000, ge=1, le=1_000_000)
    """Mails with reports about one day, the domains with the most messages first."""
    per_host: int = Field(500, ge=1, le=1_000_000)
    """Mails with reports about one day to one destination host."""

    @field_validator("sender")
    @classmethod
    def _is_address(cls, value: str | None) -> str | None:
        if value is None:
            return None
        try:
            return str(Address.parse(value))
        except AddressError as error:
            raise ValueError("must be an address such as dmarc@example.com") from error

    keep_days: int = Field(400, ge=1, le=3650)
    """Days after which a report about a hosted domain is removed."""
    observation_days: int = Field(14, ge=2, le=365)
    """Days after which observations about mail of other domains are removed."""


class BreakerSettings(Shape):
    """Limits of the circuit breaker for failing dependencies."""

    failures: int = Field(5, ge=1, le=1000)
    """Failures in a row that open the breaker."""
    cool_down: float = Field(30, gt=0, le=3600)
    """Seconds until one trial call is allowed."""


class SubmissionSettings(Shape):
    """The server on ports 587 and 465; the settings of users are in the section ``submission``."""

    login_without_tls: bool = False
    """Whether users may log in before STARTTLS. Enable it only in a network in which nobody can read passwords."""
    hold_days: int = Field(30, ge=0, le=365)
    """The longest time until a release that the client asks for (FUTURERELEASE). 0: not offered."""


class HttpSettings(Shape):
    """The HTTP server on HTTP_PORT."""

    proxies: tuple[IPvAnyNetwork, ...] = ()
    """Networks of the reverse proxies in front: they speak plain HTTP, and name the client and its scheme in
    X-Forwarded-For and X-Forwarded-Proto."""
    metrics_networks: tuple[IPvAnyNetwork, ...] = (IPv4Network("127.0.0.0/8"), IPv6Network("::1/128"))
    """Networks whose clients may read ``/metrics``, and the reason of a failed ``/readyz``."""
    origins: tuple[str, ...] = ()
    """The web pages whose scripts may use the API (CORS), each by its origin, such as ``https://app.example.com``."""

    @field_validator("origins")
    @classmethod
    def _each_is_an_origin(cls, values: tuple[str, ...]) -> tuple[str, ...]:
        for value in values:
            if re.fullmatch(r"https?://[a-z0-9.-]+(:[0-9]{1,5})?", value) is None:
                raise ValueError(f"{value!r} is no origin, such as https://app.example.com")
        return values


class WebhookSettings(Shape):
    """Destinations of webhooks, and retention of their messages."""

    networks: tuple[IPvAnyNetwork, ...] = ()
    """Networks that webhooks may reach although their addresses are not public."""
    ports: tuple[int, ...] = (443, 8443)
    """Ports of URLs with https."""
    http: tuple[str, ...] = ()
    """Names of tenants whose webhooks may use http, at any port. Use it only in a network for tests."""
    keep_days: int = Field(14, ge=7, le=365)
    """Days after which a message is removed from the log of a webhook, in any state."""


class ServerPolicy(Shape):
    """Settings of the server as a whole; ``server:`` in default.yaml."""

    multi_tenant: Literal["split", "defer"] = "split"
    """One message for several tenants: ``split`` it, or answer 452 4.5.3 to the second tenant's RCPT."""
    proxy_networks: tuple[IPvAnyNetwork, ...] = ()
    """Networks of the proxies from which PROXY protocol headers are trusted."""
    postmaster: str | None = None
    """Hosted address that gets mail for ``<postmaster>`` or postmaster@ our own name (RFC 5321 §4.5.1). None: the
    postmaster of the hosted domain that our name is in, otherwise that of a domain of the oldest tenant."""
    nul_characters: Literal["refuse", "replace"] = "refuse"
    """A message with NUL characters: ``refuse`` it (550 5.6.0, or NO to an APPEND), or ``replace`` each by 0x80."""
    decisions: DecisionSettings = DecisionSettings()
    reports: ReportSettings = ReportSettings()
    breaker: BreakerSettings = BreakerSettings()
    submission: SubmissionSettings = SubmissionSettings()
    http: HttpSettings = HttpSettings()
    webhooks: WebhookSettings = WebhookSettings()

    @field_validator("postmaster")
    @classmethod
    def _address(cls, value: str | None) -> str | None:
        try:
            return None if value is None else Address.parse(value).key
        except AddressError as error:
            raise ValueError(str(error)) from error
