"""The section ``outbound`` of a policy: routes, limits and warnings for mail to other servers.

The levels are those of the sender: ``default.yaml``, the sender's tenant, domain and account. ``destinations`` has the
exceptions for recipients' domains.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv6Address
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, Field, SecretStr, field_validator, model_validator

from inbox.base.errors import ProtocolError
from inbox.mail.address import Address, canonical_domain
from inbox.policy.model import Shape

#: Keys that a destination may set for itself; every other key depends on the sender alone.
_OF_DESTINATION: Final = (
    "breaker", "chunking", "connections", "messages_per_connection", "rate", "rate_seconds", "retry", "smarthost",
    "tls", "to_seven_bit",
)  # fmt: skip
#: Keys with keys of their own, which are inherited one by one.
_NESTED: Final = frozenset({"breaker", "retry", "return_path"})


def _domain(text: str) -> str:
    try:
        return canonical_domain(text)
    except ProtocolError as error:
        raise ValueError("must be a domain such as example.com") from error


Domain = Annotated[str, AfterValidator(_domain)]
Tls = Literal["required", "opportunistic"]
ToSevenBit = Literal["unsigned", "always", "never"]


class Smarthost(Shape):
    """A server that receives the mail instead of the recipient's MX."""

    host: str = Field(min_length=1, max_length=255)
    """Its name or address."""
    port: int = Field(25, ge=1, le=65535)
    """Its port."""
    protocol: Literal["smtp", "lmtp"] = "smtp"
    """The protocol: with ``lmtp``, each recipient has a final reply of its own (RFC 2033)."""
    implicit_tls: bool = False
    """Whether TLS begins at once (port 465), without STARTTLS."""
    username: str = ""
    """The user name for AUTH; empty: no AUTH."""
    password: SecretStr = SecretStr("")
    """The password for AUTH. It is sent over verified TLS only."""

    @field_validator("host")
    @classmethod
    def _host(cls, value: str) -> str:
        if any(not character.isprintable() or character.isspace() for character in value):
            raise ValueError("must be one name or address")
        return value

    @model_validator(mode="after")
    def _credentials(self) -> Smarthost:
        if bool(self.username) != bool(self.password.get_secret_value()):
            raise ValueError("username and password belong together: set both or none")
        return self


class BreakerLimits(Shape):
    """The circuit breaker of a set of MX hosts."""

    failures: int = Field(5, ge=1, le=1000)
    """Consecutive attempts that reach no host, after which jobs wait without an attempt."""
    cool_down: float = Field(60, gt=0, le=1800)
    """Seconds until one job probes the hosts; doubled after each failed probe, up to 1800."""


class Retry(Shape):
    """Waits between attempts, and their number. What is left out is as the variables SMTP_OUTBOUND_* say."""

    base_delay: float | None = Field(None, gt=0, le=86_400)
    """Seconds after the first attempt, doubled after each further one, in place of
    SMTP_OUTBOUND_RETRY_BASE_DELAY_SECS."""
    max_delay: float | None = Field(None, gt=0, le=604_800)
    """The longest wait in seconds, in place of SMTP_OUTBOUND_RETRY_MAX_DELAY_SECS."""
    max_attempts: int | None = Field(None, ge=1, le=10_000)
    """Attempts before a job is given up, in place of SMTP_OUTBOUND_MAX_ATTEMPTS."""


class Destination(Shape):
    """Exceptions for one destination; keys that are left out have their general values."""

    smarthost: Smarthost | None = None
    """The server that receives the mail for this destination; ``null``: the destination's own MX."""
    tls: Tls | None = None
    """TLS for this destination, instead of SMTP_OUTBOUND_TLS_MODE."""
    connections: int | None = Field(None, ge=1, le=1000)
    """Simultaneous connections of each process."""
    messages_per_connection: int | None = Field(None, ge=1, le=100_000)
    """Messages after which a connection is closed."""
    rate: float | None = Field(None, ge=0, le=1_000_000)
    """Messages per ``rate_seconds`` of each process; 0: no limit."""
    rate_seconds: float | None = Field(None, gt=0, le=86_400)
    """The period of ``rate`` in seconds."""
    breaker: BreakerLimits | None = None
    """The circuit breaker."""
    retry: Retry | None = None
    """Waits between attempts, and their number."""
    to_seven_bit: ToSevenBit | None = None
    """The treatment of 8-bit mail if the hosts take 7-bit text only."""
    chunking: bool | None = None
    """Whether BDAT may be used."""


