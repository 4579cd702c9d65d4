"""The TLS requirements of an attempt. One function decides them, so that DANE and MTA-STS can be added in one place."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, Protocol


class TlsSettings(Protocol):
    """The settings SMTP_OUTBOUND_* about TLS."""

    @property
    def require_starttls(self) -> bool: ...
    @property
    def allow_invalid_certs(self) -> bool: ...
    @property
    def allow_plaintext_fallback(self) -> bool: ...
    @property
    def tls_mode(self) -> Literal["required", "opportunistic"]: ...


@dataclass(frozen=True, slots=True)
class TlsRequirement:
    """The TLS that a connection must have.

    Attributes:
        required: no mail is sent without TLS.
        verified: the certificate must be valid for the host's name (PKIX).
        fallback: after a failed handshake a connection without TLS may be made.
        source: the reason for the requirement, for logs and replies.
    """

    required: bool
    verified: bool
    fallback: bool
    source: str


def tls_policy(
    settings: TlsSettings,
    exception: Literal["required", "opportunistic"] | None,
    *,
    require_tls: bool = False,
    credentials: bool = False,
) -> TlsRequirement:
    """Decides the TLS of one attempt.

    Args:
        exception: of the policy, for the destination; None: the setting decides.
        require_tls: the sender asked for REQUIRETLS (RFC 8689 §4.2.1), which requires a verified certificate.
        credentials: AUTH follows, so the password must reach the right host only.
    """
    if require_tls:
        return TlsRequirement(True, True, False, "REQUIRETLS")
    if credentials:
        return TlsRequirement(True, True, False, "credentials")
    mode = exception or settings.tls_mode
    source = "policy" if exception is not None else "settings"
    if mode == "required":
        return TlsRequirement(True, not settings.allow_invalid_certs, False, source)
    # An opportunistic connection is not verified: without TLS, the mail would go in the clear.
    must = settings.require_starttls
    return TlsRequirement(must, False, settings.allow_plaintext_fallback and not must, source)
