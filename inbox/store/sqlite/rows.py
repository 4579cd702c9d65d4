"""Conversion of rows to records and back."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from dataclasses import fields
from operator import attrgetter
from typing import Any, Final

import msgspec

from inbox.mail.index import MessageIndex
from inbox.mail.tenancy import Account, DomainOverrides, HostedDomain, Mailbox, Tenant
from inbox.store.packing import pack, readable
from inbox.store.ports.decisions import AlreadyFiled, DecisionRecord
from inbox.store.ports.messages import EmailRecord, Entry
from inbox.store.texts import clean

_encode_json = msgspec.json.encode
_decode_words = msgspec.json.Decoder(tuple[str, ...]).decode
_decode_already = msgspec.json.Decoder(tuple[AlreadyFiled, ...]).decode

EMPTY_WORDS: Final = "[]"


def words_to_text(words: Sequence[str]) -> str:
    """Returns a list of words as JSON."""
    return _encode_json(words).decode() if words else EMPTY_WORDS


def text_to_words(text: str) -> tuple[str, ...]:
    """Returns the list that :func:`words_to_text` wrote."""
    return () if text == EMPTY_WORDS else _decode_words(text)


# -- tenancy -------------------------------------------------------------------------------------------------

_FLAGS: Final = {
    "require_spf_pass",
    "require_dkim_pass",
    "require_dmarc_pass",
    "outbound_dnssec_validate",
    "plus_addressing_enabled",
}
OVERRIDE_FIELDS: Final = tuple(field.name for field in fields(DomainOverrides))
OVERRIDE_COLUMNS: Final = ", ".join(OVERRIDE_FIELDS)

ORGANIZATION: Final = "id, name, is_active, created_at"
ACCOUNT: Final = "id, organization, address, password_hash, is_active, created_at, scram, is_shared"
MAILBOX: Final = "id, organization, account, name, uid_validity, next_uid, modseq, special_use, parent"  # as in Mailbox


def tenant(row: Sequence[Any]) -> Tenant:
    return Tenant(row[0], row[1], bool(row[2]), row[3])


def account(row: Sequence[Any]) -> Account:
    return Account(row[0], row[1], row[2], row[3], bool(row[4]), row[5], row[6], bool(row[7]))


def mailbox(row: Sequence[Any]) -> Mailbox:
    return Mailbox(*row)


def hosts(db: sqlite3.Connection, tenant: str, fqdn: str) -> bool:
    """Whether the tenant hosts the domain now."""
    found = db.execute(
        'SELECT 1 FROM has_domain h JOIN domain d ON d.id = h."out" WHERE h."in" = ? AND d.fqdn = ? AND h.is_active',
        (tenant, fqdn),
    )
    return found.fetchone() is not None


def overrides_to_row(overrides: DomainOverrides) -> list[Any]:
    """Returns the values in the order of OVERRIDE_FIELDS."""
    row: list[Any] = []
    for name in OVERRIDE_FIELDS:
        value = getattr(overrides, name)
        if name == "dkim_headers" and value is not None:
            value = words_to_text(value)
        row.append(value)
    return row


def row_to_overrides(row: Sequence[Any]) -> DomainOverrides:
    values = dict(zip(OVERRIDE_FIELDS, row, strict=True))
    for name in _FLAGS:
        if values[name] is not None:
            values[name] = bool(values[name])
    if values["dkim_headers"] is not None:
        values["dkim_headers"] = text_to_words(values["dkim_headers"])
    return DomainOverrides(**values)


def hosted_domain(row: Sequence[Any]) -> HostedDomain:
    """Converts a row of fqdn, is_active, the tenant's columns, the override columns."""
    return HostedDomain(tenant(row[2:6]), row[0], row_to_overrides(row[6:]), bool(row[1]))


# -- mail ----------------------------------------------------------------------------------------------------

_EMAIL_FIELDS: Final = tuple(field.name for field in fields(EmailRecord))
_COLUMN_NAMES: Final = {"tenant": "organization", "from_": '"from"', "to": '"to"', "references": '"references"'}
_LISTS: Final = {"references", "from_", "reply_to", "to", "cc", "bcc", "tags"}
#: Strings that come from the message; the others are our own ids, words and numbers.
_STRANGERS: Final = ("message_id", "subject", "subject_normalized", "sender_address", "mime_root_ct", "snippet")
_TEXTS: Final = {"envelope", "body", "bodystructure", "sections", "header_block"}
EMAIL_COLUMNS: Final = ", ".join(_COLUMN_NAMES.get(name, name) for name in _EMAIL_FIELDS)
EMAIL_MARKS: Final = ", ".join("?" * len(_EMAIL_FIELDS))


