"""Headers: adds, replaces and removes header fields of accepted messages.

Returns at: data (AddHeader, DeleteHeader).
Order:      first the fields of ``remove`` are removed, then each of ``set`` replaces all fields of its name by one,
            then each of ``add`` is added in front.
Values:     text in any script (written as encoded-words where it is not ASCII). They may hold ``{id}`` (the
            transaction), ``{tenant}``, ``{door}`` (smtp, submission, lmtp, …), ``{peer}`` (the client's IP address)
            and ``{server}``; a literal brace is written ``{{`` or ``}}``.
Protected:  trace fields and signatures (Received, Return-Path, DKIM-Signature, …). A policy that names one is invalid
            unless ``allow_trace`` is set.
On error:   defer.

An example::

    plugins:
      headers:
        remove: [X-Originating-IP]
        set: {X-Spam-Flag: "NO"}
        add: {X-Received-By: "{server} for {tenant}"}
"""

from __future__ import annotations

import re
from string import Formatter
from typing import Annotated, Self

from pydantic import AfterValidator, Field, model_validator

from inbox.plugin import AddHeader, DeleteHeader, Opinion, Plugin, PluginSettings, Services, Transaction, hookimpl

__version__ = "1.0.0"

#: Fields of one policy; each is an edit of every message.
_MAX_FIELDS = 64
_MAX_VALUE = 500
#: RFC 5322 §2.2: field names are printable US-ASCII without the colon.
_NAME = re.compile(r"[!-9;-~]{1,76}\Z")
#: Control characters, and halves of surrogate pairs.
_UNFIT = re.compile("[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]")
_PLACEHOLDERS = frozenset({"id", "tenant", "door", "peer", "server"})
#: RFC 5321 §4.4 (trace), RFC 6376, RFC 8617, RFC 8601: forged or missing, they mislead readers.
_PROTECTED = frozenset(
    {
        "received", "return-path", "delivered-to", "received-spf", "authentication-results", "dkim-signature",
        "arc-seal", "arc-message-signature", "arc-authentication-results",
    }
)  # fmt: skip


def _name(name: str) -> str:
    if not _NAME.match(name):
        raise ValueError(f"{name[:80]!r} is not a valid header field name")
    return name


def _value(value: str) -> str:
    if _UNFIT.search(value) or len(value) > _MAX_VALUE:
        raise ValueError(f"a header field's value is one line of text of at most {_MAX_VALUE} characters")
    try:
        parts = list(Formatter().parse(value))
    except ValueError as error:
        raise ValueError(f"{error} (a literal brace is written {{{{ or }}}})") from error
    for _, placeholder, form, conversion in parts:
        if placeholder is not None and (placeholder not in _PLACEHOLDERS or form or conversion):
            raise ValueError(f"unknown placeholder {{{placeholder}}}; known are {', '.join(sorted(_PLACEHOLDERS))}")
    return value


Name = Annotated[str, AfterValidator(_name)]
Value = Annotated[str, AfterValidator(_value)]


class Settings(PluginSettings):
    """Header fields to add, replace and remove."""

    add: dict[Name, Value] = Field(
        {},
        max_length=_MAX_FIELDS,
        description="Fields that are added in front.",
        examples=[{"X-Received-By": "{server} for {tenant}"}],
    )
    set: dict[Name, Value] = Field(
        {},
        max_length=_MAX_FIELDS,
        description="Fields that are replaced: one with this value is added in front, all others are removed.",
        examples=[{"X-Spam-Flag": "NO"}],
    )
    remove: list[Name] = Field(
        [],
        max_length=_MAX_FIELDS,
        description="Fields that are removed, all of the name.",
        examples=[["X-Originating-IP"]],
    )
    allow_trace: bool = Field(False, description="Allow changes of trace and signature fields.")

    @model_validator(mode="after")
    def _leaves_the_trace(self) -> Self:
        if not self.allow_trace:
            for name in (*self.add, *self.set, *self.remove):
                if name.lower() in _PROTECTED or name.lower().startswith("resent-"):
                    raise ValueError(f"{name} is a trace or signature field; set allow_trace: true to change it")
        return self


class Headers(Plugin):
    """Edits the header section."""

    gives = ()
    needs = ()
    shareable = False
    on_error = "defer"
    timeout = 1.0

    def __init__(self, settings: Settings, services: Services) -> None:
        self.settings = settings
        self._server = services.server_name

    @hookimpl
    def data(self, tx: Transaction) -> list[Opinion]:
        """The edits, in the order of their application."""
        known = {
            "id": tx.id,
            "tenant": tx.tenant_name,
            "door": tx.session.door.value,
            "peer": str(tx.session.peer),
            "server": self._server,
        }
        edits: list[Opinion] = [DeleteHeader(name) for name in self.settings.remove]
        for name, value in self.settings.set.items():
            edits += (DeleteHeader(name), AddHeader(name, value.format_map(known)))
        edits += [AddHeader(name, value.format_map(known)) for name, value in self.settings.add.items()]
        return edits
