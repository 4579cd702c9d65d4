"""YAML 1.2 with places."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from inbox.base.errors import PolicyError
from inbox.base.limits import POLICY_DEPTH, POLICY_FILE_OCTETS
from inbox.policy.document import Node, decode, load
from inbox.policy.mistakes import Place


def mistake(data: bytes) -> str:
    with pytest.raises(PolicyError) as caught:
        load(decode(data, "f.yaml"), "f.yaml")
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("no", "no"), ("off", "off"), ("Yes", "Yes"), ("12:30", "12:30"), ("2026-01-01", "2026-01-01"),
        ("0777", 777), ("0o17", 15), ("0x1F", 31), ("-12", -12), ("+3", 3), ("1_000", "1_000"), ("1e3", 1000.0),
        (".5", 0.5), ("-.inf", -math.inf), ("~", None), ("null", None), ("TRUE", True), ("'1'", "1"), ('"~"', "~"),
        ("!!str 1", "1"), ("! 1", "1"), ("1.2.3.4", "1.2.3.4"), ("|\n two\n lines\n", "two\nlines\n"), ("<<", "<<"),
        ("9" * 30, float("9" * 30)),
    ],
)  # fmt: skip
def test_scalars_follow_the_core_schema(text: str, value: object) -> None:
    assert load(f"key: {text}\n", "f").value == {"key": value}


def test_not_a_number() -> None:
    assert math.isnan(load("a: .nan", "f").value["a"])


def test_places_of_keys_and_values() -> None:
    root = load("a:\n  - b: ä\n    c: [1, {d: 2}]\n", "f")
    first = root.child("a")
    assert first is not None
    entry = first.child(0)
    assert entry is not None
    assert entry.key_place("f", "c") == Place("f", 3, 5)
    inner = entry.child("c")
    assert inner is not None
    assert inner.place("f") == Place("f", 3, 8)
    assert str(inner.child(1).key_place("f", "d")) == "f:3:13"  # type: ignore[union-attr]  # the test fails if it is None
    assert root.child("nothing") is None
    assert first.child(7) is None
    assert first.child("b") is None


def test_empty_files_are_empty_mappings() -> None:
    for text in ("", "# nothing\n", "---\n"):
        assert load(text, "f").value in ({}, None)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"a: 1\nb: 2\na: 3\n", "f.yaml:3:1: the key 'a' already occurs in line 1"),
        (b"a: &x 1\n", "f.yaml:1:4: anchors are not allowed; repeat the value"),
        (b"a: *x\n", "f.yaml:1:4: aliases are not allowed; repeat the value"),
        (b"a: !!python/name:os.a x\n", "f.yaml:1:4: the tag tag:yaml.org,2002:python/name:os.a is not allowed"),
        (b"a: !x [1]\n", "f.yaml:1:4: the tag !x is not allowed"),
        (b"? [1]\n: 2\n", "f.yaml:1:3: a key must be text"),
        (b"a: 1\n---\nb: 2\n", "f.yaml:2:1: a second document; a policy file has exactly one"),
        (b"a: 1\n\xff\n", "f.yaml:2:1: not UTF-8 text"),
        (b"a: x\x07y\n", "f.yaml:1:5: control character '\\x07'"),
        (b"a: [1, 2\nb: 3\n", "f.yaml:2:2: not YAML: while parsing a flow sequence, did not find expected ',' or ']'"),
        (b"a:\n\t- b\n",
         "f.yaml:2:1: not YAML: while scanning for the next token, found character that cannot start any token"),
        (b"a: b: c\n", "f.yaml:1:5: not YAML: mapping values are not allowed in this context"),
    ],
)  # fmt: skip
def test_mistakes_have_a_place(data: bytes, said: str) -> None:
    assert mistake(data) == said


def test_bounds() -> None:
    assert "larger than" in mistake(b"a" * (POLICY_FILE_OCTETS + 1))
    assert mistake(b"[" * 100_000) == f"f.yaml:1:{POLICY_DEPTH + 1}: nested more than {POLICY_DEPTH} deep"
    assert "nested more than" in mistake(b"- " * 100_000)


def same(node: Node, value: object) -> bool:
    """Whether the node tree holds the plain data."""
    if isinstance(node.children, dict):
        return isinstance(value, dict) and all(same(child, value[key]) for key, child in node.children.items())
    if isinstance(node.children, list):
        return isinstance(value, list) and all(same(a, b) for a, b in zip(node.children, value, strict=True))
    return node.value is value


@given(st.text(alphabet=st.sampled_from("ab:-[]{},'\"#&*!|>%@`? \n\t\r\x00\x85\ufeff\U0001f600~.0")))
def test_nothing_but_policy_errors(text: str) -> None:
    try:
        root = load(decode(text.encode(), "f"), "f")
    except PolicyError as error:
        assert str(error).startswith("f:")
    else:
        assert same(root, root.value)


@given(st.binary())
def test_nothing_but_policy_errors_from_bytes(data: bytes) -> None:
    try:
        load(decode(data, "f"), "f")
    except PolicyError as error:
        assert str(error).startswith("f:")
