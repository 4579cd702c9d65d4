"""Arguments of hooks, and the facts that hooks put into them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, TypedDict

from inbox.plugin.api.context import Delivery, Failure, Identity, Notification, Recipient, Session, Transaction
from inbox.plugin.api.facts import Facts
from inbox.plugin.api.services import Log
from inbox.plugin.engine.opinions import InvalidAnswer


class Given(TypedDict, total=False):
    """Arguments of hooks, by the names in the hook specifications."""

    session: Session
    identity: Identity
    tx: Transaction
    recipient: Recipient
    delivery: Delivery
    failure: Failure
    notification: Notification


def scopes(given: Mapping[str, Any]) -> tuple[Facts, ...]:
    """The facts that a hook with these arguments may add to, the narrowest scope first."""
    found: list[Facts] = []
    after: Failure | Notification | None = given.get("failure") or given.get("notification")
    delivery: Delivery | None = after.delivery if after else given.get("delivery")
    if delivery is not None:
        found.append(delivery.facts)
    recipient: Recipient | None = given.get("recipient")
    if recipient is not None:
        found.append(recipient.facts)
    tx: Transaction | None = given.get("tx")
    if tx is not None:
        found.append(tx.facts)
    session: Session | None = tx.session if tx else given.get("session")
    if session is not None:
        found.append(session.facts)
    return tuple(found)


def shadowed(given: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments for plugins in shadow mode: only other plugins in shadow mode see the facts that they put."""
    return {name: _shadow(value) for name, value in given.items()}


def _shadow(value: Any) -> Any:
    match value:
        case Session():
            return replace(value, facts=value.facts.shadow())
        case Transaction():
            recipients = [_shadow(recipient) for recipient in value.recipients]
            return replace(value, session=_shadow(value.session), recipients=recipients, facts=value.facts.shadow())
        case Recipient():
            return replace(value, facts=value.facts.shadow())
        case Delivery():
            return replace(
                value,
                transaction=_shadow(value.transaction),
                recipient=_shadow(value.recipient),
                facts=value.facts.shadow(),
            )
        case Failure():
            return replace(value, delivery=_shadow(value.delivery), recipient=_shadow(value.recipient))
        case Notification():
            return replace(value, delivery=_shadow(value.delivery))
        case _:
            return value


class Known:
    """The known facts of a stage, to find those that each plugin added."""

    __slots__ = ("_count", "_scopes", "_seen")

    def __init__(self, given: Mapping[str, Any], *, fresh: bool = False) -> None:
        self._scopes = scopes(given)
        self._seen: list[set[type]] = [set() if fresh else {type(f) for f in scope.own()} for scope in self._scopes]
        self._count = sum(map(len, self._seen))

    def new(self, gives: tuple[type, ...], *, alone: bool) -> tuple[object, ...]:
        """The facts since the last call that a plugin with these ``gives`` may have put.

        Args:
            alone: no other hook ran meanwhile, so all new facts are of this plugin.

        Raises:
            InvalidAnswer: it put a fact that it does not declare, so that the plan could not order its readers.
        """
        count = 0
        for scope in self._scopes:
            count += len(scope)
        if count == self._count:
            return ()
        found: list[object] = []
        undeclared: list[type] = []
        for scope, seen in zip(self._scopes, self._seen, strict=True):
            for fact in _unseen(scope, seen):
                if type(fact) in gives:
                    found.append(fact)
                elif alone:
                    undeclared.append(type(fact))
                else:
                    continue
                seen.add(type(fact))
        self._count = sum(map(len, self._seen))
        if undeclared:
            raise InvalidAnswer(f"put {undeclared[0].__name__}, which is not in its gives")
        return tuple(found)

    def check_rest(self, log: Log, names: list[str]) -> None:
        """After hooks that ran together, logs a fact that none of them declares; its plugin is unknown."""
        for scope, seen in zip(self._scopes, self._seen, strict=True):
            for fact in _unseen(scope, seen):
                seen.add(type(fact))
                log.error("fact_undeclared", fact=type(fact).__name__, plugins=names)
        self._count = sum(map(len, self._seen))


def _unseen(scope: Facts, seen: set[type]) -> list[object]:
    return [fact for fact in scope.own() if type(fact) not in seen] if len(scope) != len(seen) else []
