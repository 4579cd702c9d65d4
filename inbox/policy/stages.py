"""The stages of a message's life, in order. The names are fixed."""

from __future__ import annotations

from enum import StrEnum


class Stage(StrEnum):
    """Each value is the name of the hook that is called there."""

    CONNECT = "connect"
    HELO = "helo"
    AUTH = "auth"
    MAIL = "mail"
    RCPT = "rcpt"
    DATA = "data"
    STORE = "store"
    DELIVER = "deliver"
    BOUNCE = "bounce"
    NOTIFY = "notify"
