"""Suppression: sends no mail to addresses that do not exist.

Returns at: rcpt (Reject), deliver (DropRecipient), bounce (Suppress).
Answers:    550 5.7.1 (suppressed), 451 4.3.0 (the list cannot be read now).
Checks:     the tenant's list (``inbox suppression``) when a user submits a message (``refuse``), and before each
            attempt, so that an entry made meanwhile counts.
Adds:       an address whose server refuses it with one of ``statuses``. Refusals for other reasons (policy, reputation,
            a full mailbox, an expired message) say nothing about the address. Role addresses (``roles``) are never
            added: they have to be reachable.
Complaints: a recipient who complains about a message (a feedback report to a signed return path) is added, if the class
            of the message is in ``complaints``.
On error:   defer: while the list cannot be read, no mail leaves that it may forbid.

An example::

    plugins:
      suppression: {days: 30}
"""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field, field_validator

from inbox.plugin import (
    Defer,
    Delivery,
    Door,
    DropRecipient,
    Failure,
    Opinion,
    Plugin,
    PluginSettings,
    Recipient,
    Reject,
    Services,
    StoreError,
    Suppress,
    Transaction,
    hookimpl,
)

__version__ = "1.0.0"

_DAY = 86_400
#: RFC 3463 §3.2, RFC 7505 §4: bad mailbox, bad system, null MX.
_STATUSES = ["5.1.1", "5.1.2", "5.1.10"]
#: RFC 2142.
_ROLES = ["postmaster", "abuse", "hostmaster", "webmaster", "noc", "security"]
#: Stages in which nobody but we decided.
_OURS = frozenset({"policy", "expired"})


class Settings(PluginSettings):
    """The refusals that suppress an address, and for how long."""

    days: int | None = Field(
        90, ge=1, le=3650, description="Days after which an entry that a bounce made ends; null: never.", examples=[30]
    )
    refuse: bool = Field(
        True, description="Refuse a suppressed recipient when a user submits a message, and not only by a notification."
    )
    add: bool = Field(True, description="Whether bounces add entries. The list is checked in any case.")
    statuses: list[str] = Field(
        _STATUSES,
        max_length=20,
        description="Enhanced status codes that mean that the address does not exist.",
        examples=[["5.1.1"]],
    )
    roles: list[str] = Field(
        _ROLES, max_length=100, description="Local parts that bounces never add.", examples=[["postmaster", "abuse"]]
    )

    complaints: list[Literal["transactional", "bulk", "report"]] = Field(
        ["transactional", "bulk"],
        max_length=3,
        description="Classes of messages about which a complaint adds the recipient; empty: none.",
        examples=[["bulk"]],
    )

    @field_validator("statuses")
    @classmethod
    def _of_addresses(cls, value: list[str]) -> list[str]:
        for status in value:
            if not status.startswith("5.1."):
                raise ValueError(f"{status!r} does not begin with 5.1.: only those are about addresses (RFC 3463 §3.2)")
        return value


#: The doors of users and their programs, who see a refusal.
_AUTHORS: Final = frozenset({Door.SUBMISSION, Door.API})


class Suppression(Plugin):
    """Checks the suppression list, and adds addresses that do not exist."""

    on_error = "defer"

    def __init__(self, settings: Settings, services: Services) -> None:
        self.settings = settings
        self._list, self._log = services.suppression, services.log
        self._roles = frozenset(role.lower() for role in settings.roles)

    @hookimpl
    async def rcpt(self, tx: Transaction, recipient: Recipient) -> Reject | Defer | None:
        """Refuses a suppressed recipient at another server while the user can still see it."""
        if tx.session.door not in _AUTHORS or recipient.tenant or not self.settings.refuse:
            return None
        found = await self._find(tx.tenant, [recipient.address.key])
        if isinstance(found, Defer):
            return found
        return Reject(550, "5.7.1", _why(found[recipient.address.key])) if found else None

    async def _find(self, tenant: str, keys: list[str]) -> dict[str, str] | Defer:
        """The suppressed ones among these addresses, with the reasons."""
        try:
            return await self._list.find(tenant, keys)
        except StoreError as error:
            self._log.warning("suppression_list_unreadable", tenant=tenant, error=str(error))
            return Defer(451, "4.3.0", "The suppression list cannot be read, try again later")

    @hookimpl
    async def deliver(self, delivery: Delivery) -> Opinion | list[DropRecipient] | None:
        """Drops suppressed recipients of outgoing mail."""
        tx = delivery.transaction
        if delivery.kind != "remote" or not tx.recipients:
            return None
        keys = [recipient.address.key for recipient in tx.recipients]
        found = await self._find(tx.recipients[0].tenant, keys)
        if isinstance(found, Defer):
            return found
        if not found:
            return None
        if len(found) == len(set(keys)):
            return Reject(550, "5.7.1", _why(found[keys[0]]))
        return [
            DropRecipient(str(recipient.address), _why(found[key]))
            for recipient, key in zip(tx.recipients, keys, strict=True)
            if key in found
        ]

    @hookimpl
    def bounce(self, failure: Failure) -> Suppress | None:
        """Adds the address if its server says that it does not exist, or its user complains."""
        recipient, settings = failure.recipient, self.settings
        if recipient is None or not settings.add or failure.stage in _OURS:
            return None
        if recipient.address.local.casefold().partition("+")[0] in self._roles:
            return None
        seconds = None if settings.days is None else float(settings.days * _DAY)
        if failure.stage == "complaint":
            complains = failure.delivery.job_class in settings.complaints
            return Suppress("address", failure.text[:500], seconds) if complains else None
        if failure.enhanced not in settings.statuses:
            return None
        return Suppress("address", f"{failure.code} {failure.enhanced} {failure.text}".strip()[:500], seconds)


def _why(reason: str) -> str:
    text = "This recipient is on your suppression list"
    return " ".join(f"{text}: {reason}".split())[:400] if reason else text
