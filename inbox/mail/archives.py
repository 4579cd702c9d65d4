"""Names of the files in archives (zip, tar, gzip), without unpacking more than a bounded part of them.

It reads only tables of contents: the central directory of a zip file (APPNOTE.TXT §4.3.12), the headers of a tar file
(POSIX ustar and pax, GNU long names). It unpacks only archives within archives, up to a limit. Unsupported formats are
recognised by their first octets.
"""

from __future__ import annotations

import re
import zlib
from dataclasses import dataclass, field
from typing import Final

#: Names of all archives of one message together, characters of one name, and levels of archives within archives.
NAMES: Final = 1000
_NAME_CHARACTERS: Final = 255
DEPTH: Final = 4
#: Octets that are unpacked for one message, to read archives within archives.
UNPACKED_OCTETS: Final = 4 * 1024 * 1024
#: First octets of formats; those after the first three are recognised but not read.
_MAGIC: Final = (
    (b"PK\x03\x04", "zip"), (b"PK\x05\x06", "zip"), (b"\x1f\x8b", "gzip"), (b"Rar!\x1a\x07", "rar"),
    (b"7z\xbc\xaf\x27\x1c", "7z"), (b"MSCF", "cab"), (b"\xfd7zXZ\x00", "xz"), (b"BZh", "bzip2"), (b"ITSF", "chm"),
    (b"\x60\xea", "arj"), (b"**ACE**", "ace"), (b"\x28\xb5\x2f\xfd", "zstd"), (b"EGGA", "egg"),
)  # fmt: skip
_TAR_MAGIC_AT: Final = 257
_ISO_MAGIC_AT: Final = 32769
#: Octets of an attachment that identify its format.
MAGIC_OCTETS: Final = _ISO_MAGIC_AT + 5
#: The same for a file in an archive, which is not unpacked that far.
_HEAD_OCTETS: Final = 300
_HEAD_PACKED: Final = 4096
_END_OF_ZIP: Final = b"PK\x05\x06"
_ENTRY: Final = b"PK\x01\x02"
_LOCAL: Final = b"PK\x03\x04"
#: The end record has 22 octets, and a comment of at most 65,535.
_END_SEARCHED: Final = 22 + 65_535
_READABLE: Final = frozenset({"zip", "gzip", "tar"})
_PAX_PATH = re.compile(rb"(?:\A|\n)\d+ path=([^\n]*)\n")
_OCTAL = re.compile(rb"[0-7]+")
_CONTROLS = re.compile("[\x00-\x1f\x7f-\x9f\ud800-\udfff]")


@dataclass(slots=True)
class Contents:
    """The files in archives. ``names`` are paths; a file of an archive within an archive follows that one's name and a
    slash. ``encrypted``: some file needs a password. ``complete``: no name is missing because of a limit, an
    unsupported format or damage. ``left`` octets may still be unpacked."""

    names: list[str] = field(default_factory=list)
    encrypted: bool = False
    complete: bool = True
    left: int = UNPACKED_OCTETS

    def add(self, name: str, prefix: str) -> bool:
        """Whether there was room."""
        if len(self.names) >= NAMES:
            self.complete = False
            return False
        shown = _CONTROLS.sub("", name.replace("\\", "/"))[-_NAME_CHARACTERS:]
        self.names.append((prefix + shown)[-2 * _NAME_CHARACTERS :])
        return True


def archive_format(head: bytes) -> str:
    """``zip``, ``gzip``, ``tar``, ``rar``, ``7z``, ``iso`` …; empty if it is not a known archive format.

    Args:
        head: the first MAGIC_OCTETS, or the whole file.
    """
    for magic, name in _MAGIC:
        if head.startswith(magic):
            return name
    if head[_TAR_MAGIC_AT : _TAR_MAGIC_AT + 5] == b"ustar":
        return "tar"
    return "iso" if head[_ISO_MAGIC_AT : _ISO_MAGIC_AT + 5] == b"CD001" else ""


def read_archive(data: bytes, contents: Contents, prefix: str = "", depth: int = 1) -> None:
    """Adds the files of the archive ``data`` to ``contents``. Never fails."""
    kind = archive_format(data[:MAGIC_OCTETS])
    if kind not in _READABLE or depth > DEPTH:
        contents.complete = False
    elif kind == "zip":
        _read_zip(data, contents, prefix, depth)
    elif kind == "tar":
        _read_tar(data, contents, prefix, depth)
    else:
        _read_gzip(data, contents, prefix, depth)


def _read_zip(data: bytes, contents: Contents, prefix: str, depth: int) -> None:
    end = data.rfind(_END_OF_ZIP, max(0, len(data) - _END_SEARCHED))
    record = data[end : end + 22] if end >= 0 else b""
    if len(record) < 22:
        _read_local_entries(data, contents, prefix)
        return
    size, start = _number(record, 12, 4), _number(record, 16, 4)
    # Data before the archive (of a self-extracting program) moves the directory.
    at = end - size
    moved = at - start
    if data[max(at, 0) : max(at, 0) + 4] != _ENTRY:
        at, moved = start, 0
    if end > 0 and data[at : at + 4] != _ENTRY:  # zip64, or an end record with a wrong offset
        _read_local_entries(data, contents, prefix)
        return
    while data[at : at + 4] == _ENTRY and len(data) >= at + 46:
        flags, method = _number(data, at + 8, 2), _number(data, at + 10, 2)
        packed = _number(data, at + 20, 4)
        lengths = [_number(data, at + offset, 2) for offset in (28, 30, 32)]
        name = _zip_name(data[at + 46 : at + 46 + lengths[0]], flags)
        contents.encrypted |= bool(flags & 1)
        if not contents.add(name, prefix):
            return
        if not flags & 1:
            _look_into(data, _number(data, at + 42, 4) + moved, method, packed, contents, f"{prefix}{name}/", depth)
        at += 46 + sum(lengths)
    if at < end:
        contents.complete = False


