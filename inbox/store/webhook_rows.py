"""Encode the tries of webhook messages and the lists of their webhooks as text, for both databases."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import msgspec

from inbox.base.errors import LimitReached
from inbox.store.ports.webhooks import MOST_TRIES, WEBHOOKS, Try, WebhookEvent
from inbox.store.texts import clean

NO_TRIES = "[]"


def tries_to_text(tries: Sequence[Try]) -> str:
    """The last ``MOST_TRIES`` as JSON."""
    return msgspec.json.encode([(one.at, one.seconds, one.status, one.text) for one in tries[-MOST_TRIES:]]).decode()


def text_to_tries(text: str) -> tuple[Try, ...]:
    """The tries that :func:`tries_to_text` wrote."""
    return () if text == NO_TRIES else tuple(Try(*one) for one in msgspec.json.decode(text))


def with_try(tries: Sequence[Try], made: Try) -> str:
    """The tries with one more, as JSON."""
    return tries_to_text([*tries, Try(made.at, made.seconds, made.status, clean(made.text))])


def events_of(words: Sequence[str]) -> tuple[WebhookEvent, ...]:
    """The events of a stored webhook."""
    return cast("tuple[WebhookEvent, ...]", tuple(words))


def full() -> LimitReached:
    """The error about a tenant that has as many webhooks as it may have."""
    return LimitReached(f"a tenant may have {WEBHOOKS} webhooks: remove those that are not used")
