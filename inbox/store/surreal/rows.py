"""Conversion of rows to records and back. A field with its default value is omitted from the row: NONE and absent are
equal."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import MISSING, asdict, fields
from typing import Any, Final

from inbox.mail.tenancy import Account, DomainOverrides, HostedDomain, Mailbox, Tenant
from inbox.store.packing import readable
from inbox.store.ports.decisions import AlreadyFiled, DecisionRecord
from inbox.store.ports.ingest import Copy
from inbox.store.ports.messages import Column, EmailRecord, Entry, StoredMessage
from inbox.store.surreal.values import RecordId
from inbox.store.texts import clean, clean_or_none

Row = Mapping[str, Any]

# -- tenancy -------------------------------------------------------------------------------------------------


def organization_id(tenant: str) -> RecordId:
    return RecordId("organization", tenant)


def mailbox_id(mailbox: str) -> RecordId:
    return RecordId("mailbox", mailbox)


def address_id(address: str) -> RecordId:
    return RecordId("email_address", clean(address))


def domain_edge(fqdn: str) -> RecordId:
    return RecordId("has_domain", clean(fqdn))


def row_to_tenant(row: Row) -> Tenant:
    return Tenant(row["id"].key, row["name"], row["is_active"], row["created_at"])


def overrides_to_row(overrides: DomainOverrides) -> dict[str, Any]:
    """Returns all fields: a field that is None unsets that field of an existing edge."""
    row: dict[str, Any] = {}
    for one in fields(DomainOverrides):
        value = getattr(overrides, one.name)
        row[one.name] = clean(value) if isinstance(value, str) else value
    return row


def row_to_hosted_domain(row: Row) -> HostedDomain:
    """Converts a row of ``has_domain`` with the organization's row as ``organization``."""
    values = {one.name: row.get(one.name) for one in fields(DomainOverrides)}
    if values["dkim_headers"] is not None:
        values["dkim_headers"] = tuple(values["dkim_headers"])
    return HostedDomain(row_to_tenant(row["organization"]), row["id"].key, DomainOverrides(**values), row["is_active"])


def row_to_account(row: Row) -> Account:
    return Account(
        row["id"].key,
        row["organization"].key,
        row["address"],
        row["password_hash"],
        row["is_active"],
        row["created_at"],
        row.get("scram"),
        row.get("is_shared", False),
    )


def row_to_mailbox(row: Row) -> Mailbox:
    account, parent = row.get("account"), row.get("parent")
    return Mailbox(
        row["id"].key,
        row["organization"].key,
        account.key if account else None,
        row["name"],
        row["uid_validity"],
        row["next_uid"],
        row["modseq"],
        row.get("special_use"),
        parent.key if parent else None,
    )


# -- mail ----------------------------------------------------------------------------------------------------

_TEXTS: Final[tuple[Column, ...]] = ("envelope", "body", "bodystructure", "sections", "header_block")
_COLUMNS: Final = {"tenant": "organization", "from_": "from"}
#: Field of the record, name in the table, default (MISSING if it has no default).
_EMAIL_FIELDS: Final = tuple(
    (one.name, _COLUMNS.get(one.name, one.name), one.default)
    for one in fields(EmailRecord)
    if one.name not in (*_TEXTS, "id", "tenant")
)


def _cleaned(value: Any) -> Any:
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, tuple):
        return [clean(word) for word in value]
    return value


def content_key(email: EmailRecord) -> RecordId:
    """Returns the key by which a message is found again: tenant, content and Message-ID (as a digest, because it may be
    long)."""
    message_id = hashlib.sha256(clean(email.message_id or "").encode("utf-8", "surrogatepass")).hexdigest()[:32]
    return RecordId("email_content", (email.tenant, f"{email.content_hash}-{message_id}"))


def email_to_row(email: EmailRecord, copies: int) -> dict[str, Any]:
    """Returns the row of ``email``; its long fields are in :func:`texts_to_row`."""
    row: dict[str, Any] = {
        "id": email.id,
        "organization": organization_id(email.tenant),
        "copies": copies,
        "content": content_key(email),
        "text": RecordId("email_text", email.id),
        "ingest_status": "committed",
    }
    for name, column, default in _EMAIL_FIELDS:
        value = getattr(email, name)
        if default is MISSING or value != default:
            row[column] = _cleaned(value)
    return row


