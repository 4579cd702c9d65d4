"""The one function that decides the TLS of an attempt."""

from __future__ import annotations

from inbox.flow.outbound.tls_policy import TlsRequirement, tls_policy
from tests.support.outbound_world import TlsOf


def test_required_means_verified_unless_the_setting_takes_invalid_certificates() -> None:
    assert tls_policy(TlsOf(tls_mode="required"), None) == TlsRequirement(True, True, False, "settings")
    loose = TlsOf(tls_mode="required", allow_invalid_certs=True)
    assert tls_policy(loose, None) == TlsRequirement(True, False, False, "settings")


def test_opportunistic_falls_back_by_setting() -> None:
    assert tls_policy(TlsOf(), None) == TlsRequirement(False, False, True, "settings")
    assert not tls_policy(TlsOf(allow_plaintext_fallback=False), None).fallback


def test_require_starttls_needs_tls_without_verification() -> None:
    assert tls_policy(TlsOf(require_starttls=True), None) == TlsRequirement(True, False, False, "settings")


def test_an_exception_of_the_policy_wins_over_the_setting() -> None:
    assert tls_policy(TlsOf(tls_mode="required"), "opportunistic").required is False
    assert tls_policy(TlsOf(), "required") == TlsRequirement(True, True, False, "policy")


def test_requiretls_and_credentials_are_always_verified() -> None:
    loose = TlsOf(allow_invalid_certs=True)
    assert tls_policy(loose, "opportunistic", require_tls=True) == TlsRequirement(True, True, False, "REQUIRETLS")
    assert tls_policy(loose, "opportunistic", credentials=True) == TlsRequirement(True, True, False, "credentials")
