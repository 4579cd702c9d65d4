"""SCRAM-SHA-256: the exchange of RFC 7677, and what a client may not send."""

from __future__ import annotations

import base64
import hashlib
import hmac

import pytest

from inbox.identity.scram import (
    ITERATIONS,
    MOST_OCTETS,
    Exchange,
    ScramError,
    Verifier,
    pretended_verifier,
    read_client_first,
    read_verifier,
    saslprep,
    verifier_of,
)

#: The example of RFC 7677 §3.
SALT = base64.b64decode("W22ZaJ0SNY7soEsUEjb6gQ==")
FIRST = b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO"
NONCE = "%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0"
FINAL = b"c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="


def made(password: str = "pencil", **how: int) -> Verifier:
    found = verifier_of(password, SALT, **how or {"iterations": 4096})
    assert found is not None
    return found


def answer(challenge: bytes, first: bytes, password: str = "pencil") -> bytes:
    """The final message of a client (RFC 5802 §3)."""
    header, _, bare = first.decode().partition("n=")
    parts = dict(each.split("=", 1) for each in challenge.decode().split(","))
    salted = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(parts["s"]), int(parts["i"]))
    client_key = hmac.digest(salted, b"Client Key", "sha256")
    without = f"c={base64.b64encode(header.encode()).decode()},r={parts['r']}"
    signed = f"n={bare},{challenge.decode()},{without}".encode()
    signature = hmac.digest(hashlib.sha256(client_key).digest(), signed, "sha256")
    proof = bytes(a ^ b for a, b in zip(client_key, signature, strict=True))
    return f"{without},p={base64.b64encode(proof).decode()}".encode()


def test_the_example_of_rfc_7677() -> None:
    exchange = Exchange(read_client_first(FIRST), made(), NONCE)
    assert exchange.challenge == (
        b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096"
    )
    assert exchange.finish(FINAL) == b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4="


@pytest.mark.parametrize("header", [b"n,,", b"y,,", b"n,a=user,"])
def test_a_client_with_the_password_comes_in(header: bytes) -> None:
    first = header + b"n=user,r=abc"
    exchange = Exchange(read_client_first(first), made())
    assert exchange.finish(answer(exchange.challenge, first)).startswith(b"v=")


def test_another_password_does_not() -> None:
    first = b"n,,n=user,r=abc"
    exchange = Exchange(read_client_first(first), made())
    with pytest.raises(ScramError, match="invalid-proof"):
        exchange.finish(answer(exchange.challenge, first, "pencils"))


def test_an_answer_to_another_challenge_does_not() -> None:
    first = b"n,,n=user,r=abc"
    old = Exchange(read_client_first(first), made())
    replayed = answer(old.challenge, first)
    old.finish(replayed)
    with pytest.raises(ScramError):
        Exchange(read_client_first(first), made()).finish(replayed)


@pytest.mark.parametrize(
    ("message", "error"),
    [
        (b"", "other-error"),
        (b"n,,", "other-error"),
        (b"n,,n=user", "other-error"),
        (b"n,,r=abc,n=user", "other-error"),
        (b"n,,n=user,r=", "other-error"),
        (b"n,,n=user,r=a b", "other-error"),
        (b"n,,n=user,r=" + b"a" * 257, "other-error"),
        (b"n,,n=,r=abc", "invalid-username-encoding"),
        (b"n,,n=a=b,r=abc", "invalid-username-encoding"),
        (b"n,,n=\xff,r=abc", "invalid-username-encoding"),
        (b"n,,m=x,n=user,r=abc", "extensions-not-supported"),
        (b"n,a=admin,n=user,r=abc", "other-error"),
        (b"p=tls-exporter,,n=user,r=abc", "server-does-not-support-channel-binding"),
        (b"x,,n=user,r=abc", "other-error"),
        (b"n,,n=us\0er,r=abc", "other-error"),
        (b"n,,n=" + b"u" * MOST_OCTETS + b",r=abc", "other-error"),
    ],
)
def test_a_malformed_first_message(message: bytes, error: str) -> None:
    with pytest.raises(ScramError, match=error):
        read_client_first(message)


@pytest.mark.parametrize(
    ("change", "error"),
    [
        (lambda final: b"", "other-error"),
        (lambda final: final.replace(b",p=", b",q="), "other-error"),
        (lambda final: final.replace(b"c=biws", b"c=eSws"), "channel-bindings-dont-match"),
        (lambda final: final.replace(b"r=abc", b"r=abd"), "other-error"),
        (lambda final: final.partition(b",p=")[0] + b",p=!", "invalid-encoding"),
        (lambda final: final.partition(b",p=")[0] + b",p=", "invalid-proof"),
        (lambda final: final.partition(b",p=")[0] + b",p=YWFh", "invalid-proof"),
        (lambda final: final + b"\0", "other-error"),
    ],
)
def test_a_malformed_final_message(change: object, error: str) -> None:
    first = b"n,,n=user,r=abc"
    exchange = Exchange(read_client_first(first), made())
    assert callable(change)
    with pytest.raises(ScramError, match=error):
        exchange.finish(change(answer(exchange.challenge, first)))


def test_names_may_have_commas_and_equals_signs() -> None:
    assert read_client_first(b"n,,n=a=2Cb=3Dc,r=abc").user == "a,b=c"


def test_a_verifier_is_kept_as_a_text() -> None:
    found = made()
    assert str(found).startswith("SCRAM-SHA-256$4096:W22ZaJ0SNY7soEsUEjb6gQ==$")
    assert read_verifier(str(found)) == found
    assert "stored_key" not in repr(found)
    for damaged in ("", "x", str(found)[:-9], str(found).replace("4096", "1"), str(found).replace("256", "1")):
        assert read_verifier(damaged) is None


def test_new_verifiers_differ_and_have_many_rounds() -> None:
    first, second = verifier_of("pencil"), verifier_of("pencil")
    assert first is not None
    assert second is not None
    assert first.salt != second.salt
    assert first.iterations == ITERATIONS >= 4096


def test_an_unknown_user_has_always_the_same_salt() -> None:
    ann = pretended_verifier(b"key", "ann@acme.test")
    assert ann == pretended_verifier(b"key", "ann@acme.test")
    assert ann.salt != pretended_verifier(b"key", "bob@acme.test").salt
    assert ann.salt != pretended_verifier(b"other key", "ann@acme.test").salt
    real = verifier_of("pencil")
    assert real is not None
    assert (len(ann.salt), ann.iterations) == (len(real.salt), real.iterations)


@pytest.mark.parametrize(
    ("text", "prepared"),
    [("I\u00adX", "IX"), ("user", "user"), ("\u00aa", "a"), ("\u2168", "IX"), ("a\u00a0b", "a b")],
)
def test_saslprep(text: str, prepared: str) -> None:
    assert saslprep(text) == prepared


@pytest.mark.parametrize("text", ["\u0007", "\u0627\u0031", "\u00ad"])
def test_saslprep_prohibits(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        saslprep(text)
    assert verifier_of(text) is None