def texts_to_row(email: EmailRecord) -> dict[str, Any]:
    row: dict[str, Any] = {name: value for name in _TEXTS if (value := getattr(email, name))}
    row["id"] = email.id
    return row


def row_to_email(row: Row, texts: Row | None) -> EmailRecord:
    values: dict[str, Any] = {"id": row["id"].key, "tenant": row["organization"].key}
    for name, column, _ in _EMAIL_FIELDS:
        value = row.get(column)
        if value is not None:
            values[name] = tuple(value) if isinstance(value, list) else value
    # message_id has no default: absent means None.
    values.setdefault("message_id", None)
    if texts:
        values.update({name: texts[name] for name in _TEXTS if name in texts})
    return EmailRecord(**values)


# -- entries -------------------------------------------------------------------------------------------------

#: The SELECT list for :func:`row_to_entry`.
ENTRY: Final = "[uid, modseq, flags, keywords]"
#: Fields of an entry that its copies keep.
COPIED: Final = (
    "flags", "keywords", "status", "assignee", "tags", "priority", "due_at", "received_at", "prepended", "recipient",
    "reason", "size",
)  # fmt: skip


def entry_id(mailbox: str, uid: int) -> RecordId:
    return RecordId("has_email_delivery", (mailbox, uid))


def row_to_entry(row: list[Any]) -> Entry:
    return Entry(row[0], row[1], row[2], tuple(row[3]) if row[3] else ())


def copy_to_row(copy: Copy, size: int, received_at: float) -> dict[str, Any]:
    """Returns the fields of an entry that do not depend on its position."""
    return {
        "flags": int(copy.flags),
        "keywords": list(copy.keywords) or None,
        "status": copy.status,
        "received_at": received_at,
        "prepended": copy.prepended or None,
        "recipient": clean_or_none(copy.recipient),
        "reason": clean_or_none(copy.reason),
        "size": size + len(copy.prepended),
    }


def row_to_message(row: Row) -> StoredMessage:
    """Converts a row of an entry with ``email`` and, if requested, ``text``."""
    return StoredMessage(
        Entry(row["uid"], row["modseq"], row["flags"], tuple(row.get("keywords") or ())),
        row_to_email(row["email"], row.get("text")),
        row["received_at"],
        row.get("prepended") or b"",
        row.get("recipient"),
        row.get("reason"),
    )


#: Path from an entry to a column of ``Messages.columns``; absent octets are empty.
_COLUMN_PLACES: Final[Mapping[Column, str]] = {
    "modseq": "modseq",
    "size": "size",
    "received_at": "received_at",
    "blob_path": "in.blob_path",
    "prepended": "prepended ?? <bytes>''",
    **{name: f"in.text.{name} ?? <bytes>''" for name in _TEXTS},
}


def column_list(names: Sequence[Column]) -> str:
    """Returns the list for SELECT VALUE: the uid, then these columns."""
    return f"[{', '.join(['uid', *[_COLUMN_PLACES[name] for name in names]])}]"


# -- decisions -----------------------------------------------------------------------------------------------


def decision_to_row(decision: DecisionRecord) -> dict[str, Any]:
    """The body must be packed already (``inbox.store.packing``)."""
    return {
        "id": (clean(decision.id), decision.tenant),
        "tenant": decision.tenant,
        "at": decision.at,
        "door": decision.door,
        "outcome": decision.outcome,
        "sender": clean(decision.sender),
        "recipients": [clean(recipient) for recipient in decision.recipients],
        "peer": clean(decision.peer),
        "body": decision.body,
        "already_filed": [asdict(one) for one in decision.already_filed] or None,
    }


def row_to_decision(row: Row) -> DecisionRecord:
    return DecisionRecord(
        row["id"].key[0],
        row["tenant"],
        row["at"],
        row["door"],
        row["outcome"],
        row["sender"],
        tuple(row["recipients"]),
        row["peer"],
        readable(row["body"]),
        tuple(AlreadyFiled(**one) for one in row.get("already_filed") or ()),
    )
