from __future__ import annotations

import base64
from dataclasses import fields

import pytest

from inbox.base.errors import ConfigError
from inbox.hosting.overrides import SECRETS, changed, shown
from inbox.mail.tenancy import DomainOverrides

KEY = base64.b64encode(bytes(32)).decode()


def test_texts_become_values() -> None:
    overrides = changed(
        DomainOverrides(),
        {
            "dkim_selector": "Mail",
            "dkim_headers": "From, Subject",
            "require_dmarc_pass": "yes",
            "enc_mode": "e2ee",
            "enc_sse_c_key_b64": KEY,
            "quota_hourly_send_limit": "100",
            "plus_delimiter": "-",
        },
    )
    assert overrides.dkim_selector == "mail"
    assert overrides.dkim_headers == ("From", "Subject")
    assert overrides.require_dmarc_pass is True
    assert overrides.enc_mode == "e2ee"
    assert overrides.quota_hourly_send_limit == 100


def test_an_empty_text_unsets_and_other_fields_stay() -> None:
    before = DomainOverrides(require_spf_pass=False, plus_delimiter="-")
    assert changed(before, {"plus_delimiter": ""}) == DomainOverrides(require_spf_pass=False)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("require_spf_pass", "perhaps"),
        ("enc_mode", "rot13"),
        ("quota_daily_send_limit", "-1"),
        ("quota_daily_send_limit", "many"),
        ("plus_delimiter", "ab"),
        ("plus_delimiter", "@"),
        ("plus_delimiter", "x"),
        ("enc_sse_c_key_b64", "c2hvcnQ="),
        ("enc_sse_c_key_b64", "not base64!"),
        ("dkim_private_key_b64_pkcs8", "AAAA"),
        ("dkim_headers", "To"),
        ("dkim_selector", "a..b"),
        ("no_such_field", "1"),
    ],
)
def test_a_malformed_text_is_named(name: str, text: str) -> None:
    with pytest.raises(ConfigError, match=f"^{name}: "):
        changed(DomainOverrides(), {name: text})


def test_secrets_are_masked() -> None:
    assert shown(DomainOverrides(enc_sse_c_key_b64=KEY, enc_mode="standard")) == {
        "enc_mode": "standard",
        "enc_sse_c_key_b64": "********",
    }


def test_every_field_that_repr_hides_is_a_secret() -> None:
    assert {field.name for field in fields(DomainOverrides) if not field.repr} <= SECRETS
