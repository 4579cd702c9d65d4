"""States of a domain's keys for an operator."""

from __future__ import annotations

import pytest

from inbox.hosting.keys.rotation import generate
from inbox.hosting.keys.signing import InstallationSigning, SigningKeyring, load_private
from inbox.hosting.keys.states import DAY, KeyState, key_states
from inbox.mail.tenancy import DomainOverrides, HostedDomain, Tenant
from inbox.plugin.api.signing import SigningKey
from inbox.plugin.api.testing import FakeClock
from inbox.store.ports import DkimKeyRecord, DkimKeyState

RSA, ED25519 = generate("rsa"), generate("ed25519")
NOW = 100 * DAY


def row(selector: str, state: DkimKeyState, algorithm: str = "rsa", **times: float) -> DkimKeyRecord:
    text = RSA if algorithm == "rsa" else ED25519
    return DkimKeyRecord("t1", "acme.test", selector, algorithm, text, state, **times)


def states(*rows: DkimKeyRecord, fields: DomainOverrides | None = None, own: bool = False) -> dict[str, KeyState]:
    hosted = HostedDomain(Tenant("t1", "acme"), "acme.test", fields or DomainOverrides())
    signing = InstallationSigning(key=SigningKey("host.test", "s0", load_private(RSA)) if own else None)
    ring = SigningKeyring(None, None, signing, FakeClock())  # type: ignore[arg-type]  # of() asks nobody
    found = key_states(hosted, rows, ring.of(hosted, rows), NOW)
    return {one.selector: one for one in found}


FIELD = DomainOverrides(dkim_selector="own", dkim_private_key_b64_pkcs8=RSA)


def test_a_domain_without_keys() -> None:
    assert states() == {}


def test_the_next_step_of_a_pending_key() -> None:
    found = states(row("new", "pending", created_at=5.0))["new"]
    assert (found.state, found.created_at, found.following) == (
        "pending", 5.0, "publish its record (inbox domain dkim show acme.test new)",
    )  # fmt: skip


def test_an_active_key_has_no_next_step() -> None:
    found = states(row("now", "active", activated_at=5.0), row("ed", "active", "ed25519"))
    assert [one.following for one in found.values()] == ["", ""]


def test_ed25519_alone_is_worth_a_word() -> None:
    found = states(row("ed", "active", "ed25519"))["ed"]
    assert found.following == "many verifiers only support RSA: inbox domain dkim rotate acme.test --algorithm rsa"
    assert states(row("ed", "active", "ed25519"), fields=FIELD)["ed"].following == ""


@pytest.mark.parametrize(
    ("retired_at", "following"),
    [
        (NOW, "its record must stay in the DNS for 7 more days"),
        (NOW - 6.5 * DAY, "its record must stay in the DNS for 1 more day"),
        (NOW - 7 * DAY, "its record may be removed from the DNS; then: inbox domain dkim remove acme.test old"),
    ],
)
def test_a_retired_keys_record_stays_for_a_week(retired_at: float, following: str) -> None:
    found = states(row("old", "retired", retired_at=retired_at))["old"]
    assert (found.following, found.removable_at) == (following, retired_at + 7 * DAY)


def test_the_key_of_has_domain_signs_until_the_table_has_one_of_its_algorithm() -> None:
    found = states(row("ed", "active", "ed25519", activated_at=1.0), fields=FIELD)["own"]
    assert (found.algorithm, found.state, found.place, found.following) == ("rsa", "active", "has_domain", "")
    replaced = states(row("now", "active", activated_at=NOW - DAY), fields=FIELD)["own"]
    assert (replaced.state, replaced.retired_at) == ("replaced", NOW - DAY)
    assert replaced.following == "its record must stay in the DNS for 6 more days"
    long_ago = states(row("now", "active", activated_at=1.0), fields=FIELD)["own"].following
    assert long_ago.endswith("then: inbox domain set acme.test dkim_selector= dkim_private_key_b64_pkcs8=")


def test_the_installations_key_is_shown_where_it_signs() -> None:
    assert {name: one.place for name, one in states(own=True).items()} == {"s0": "environment"}
    assert states(row("now", "active"), own=True).keys() == {"now"}
    assert states(row("new", "pending"), own=True).keys() == {"s0", "new"}