def _read_local_entries(data: bytes, contents: Contents, prefix: str) -> None:
    """Reads the local headers of an archive whose directory is missing or beyond the data that was read."""
    contents.complete = False
    at = data.find(_LOCAL)
    while at >= 0 and len(data) >= at + 30:
        flags = _number(data, at + 6, 2)
        length = _number(data, at + 26, 2)
        contents.encrypted |= bool(flags & 1)
        if not contents.add(_zip_name(data[at + 30 : at + 30 + length], flags), prefix):
            return
        at = data.find(_LOCAL, at + 30 + length)


def _look_into(data: bytes, at: int, method: int, packed: int, contents: Contents, prefix: str, depth: int) -> None:
    """Reads a file of a zip archive if its first octets are those of an archive."""
    if data[at : at + 4] != _LOCAL or method not in {0, 8}:
        return
    start = at + 30 + _number(data, at + 26, 2) + _number(data, at + 28, 2)
    # A view: entries may overlap, so copies would cost the size of the archive for each name.
    view = memoryview(data)[start : start + packed]
    head = bytes(view[:_HEAD_OCTETS]) if method == 0 else _inflated(view[:_HEAD_PACKED], _HEAD_OCTETS, -zlib.MAX_WBITS)
    if not archive_format(head) or contents.left <= 0:
        contents.complete &= not archive_format(head)
        return
    # Packed data of any length can unpack to nothing, and entries may overlap, so packed octets count as well.
    packed_view = view[: contents.left]
    inner = bytes(packed_view) if method == 0 else _inflated(packed_view, contents.left, -zlib.MAX_WBITS)
    _descend(inner, len(packed_view), contents, prefix, depth)


def _descend(inner: bytes, packed: int, contents: Contents, prefix: str, depth: int) -> None:
    octets = max(len(inner), packed)
    contents.complete &= octets < contents.left
    contents.left -= octets
    read_archive(inner, contents, prefix, depth + 1)


def _read_gzip(data: bytes, contents: Contents, prefix: str, depth: int) -> None:
    flags = data[3] if len(data) > 3 else 0
    name = ""
    if flags & 8 and not flags & 4:
        name = data[10 : 10 + _NAME_CHARACTERS].partition(b"\0")[0].decode("latin-1")
    if name and not contents.add(name, prefix):
        return
    if not archive_format(_inflated(memoryview(data)[:_HEAD_PACKED], _HEAD_OCTETS, zlib.MAX_WBITS | 16)):
        return
    packed = memoryview(data)[: max(contents.left, 0)]
    inner = _inflated(packed, contents.left, zlib.MAX_WBITS | 16)
    _descend(inner, len(packed), contents, f"{prefix}{name}/" if name else prefix, depth)


def _read_tar(data: bytes, contents: Contents, prefix: str, depth: int) -> None:
    at, long_name = 0, b""
    while len(data) >= at + 512 and data[at : at + 1] != b"\0":
        header = data[at : at + 512]
        size = _tar_size(header[124:136])
        body = data[at + 512 : at + 512 + min(size, 64 * 1024)]
        kind = header[156:157]
        if kind == b"L":
            long_name = body.rstrip(b"\0")
        elif kind in {b"x", b"g"}:
            found = _PAX_PATH.search(body)
            long_name = found[1] if found else long_name
        else:
            name = (long_name or _ustar_name(header)).decode("utf-8", "replace")
            long_name = b""
            if not contents.add(name, prefix):
                return
            if size and archive_format(body[:_HEAD_OCTETS]):
                inner = data[at + 512 : at + 512 + min(size, max(contents.left, 0))]
                _descend(inner, len(inner), contents, f"{prefix}{name}/", depth)
        at += 512 + (size + 511) // 512 * 512
    if at >= len(data) + 512:
        contents.complete = False


def _ustar_name(header: bytes) -> bytes:
    folder, name = header[345:500].partition(b"\0")[0], header[:100].partition(b"\0")[0]
    return folder + b"/" + name if folder and header[257:262] == b"ustar" and header[262:263] != b" " else name


def _tar_size(digits: bytes) -> int:
    if digits[:1] == b"\x80":
        return int.from_bytes(digits[4:], "big")
    digits = digits.strip(b" \0")
    # int() alone would take a sign too, and a negative size would loop at the same header forever.
    return int(digits, 8) if _OCTAL.fullmatch(digits) else 0


def _zip_name(name: bytes, flags: int) -> str:
    try:
        return name.decode("utf-8" if flags & 0x800 else "ascii")
    except UnicodeDecodeError:
        return name.decode("utf-8", "replace") if flags & 0x800 else name.decode("cp437")


def _inflated(data: memoryview, limit: int, bits: int) -> bytes:
    """At most ``limit`` octets; of broken data, the part before the fault."""
    if limit <= 0:  # 0 means no limit to zlib.
        return b""
    unpacker = zlib.decompressobj(bits)
    found = b""
    at = 0
    try:
        while len(found) < limit and at < len(data) and not unpacker.eof:
            piece = unpacker.unconsumed_tail or data[at : at + 65_536]
            at += 0 if unpacker.unconsumed_tail else len(piece)
            found += unpacker.decompress(piece, limit - len(found))
    except zlib.error:
        return found
    return found


def _number(data: bytes, at: int, octets: int) -> int:
    return int.from_bytes(data[at : at + octets], "little")
