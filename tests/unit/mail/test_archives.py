"""Names in archives, and archives that want to be unpacked for ever."""

from __future__ import annotations

import gzip
import io
import struct
import tarfile
import zipfile
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inbox.mail.archives import DEPTH, NAMES, UNPACKED_OCTETS, Contents, archive_format, read_archive


def zipped(*files: tuple[str, bytes], stored: bool = False) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED) as archive:
        for name, data in files:
            archive.writestr(name, data)
    return made.getvalue()


def tarred(*files: tuple[str, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w", format=form) as archive:
        for name, data in files:
            entry = tarfile.TarInfo(name)
            entry.size = len(data)
            archive.addfile(entry, io.BytesIO(data))
    return made.getvalue()


def read(data: bytes) -> Contents:
    contents = Contents()
    read_archive(data, contents)
    return contents


EXE = ("a.exe", b"MZ")


def test_names_of_a_zip_file() -> None:
    contents = read(zipped(EXE, ("folder/ä.txt", b"x"), ("b\\c.js", b"")))
    assert contents.names == ["a.exe", "folder/ä.txt", "b/c.js"]
    assert (contents.complete, contents.encrypted) == (True, False)


@pytest.mark.parametrize("stored", [True, False])
def test_archives_in_archives(stored: bool) -> None:
    data = zipped(("inner.zip", zipped(EXE)), ("b.tgz", gzip.compress(tarred(EXE))), stored=stored)
    contents = read(data)
    assert contents.names == ["inner.zip", "inner.zip/a.exe", "b.tgz", "b.tgz/a.exe"]
    assert contents.complete


@pytest.mark.parametrize("form", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT, tarfile.USTAR_FORMAT])
def test_names_of_a_tar_file(form: int) -> None:
    long = "folder/" + "n" * 90 + "/" + "b" * 20 + ".exe"
    contents = read(tarred(EXE, (long, b"x" * 1000), ("c.zip", zipped(EXE)), form=form))
    assert contents.names == ["a.exe", long, "c.zip", "c.zip/a.exe"]
    assert contents.complete


def test_a_compressed_file_has_its_name() -> None:
    made = io.BytesIO()
    with gzip.GzipFile("evil.exe", "wb", fileobj=made) as file:
        file.write(b"MZ")
    assert read(made.getvalue()).names == ["evil.exe"]
    assert read(gzip.compress(tarred(EXE))).names == ["a.exe"]


def test_a_program_that_unpacks_itself() -> None:
    assert read(b"PK\x03\x04" + b"x" * 50 + zipped(EXE, ("b.zip", zipped(EXE)))).names[:2] == ["a.exe", "b.zip"]


def test_encryption_is_seen() -> None:
    data = bytearray(zipped(EXE))
    at = data.rfind(b"PK\x01\x02")
    data[at + 8] |= 1
    assert read(bytes(data)).encrypted


def test_an_archive_without_its_directory() -> None:
    data = zipped(EXE, ("b.js", b"x"))
    contents = read(data[: data.index(b"PK\x01\x02")])
    assert (contents.names, contents.complete) == (["a.exe", "b.js"], False)


@pytest.mark.parametrize(
    ("head", "kind"),
    [(b"Rar!\x1a\x07\x01\x00", "rar"), (b"7z\xbc\xaf\x27\x1c", "7z"), (b"\0" * 32769 + b"CD001", "iso"), (b"MZ", "")],
)
def test_formats(head: bytes, kind: str) -> None:
    assert archive_format(head) == kind
    contents = read(head)
    assert (contents.names, contents.complete) == ([], False)


def test_names_are_bounded() -> None:
    contents = read(zipped(*((f"{number}.txt", b"") for number in range(NAMES + 10))))
    assert len(contents.names) == NAMES
    assert not contents.complete
    assert max(map(len, read(zipped(("n" * 60_000, b""))).names)) <= 255


def test_levels_are_bounded() -> None:
    data = zipped(EXE)
    for number in range(DEPTH):
        data = zipped((f"{number}.zip", data))
    contents = read(data)
    assert not contents.complete
    assert not any(name.endswith("a.exe") for name in contents.names)


@pytest.mark.slow
def test_unpacking_is_bounded() -> None:
    bomb = zipped(("b.zip", zipped(("x", b"")) + bytes(3 * UNPACKED_OCTETS)))
    contents = read(bomb)
    assert contents.left == 0
    assert not contents.complete
    many = read(zipped(*((f"{number}.gz", gzip.compress(bytes(UNPACKED_OCTETS // 2))) for number in range(50))))
    assert many.left > UNPACKED_OCTETS // 2  # What is no archive is not unpacked.
    stored = read(zipped(*((f"{number}.zip", zipped(("x", bytes(9_000)), stored=True)) for number in range(900))))
    assert stored.left <= 0


@given(data=st.binary(max_size=400), magic=st.sampled_from([b"PK\x03\x04", b"PK\x05\x06", b"\x1f\x8b\x08\x08", b""]))
def test_any_octets_are_read(data: bytes, magic: bytes) -> None:
    read(magic + data)


@given(at=st.integers(0, 400), octet=st.integers(0, 255))
def test_broken_archives_are_read(at: int, octet: int) -> None:
    for data in (zipped(EXE, ("b.zip", zipped(EXE))), gzip.compress(tarred(EXE)), tarred(EXE)):
        broken = bytearray(data)
        broken[at % len(broken)] = octet
        read(bytes(broken))


@pytest.mark.parametrize("kind", [b"L", b"x", b"g", b"0"])
def test_a_tar_header_with_a_negative_size_is_ignored(kind: bytes) -> None:
    header = bytearray(512)
    header[:1], header[124:129], header[156:157], header[257:262] = b"n", b"-1000", kind, b"ustar"
    assert len(read(bytes(header) + bytes(1024)).names) <= 1


def test_packed_data_that_unpacks_to_nothing_is_bounded() -> None:
    """Entries may overlap: each of these asks for the same 8 MB of empty blocks to be unpacked."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    packed = packer.compress(b"PK\x03\x04" + bytes(296)) + packer.flush(zlib.Z_FULL_FLUSH)
    packed += b"\x00\x00\x00\xff\xff" * (2 * UNPACKED_OCTETS // 5)
    local = b"PK\x03\x04" + struct.pack("<HHHHHIIIHH", 20, 0, 8, 0, 0, 0, len(packed), 300, 1, 0) + b"a"
    entry = struct.pack(
        "<4sHHHHHHIIIHHHHHII", b"PK\x01\x02", 20, 20, 0, 8, 0, 0, 0, len(packed), 300, 1, 0, 0, 0, 0, 0, 0
    )
    directory = (entry + b"a") * 100
    end = struct.pack("<4sHHHHIIH", b"PK\x05\x06", 0, 0, 100, 100, len(directory), len(local) + len(packed), 0)
    contents = read(local + packed + directory + end)
    assert contents.left == 0
    assert not contents.complete


@pytest.mark.parametrize("start", [0xFFFFFFFF, 0x7FFFFFFF])
def test_an_end_record_that_points_elsewhere_hides_no_names(start: int) -> None:
    """Such as that of zip64, whose directory is found in another way."""
    data = bytearray(zipped(EXE))
    end = data.rfind(b"PK\x05\x06")
    data[end + 12 : end + 20] = struct.pack("<II", 0xFFFFFFFF, start)
    contents = read(bytes(data))
    assert contents.names == ["a.exe"]
    assert not contents.complete


def test_an_empty_zip_file_is_complete() -> None:
    contents = read(zipped())
    assert (contents.names, contents.complete) == ([], True)
