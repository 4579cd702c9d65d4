"""Base subjects (RFC 5256 §2.1)."""

from __future__ import annotations

import pytest

from inbox.mail.subject import base_subject


@pytest.mark.parametrize(
    ("subject", "base"),
    [
        ("Hello", "hello"),
        ("Re: Hello", "hello"),
        ("RE: re:  Fwd:\tHello (fwd) (FWD)", "hello"),
        ("[list] Re: [list] Hello", "hello"),
        ("Re[2]: Hello", "hello"),
        ("Fw: [Fwd: Re: Hello]", "hello"),
        ("[only a blob]", "[only a blob]"),
        ("Re: [blob]", "[blob]"),
        ("Re:", ""),
        ("", ""),
        ("Refund: yes", "refund: yes"),
        ("Re: Grüße", "grüße"),
        ("[fwd: [fwd: x]]", "x"),
    ],
)
def test_base_subject(subject: str, base: str) -> None:
    assert base_subject(subject) == base