def email_columns(prefix: str, *, texts: bool) -> str:
    """Returns the columns of ``email`` for a SELECT; without ``texts`` the large ones read as empty."""
    names = []
    for name in _EMAIL_FIELDS:
        if name in _TEXTS and not texts:
            names.append("x''")
        else:
            names.append(f"{prefix}.{_COLUMN_NAMES.get(name, name)}")
    return ", ".join(names)


def email_to_row(email: EmailRecord) -> list[Any]:
    """Returns the values in the order of EMAIL_COLUMNS."""
    row = list(_email_values(email))
    for place in _LIST_PLACES:
        words = row[place]
        row[place] = words_to_text([clean(word) for word in words]) if words else EMPTY_WORDS
    for place in _STRANGERS_PLACES:
        text = row[place]
        if text is not None:
            row[place] = clean(text)
    row[_MESSAGE_ID_PLACE] = row[_MESSAGE_ID_PLACE] or ""
    return row


def complete_email(connection: sqlite3.Connection, known: str, email: EmailRecord) -> None:
    """Adds the index to the record ``known`` of the same message, if it has none because the message was only queued;
    the caller holds the transaction."""
    row = email_to_row(email)
    values = [row[place] for place in _INDEX_PLACES]
    connection.execute(f"UPDATE email SET {_INDEX_MARKS} WHERE id = ? AND envelope = x''", (*values, known))


def row_to_email(row: Sequence[Any]) -> EmailRecord:
    values = list(row)
    for index in _LIST_PLACES:
        values[index] = () if values[index] == EMPTY_WORDS else _decode_words(values[index])
    values[_MESSAGE_ID_PLACE] = values[_MESSAGE_ID_PLACE] or None
    return EmailRecord(*values)


_email_values: Final = attrgetter(*_EMAIL_FIELDS)
_LIST_PLACES: Final = tuple(index for index, name in enumerate(_EMAIL_FIELDS) if name in _LISTS)
_STRANGERS_PLACES: Final = tuple(_EMAIL_FIELDS.index(name) for name in _STRANGERS)
_MESSAGE_ID_PLACE: Final = _EMAIL_FIELDS.index("message_id")
#: Fields that are read from the content of a message; the others do not depend on it, or are compared.
_INDEX: Final = tuple(field.name for field in fields(MessageIndex) if field.name != "message_id")
_INDEX_PLACES: Final = tuple(_EMAIL_FIELDS.index(name) for name in _INDEX)
_INDEX_MARKS: Final = ", ".join(f"{_COLUMN_NAMES.get(name, name)} = ?" for name in _INDEX)


def entry(row: Sequence[Any]) -> Entry:
    """Converts a row of uid, modseq, flags, keywords."""
    return Entry(row[0], row[1], row[2], text_to_words(row[3]))


# -- decisions -----------------------------------------------------------------------------------------------

DECISION: Final = "id, tenant, at, door, outcome, sender, recipients, peer, body, already_filed"


def add_decisions(
    connection: sqlite3.Connection, decisions: Sequence[DecisionRecord], bodies: Sequence[bytes] | None = None
) -> None:
    """Writes decision records; the caller holds the transaction. ``bodies`` are their bodies, if they are packed
    already."""
    packed = bodies if bodies is not None else [pack(d.body) for d in decisions]
    connection.executemany(
        f"INSERT OR REPLACE INTO decision ({DECISION}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (
                d.id,
                d.tenant,
                d.at,
                d.door,
                d.outcome,
                clean(d.sender),
                words_to_text([clean(recipient) for recipient in d.recipients]),
                d.peer,
                body,
                _encode_json(d.already_filed) if d.already_filed else None,
            )
            for d, body in zip(decisions, packed, strict=True)
        ],
    )


def decision(row: Sequence[Any]) -> DecisionRecord:
    id_, tenant, at, door, outcome, sender, recipients, peer, body, already = row
    return DecisionRecord(
        id_, tenant, at, door, outcome, sender, recipients_of(recipients), peer, readable(body), _already(already)
    )


def recipients_of(text: str) -> tuple[str, ...]:
    """Returns the recipients of a decision record; empty if the text is damaged, which must not hide the other
    records."""
    try:
        return text_to_words(text)
    except msgspec.DecodeError:
        return ()


def _already(text: bytes | None) -> tuple[AlreadyFiled, ...]:
    try:
        return () if text is None else _decode_already(text)
    except msgspec.DecodeError:
        return ()
