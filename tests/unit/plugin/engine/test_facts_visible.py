"""Facts.visible: what ``get`` finds, all at once."""

from __future__ import annotations

from dataclasses import dataclass

from inbox.plugin.api.facts import Facts


@dataclass(frozen=True)
class Colour:
    name: str


@dataclass(frozen=True)
class Size:
    octets: int


@dataclass(frozen=True)
class Shape:
    corners: int


def test_the_parents_facts_are_visible_and_ones_own_hide_them() -> None:
    session = Facts()
    session.put(Colour("red"))
    session.put(Size(1))
    tx = Facts(session)
    tx.put(Colour("blue"))
    assert set(tx.visible()) == {Colour("blue"), Size(1)}
    assert set(session.visible()) == {Colour("red"), Size(1)}
    assert list(Facts().visible()) == []


def test_in_shadow_mode_the_real_facts_and_those_of_the_shadow_are_visible() -> None:
    session = Facts()
    session.put(Colour("red"))
    session.shadow().put(Shape(3))
    tx = Facts(session)
    tx.put(Size(1))
    tx.shadow().put(Size(2))
    assert set(tx.shadow().visible()) == {Colour("red"), Shape(3), Size(2)}
    assert set(tx.visible()) == {Colour("red"), Size(1)}
    assert all(tx.shadow().get(type(fact)) == fact for fact in tx.shadow().visible())
