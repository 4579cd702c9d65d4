"""Facts that plugins give each other: frozen dataclasses, keyed by their type.

A plugin declares the types that it ``gives`` and ``needs``; the plan of a stage follows from that.

In facts about a message's origin, domains are A-labels in lower case. Texts named ``reason`` are ours, but may quote
a stranger: they are printable ASCII of bounded length, fit for a header field, a log and a decision record.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar, cast

T = TypeVar("T")


class Facts:
    """The facts about one connection, transaction or recipient; missing ones are looked up in ``parent``.

    There is one fact of a type: the first plugin that gives it wins.
    """

    __slots__ = ("_own", "_parent", "_shadow")

    def __init__(self, parent: Facts | None = None) -> None:
        self._parent = parent
        self._own: dict[type, object] = {}
        self._shadow: Facts | None = None

    def put(self, fact: object) -> None:
        """Adds a fact.

        Raises:
            ValueError: there is another fact of this type already.
        """
        kind = type(fact)
        if kind in self._own and self._own[kind] != fact:
            raise ValueError(f"{kind.__name__} is known already")
        self._own[kind] = fact

    def get(self, kind: type[T]) -> T | None:
        """The fact of this type, or None if no plugin gave it."""
        found = self._own.get(kind)
        if found is None and self._parent is not None:
            return self._parent.get(kind)
        return cast("T | None", found)

    def own(self) -> Iterator[object]:
        """The facts that were put here, in order, without the parent's."""
        return iter(self._own.values())

    def visible(self) -> Iterator[object]:
        """All facts that :meth:`get` finds."""
        return iter(self._visible().values())

    def _visible(self) -> dict[type, object]:
        return {**(self._parent._visible() if self._parent is not None else {}), **self._own}

    def __len__(self) -> int:
        return len(self._own)

    @property
    def is_shadow(self) -> bool:
        """True in the layer of a plugin in shadow mode, whose opinions are not enforced."""
        return False

    def shadow(self) -> Facts:
        """Layer for facts of plugins in shadow mode, which see it and the real facts; others see the real ones only."""
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
    """Destination of a recipient's mail: the accounts (by their own address) that the address leads to.

    Put into a recipient's facts at ``rcpt``. A recipient without it, or without an account in it, is refused
    with 550 5.1.1: mail is delivered only to resolved recipients.

    ``forwards`` are addresses at other servers that get the message, too. ``forward_outside``: mail for this recipient
    may leave this installation, through ``forwards`` or a plugin's ``Redirect``; without it neither is carried out, and
    the peer is asked to try again later.
    """

    accounts: tuple[str, ...]
    detail: str | None = None
    via: tuple[str, ...] = ()
    forwards: tuple[str, ...] = ()
    forward_outside: bool = False


@dataclass(frozen=True, slots=True)
class VirusFact:
    """Result of a virus scan. ``status`` is ``clean``, ``infected``, ``flagged`` or ``unscanned``, never a guess.

    ``infected`` is malware. ``flagged`` is a finding other than malware; ``kind`` says which: ``encrypted``,
    ``macros``, ``phishing``, ``pua``, ``broken``, ``data_loss`` or ``heuristic``. The kind of an infected message is
    ``malware``, that of an unscanned one ``limits``. ``signature`` is the worst finding, ``signatures`` has all.
    """

    status: str
    signature: str | None = None
    scanner: str = ""
    why: str = ""
    kind: str = ""
    signatures: tuple[str, ...] = ()


class Result(StrEnum):
    """RFC 8601 §2.7. ``policy`` (DKIM): valid, but not acceptable here, such as a signature with ``l=``."""

    PASS = "pass"  # noqa: S105  a result, no password
    FAIL = "fail"
    SOFTFAIL = "softfail"
    NEUTRAL = "neutral"
    NONE = "none"
    POLICY = "policy"
    TEMPERROR = "temperror"
    PERMERROR = "permerror"


@dataclass(frozen=True, slots=True)
class SpfFact:
    """RFC 7208. ``domain`` is the one that ``result`` is about: that of MAIL FROM, or for a null sender that of HELO.

    ``identity`` is ``mailfrom`` or ``helo``. ``helo_result`` is the result for the HELO identity, where it was
    checked. ``explanation`` is the domain's ``exp=`` text, filtered; strangers write it, so it is not sent to peers.
    ``source`` is ``checked``; ``exempt``, if SPF does not apply to the peer; or ``header``, if an
    Authentication-Results field was trusted.
    """

    result: Result
    domain: str
    identity: str = "mailfrom"
    sender: str = ""
    helo: str = ""
    helo_result: Result | None = None
    mechanism: str = ""
    reason: str = ""
    explanation: str = ""
    source: str = "checked"


