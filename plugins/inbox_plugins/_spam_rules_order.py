"""Evaluation order of rules that use the results of other rules."""

from __future__ import annotations

from collections.abc import Mapping

from inbox.plugin.expressions import Expression, unknown
from inbox_plugins._spam_rules_language import looked_up


class OrderError(ValueError):
    """A rule uses a rule that does not exist, or itself. ``rule`` is the name of the rule in error."""

    def __init__(self, rule: str, what: str) -> None:
        super().__init__(f"rule {rule}: {what}")
        self.rule = rule


def evaluation_order(conditions: Mapping[str, Expression]) -> list[str]:
    """The names, each after those that it uses, otherwise in the given order.

    Raises:
        OrderError: a rule uses one that does not exist, or rules depend on one another in a circle.
    """
    uses = {name: sorted(looked_up("rules", [condition])) for name, condition in conditions.items()}
    for name, used in uses.items():
        for other in used:
            if other not in conditions:
                raise OrderError(name, unknown("rule", other, conditions))
    done: dict[str, None] = {}
    for name in conditions:
        _visit(name, uses, done)
    return list(done)


def _visit(start: str, uses: Mapping[str, list[str]], done: dict[str, None]) -> None:
    """Adds ``start`` to ``done`` after all that it uses; not recursive, because chains may have hundreds of rules."""
    path: dict[str, int] = {start: 0}
    while path:
        name, at = next(reversed(path.items()))
        waiting = [other for other in uses[name][at:] if other not in done]
        if name in done or not waiting:
            del path[name]
            done.setdefault(name)
            continue
        following = waiting[0]
        if following in path:
            circle = [*list(path)[list(path).index(following) :], following]
            raise OrderError(start, "rules depend on one another in a circle: " + " → ".join(circle))
        path[following] = 0
