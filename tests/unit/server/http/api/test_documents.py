"""Bounds of GraphQL documents, and the cache."""

from __future__ import annotations

import pytest
from graphql import OperationType, build_schema, get_introspection_query

from inbox.server.http.api import documents
from inbox.server.http.api.documents import DocumentRefused, Documents, operation_of

SCHEMA = build_schema("type Query { me: Query, name: String } type Mutation { send: Boolean }")


@pytest.fixture
def tested() -> Documents:
    return Documents(SCHEMA)


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("{" + "name " * 2001 + "}", "more than 2000 tokens"),
        ("{" + "name " * 251 + "}", "more than 250 fields"),
        ("{" + " ".join(f"a{n}: name" for n in range(26)) + "}", "more than 25 aliases"),
        ("{ me " * 21 + "{ name }" + "}" * 21, "more than 20 levels"),
        ("{ ...f0 }" + "".join(f"fragment f{n} on Query {{ name }}" for n in range(21)), "21 fragments"),
        ("mutation {" + "send " * 11 + "}", "11 mutations"),
        ("x" * 100_001, "100001 characters"),
        ("{ ...a } fragment a on Query { me { ...b } } fragment b on Query { me { ...a } }", "within itself"),
        ("{ ...a } fragment a on Query { ...a }", "within itself"),
        ("{ nope }", "Cannot query field"),
    ],
)
def test_a_document_is_bounded(tested: Documents, query: str, words: str) -> None:
    with pytest.raises(DocumentRefused) as refused:
        tested.prepared(query)
    assert words in refused.value.errors[0].message
    assert tested._kept == {}


def test_levels_below_fragments_count(tested: Documents) -> None:
    """Each fragment has ten levels; their number doubles the depth, not the work."""
    chain = "".join(
        f"fragment f{n} on Query {{ {'me { ' * 9} ...f{n + 1} {'}' * 9} }}" for n in range(3)
    ) + "fragment f3 on Query { name }"  # fmt: skip
    with pytest.raises(DocumentRefused) as refused:
        tested.prepared("{ ...f0 }" + chain)
    assert "levels" in refused.value.errors[0].message


def test_deep_nesting_is_a_syntax_error_or_a_bound(tested: Documents) -> None:
    for query in ("{me" * 900, "[" * 1900, "{ name(a: " + "[" * 1900):
        with pytest.raises(DocumentRefused):
            tested.prepared(query)


def test_a_document_is_parsed_once(tested: Documents, monkeypatch: pytest.MonkeyPatch) -> None:
    first = tested.prepared("{ name }")
    monkeypatch.setattr(documents, "parse", None)
    assert tested.prepared("{ name }") is first


def test_the_cache_is_bounded(tested: Documents, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(documents, "_CACHED", 2)
    for number in range(5):
        tested.prepared(f"query q{number} {{ name }}")
    tested.prepared("{ name }" + " " * 10_000)
    assert list(tested._kept) == ["query q3 { name }", "query q4 { name }"]


def test_the_introspection_query_is_allowed(tested: Documents) -> None:
    assert tested.prepared(get_introspection_query())


def test_the_operation_is_chosen(tested: Documents) -> None:
    document = tested.prepared("query a { name } mutation b { send }")
    assert operation_of(document, "a") is OperationType.QUERY
    assert operation_of(document, "b") is OperationType.MUTATION
    assert operation_of(document, None) is None
    assert operation_of(document, "c") is None
