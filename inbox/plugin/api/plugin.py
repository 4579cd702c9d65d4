"""The base class of every plugin, with all attributes and methods that the engine uses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Literal

from inbox.base.errors import InboxError
from inbox.base.limits import HOOK_SECONDS
from inbox.plugin.api.context import Transaction
from inbox.plugin.api.services import Services
from inbox.plugin.api.settings import PluginSettings
from inbox.policy.stages import Stage
from inbox.policy.verdicts import Edit

#: Outcomes when a plugin fails.
OnErrorName = Literal["accept", "defer", "quarantine", "reject"]
#: The stages by their names.
StageName = Literal["connect", "helo", "auth", "mail", "rcpt", "data", "store", "deliver", "bounce", "notify"]


class PluginInvalid(InboxError):
    """A plugin cannot be loaded. ``str(error)`` says what is wrong and how to fix it."""


class Plugin:
    """Derive a plugin's class from this one. The engine makes one object for each different set of settings.

    A subclass has hooks (methods that :func:`~inbox.plugin.hookimpl` marks) and sets those of the attributes below that
    it needs. Every other name in its body starts with an underscore: the loader refuses public names that it does not
    know, because a misspelt attribute or hook would otherwise be ignored. Attributes of ``self`` may have any name.
    """

    #: Types of facts that it puts.
    gives: ClassVar[tuple[type, ...]] = ()
    #: Types of facts without which it cannot work: a policy that enables it must enable a plugin that gives them.
    needs: ClassVar[tuple[type, ...]] = ()
    #: Types of facts that it reads if another plugin gives them; they only set the order.
    after: ClassVar[tuple[type, ...]] = ()
    #: Whether its ``def`` hooks are called although the outcome is settled, for their edits of the message.
    always: ClassVar[bool] = False
    #: Whether it keeps running when the tenant's whole policy is in shadow mode or off.
    essential: ClassVar[bool] = False
    #: Whether a result at ``data`` depends on message and settings alone, so that tenants may share it.
    shareable: ClassVar[bool] = False
    #: Outcome when a hook fails, for all stages or stage by stage; stages that are not named mean ``defer``.
    on_error: ClassVar[OnErrorName | Mapping[StageName | Stage, OnErrorName]] = "defer"
    #: Seconds that one call of a hook may take: more than 0, at most 600.
    timeout: ClassVar[float] = HOOK_SECONDS
    #: The settings' model. A class ``Settings`` in the plugin's module is found without this.
    Settings: ClassVar[type[PluginSettings]] = PluginSettings

    def __init__(self, settings: Any, services: Services) -> None:
        """Called with the settings (an object of ``Settings``) and the services of the core."""

    @property
    def dependency(self) -> str | None:
        """External dependency, such as a service's address: objects with the same text share a circuit breaker.

        Read once, after :meth:`start`.
        """
        return None

    async def start(self) -> None:
        """Called once before the first hook, for at most 10 seconds."""

    async def close(self) -> None:
        """Called once when no policy uses the object any more, and when the server stops; for at most 10 seconds."""

    async def check(self) -> str:
        """Called by ``inbox doctor``: returns a sentence that says what works, or raises. Empty: nothing to report."""
        return ""

    def at_least(self, tx: Transaction) -> Edit | Sequence[Edit] | None:  # noqa: ARG002
        """Returns edits to make if the hook ``data`` is not called because the outcome is settled, or fails."""
        return None
