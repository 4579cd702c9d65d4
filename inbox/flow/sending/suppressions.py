"""The suppression list of the caller's tenant: addresses and domains to which the tenant sends no mail."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from inbox.base.clock import Clock
from inbox.flow.sending.callers import Caller
from inbox.flow.sending.errors import FieldError, Kind, RequestRefused
from inbox.mail.address import Address, AddressError, canonical_domain
from inbox.mail.nameaddr import CONTROLS
from inbox.store.ports import Suppression, Suppressions
from inbox.store.ports.suppression import SuppressionListFull, SuppressionScope

#: Entries of one page.
PAGE: Final = 100
MOST_OF_PAGE: Final = 500
REASON_CHARACTERS: Final = 500
DAYS: Final = 3650
_DAY: Final = 86_400
_FIELDS: Final = ("target", "reason", "days", "active")


@dataclass(frozen=True, slots=True)
class Page:
    """A part of the list, by scope and target; ``after`` is the target after which the next page begins, or None."""

    entries: tuple[Suppression, ...]
    after: str | None


class TenantSuppressions:
    """Reads and changes the lists of callers' tenants."""

    def __init__(self, suppressions: Suppressions, clock: Clock, most: int) -> None:
        self._suppressions = suppressions
        self._clock = clock
        self._most = most

    async def page(self, caller: Caller, after: str | None = None, limit: int = PAGE) -> Page:
        """A page of the list.

        Args:
            after: the last target of the page before.
            limit: entries of the page; at most ``MOST_OF_PAGE``.

        Raises:
            RequestRefused: the caller may not read the list, or ``after`` is not a target.
            StoreError: the list cannot be read now.
        """
        caller.check("suppressions")
        start = None
        if after is not None:
            scope, target = _target("after", after)
            start = Suppression(caller.tenant, scope, target)
        limit = min(limit, MOST_OF_PAGE)
        found = await self._suppressions.all(caller.tenant, after=start, limit=limit)
        return Page(tuple(found), found[-1].target if len(found) == limit else None)

    async def add(self, caller: Caller, values: dict[str, Any]) -> Suppression:
        """Adds an entry, or replaces the one for the same target; it takes effect at the next attempt.

        Raises:
            RequestRefused: the caller may not change the list, a field is wrong, or the list is full.
            StoreError: the list cannot be changed now.
        """
        caller.check("suppressions")
        entry = self._entry(caller, values)
        try:
            await self._suppressions.put([entry], most=self._most)
        except SuppressionListFull as error:
            raise RequestRefused(Kind.LIMITED, "list_full", error.text) from error
        return entry

    async def remove(self, caller: Caller, target: str) -> None:
        """Removes an entry: mail to the target is sent again. Raises as :meth:`add`, and if there is no entry."""
        caller.check("suppressions")
        scope, key = _target("target", target)
        if not await self._suppressions.remove(caller.tenant, scope, [key]):
            text = f"{caller.tenant_name} has no entry for the {scope} {key}"
            raise RequestRefused(Kind.NOT_FOUND, "not_found", text)

    def _entry(self, caller: Caller, values: dict[str, Any]) -> Suppression:
        unknown = next((str(name)[:80] for name in values if name not in _FIELDS), None)
        if unknown is not None:
            raise _wrong(unknown, "unknown_field", "this field does not exist")
        scope, target = _target("target", values.get("target"))
        reason, days, active = values.get("reason") or "", values.get("days"), values.get("active", True)
        if not isinstance(reason, str) or len(reason) > REASON_CHARACTERS or CONTROLS.search(reason) is not None:
            raise _wrong("reason", "invalid", f"must be one line of at most {REASON_CHARACTERS} characters")
        if days is not None and (not isinstance(days, int) or isinstance(days, bool) or not 1 <= days <= DAYS):
            raise _wrong("days", "invalid", f"must be a number from 1 to {DAYS}")
        if not isinstance(active, bool):
            raise _wrong("active", "wrong_type", "must be true or false")
        now = self._clock.now()
        until = None if days is None else now + days * _DAY
        return Suppression(caller.tenant, scope, target, reason, "operator", active, now, until)


def _target(field: str, text: Any) -> tuple[SuppressionScope, str]:
    """An address or a domain in the form of the list. Raises RequestRefused."""
    try:
        if isinstance(text, str) and len(text) <= 1000 and CONTROLS.search(text) is None:
            if "@" in text.strip("@"):
                return "address", Address.parse(text).key
            return "domain", canonical_domain(text.removeprefix("@"))
    except AddressError:
        pass  # the error below names the field
    raise _wrong(field, "invalid_address", "must be an address (user@example.org) or a domain (example.org)")


def _wrong(field: str, code: str, message: str) -> RequestRefused:
    text = f"{field}: {message}"
    return RequestRefused(Kind.INVALID, "invalid_request", text, [FieldError(field, code, text)])
