"""A domain's signing keys for an operator: their states, and the next steps."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from inbox.authentication.dkim.record import key_type
from inbox.base.errors import ConfigError
from inbox.hosting.keys.signing import Place, PlacedKey, load_private
from inbox.mail.tenancy import HostedDomain
from inbox.store.ports import DkimKeyRecord

DAY: Final = 86_400.0
#: Seconds for which the record of a retired key must stay: mail that it signed may still be in a queue (RFC 5321
#: §4.5.4.1: four to five days), and is verified when it arrives.
RECORD_STAYS: Final = 7 * DAY


@dataclass(frozen=True, slots=True)
class KeyState:
    """One key. ``state`` is that of ``dkim_key``, or ``replaced`` for a key of ``has_domain`` that no longer signs.

    ``following`` is what the operator may do next; empty if nothing. ``removable_at``: when its record may be removed
    from the DNS. Times are 0 until they are known.
    """

    selector: str
    algorithm: str
    state: str
    place: Place
    created_at: float = 0.0
    activated_at: float = 0.0
    retired_at: float = 0.0
    removable_at: float = 0.0
    following: str = ""


def key_states(
    hosted: HostedDomain, rows: Sequence[DkimKeyRecord], signing: Sequence[PlacedKey], now: float
) -> list[KeyState]:
    """All keys of a domain, the oldest first, that of ``has_domain`` first; the installation's if it signs.

    Args:
        rows: those of ``dkim_key``.
        signing: the result of ``SigningKeyring.of``.
        now: seconds since the epoch.
    """
    states = [
        KeyState(placed.key.selector, key_type(placed.key.private), "active", "environment")
        for placed in signing
        if placed.place == "environment"
    ]
    states += _field_state(hosted, rows, signing, now)
    only_ed25519 = {key_type(placed.key.private) for placed in signing} == {"ed25519"}
    states += [_row_state(row, only_ed25519, now) for row in rows]
    return states


def _field_state(
    hosted: HostedDomain, rows: Sequence[DkimKeyRecord], signing: Sequence[PlacedKey], now: float
) -> list[KeyState]:
    selector, text = hosted.overrides.dkim_selector, hosted.overrides.dkim_private_key_b64_pkcs8
    if selector is None or text is None:
        return []
    try:
        algorithm = key_type(load_private(text))
    except ConfigError as error:
        return [KeyState(selector, "", "broken", "has_domain", following=str(error))]
    if any(placed.place == "has_domain" for placed in signing):
        return [KeyState(selector, algorithm, "active", "has_domain")]
    replaced_at = max(row.activated_at for row in rows if row.state == "active" and row.algorithm == algorithm)
    removable_at = replaced_at + RECORD_STAYS
    following = _after_retirement(
        removable_at, now, f"inbox domain set {hosted.fqdn} dkim_selector= dkim_private_key_b64_pkcs8="
    )
    return [
        KeyState(
            selector,
            algorithm,
            "replaced",
            "has_domain",
            retired_at=replaced_at,
            removable_at=removable_at,
            following=following,
        )
    ]


def _row_state(row: DkimKeyRecord, only_ed25519: bool, now: float) -> KeyState:
    removable_at, following = 0.0, ""
    match row.state:
        case "pending":
            following = f"publish its record (inbox domain dkim show {row.domain} {row.selector})"
        case "active" if only_ed25519:
            following = f"many verifiers only support RSA: inbox domain dkim rotate {row.domain} --algorithm rsa"
        case "retired":
            removable_at = row.retired_at + RECORD_STAYS
            then = f"inbox domain dkim remove {row.domain} {row.selector}"
            following = _after_retirement(removable_at, now, then)
    return KeyState(
        row.selector,
        row.algorithm,
        row.state,
        "dkim_key",
        row.created_at,
        row.activated_at,
        row.retired_at,
        removable_at,
        following,
    )


def _after_retirement(removable_at: float, now: float, then: str) -> str:
    if now < removable_at:
        days = max(1, round((removable_at - now) / DAY))
        return f"its record must stay in the DNS for {days} more day{'s' if days > 1 else ''}"
    return f"its record may be removed from the DNS; then: {then}"
