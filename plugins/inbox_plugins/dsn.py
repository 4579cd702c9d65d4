"""DSN: which notifications the senders of a tenant get, and how they are written.

Returns at: notify (DropDsn, WriteDsn).
Kinds:      ``failed``, ``delayed`` and ``relayed``; those that are not in ``send`` are dropped. A sender who asks for
            none (NOTIFY=NEVER) gets none in any case.
Text:       ``texts`` by kind, or by the category of a failure (plugin bounce_rules), in front of the server's own, in
            your language. The lines about each recipient, and the part for programs (RFC 3464), stay as they are.
On error:   the notification is sent as without this plugin.

When a sender is warned of a delay is ``outbound.delay_warning`` of the policy, for each level of the policy; this
plugin drops such warnings, or changes their text.

An example::

    plugins:
      dsn:
        send: [failed, delayed]
        headers_only: true
        copy_to: postmaster@acme.test
        texts:
          failed: "Ihre Nachricht konnte nicht zugestellt werden. Hilfe: https://acme.test/mail"
          quota: "Das Postfach des Empfängers ist voll."
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from inbox.mail.address import Address
from inbox.plugin import DropDsn, InboxError, Notification, Plugin, PluginSettings, Services, WriteDsn, hookimpl

__version__ = "1.0.0"

Kind = Literal["failed", "delayed", "relayed", "delivered"]
_TEXT = 2000


class Settings(PluginSettings):
    """The notifications of a tenant's senders."""

    send: list[Kind] = Field(
        ["failed", "delayed", "relayed", "delivered"],
        max_length=4,
        description="The kinds that are sent.",
        examples=[["failed"]],
    )
    headers_only: bool = Field(
        False, description="Return the header section only, even if the sender asks for the message (RET=FULL)."
    )
    copy_to: str = Field(
        "",
        description="An address of the tenant that gets a copy of each notification about a failure; empty: none.",
        examples=["postmaster@acme.test"],
    )
    texts: dict[
        Literal[
            "failed", "delayed", "relayed", "delivered", "address", "domain", "policy", "quota", "content",
            "reputation", "transient",
        ],
        str,
    ] = Field(
        default_factory=dict,
        description="Texts in front of the server's own, by kind or by category of a failure. A notification has the "
        "text of its kind, and those of the categories of its recipients.",
        examples=[{"quota": "Das Postfach des Empfängers ist voll."}],
    )  # fmt: skip

    @field_validator("copy_to")
    @classmethod
    def _address(cls, value: str) -> str:
        try:
            return Address.parse(value).key if value else ""
        except InboxError as error:
            raise ValueError(str(error)) from error

    @field_validator("texts")
    @classmethod
    def _short(cls, value: dict[str, str]) -> dict[str, str]:
        for name, text in value.items():
            if len(text) > _TEXT:
                raise ValueError(f"the text {name} has {len(text)} characters; at most {_TEXT} are allowed")
        return value


class Dsn(Plugin):
    """Drops notifications, or changes how they are written."""

    def __init__(self, settings: Settings, services: Services) -> None:  # noqa: ARG002 - the engine's signature
        self._settings = settings

    @hookimpl
    def notify(self, notification: Notification) -> DropDsn | WriteDsn:
        """Returns the form of the notification."""
        settings, kind = self._settings, notification.kind
        if kind not in settings.send:
            return DropDsn(f"notifications of the kind {kind} are off")
        categories = dict.fromkeys(notification.categories if kind == "failed" else ())
        texts = [text for name, text in settings.texts.items() if name == kind]
        texts += [text for name, text in settings.texts.items() if name in categories]
        copy_to = settings.copy_to if kind == "failed" else ""
        return WriteDsn("\n\n".join(texts)[:5000], settings.headers_only, copy_to)
