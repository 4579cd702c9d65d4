"""The description of the REST API as OpenAPI 3.1: what a request may have, and every answer."""

from __future__ import annotations

from functools import cache
from typing import Any, Final, get_args

from inbox import __version__
from inbox.base.limits import SUBMITTED_ATTACHMENT_OCTETS, SUBMITTED_MESSAGE_OCTETS
from inbox.flow.sending import request as bounds
from inbox.flow.sending.batch import MOST_MESSAGES
from inbox.flow.sending.errors import Kind
from inbox.flow.sending.status import Status
from inbox.flow.sending.suppressions import DAYS, MOST_OF_PAGE, REASON_CHARACTERS
from inbox.server.http.api.problems import STATUS_OF
from inbox.store.ports.idempotency import KEY_OCTETS

Schema = dict[str, Any]

_ADDRESS: Final[Schema] = {
    "type": "string",
    "maxLength": 1300,
    "description": "One address, with or without a name: `Ann <ann@example.org>`.",
    "examples": ["ann@example.org"],
}
#: Kinds of errors that every operation may answer.
_ALWAYS: Final = (
    Kind.MALFORMED, Kind.UNAUTHENTICATED, Kind.FORBIDDEN, Kind.LIMITED, Kind.UNAVAILABLE,
)  # fmt: skip
_MEANING: Final = {
    Kind.MALFORMED: "The body is not JSON.",
    Kind.UNAUTHENTICATED: "No valid API key or app password.",
    Kind.FORBIDDEN: "The caller may not do this, or may not use this sender.",
    Kind.NOT_FOUND: "There is no such object of this tenant.",
    Kind.CONFLICT: "A request with this idempotency key is in progress.",
    Kind.TOO_LARGE: "The request or the message is too large.",
    Kind.MEDIA_TYPE: "Content-Type is not application/json.",
    Kind.INVALID: "A field is wrong, or the message or a recipient is refused; nothing was sent.",
    Kind.LIMITED: "A quota is used up, or the client was not authenticated too often.",
    Kind.UNAVAILABLE: "A local problem of the server; with an idempotency key the request may be repeated safely.",
}


def _text(most: int, description: str) -> Schema:
    return {"type": ["string", "null"], "maxLength": most, "description": description}


def _list(of: Schema, most: int, description: str) -> Schema:
    return {"type": ["array", "null"], "items": of, "maxItems": most, "description": description}


def _object(properties: Schema, required: list[str], description: str, **more: Any) -> Schema:
    return {
        "type": "object", "properties": properties, "required": required, "description": description,
        "additionalProperties": False, **more,
    }  # fmt: skip


def _one_or_more(description: str) -> Schema:
    several = {"type": "array", "items": _ADDRESS, "maxItems": bounds.MOST_RECIPIENTS}
    return {"anyOf": [_ADDRESS, several, {"type": "null"}], "description": description}


def _message() -> Schema:
    return _object(
        {
            "from": {**_ADDRESS, "description": "The sender: an address of the tenant, or of the account."},
            "to": _one_or_more("Recipients. A message has at least one in to, cc or bcc."),
            "cc": _one_or_more("Recipients of a copy."),
            "bcc": _one_or_more("Recipients whom the others do not see."),
            "replyTo": _one_or_more("Addresses for answers."),
            "subject": _text(bounds.SUBJECT_CHARACTERS, "One line."),
            "textBody": _text(SUBMITTED_MESSAGE_OCTETS, "The text without formatting."),
            "htmlBody": _text(SUBMITTED_MESSAGE_OCTETS, "The text as HTML."),
            "headers": {
                "type": ["object", "null"],
                "maxProperties": bounds.MOST_HEADERS,
                "additionalProperties": {"type": "string", "maxLength": bounds.HEADER_CHARACTERS},
                "description": "Further header fields by name. Fields that the server sets are not allowed.",
            },
            "attachments": _list(
                {"$ref": "#/components/schemas/Attachment"}, bounds.MOST_ATTACHMENTS, "Files."
            ),
            "tags": _list(
                {"type": "string", "pattern": bounds.TAG_PATTERN, "maxLength": bounds.TAG_CHARACTERS},
                bounds.MOST_TAGS, "Words that are stored with the message, and are not part of it.",
            ),
            "sendAt": {
                "type": ["string", "null"], "format": "date-time",
                "description": "The time of sending; the past: now. Recipients at domains of this server cannot wait.",
            },
            "idempotencyKey": {
                "type": ["string", "null"], "minLength": 1, "maxLength": KEY_OCTETS, "pattern": "^[!-~]+$",
                "description": "Or the header field Idempotency-Key. The message is sent once with this key.",
            },
            "actorAccount": {
                "type": ["string", "null"], "maxLength": 900,
                "description": "The account in whose name a program sends.",
            },
            "sharedInbox": {
                "type": ["string", "null"], "maxLength": 900,
                "description": "The shared inbox that `from` belongs to; actorAccount is a member that may send as it.",
            },
        },
        ["from"],
        "One message.",
    )  # fmt: skip


