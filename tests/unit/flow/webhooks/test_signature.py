"""Signatures of webhooks, verified by PyPI's standardwebhooks."""

from __future__ import annotations

import base64
import time

import pytest
import standardwebhooks

from inbox.flow.webhooks.signature import KEY_OCTETS, generate, key_of, signed


def test_a_receiver_verifies_the_signature() -> None:
    secret, body = generate(), b'{"type":"delivered"}'
    fields = signed("msg_1", time.time(), body, [secret])
    assert standardwebhooks.Webhook(secret).verify(body, fields) == {"type": "delivered"}
    for wrong in ({"webhook-id": "msg_2"}, {"webhook-timestamp": str(int(time.time()) - 1)}):
        with pytest.raises(standardwebhooks.WebhookVerificationError):
            standardwebhooks.Webhook(secret).verify(body, fields | wrong)
    with pytest.raises(standardwebhooks.WebhookVerificationError):
        standardwebhooks.Webhook(generate()).verify(body, fields)


def test_both_secrets_sign_while_one_ends() -> None:
    secrets, body = [generate(), generate()], b"{}"
    fields = signed("msg_1", time.time(), body, secrets)
    assert len(fields["webhook-signature"].split()) == 2
    for secret in secrets:
        standardwebhooks.Webhook(secret).verify(body, fields)


def test_the_signature_is_that_of_the_specification() -> None:
    fields = signed(
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        1614265330.9,
        b'{"test": 2432232314}',
        ["whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"],
    )
    assert fields == {
        "webhook-id": "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "webhook-timestamp": "1614265330",
        "webhook-signature": "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    }


def test_secrets_are_new_and_have_a_size_within_the_bounds() -> None:
    assert generate() != generate()
    assert len(key_of(generate())) == KEY_OCTETS
    for size in (24, 64):
        assert key_of("whsec_" + base64.b64encode(b"k" * size).decode()) == b"k" * size
    short, long = (base64.b64encode(b"k" * size).decode() for size in (23, 65))
    for wrong in ("", "whsec_", f"whsec_{short}", f"whsec_{long}", "whsec_!!!!", base64.b64encode(b"k" * 32).decode()):
        with pytest.raises(ValueError, match="whsec_"):
            key_of(wrong)
