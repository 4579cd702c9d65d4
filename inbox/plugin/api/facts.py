"""Facts: what plugins found out, as frozen dataclasses keyed by their type.

A plugin declares the types that it ``gives`` and ``needs``; the plan of a stage is sorted by that.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeVar, cast

T = TypeVar("T")


class Facts:
    """The facts about one connection, transaction or recipient; what is missing is looked up in ``parent``.

    A fact is put once: the first plugin that finds it out is believed.
    """

    __slots__ = ("_own", "_parent", "_shadow")

    def __init__(self, parent: Facts | None = None) -> None:
        self._parent = parent
        self._own: dict[type, object] = {}
        self._shadow: Facts | None = None

    def put(self, fact: object) -> None:
        """Adds a fact.

        Raises:
            ValueError: another fact of this type is here already.
        """
        kind = type(fact)
        if kind in self._own and self._own[kind] != fact:
            raise ValueError(f"{kind.__name__} is known already")
        self._own[kind] = fact

    def get(self, kind: type[T]) -> T | None:
        """The fact of this type, or None if nobody found it out."""
        found = self._own.get(kind)
        if found is None and self._parent is not None:
            return self._parent.get(kind)
        return cast("T | None", found)

    def own(self) -> Iterator[object]:
        """The facts that were put here, in order, without the parent's."""
        return iter(self._own.values())

    def visible(self) -> Iterator[object]:
        """All facts that :meth:`get` finds, for who wants to show them."""
        return iter(self._visible().values())

    def _visible(self) -> dict[type, object]:
        return {**(self._parent._visible() if self._parent is not None else {}), **self._own}

    def __len__(self) -> int:
        return len(self._own)

    @property
    def is_shadow(self) -> bool:
        """True for whom nothing is enforced of what it says: a plugin in shadow mode."""
        return False

    def shadow(self) -> Facts:
        """Where plugins in shadow mode put their facts: they see these and the real ones, others see the real ones."""
        if self._shadow is None:
            self._shadow = _ShadowFacts(self)
        return self._shadow


class _ShadowFacts(Facts):
    """A layer over ``real``. What is missing in both is looked up in the shadow of the real one's parent."""

    __slots__ = ("_real",)

    def __init__(self, real: Facts) -> None:
        super().__init__()
        self._real = real

    def get(self, kind: type[T]) -> T | None:
        found = self._own.get(kind)
        if found is None:
            found = self._real._own.get(kind)
        if found is None and self._real._parent is not None:
            return self._real._parent.shadow().get(kind)
        return cast("T | None", found)

    def _visible(self) -> dict[type, object]:
        above = self._real._parent
        return {**(above.shadow()._visible() if above is not None else {}), **self._real._own, **self._own}

    @property
    def is_shadow(self) -> bool:
        return True

    def shadow(self) -> Facts:
        return self


@dataclass(frozen=True, slots=True)
class Resolved:
    """Where a recipient's mail goes: the accounts (by their own address) that the address leads to.

    Put into a recipient's facts at ``rcpt``. A recipient without it, or with no account in it, is refused
    with 550 5.1.1: nothing is delivered that no plugin resolved.
    """

    accounts: tuple[str, ...]
    detail: str | None = None
    via: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class VirusFact:
    """What a virus scanner found. ``status`` is ``clean``, ``infected``, ``flagged`` or ``unscanned``, never a guess.

    ``infected`` is malware. ``flagged`` is a finding that is no malware; ``kind`` says which: ``encrypted``,
    ``macros``, ``phishing``, ``pua``, ``broken``, ``data_loss`` or ``heuristic``. The kind of an infected message is
    ``malware``, that of an unscanned one ``limits``. ``signature`` is the worst finding, ``signatures`` has all.
    """

    status: str
    signature: str | None = None
    scanner: str = ""
    why: str = ""
    kind: str = ""
    signatures: tuple[str, ...] = ()
