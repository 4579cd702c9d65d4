"""Conditions in the settings of a plugin: CEL expressions over values that the plugin provides."""

from inbox.policy.expressions import EvaluationError, Expression, ExpressionError, Language, Method, Scope
from inbox.policy.mistakes import unknown
from inbox.policy.shapes import FLAG, NUMBER, TEXT, TEXTS, Shape, members_of, shape_of

__all__ = [
    "FLAG", "NUMBER", "TEXT", "TEXTS", "EvaluationError", "Expression", "ExpressionError", "Language", "Method",
    "Scope", "Shape", "members_of", "shape_of", "unknown",
]  # fmt: skip