@dataclass(frozen=True, slots=True)
class DkimSignature:
    """Result for one DKIM-Signature field (RFC 6376 §6.1). ``identity`` is ``i=``, ``covers`` the signed field names in
    lower case, ``signature`` the first characters of ``b=`` (RFC 6008), ``testing`` the key's ``t=y``."""

    result: Result
    domain: str = ""
    selector: str = ""
    identity: str = ""
    algorithm: str = ""
    bits: int = 0
    signature: str = ""
    covers: tuple[str, ...] = ()
    testing: bool = False
    reason: str = ""


@dataclass(frozen=True, slots=True)
class DkimFact:
    """All verified signatures, in the order of the message; ``result`` is that of the best one.

    ``skipped`` signatures were beyond the limit and not verified. ``source`` as in :class:`SpfFact`.
    """

    result: Result
    signatures: tuple[DkimSignature, ...] = ()
    skipped: int = 0
    source: str = "checked"

    @property
    def passing(self) -> tuple[str, ...]:
        """The domains (``d=``) with a valid signature, each once."""
        return tuple(dict.fromkeys(each.domain for each in self.signatures if each.result is Result.PASS))


@dataclass(frozen=True, slots=True)
class ArcSet:
    """One hop of an ARC chain: its sealer, and the results that it claims (the text of its AAR, RFC 8617 §4.1.1).

    ``results`` is only meaningful if the chain passes and the sealer is trusted. ``covers`` are the field names
    that the newest ARC-Message-Signature covers, in lower case; without ``from`` among them the author may have been
    changed afterwards. It is empty for older sets.
    """

    instance: int
    domain: str
    selector: str
    results: str
    covers: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ArcFact:
    """RFC 8617 §5.2. ``result`` is ``none``, ``pass`` or ``fail``. ``sets`` are in the order of their instances.

    ``oldest_pass`` is 0 if all of the chain is intact for the message as it is now, otherwise the lowest instance
    whose ARC-Message-Signature still validates. ``temporary``: it failed because a key could not be looked up; by
    RFC 8617 §5.2.1 that is a failure like any other, but a plugin may defer the message instead of refusing it.
    ``added`` names a field that occurs once by RFC 5322, is covered by the newest ARC-Message-Signature, and occurs
    again: the chain is valid, but readers may be shown a field that a stranger added (RFC 6376 §8.15).
    """

    result: Result
    sets: tuple[ArcSet, ...] = ()
    oldest_pass: int = 0
    reason: str = ""
    temporary: bool = False
    added: str = ""

    @property
    def sealers(self) -> tuple[str, ...]:
        """The domains that sealed, the first hop first."""
        return tuple(each.domain for each in self.sets)


@dataclass(frozen=True, slots=True)
class DmarcFact:
    """RFC 9989 (and RFC 7489). ``domain`` is that of From; ``policy_domain`` the one whose record was found.

    ``policy`` is the policy of that record for this domain (``none``, ``quarantine``, ``reject``; empty without a
    record), ``disposition`` the rest of it after ``pct`` or ``t=y`` and exceptions. ``exception`` names the
    exception that was made (``mailing_list``, ``trusted_forwarder``, ``local_policy``, ``sampled_out``,
    ``policy_test_mode``), and ``comment`` says which. ``published`` has the effective tags of the record.
    """

    result: Result
    domain: str
    organizational_domain: str = ""
    policy_domain: str = ""
    policy: str = ""
    disposition: str = "none"
    spf_aligned: bool = False
    dkim_aligned: bool = False
    exception: str = ""
    comment: str = ""
    published: tuple[tuple[str, str], ...] = ()
    reason: str = ""
    source: str = "checked"


@dataclass(frozen=True, slots=True)
class BimiFact:
    """The domain's indicator: ``result`` is ``pass`` (a usable record), ``none`` (with a reason if the look-up was
    skipped) or an error; ``location`` and ``evidence`` are the URLs of ``l=`` and ``a=``."""

    result: Result
    domain: str = ""
    selector: str = "default"
    location: str = ""
    evidence: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class DmarcReportFact:
    """Result for mail to an address for aggregate reports. ``status`` is ``filed``; ``ignored``, if it was known or
    is about a domain of another tenant; ``not_a_report``; ``unreadable``; ``skipped``, if there were too many; or
    ``lost``, if it could not be filed. ``reporter`` is the author that the report names."""

    status: str
    domain: str = ""
    reporter: str = ""
    why: str = ""
