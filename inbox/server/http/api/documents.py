"""Documents of GraphQL: parsed, bounded and validated once, and then cached."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from graphql import (
    DocumentNode,
    FieldNode,
    FragmentDefinitionNode,
    FragmentSpreadNode,
    GraphQLError,
    GraphQLSchema,
    OperationDefinitionNode,
    OperationType,
    SelectionSetNode,
    parse,
    validate,
)

#: Characters and tokens of a document.
DOCUMENT_CHARACTERS: Final = 100_000
TOKENS: Final = 2000
#: Fields and fragments that a document selects: some rules of validation compare each with each.
SELECTIONS: Final = 250
ALIASES: Final = 25
#: Levels of fields; the introspection query of common tools has about 15.
DEPTH: Final = 20
FRAGMENTS: Final = 20
#: Mutations of one operation, which run one after the other.
MUTATIONS: Final = 10
_ERRORS: Final = 20
#: Documents that are cached, and their length: programs send the same few again and again.
_CACHED: Final = 500
_CACHED_CHARACTERS: Final = 10_000


class DocumentRefused(Exception):
    """A document that is not executed. ``is_syntax``: it could not be parsed."""

    def __init__(self, errors: list[GraphQLError], *, is_syntax: bool) -> None:
        super().__init__(errors[0].message)
        self.errors = errors
        self.is_syntax = is_syntax


class Documents:
    """Prepares documents for one schema."""

    def __init__(self, schema: GraphQLSchema) -> None:
        self._schema = schema
        self._kept: OrderedDict[str, DocumentNode] = OrderedDict()

    def prepared(self, query: str) -> DocumentNode:
        """The document, which is valid. Raises DocumentRefused."""
        found = self._kept.get(query)
        if found is not None:
            self._kept.move_to_end(query)
            return found
        document = _parsed(query)
        _check_bounds(document)
        errors = validate(self._schema, document, max_errors=_ERRORS)
        if errors:
            raise DocumentRefused(errors, is_syntax=False)
        if len(query) <= _CACHED_CHARACTERS:
            self._kept[query] = document
            if len(self._kept) > _CACHED:
                self._kept.popitem(last=False)
        return document


def operation_of(document: DocumentNode, name: str | None) -> OperationType | None:
    """The type of the operation that would be executed; None if the name does not choose exactly one."""
    operations = [one for one in document.definitions if isinstance(one, OperationDefinitionNode)]
    if name is not None:
        operations = [one for one in operations if one.name is not None and one.name.value == name]
    return operations[0].operation if len(operations) == 1 else None


def _parsed(query: str) -> DocumentNode:
    if len(query) > DOCUMENT_CHARACTERS:
        raise _refused(f"The document has {len(query)} characters, the limit is {DOCUMENT_CHARACTERS}")
    try:
        return parse(query, max_tokens=TOKENS)
    except GraphQLError as error:
        raise DocumentRefused([error], is_syntax=True) from error
    except RecursionError as error:
        raise _refused("The document is nested too deeply") from error


def _refused(text: str) -> DocumentRefused:
    return DocumentRefused([GraphQLError(text, extensions={"code": "limit_exceeded"})], is_syntax=False)


def _check_bounds(document: DocumentNode) -> None:
    """Raises DocumentRefused. Fragments are followed once each, so that cycles end; validation names a cycle."""
    fragments = {one.name.value: one for one in document.definitions if isinstance(one, FragmentDefinitionNode)}
    if len(fragments) > FRAGMENTS:
        raise _refused(f"The document has {len(fragments)} fragments, the limit is {FRAGMENTS}")
    counter = _Counter(fragments)
    for definition in document.definitions:
        if isinstance(definition, OperationDefinitionNode):
            counter.depth(definition.selection_set)
            roots = len(definition.selection_set.selections)
            if definition.operation is OperationType.MUTATION and roots > MUTATIONS:
                raise _refused(f"The operation has {roots} mutations, the limit is {MUTATIONS}")
        elif isinstance(definition, FragmentDefinitionNode):
            counter.of_fragment(definition.name.value)


class _Counter:
    """Counts what a document selects, and how deeply."""

    def __init__(self, fragments: dict[str, FragmentDefinitionNode]) -> None:
        self._fragments = fragments
        self._depths: dict[str, int] = {}
        self._selections = 0
        self._aliases = 0

    def depth(self, selected: SelectionSetNode | None) -> int:
        deepest = 0
        for node in () if selected is None else selected.selections:
            self._count(node)
            if isinstance(node, FragmentSpreadNode):
                below = self.of_fragment(node.name.value)
            else:
                below = self.depth(getattr(node, "selection_set", None)) + isinstance(node, FieldNode)
            deepest = max(deepest, below)
            if deepest > DEPTH:
                raise _refused(f"The document has more than {DEPTH} levels")
        return deepest

    def of_fragment(self, name: str) -> int:
        if name not in self._depths:
            self._depths[name] = 0
            definition = self._fragments.get(name)
            self._depths[name] = self.depth(None if definition is None else definition.selection_set)
        return self._depths[name]

    def _count(self, node: object) -> None:
        self._selections += 1
        if self._selections > SELECTIONS:
            raise _refused(f"The document selects more than {SELECTIONS} fields and fragments")
        if isinstance(node, FieldNode) and node.alias is not None:
            self._aliases += 1
            if self._aliases > ALIASES:
                raise _refused(f"The document has more than {ALIASES} aliases")
