"""File names: every reading that some mail program has."""

from __future__ import annotations

import pytest

from inbox.mail.filenames import extensions_of, file_names, safe_name


def names(disposition: bytes = b"", content_type: bytes = b"") -> tuple[str, ...]:
    return file_names([disposition] if disposition else [], [content_type] if content_type else [])


@pytest.mark.parametrize(
    ("disposition", "found"),
    [
        (b"attachment; filename=my invoice.exe", ("my invoice.exe", "my")),
        (b"attachment; filename=my invoice.exe; size=3", ("my invoice.exe", "my")),
        (b"attachment; filename=invoice (1).exe", ("invoice (1).exe", "invoice")),
        (b"attachment filename=a.exe", ("a.exe",)),
        (b'attachment; filename="a.txt".exe', ("a.txt.exe", "a.txt")),
        (b'attachment; filename="a.exe', ("a.exe",)),
        (b"attachment; filename*=utf-8'en'%E2%82%AC.exe; filename=a.txt", ("€.exe", "a.txt")),
        (b"attachment; filename*0*=utf-8''%E2%82; filename*1*=%AC; filename*2=.exe", ("€.exe",)),
        (b'attachment; filename*0="in"; filename*2=".exe"', ("in.exe",)),
        (b"attachment; filename*1*=utf-8''a; filename*2=.exe", ("a.exe",)),
        (b'attachment; filename="=?utf-8?q?=C3=A4=2Eexe?="', ("ä.exe",)),
        (b"attachment; filename==?utf-8?b?w6QuZXhl?=", ("ä.exe",)),
        (b"attachment; filename=a.txt; filename=b.exe", ("a.txt", "b.exe")),
        (b"attachment; FileName = a.exe", ("a.exe",)),
        (b"attachment; " + b"x=y; " * 150 + b"filename=a.exe", ("a.exe",)),
        (b"attachment; filename=\xe4.exe", ("ä.exe",)),
        (b"attachment; filename=..\\..\\a.exe", ("a.exe",)),
        (b"attachment; filename=a\r\n .exe", ("a",)),
        (b"attachment", ()),
        (b"attachment; filename=", ()),
        (b'attachment; filename=""', ()),
    ],
)
def test_readings_of_a_disposition(disposition: bytes, found: tuple[str, ...]) -> None:
    assert names(disposition) == found


def test_both_fields_are_read() -> None:
    assert names(b"attachment; filename=a.txt", b"application/x; name=b.exe") == ("a.txt", "b.exe")
    assert names(b"", b"application/x; name=my invoice.exe") == ("my invoice.exe", "my")
    assert file_names([b"inline", b"attachment; filename=a.exe"], []) == ("a.exe",)


def test_names_are_bounded() -> None:
    assert len(names(b"attachment" + b"".join(b"; filename=a%d.exe" % number for number in range(100)))) == 8
    assert len(names(b"attachment; filename=" + b"a" * 5000)[0]) == 255
    assert names(b"attachment; " + b'name="' * 100_000) is not None


def test_folders_are_left_out() -> None:
    assert safe_name("C:\\x/y\\ a.exe ") == "a.exe"


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("a.exe", ("exe",)), ("a.pdf.EXE", ("pdf", "exe")), ("a.exe. . ", ("exe",)), ("a.e\u200bxe", ("exe",)),
        ("a\u202efdp.exe", ("exe",)), ("a. exe", ("exe",)), ("a", ()), ("", ()), (".profile", ("profile",)),
    ],
)  # fmt: skip
def test_extensions(name: str, found: tuple[str, ...]) -> None:
    assert extensions_of(name) == found
