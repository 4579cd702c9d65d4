"""The form of app passwords."""

from __future__ import annotations

import pytest

from inbox.identity.app_passwords import ALPHABET, generate, presented


def test_a_new_one_is_recognised_however_it_is_typed() -> None:
    made = generate()
    assert presented(made.shown) == presented(made.text) == made
    assert presented(made.shown.upper()) == presented(made.shown.replace("-", " ")) == made
    assert len(made.shown) == 34
    assert made.text.startswith(made.id)
    assert len(made.id) == 8


def test_each_is_new() -> None:
    assert len({generate().text for _ in range(1000)}) == 1000
    assert len({generate().id for _ in range(1000)}) == 1000


def test_the_secret_part_has_a_hundred_bits() -> None:
    assert len(set(ALPHABET)) == 32
    made = generate()
    assert len(made.text) - len(made.id) == 20


@pytest.mark.parametrize(
    "password", ["", "correct horse battery staple", "a" * 27, "a" * 29, "l" * 28, "ä" * 28, "a" * 28 + "-" * 40]
)
def test_another_form_is_no_app_password(password: str) -> None:
    assert presented(password) is None
