"""Tag-lists (RFC 6376 §3.2): ``v=1; a=rsa-sha256; …``, in signatures and in key records.

This module uses dkimpy's parser, bounds its input, adds missing checks, and reads the values.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping

from dkim.util import DuplicateTag, InvalidTagValueList, parse_tag_value

from inbox.base.limits import SIGNATURE_FIELD_OCTETS, TAG_DIGITS, TAGS

_FOLD = re.compile(rb"\r?\n")
_NAME = re.compile(rb"[A-Za-z][A-Za-z0-9_]*\Z")
_DIGITS = re.compile(r"[0-9]+\Z")
#: Characters that a tag-value must not contain: control characters except the white space of folding.
_UNFIT = re.compile("[\x00-\x08\x0a-\x1f\x7f]")
_SPACE = re.compile(r"[ \t]+")


class TagsInvalid(ValueError):
    """A tag-list, or one of its values, breaks the grammar. The text quotes no input."""


def parse_tags(value: bytes, limit: int = SIGNATURE_FIELD_OCTETS) -> dict[str, str]:
    """The tags of a tag-list, folded or not, by name; names are case-sensitive.

    Values are text: ASCII, or UTF-8 as in RFC 8616. White space around them is removed, that within them is kept.

    Args:
        limit: maximum size in octets.

    Raises:
        TagsInvalid: too long, too many tags, a repeated tag, an invalid name or value.
    """
    if len(value) > limit:
        raise TagsInvalid("the tag-list is too long")
    if value.count(b";") > TAGS:
        raise TagsInvalid("too many tags")
    try:
        parsed = parse_tag_value(_FOLD.sub(b"", value))
    except DuplicateTag:
        raise TagsInvalid("a tag occurs twice") from None
    except InvalidTagValueList:
        raise TagsInvalid("not a tag-list") from None
    if not parsed:
        raise TagsInvalid("not a tag-list")
    tags: dict[str, str] = {}
    for name, octets in parsed.items():
        # dkimpy checks only the beginning of a name.
        if _NAME.match(name) is None:
            raise TagsInvalid("not a tag-list")
        try:
            text = octets.decode()
        except UnicodeDecodeError:
            raise TagsInvalid("a tag is neither ASCII nor UTF-8") from None
        if _UNFIT.search(text) is not None:
            raise TagsInvalid("a tag contains a control character")
        tags[name.decode("ascii")] = text
    return tags


def required(tags: Mapping[str, str], name: str) -> str:
    """The value of a tag that must be there and must not be empty. Raises TagsInvalid."""
    value = tags.get(name)
    if not value:
        raise TagsInvalid(f"{name}= is missing")
    return value


def number(tags: Mapping[str, str], name: str, digits: int = TAG_DIGITS) -> int | None:
    """The value of a tag as a number of at most ``digits`` digits; None if the tag is missing. Raises TagsInvalid."""
    value = tags.get(name)
    if value is None:
        return None
    # The length comes first: int() takes time that grows with its square, and refuses 5,000 digits with an error.
    if len(value) > digits or _DIGITS.match(value) is None:
        raise TagsInvalid(f"{name}= is not a number of at most {digits} digits")
    return int(value)


def octets(tags: Mapping[str, str], name: str) -> bytes:
    """The value of a tag in base64, white space anywhere in it, decoded. Raises TagsInvalid if missing or malformed."""
    try:
        return base64.b64decode(_SPACE.sub("", required(tags, name)), validate=True)
    except (binascii.Error, ValueError):  # ValueError: not ASCII
        raise TagsInvalid(f"{name}= is missing or not base64") from None


def words(tags: Mapping[str, str], name: str) -> tuple[str, ...]:
    """The colon-separated words of a tag in lower case, such as h= (RFC 6376 §3.5); empty if it is missing."""
    value = tags.get(name, "")
    return tuple(word.strip(" \t").lower() for word in value.split(":")) if value else ()
