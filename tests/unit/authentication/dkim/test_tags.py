"""Tag-lists: what dkimpy leaves open is closed."""

import pytest

from inbox.authentication.dkim.tags import TagsInvalid, number, octets, parse_tags, required, words
from inbox.base.limits import SIGNATURE_FIELD_OCTETS, TAGS


def test_a_folded_list_is_read() -> None:
    tags = parse_tags(b" v=1; a = rsa-sha256;\r\n\td=example.org; h=From : To:\r\n  Subject; b=YW\r\n Jj; \r\n")
    assert (tags["v"], tags["a"], tags["d"]) == ("1", "rsa-sha256", "example.org")
    assert words(tags, "h") == ("from", "to", "subject")
    assert octets(tags, "b") == b"abc"


def test_names_are_case_sensitive() -> None:
    assert parse_tags(b"d=a; D=b") == {"d": "a", "D": "b"}


def test_values_may_be_utf_8() -> None:
    assert parse_tags("d=bücher.example".encode()) == {"d": "bücher.example"}


@pytest.mark.parametrize(
    "value",
    [
        b"", b"   ", b";", b"v=1;;a=2", b"v", b"=1", b"1=2", b"v w=1", b"v=1; v=2", b"v=\xff", b"v=a\0b", b"v=a\rb",
        b"\xc3\xa4=1", b"a=" + b"x" * SIGNATURE_FIELD_OCTETS, b";".join(b"a%d=1" % i for i in range(TAGS + 2)),
    ],
)  # fmt: skip
def test_invalid_tag_lists(value: bytes) -> None:
    with pytest.raises(TagsInvalid) as error:
        parse_tags(value)
    assert str(error.value).isascii()


@pytest.mark.parametrize("text", ["9" * 5000, "-1", "+1", "1.0", "", "1 2", "٣", "0x1", "1" * 13])
def test_invalid_numbers(text: str) -> None:
    with pytest.raises(TagsInvalid):
        number({"t": text}, "t")


def test_numbers() -> None:
    assert number({"t": "000000000012"}, "t") == 12
    assert number({"l": "9" * 76}, "l", 76) == 10**76 - 1
    assert number({}, "t") is None


@pytest.mark.parametrize("tags", [{}, {"b": ""}, {"b": "a"}, {"b": "ab*="}, {"b": "äbcd"}, {"b": "YQ"}])
def test_invalid_base64(tags: dict[str, str]) -> None:
    with pytest.raises(TagsInvalid):
        octets(tags, "b")


def test_a_required_tag() -> None:
    assert required({"d": "x"}, "d") == "x"
    with pytest.raises(TagsInvalid, match="d= is missing"):
        required({"d": ""}, "d")
