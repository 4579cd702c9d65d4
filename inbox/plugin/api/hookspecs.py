"""Hooks of plugins, one for each stage. A hook takes only the arguments that it needs; their names are fixed.

A hook is ``def`` or ``async def``. ``def`` is for work that does not wait: it runs on the event loop and is interrupted
when it takes longer than half a second. Work that waits is ``async def``; blocking work goes through
``services.run_blocking``.

A message that one tenant's policy refuses and another tenant accepts may go into the first tenant's quarantine, and be
released from there. A plugin that must remove something from such a message has a method ``at_least(tx)``, which
returns edits: it is called if the hook ``data`` is not called because the outcome is settled, or if that hook fails.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Final, TypeVar, overload

import pluggy

from inbox.plugin.api.context import Delivery, Failure, Identity, Notification, Recipient, Session, Transaction
from inbox.policy.verdicts import HookResult

PROJECT: Final = "inbox"
hookspec = pluggy.HookspecMarker(PROJECT)
_hookimpl = pluggy.HookimplMarker(PROJECT)
#: A method that is a hook: ``def`` or ``async def``.
HookMethod = TypeVar("HookMethod", bound=Callable[..., HookResult | Coroutine[Any, Any, HookResult]])


@overload
def hookimpl(function: HookMethod) -> HookMethod: ...


@overload
def hookimpl(*, specname: str) -> Callable[[HookMethod], HookMethod]: ...


def hookimpl(function: Callable[..., Any] | None = None, *, specname: str | None = None) -> Callable[..., Any]:
    """Marks a method of a plugin as the hook of its name, or as the hook ``specname``."""
    return _hookimpl(function, specname=specname)


class Hooks:
    """One method for each hook, with its arguments and the opinions that it may return."""

    @hookspec
    def connect(self, session: Session) -> HookResult:
        """TCP is accepted (after PROXY), the banner is not sent yet. May return: Reject, Defer."""

    @hookspec
    def helo(self, session: Session) -> HookResult:
        """After EHLO, HELO or LHLO; again after STARTTLS. May return: Reject, Defer."""

    @hookspec
    def auth(self, session: Session, identity: Identity) -> HookResult:
        """The credentials are right; the success reply is not sent yet. May return: Reject, Defer."""

    @hookspec
    def mail(self, tx: Transaction) -> HookResult:
        """MAIL FROM. May return: Reject, Defer."""

    @hookspec
    def rcpt(self, tx: Transaction, recipient: Recipient) -> HookResult:
        """Each RCPT TO, before its reply; runs under the recipient's tenant. May return: Reject, Defer, Redirect."""

    @hookspec
    def data(self, tx: Transaction) -> HookResult:
        """The message is complete and not accepted yet; once per tenant. May return: all verdicts, scores and edits."""

    @hookspec
    def store(self, delivery: Delivery) -> HookResult:
        """One recipient's copy, before it is stored. May return: Reject, Defer, Transform, FileInto, AddFlags."""

    @hookspec
    def deliver(self, delivery: Delivery) -> HookResult:
        """A delivery begins: into a mailbox, or one outbound attempt (``delivery.kind``). May return: Defer, Reject,
        and for an outbound attempt AddHeader (a signature, which all later attempts keep), Via (another way) and
        DropRecipient."""

    @hookspec
    def bounce(self, failure: Failure) -> HookResult:
        """A delivery to another server failed permanently; once for each recipient, before the sender is notified.
        Also for a failure or a complaint that is reported after the delivery (``failure.stage``). May return: Classify,
        Suppress, DropDsn."""

    @hookspec
    def notify(self, notification: Notification) -> HookResult:
        """The sender of a message to another server is to be notified (RFC 3464): once for each kind of notification of
        a job; again if it could not be stored. May return: DropDsn, WriteDsn."""
