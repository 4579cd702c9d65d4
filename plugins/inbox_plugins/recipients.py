"""Recipients: resolves each recipient to accounts, and refuses unknown ones.

Returns at: rcpt (Reject 550 5.1.1 for an unknown user, Defer 450 4.2.1 for a disabled account, Defer 452 4.5.3 for
            too many recipients, Redirect).
Gives:      Resolved, in the recipient's facts: the accounts that get the message. Without this fact no recipient is
            accepted, so every policy that accepts mail must enable this plugin.
Asks:       the directory, which follows aliases and, where the domain allows it, plus addresses.
Forwards:   an alias may point to addresses at other servers. Mail leaves only with ``forward_outside``; without it such
            an alias gets 451 4.7.1 (its accounts still get their mail), and so does a Redirect to another server.
Postmaster: postmaster@ of every hosted domain is accepted (RFC 5321 §4.5.1), in upper or lower case. Without such an
            account or alias, its mail goes to ``postmaster``, else to ``catch_all``, else to the tenant's oldest active
            account. Rate limits, the virus scanner and all other rules apply to it as to any recipient.
On error:   defer. If the database does not answer, the peer retries; it never gets "no such user".

A policy that accepts mail to any address of the domain::

    plugins:
      recipients: {catch_all: "office@acme.test", postmaster: "ops@acme.test"}
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from inbox.mail.address import Address
from inbox.plugin import (
    Defer,
    InboxError,
    Plugin,
    PluginSettings,
    Recipient,
    Redirect,
    Reject,
    Resolution,
    Resolved,
    Services,
    Transaction,
    Verdict,
    hookimpl,
)

__version__ = "1.0.0"

_POSTMASTER = "postmaster"


class Settings(PluginSettings):
    """Recipients of mail to unknown users and to postmaster, and the limit of recipients."""

    catch_all: str | None = Field(
        None, description="Address of this tenant that receives mail to unknown users.", examples=["office@acme.test"]
    )
    unknown: Literal["reject", "defer"] = Field(
        "reject", description="Reply for an unknown user; use defer while accounts are being moved here."
    )
    disabled: Literal["defer", "reject"] = Field(
        "defer",
        description="Reply for a disabled account: with defer, its mail arrives if it is enabled again while senders "
        "retry (some days); with reject, senders get an error at once.",
    )
    postmaster: str | None = Field(
        None,
        description="Address of this tenant that receives mail to postmaster@ of every domain without such a user or "
        "alias. RFC 5321 §4.5.1 requires postmaster@ to be accepted: without this setting, its mail goes to the "
        "catch-all, or to the tenant's oldest active account.",
        examples=["ops@acme.test"],
    )
    forward_outside: bool = Field(
        False,
        description="Let mail leave for other servers, through aliases with targets there and through Redirect. The "
        "receiving server judges this server by everything that is forwarded.",
    )
    max_recipients: int = Field(
        100,
        ge=1,
        le=100_000,
        description="Recipients of one message in this tenant; RFC 5321 §4.5.3.1.8 requires at least 100.",
        json_schema_extra={"env": "SMTP_INBOUND_MAX_RCPT_TO"},
    )

    @field_validator("catch_all", "postmaster")
    @classmethod
    def _address(cls, value: str | None) -> str | None:
        if value is None:
            return None
        try:
            return Address.parse(value).key
        except InboxError as error:
            raise ValueError(str(error)) from error


class Recipients(Plugin):
    """Resolves each recipient of a hosted domain."""

    gives = (Resolved,)
    needs = ()
    #: Keeps running when a tenant's policy is in shadow mode or off: without it no recipient gets mail.
    essential = True
    shareable = False
    on_error = "defer"
    timeout = 10.0

    def __init__(self, settings: Settings, services: Services) -> None:
        self.settings = settings
        self._directory = services.directory
        self._log = services.log

    @hookimpl
    async def rcpt(self, tx: Transaction, recipient: Recipient) -> Verdict | None:
        """Resolves the address, or refuses it. Raises StoreUnavailable."""
        if len(tx.recipients) >= self.settings.max_recipients:
            # RFC 5321 §4.5.3.1.10: 452, so that the client sends the rest in another transaction.
            return Defer(452, "4.5.3", "Too many recipients, send the rest in another message")
        if not recipient.tenant:
            return None  # Not a hosted domain: relaying is not decided here.
        if recipient.facts.get(Resolved) is not None:
            return None  # The server knows where it goes: a bounce of a message that it forwarded.
        address = recipient.effective
        found = await self._directory.resolve(recipient.tenant, address.key)
        if found.accounts or (found.forwards and self.settings.forward_outside):
            self._file(recipient, found)
            return None
        if found.forwards:
            # The alias was made while forwarding was allowed: the operator may allow it again.
            self._log.error("forwarding_not_allowed", address=address.key, tenant=recipient.tenant_name)
            return Defer(451, "4.7.1", "Forwarding is not allowed here, try again later")
        if address.local.casefold() == _POSTMASTER:
            return await self._postmaster(recipient)
        if found.disabled:
            return self._disabled()
        if self.settings.catch_all:
            return await self._stand_in(recipient, self.settings.catch_all)
        if self.settings.unknown == "defer":
            return Defer(450, "4.1.1", "No such user here at the moment")
        return Reject(550, "5.1.1", "No such user here")

    def _disabled(self) -> Verdict:
        if self.settings.disabled == "reject":
            return Reject(550, "5.2.1", "This mailbox is disabled")
        return Defer(450, "4.2.1", "This mailbox is disabled, try again later")

    async def _postmaster(self, recipient: Recipient) -> Verdict | None:
        """RFC 5321 §4.5.1: postmaster@ is always accepted."""
        instead = self.settings.postmaster or self.settings.catch_all
        if instead is None:
            # The domain's own catch-all.
            found = await self._directory.resolve(recipient.tenant, f"@{recipient.effective.domain}")
            if found.accounts:
                self._file(recipient, found)
                return None
            instead = await self._directory.first_account(recipient.tenant)
        if instead is not None:
            return await self._stand_in(recipient, instead)
        self._log.error("recipients_no_postmaster", tenant=recipient.tenant_name)
        return Defer(451, "4.3.5", "This domain has no account yet, try again later")

    async def _stand_in(self, recipient: Recipient, instead: str) -> Verdict:
        """Redirects the recipient's mail to an address of the settings."""
        found = await self._directory.resolve(recipient.tenant, instead)
        if not found.accounts:
            # The operator's mistake, not the peer's: a rejection would lose mail that the setting is meant to keep.
            self._log.error("recipients_stand_in_unknown", address=instead, tenant=recipient.tenant_name)
            return Defer(451, "4.3.5", "This domain's mail is not set up correctly, try again later")
        self._file(recipient, found)
        return Redirect(instead)

    def _file(self, recipient: Recipient, found: Resolution) -> None:
        allowed = self.settings.forward_outside
        forwards = found.forwards if allowed else ()
        recipient.facts.put(Resolved(found.accounts, found.detail, found.via, forwards, allowed))
