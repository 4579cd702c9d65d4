"""The schema of the GraphQL API."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Annotated, Any, Final

import strawberry
from graphql import DocumentNode
from starlette.requests import Request
from strawberry.extensions import SchemaExtension
from strawberry.types import ExecutionContext, Info

from inbox.flow.sending.batch import Result, read_batch, send_batch
from inbox.flow.sending.callers import Caller
from inbox.flow.sending.errors import Kind, RequestRefused
from inbox.flow.sending.request import read_request
from inbox.flow.sending.sending import Sent
from inbox.server.http.api.services import ApiServices, session_of
from inbox.server.http.api.views import moment, recipient_view


@dataclass(slots=True)
class Context:
    """The inputs of the resolvers of one request."""

    services: ApiServices
    caller: Caller
    request: Request
    document: DocumentNode


@strawberry.input(description="A further header field.")
class HeaderInput:
    name: str
    value: str


@strawberry.input(description="A file. contentId: the HTML text shows it with cid:, and it is not listed.")
class AttachmentInput:
    filename: str
    content: Annotated[str, strawberry.argument(description="Base64 (RFC 4648 section 4).")]
    content_type: str | None = None
    content_id: str | None = None


@strawberry.input(description="One message.")
class SendInput:
    from_: str = strawberry.field(name="from", description="An address of the caller, with or without a name.")
    to: list[str] | None = None
    cc: list[str] | None = None
    bcc: list[str] | None = None
    reply_to: list[str] | None = None
    subject: str = ""
    text_body: str | None = None
    html_body: str | None = None
    headers: list[HeaderInput] | None = None
    attachments: list[AttachmentInput] | None = None
    tags: list[str] | None = None
    send_at: str | None = strawberry.field(default=None, description="RFC 3339, for example 2026-12-24T18:00:00Z.")
    idempotency_key: str | None = None
    actor_account: str | None = None
    shared_inbox: str | None = None


@strawberry.type(description="A message that was accepted: it is durable, and delivery goes on.")
class SentMessage:
    id: strawberry.ID
    recipients: list[str]
    explain_id: str = strawberry.field(description="The id for inbox explain.")


@strawberry.enum(description="What became of a message for one recipient.")
class Status(Enum):
    ACCEPTED = "accepted"
    SCHEDULED = "scheduled"
    QUEUED = "queued"
    DELIVERED = "delivered"
    FAILED = "failed"


@strawberry.type
class Recipient:
    address: str
    status: Status
    at: str | None
    attempts: int
    reply: str | None


@strawberry.type(description="A message that the caller sent.")
class Message:
    id: strawberry.ID
    accepted_at: str | None
    from_: str = strawberry.field(name="from")
    recipients: list[Recipient]
    explain_id: str


@strawberry.type(description="The caller.")
class CallerInfo:
    tenant: str
    name: str


def _caller(info: Info[Context, None]) -> CallerInfo:
    caller = info.context.caller
    return CallerInfo(tenant=caller.tenant_name, name=caller.name)


async def _send_email(  # noqa: PLR0913, PLR0917 - users know this signature
    info: Info[Context, None],
    from_: Annotated[str, strawberry.argument(name="from")],
    to: list[str],
    subject: str,
    text_body: str | None = None,
    html_body: str | None = None,
    idempotency_key: str | None = None,
    actor_account: str | None = None,
    shared_inbox: str | None = None,
    cc: list[str] | None = None,
    bcc: list[str] | None = None,
    reply_to: list[str] | None = None,
    headers: list[HeaderInput] | None = None,
    attachments: list[AttachmentInput] | None = None,
    tags: list[str] | None = None,
    send_at: str | None = None,
) -> bool:
    given = SendInput(
        from_=from_, to=to, cc=cc, bcc=bcc, reply_to=reply_to, subject=subject, text_body=text_body,
        html_body=html_body, headers=headers, attachments=attachments, tags=tags, send_at=send_at,
        idempotency_key=idempotency_key, actor_account=actor_account, shared_inbox=shared_inbox,
    )  # fmt: skip
    await _sent(info.context, given)
    return True


async def _send(info: Info[Context, None], input: SendInput) -> SentMessage:  # noqa: A002
    sent = await _sent(info.context, input)
    return SentMessage(id=strawberry.ID(sent.id), recipients=list(sent.recipients), explain_id=sent.id)


async def _sent(context: Context, given: SendInput) -> Sent:
    context.caller.check("send")
    session = session_of(context.services, context.request)
    return await context.services.sending.send(context.caller, read_request(values_of(given)), session)


#: Names of the arguments and the names that a request has for them.
_NAMES: Final = {
    "from_": "from", "to": "to", "cc": "cc", "bcc": "bcc", "reply_to": "replyTo", "subject": "subject",
    "text_body": "textBody", "html_body": "htmlBody", "tags": "tags", "send_at": "sendAt",
    "idempotency_key": "idempotencyKey", "actor_account": "actorAccount", "shared_inbox": "sharedInbox",
}  # fmt: skip


def values_of(given: SendInput) -> dict[str, Any]:
    """The input as the values of a request."""
    values = {name: value for field, name in _NAMES.items() if (value := getattr(given, field)) is not None}
    if given.headers is not None:
        values["headers"] = [{"name": each.name, "value": each.value} for each in given.headers]
    if given.attachments is not None:
        values["attachments"] = [
            {
                "filename": each.filename,
                "content": each.content,
                "contentType": each.content_type,
                "contentId": each.content_id,
            }
            for each in given.attachments
        ]
    return values


async def _message(info: Info[Context, None], id: strawberry.ID) -> Message | None:  # noqa: A002
    context = info.context
    try:
        found = await context.services.messages.get(context.caller, str(id))
    except RequestRefused as refused:
        if refused.kind is Kind.NOT_FOUND:
            return None
        raise
    recipients = [
        Recipient(
            address=each.address, status=Status(each.status), at=view["at"], attempts=each.attempts, reply=view["reply"]
        )
        for each in found.recipients
        for view in (recipient_view(each),)
    ]
    return Message(
        id=strawberry.ID(found.id), accepted_at=moment(found.accepted_at), from_=found.sender, recipients=recipients,
        explain_id=found.id,
    )  # fmt: skip


@strawberry.enum(description="STRICT: one invalid message refuses the whole batch.")
class BatchMode(Enum):
    PERMISSIVE = "permissive"
    STRICT = "strict"


@strawberry.type(description="The answer for one message of a batch: a message that was accepted, or an error.")
class BatchResult:
    sent: SentMessage | None
    code: str | None
    message: str | None
    explain_id: str | None


async def _send_batch(
    info: Info[Context, None], messages: list[SendInput], mode: BatchMode = BatchMode.PERMISSIVE
) -> list[BatchResult]:
    context = info.context
    services, request = context.services, context.request
    requests = read_batch([values_of(each) for each in messages], strict=mode is BatchMode.STRICT)
    results = await send_batch(
        services.sending, context.caller, requests, lambda: session_of(services, request, own_id=True)
    )
    return [_batch_result(each) for each in results]


def _batch_result(result: Result) -> BatchResult:
    if isinstance(result, RequestRefused):
        return BatchResult(sent=None, code=result.code_name, message=result.text, explain_id=result.explain_id or None)
    sent = SentMessage(id=strawberry.ID(result.id), recipients=list(result.recipients), explain_id=result.id)
    return BatchResult(sent=sent, code=None, message=None, explain_id=None)


@strawberry.type
class Query:
    message: Message | None = strawberry.field(
        resolver=_message, description="A message that the caller sent; null: there is none with this id."
    )
    caller: CallerInfo = strawberry.field(resolver=_caller, description="In whose name the request is made.")


@strawberry.type
class Mutation:
    send_email: bool = strawberry.mutation(resolver=_send_email, description="Sends one message; true: it is durable.")
    send_batch: list[BatchResult] = strawberry.mutation(
        resolver=_send_batch, description="Sends up to 500 messages; one answer for each, in their order."
    )
    send: SentMessage = strawberry.mutation(resolver=_send, description="Sends one message.")


class _Prepared(SchemaExtension):
    """Hands over the document, which is validated already (:mod:`inbox.server.http.api.documents`)."""

    def on_operation(self) -> Iterator[None]:
        self.execution_context.graphql_document = self.execution_context.context.document
        self.execution_context.validation_rules = ()
        yield


class Schema(strawberry.Schema):
    """The schema; the HTTP part logs errors, so it prints none."""

    def process_errors(self, errors: list[Any], execution_context: ExecutionContext | None = None) -> None:
        """See strawberry."""


SCHEMA: Final = Schema(Query, Mutation, extensions=[_Prepared])