def _attachment() -> Schema:
    octets = SUBMITTED_ATTACHMENT_OCTETS // 3 * 4 + 4
    return _object(
        {
            "filename": {"type": "string", "maxLength": 1000, "description": "Folders are removed from it."},
            "content": {"type": "string", "contentEncoding": "base64", "maxLength": octets},
            "contentType": _text(1000, "The media type; without one, application/octet-stream."),
            "contentId": _text(200, "The HTML text shows the file with `cid:` and this id."),
        },
        ["filename", "content"],
        "One file of a message.",
    )


def _schemas() -> Schema:
    text: Schema = {"type": "string"}
    when: Schema = {"type": "string", "format": "date-time"}
    return {
        "Message": _message(),
        "Attachment": _attachment(),
        "Sent": _object(
            {
                "id": {**text, "description": "The id of the message."},
                "recipients": {"type": "array", "items": text},
                "explainId": {**text, "description": "The id for `inbox explain`."},
            },
            ["id", "recipients", "explainId"],
            "A message that was accepted: it is durable, and delivery goes on.",
        ),
        "Problem": _object(
            {
                "type": text, "title": text, "status": {"type": "integer"}, "detail": text,
                "code": {**text, "description": "The error for programs."},
                "errors": {"type": "array", "items": {"$ref": "#/components/schemas/FieldError"}},
                "explainId": text, "requestId": text,
            },
            ["type", "title", "status", "detail"],
            "An error (RFC 9457).",
            additionalProperties=True,
        ),
        **_batch_schemas(text),
        **_status_schemas(text, when),
        **_suppression_schemas(text, when),
        "FieldError": _object(
            {"field": text, "code": text, "message": text}, ["field", "code", "message"], "One mistake in a request."
        ),
    }  # fmt: skip


def _batch_schemas(text: Schema) -> Schema:
    return {
        "Batch": _object(
            {
                "messages": {
                    "type": "array", "minItems": 1, "maxItems": MOST_MESSAGES,
                    "items": {"$ref": "#/components/schemas/Message"},
                },
                "mode": {
                    "enum": ["permissive", "strict"], "default": "permissive",
                    "description": "strict: a message with an invalid field refuses the whole batch.",
                },
                "idempotencyKey": {"type": ["string", "null"], "maxLength": KEY_OCTETS, "pattern": "^[!-~]+$"},
            },
            ["messages"],
            "Several messages.",
        ),
        "BatchResult": _object(
            {
                "results": {
                    "type": "array",
                    "items": _object(
                        {
                            "status": {"type": "integer", "description": "202, or the status of the error."},
                            "id": text, "recipients": {"type": "array", "items": text}, "explainId": text,
                            "code": text, "detail": text,
                            "errors": {"type": "array", "items": {"$ref": "#/components/schemas/FieldError"}},
                        },
                        ["status"],
                        "As for one message.",
                    ),
                }
            },
            ["results"],
            "An answer for each message, in their order.",
        ),
    }  # fmt: skip


def _status_schemas(text: Schema, when: Schema) -> Schema:
    return {
        "MessageStatus": _object(
            {
                "id": text, "acceptedAt": when, "from": text,
                "recipients": {
                    "type": "array",
                    "items": _object(
                        {
                            "address": text,
                            "status": {
                                "enum": list(get_args(Status)),
                                "description": "accepted: another tenant of this server has the message.",
                            },
                            "at": {**when, "type": ["string", "null"]},
                            "attempts": {"type": "integer"},
                            "reply": {"type": ["string", "null"], "description": "The last reply of another server."},
                        },
                        ["address", "status", "at", "attempts", "reply"],
                        "The state of one recipient.",
                    ),
                },
                "explainId": text,
            },
            ["id", "acceptedAt", "from", "recipients", "explainId"],
            "The state of a message.",
        ),
    }  # fmt: skip


def _suppression_schemas(text: Schema, when: Schema) -> Schema:
    return {
        "NewSuppression": _object(
            {
                "target": {**text, "maxLength": 1000, "description": "An address or a domain."},
                "reason": _text(REASON_CHARACTERS, "The reason, which the sender of a refused message reads."),
                "days": {"type": ["integer", "null"], "minimum": 1, "maximum": DAYS, "description": "Until it ends."},
                "active": {"type": "boolean", "default": True, "description": "false: mail is always sent."},
            },
            ["target"],
            "An entry to be added.",
        ),
        "Suppression": _object(
            {
                "target": text, "scope": {"enum": ["address", "domain"]}, "active": {"type": "boolean"},
                "reason": text, "source": text, "createdAt": {**when, "type": ["string", "null"]},
                "expiresAt": {**when, "type": ["string", "null"]},
            },
            ["target", "scope", "active", "reason", "source", "createdAt", "expiresAt"],
            "An address or a domain to which the tenant sends no mail.",
        ),
        "Suppressions": _object(
            {
                "suppressions": {"type": "array", "items": {"$ref": "#/components/schemas/Suppression"}},
                "after": {"type": ["string", "null"], "description": "For the next page; null: this is the last one."},
            },
            ["suppressions", "after"],
            "A page of the list.",
        ),
    }  # fmt: skip


