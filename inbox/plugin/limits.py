"""Limits of the program that plugins share; ``inbox.base.limits`` names their sources."""

from inbox.base.limits import (
    AUTHENTICATION_RESULTS_SEARCHED,
    DKIM_SIGNATURES,
    DMARC_EXCEPTION_SECONDS,
    DOMAIN_OCTETS,
    RSA_BITS_LEAST,
    RSA_BITS_MOST,
    SPOOL_OCTETS,
)

__all__ = [
    "AUTHENTICATION_RESULTS_SEARCHED", "DKIM_SIGNATURES", "DMARC_EXCEPTION_SECONDS", "DOMAIN_OCTETS", "RSA_BITS_LEAST",
    "RSA_BITS_MOST", "SPOOL_OCTETS",
]  # fmt: skip