def _address(text: str) -> str:
    try:
        return Address.parse(text).key
    except ProtocolError as error:
        raise ValueError("must be an address such as feedback@example.com") from error


class ReturnPath(Shape):
    """The envelope sender of outgoing mail, to which bounces come."""

    signed: bool = False
    """Whether it is an address with a signed token (``bounce+TOKEN@domain``) in place of the sender's own."""
    days: int = Field(14, ge=1, le=90)
    """Days after the end of delivery until the token expires."""
    domain: Domain | None = None
    """The domain of the address, one of the tenant's; ``null``: that of the sender, so that SPF aligns for DMARC."""
    forward: bool = True
    """Whether the sender gets the bounces that come to the address; false: they are only recorded."""
    feedback: tuple[Annotated[str, AfterValidator(_address)], ...] = Field((), max_length=20)
    """Addresses of the tenant to which mailbox providers send feedback reports (RFC 5965)."""


class OutboundPolicy(Shape):
    """The section ``outbound``."""

    smarthost: Smarthost | None = None
    """The server that receives the mail for all destinations; ``null``: each destination's own MX."""
    tls: Tls | None = None
    """TLS for other servers; ``null``: SMTP_OUTBOUND_TLS_MODE."""
    ehlo_name: Domain | None = None
    """The name for EHLO; ``null``: SERVER_HOSTNAME."""
    source_ipv4: IPv4Address | None = None
    """The address from which connections over IPv4 are made; ``null``: the system chooses."""
    source_ipv6: IPv6Address | None = None
    """The address from which connections over IPv6 are made; ``null``: the system chooses."""
    connections: int = Field(20, ge=1, le=1000)
    """Simultaneous connections of each process to one set of MX hosts."""
    messages_per_connection: int = Field(100, ge=1, le=100_000)
    """Messages after which a connection is closed."""
    rate: float = Field(0, ge=0, le=1_000_000)
    """Messages per ``rate_seconds`` of each process to one set of MX hosts; 0: no limit."""
    rate_seconds: float = Field(60, gt=0, le=86_400)
    """The period of ``rate`` in seconds."""
    breaker: BreakerLimits = BreakerLimits()
    retry: Retry = Retry()
    to_seven_bit: ToSevenBit = "unsigned"
    """8-bit mail to a host without 8BITMIME: ``unsigned`` encodes it, unless it has another's signature, which would
    break; ``always`` encodes it nevertheless; ``never``: delivery fails with 5.6.3, as it does where encoding is not
    allowed or not possible."""
    chunking: bool = True
    """Whether messages may be sent with BDAT to hosts that offer CHUNKING (RFC 3030); ``false`` for hosts whose BDAT is
    defective. BINARYMIME mail always needs it."""
    return_path: ReturnPath = ReturnPath()
    """The address to which bounces come."""
    delay_warning: float = Field(14_400, ge=0, le=2_592_000)
    """Seconds after which the sender gets one warning about the delay; 0: never."""
    destinations: Mapping[Domain, Destination] = Field(default_factory=dict)
    """Exceptions by the recipient's domain."""

    def towards(self, domain: str) -> OutboundPolicy:
        """The policy for one destination.

        Args:
            domain: canonical, of the recipients.
        """
        own = self.destinations.get(domain)
        if own is None or not own.model_fields_set:
            return self
        changed: dict[str, Any] = {
            name: getattr(own, name)
            for name in _OF_DESTINATION
            if name in own.model_fields_set and (name in {"smarthost", "tls"} or getattr(own, name) is not None)
        }
        for name in changed.keys() & _NESTED:
            changed[name] = _inherited(getattr(self, name), changed[name])
        return self.model_copy(update=changed)

    def under(self, inner: OutboundPolicy | None) -> OutboundPolicy:
        """This outer level with the keys that ``inner`` sets; destinations are merged by domain."""
        if inner is None or not inner.model_fields_set:
            return self
        changed: dict[str, Any] = {name: getattr(inner, name) for name in inner.model_fields_set}
        if "destinations" in changed:
            changed["destinations"] = {**self.destinations, **inner.destinations}
        for name in changed.keys() & _NESTED:
            changed[name] = _inherited(getattr(self, name), changed[name])
        return self.model_copy(update=changed)


def _inherited(outer: Shape, inner: Shape) -> Shape:
    """The outer value with the keys that the inner one sets."""
    return outer.model_copy(update={name: getattr(inner, name) for name in inner.model_fields_set})