def _problems(*kinds: Kind) -> Schema:
    content = {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}}
    return {
        str(STATUS_OF[kind].value): {"description": _MEANING[kind], "content": content}
        for kind in sorted({*_ALWAYS, *kinds}, key=lambda kind: STATUS_OF[kind])
    }


def _json(name: str, description: str) -> Schema:
    return {
        "description": description,
        "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}},
    }


def _body(name: str) -> Schema:
    content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}}
    return {"required": True, "content": content}


_KEY_HEADER: Final[Schema] = {
    "name": "Idempotency-Key", "in": "header", "required": False,
    "schema": {"type": "string", "minLength": 1, "maxLength": KEY_OCTETS, "pattern": "^[!-~]+$"},
    "description": "Sends the message once, however often the request is repeated with this key.",
}  # fmt: skip


def _query(name: str, of: Schema, description: str) -> Schema:
    return {"name": name, "in": "query", "required": False, "schema": of, "description": description}


def _in_path(name: str, description: str) -> Schema:
    return {"name": name, "in": "path", "required": True, "schema": {"type": "string"}, "description": description}


def _operation(name: str, summary: str, description: str, responses: Schema, **more: Any) -> Schema:
    return {"operationId": name, "summary": summary, "description": description, "responses": responses, **more}


def _sending() -> Schema:
    """The operations that send."""
    refusals = _problems(Kind.CONFLICT, Kind.TOO_LARGE, Kind.MEDIA_TYPE, Kind.INVALID)
    return {
        "/v1/send": {
            "post": _operation(
                "send", "Send one message",
                "202: the message is durable and in the queue. All recipients are accepted or none.",
                {"202": _json("Sent", "The message is accepted."), **refusals},
                parameters=[_KEY_HEADER], requestBody=_body("Message"),
            )
        },
        "/v1/send/batch": {
            "post": _operation(
                "sendBatch", "Send up to 500 messages",
                "Each message is sent by itself and has its own answer. An idempotency key of the batch is a key for "
                "each of its messages.",
                {"200": _json("BatchResult", "An answer for each message."), **refusals},
                parameters=[_KEY_HEADER], requestBody=_body("Batch"),
            )
        },
    }  # fmt: skip


def _paths() -> Schema:
    target = _in_path("target", "An address or a domain.")
    limit = _query("limit", {"type": "integer", "minimum": 1, "maximum": MOST_OF_PAGE}, "Entries of the page.")
    after = _query("after", {"type": "string"}, "The last target of the page before.")
    return {
        **_sending(),
        "/v1/messages/{id}": {
            "get": _operation(
                "message", "Show what became of a message", "The state of each recipient, and the last reply.",
                {"200": _json("MessageStatus", "The state of the message."), **_problems(Kind.NOT_FOUND)},
                parameters=[_in_path("id", "The id of the message.")],
            )
        },
        "/v1/suppressions": {
            "get": _operation(
                "suppressions", "List suppressions", "Addresses and domains to which the tenant sends no mail.",
                {"200": _json("Suppressions", "A page of the list."), **_problems(Kind.INVALID)},
                parameters=[limit, after],
            ),
            "post": _operation(
                "suppress", "Add a suppression", "Replaces the entry for the same target.",
                {
                    "201": _json("Suppression", "The entry."),
                    **_problems(Kind.TOO_LARGE, Kind.MEDIA_TYPE, Kind.INVALID),
                },
                requestBody=_body("NewSuppression"),
            ),
        },
        "/v1/suppressions/{target}": {
            "delete": _operation(
                "allow", "Remove a suppression", "Mail to the target is sent again.",
                {"204": {"description": "The entry is removed."}, **_problems(Kind.NOT_FOUND, Kind.INVALID)},
                parameters=[target],
            )
        },
    }  # fmt: skip


@cache
def document() -> Schema:
    """The whole description."""
    return {
        "openapi": "3.1.0",
        "info": {"title": "inbox", "version": __version__, "description": "Sends mail for programs."},
        "security": [{"apiKey": []}, {"appPassword": []}],
        "paths": _paths(),
        "components": {
            "schemas": _schemas(),
            "securitySchemes": {
                "apiKey": {"type": "http", "scheme": "bearer", "description": "An API key: inbox apikey create."},
                "appPassword": {
                    "type": "http", "scheme": "basic",
                    "description": "An address and an app password for api: inbox account app-password add.",
                },
            },
        },
    }  # fmt: skip
