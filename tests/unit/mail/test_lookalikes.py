"""Look-alike characters."""

from __future__ import annotations

import pytest

from inbox.mail.lookalikes import fold, looks_like, skeleton


@pytest.mark.parametrize(
    ("text", "folded"),
    [
        ("PayPal", "paypal"),
        ("\u0420\u0430\u0443\u0440\u0430l", "paypal"),  # Cyrillic
        ("\u03a1\u0391\u03a5\u03a1\u0391L", "paypal"),  # Greek capitals
        ("\uff30\uff41\uff59\uff30\uff41\uff4c", "paypal"),  # full-width
        ("\U0001d5e3\U0001d5ee\U0001d606", "pay"),  # mathematical
        ("\u24df\u24d0\u24e8", "pay"),  # circled
        ("p\u00ada\u200by\u202e", "pay"),  # invisible
        ("M\u00fcller \u00c5ngstr\u00f6m", "muller angstrom"),
        ("Stra\u00dfe", "strasse"),
        ("2024 r1ng", "2024 r1ng"),
        ("\u65e5\u672c", "\u65e5\u672c"),
        ("", ""),
    ],
)
def test_fold(text: str, folded: str) -> None:
    assert fold(text) == folded
    assert fold(folded) == folded


@pytest.mark.parametrize("text", ["PayPaI", "paypa1", "Your P\u0430yPal account", "PAYPA|", "pay\u00adpal"])
def test_names_that_look_alike(text: str) -> None:
    assert looks_like(text, "PayPal")


@pytest.mark.parametrize(
    ("text", "other"), [("rnicr0s0ft", "Microsoft"), ("vvindows", "Windows"), ("c1oud", "CLOUD"), ("pa55", "pass")]
)
def test_pairs_and_digits(text: str, other: str) -> None:
    assert skeleton(text) == skeleton(other)


@pytest.mark.parametrize("text", ["pay", "pay pal", "", "papal"])
def test_names_that_do_not_look_alike(text: str) -> None:
    assert not looks_like(text, "PayPal")
