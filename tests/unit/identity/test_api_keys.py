"""The form of API keys."""

from __future__ import annotations

import pytest

from inbox.identity.api_keys import PresentedKey, generate, presented


def test_a_new_key_is_recognised() -> None:
    made = generate()
    assert presented(made.shown) == made
    assert made.secret not in repr(made)
    assert made.secret not in made.hashed


def test_each_is_new() -> None:
    made = [generate() for _ in range(1000)]
    assert len({one.id for one in made}) == len({one.secret for one in made}) == 1000
    again = generate(made[0].id)
    assert again.id == made[0].id
    assert again.secret != made[0].secret


def test_the_hash_depends_on_the_id_and_the_whole_secret() -> None:
    made = generate()
    others = [PresentedKey("a" * 16, made.secret), PresentedKey(made.id, made.secret[:-1]), generate(made.id)]
    assert len({one.hashed for one in (made, *others)}) == 4


@pytest.mark.parametrize("change", [str.upper, lambda key: key + "\n", lambda key: key[:-1], lambda key: key * 1000,
                                    lambda key: key.replace("_", "-"), lambda key: key[:-1] + "é",
                                    lambda key: key[:-1] + "0", lambda _: ""])  # fmt: skip
def test_another_form_is_no_key(change: object) -> None:
    assert callable(change)
    assert presented(change(generate().shown)) is None
