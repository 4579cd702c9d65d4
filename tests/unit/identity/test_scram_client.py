"""The client's side of SCRAM-SHA-256: the example of RFC 7677, our own server's side, and servers that deceive."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest

from inbox.identity.scram import Exchange, ScramError, read_client_first, verifier_of
from inbox.identity.scram_client import FEWEST_ITERATIONS, MOST_ITERATIONS, ClientExchange

NONCE = "rOprNGfwEbeRWgbNEkqO"
CHALLENGE = b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
FINAL = b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


def example() -> ClientExchange:
    return ClientExchange("user", "pencil", NONCE)


def test_the_example_of_rfc_7677() -> None:
    exchange = example()
    assert exchange.first == b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
    assert exchange.prove(CHALLENGE) == (
        b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
    )
    exchange.verify(FINAL)


@pytest.mark.parametrize(("user", "password"), [("ann@demo.test", "pass word"), ("a,b=c", "Füße½"), ("user", "=,")])
def test_our_own_server_takes_it(user: str, password: str) -> None:
    verifier = verifier_of(password, iterations=FEWEST_ITERATIONS)
    assert verifier is not None
    client = ClientExchange(user, password)
    first = read_client_first(client.first)
    assert first.user == user
    server = Exchange(first, verifier)
    client.verify(server.finish(client.prove(server.challenge)))


def test_two_exchanges_have_two_nonces() -> None:
    assert ClientExchange("u", "p").first != ClientExchange("u", "p").first


@pytest.mark.parametrize(
    ("challenge", "reason"),
    [
        (b"", "malformed"),
        (b"r=other,s=c2FsdA==,i=4096", "another nonce"),
        (b"r=rOprNGfwEbeRWgbNEkqO,s=c2FsdA==,i=4096", "another nonce"),
        (b"m=ext,r=rOprNGfwEbeRWgbNEkqOx,s=c2FsdA==,i=4096", "extension"),
        (b"r=rOprNGfwEbeRWgbNEkqOx,s=c2FsdA==,i=1", "demands 1 iterations"),
        (b"r=rOprNGfwEbeRWgbNEkqOx,s=c2FsdA==,i=100000000", "demands 100000000 iterations"),
        (b"r=rOprNGfwEbeRWgbNEkqOx,s=c2FsdA==,i=9999999999", "malformed"),
        (b"r=rOprNGfwEbeRWgbNEkqOx,s=c2FsdA==,i=-4096", "malformed"),
        (b"r=rOprNGfwEbeRWgbNEkqOx,s=,i=4096", "malformed"),
        (b"r=rOprNGfwEbeRWgbNEkqOx,s=?,i=4096", "not base64"),
        (b"r=rOprNGfwEbeRWgbNEkqOx,s=" + b"A" * 4096 + b",i=4096", "malformed"),
        (b"r=\xff", "malformed"),
    ],
)
def test_a_challenge_that_is_refused(challenge: bytes, reason: str) -> None:
    with pytest.raises(ScramError, match=reason):
        example().prove(challenge)


def test_the_bounds_of_iterations_are_taken() -> None:
    for count in (FEWEST_ITERATIONS, MOST_ITERATIONS):
        assert example().prove(b"r=rOprNGfwEbeRWgbNEkqOx,s=c2FsdA==,i=%d" % count)


def test_a_server_that_does_not_know_the_password_is_recognised() -> None:
    """RFC 5802 §3: anyone can take a proof for granted; only one with the verifier can sign."""
    exchange = example()
    exchange.prove(CHALLENGE)
    wrong = base64.b64encode(hmac.digest(hashlib.sha256(b"guess").digest(), b"", "sha256"))
    for message, reason in [
        (b"v=" + wrong, "signature is wrong"),
        (b"v=", "signature is wrong"),
        (b"v=?", "not base64"),
        (b"e=invalid-proof", "reports: invalid-proof"),
        (b"", "malformed"),
    ]:
        with pytest.raises(ScramError, match=reason):
            exchange.verify(message)


def test_a_signature_before_the_proof_is_worth_nothing() -> None:
    with pytest.raises(ScramError, match="signature is wrong"):
        example().verify(b"v=")


@pytest.mark.parametrize(("user", "password"), [("user", "a\u0007"), ("a\u0627\u0031", "p")])
def test_a_prohibited_character_is_an_error(user: str, password: str) -> None:
    with pytest.raises(ValueError, match=r"prohibited|directions"):
        ClientExchange(user, password)
