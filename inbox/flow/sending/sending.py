"""The use case of sending: a request becomes a message, and takes the same way as one that a user submits.

All recipients are accepted or none. Once :meth:`Sending.send` has returned, the message is durable, with its jobs in
the queue and its idempotency key, which one database transaction writes together.
"""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Final

import msgspec

from inbox.base.clock import Clock
from inbox.base.errors import StoreError
from inbox.base.limits import SUBMITTED_MESSAGE_OCTETS
from inbox.flow.envelope import Envelope
from inbox.flow.sending.callers import Caller
from inbox.flow.sending.errors import FieldError, Kind, RequestRefused
from inbox.flow.sending.refusals import refused_by, unavailable
from inbox.flow.sending.request import SendRequest
from inbox.flow.submission.idempotency import Idempotency
from inbox.flow.submission.submission import Submission
from inbox.identity.directory import AddressDirectory
from inbox.mail.address import Address
from inbox.mail.compose import compose
from inbox.mail.content import MemoryContent
from inbox.mail.reply import Reply
from inbox.plugin.api.context import Identity, Session
from inbox.store.ports.idempotency import IdempotencyKey

#: A message up to this size is composed by the event loop, which is cheaper than a thread switch.
_AT_ONCE: Final = 64 * 1024
_NO_PARAMETERS: Final = frozenset[str]()


@dataclass(frozen=True, slots=True)
class Sent:
    """The answer to a request.

    Attributes:
        id: of the message; ``inbox explain`` shows its life under this id.
        recipients: all of them, in the order of the request.
        repeated: the message was accepted by an earlier request with the same idempotency key.
    """

    id: str
    recipients: tuple[str, ...]
    repeated: bool = False


class Sending:
    """Sends messages for callers of the API.

    Args:
        most_recipients: of one message.
        hold_seconds: returns the longest time until a message is sent; 0: messages cannot be scheduled.
    """

    def __init__(
        self,
        submission: Submission,
        idempotency: Idempotency,
        directory: AddressDirectory,
        clock: Clock,
        most_recipients: int,
        hold_seconds: Callable[[], int],
    ) -> None:
        self._submission = submission
        self._idempotency = idempotency
        self._directory = directory
        self._clock = clock
        self._most_recipients = most_recipients
        self._hold_seconds = hold_seconds

    async def send(self, caller: Caller, request: SendRequest, session: Session) -> Sent:
        """Sends one message; it is durable when this returns.

        Args:
            session: a new session of the request (``Door.API``). Its identity is set here.

        Raises:
            RequestRefused: nothing was sent.
        """
        caller.check("send")
        try:
            self._check_limits(request)
            session.identity = await self._identity(caller, request)
            if request.key is None:
                return await self._submitted(session, request, None)
            return await self._once(caller, session, request, request.key)
        except StoreError as error:
            raise unavailable() from error

    # -- idempotency

    async def _once(self, caller: Caller, session: Session, request: SendRequest, key: str) -> Sent:
        made = IdempotencyKey(
            # The space keeps it apart from the keys of users, which have none; the id, from those of other callers.
            caller.tenant, f"{_namespace(caller)} {key}", _fingerprint(request), "", self._clock.now()
        )  # fmt: skip
        if self._idempotency.is_busy(made.tenant, made.key):
            text = "A request with this idempotency key is in progress, try again later"
            raise RequestRefused(Kind.CONFLICT, "idempotency_key_in_progress", text, retry_after=1)
        async with self._idempotency.turn(made.tenant, made.key):
            before = await self._accepted_before(made, request)
            return before or await self._submitted(session, request, made)

    async def _accepted_before(self, made: IdempotencyKey, request: SendRequest) -> Sent | None:
        found = await self._idempotency.accepted_before(made)
        if isinstance(found, Reply):
            text = "idempotencyKey: was used for another request, choose a new key for each message"
            wrong = FieldError("idempotencyKey", "idempotency_key_reused", text)
            raise RequestRefused(Kind.INVALID, "idempotency_key_reused", text, [wrong])
        return None if found is None else Sent(found, _shown(request), repeated=True)

    # -- the sender

    async def _identity(self, caller: Caller, request: SendRequest) -> Identity:
        """In whose name the message is submitted. Raises RequestRefused, StoreError."""
        sender = request.draft.author.address
        if caller.key is not None and not caller.key.may_send_as(sender):
            raise _not_allowed("from", f"{caller.name} may not send as {sender}")
        await self._check_shared_inbox(caller, request)
        if caller.user is not None:
            if request.actor is not None and request.actor.key != caller.user.address:
                raise _not_allowed("actorAccount", f"{caller.name} sends in its own name only")
            return caller.user
        if request.actor is not None:
            return await self._actor(caller, request.actor)
        domain = await self._directory.domain(sender.domain)
        if domain is None or domain.tenant.id != caller.tenant:
            # The same text for a domain of another tenant and for one that is not hosted.
            raise _not_allowed("from", f"{sender.domain} is not a domain of {caller.tenant_name}")
        return Identity(sender.key, "", caller.tenant, caller.tenant_name, _namespace(caller))

    async def _actor(self, caller: Caller, address: Address) -> Identity:
        domain = await self._directory.domain(address.domain)
        if domain is not None and domain.tenant.id == caller.tenant:
            reached, _ = await self._directory.named(domain, address.key)
            for account in reached.accounts:
                if account.address == address.key and account.is_active and not account.is_shared:
                    return Identity(account.address, account.id, caller.tenant, caller.tenant_name, _namespace(caller))
        raise _not_allowed("actorAccount", f"{address} is not an active account of {caller.tenant_name}")

    async def _check_shared_inbox(self, caller: Caller, request: SendRequest) -> None:
        """A shared inbox that the request names must be the one that ``from`` belongs to, and needs a member."""
        if request.shared_inbox is None:
            return
        if caller.user is None and request.actor is None:
            text = "actorAccount: is required with sharedInbox: the member who sends"
            raise RequestRefused(Kind.INVALID, "invalid_request", text, [FieldError("actorAccount", "missing", text)])
        wanted = await self._shared_inboxes(caller, request.shared_inbox)
        if not wanted & await self._shared_inboxes(caller, request.draft.author.address):
            raise _not_allowed("sharedInbox", f"from is not an address of the shared inbox {request.shared_inbox}")

    async def _shared_inboxes(self, caller: Caller, address: Address) -> set[str]:
        domain = await self._directory.domain(address.domain)
        if domain is None or domain.tenant.id != caller.tenant:
            return set()
        reached, _ = await self._directory.named(domain, address.key)
        return {account.id for account in reached.accounts if account.is_shared}

    # -- the message

    def _check_limits(self, request: SendRequest) -> None:
        count = len(request.recipients)
        if count > self._most_recipients:
            text = f"to: the message has {count} recipients, the limit is {self._most_recipients}"
            raise RequestRefused(Kind.INVALID, "invalid_request", text, [FieldError("to", "too_many", text)])
        if request.send_at > self._clock.now() + (hold := self._hold_seconds()):
            days = hold // 86_400
            text = f"sendAt: must be at most {days} days from now" if days else "sendAt: scheduled mail is switched off"
            raise RequestRefused(Kind.INVALID, "invalid_request", text, [FieldError("sendAt", "too_late", text)])

    async def _submitted(self, session: Session, request: SendRequest, key: IdempotencyKey | None) -> Sent:
        submission = self._submission
        sender = request.draft.author.address
        refusal = await submission.connect(session)
        if refusal is not None:
            raise refused_by(refusal)
        reply, envelope = await submission.mail(session, sender, self._parameters(request))
        if envelope is None:
            raise refused_by(reply, "from")
        await self._recipients(envelope, request)
        message = await _composed(request)
        if len(message) > SUBMITTED_MESSAGE_OCTETS:
            text = f"The message has {len(message)} octets, the limit is {SUBMITTED_MESSAGE_OCTETS}"
            raise RequestRefused(Kind.TOO_LARGE, "message_too_large", text)
        if key is not None:
            key = replace(key, transaction=envelope.transaction.id)
        submitted = await asyncio.shield(submission.submit_once(envelope, MemoryContent(message), key, request.tags))
        if not submitted.reply.positive:
            raise refused_by(submitted.reply, explain_id=submitted.transaction)
        return Sent(submitted.transaction, _shown(request), submitted.transaction != envelope.transaction.id)

    async def _recipients(self, envelope: Envelope, request: SendRequest) -> None:
        """All recipients or none: the error names every recipient who is refused."""
        refused = []
        for address, field in request.recipients.items():
            reply = await self._submission.rcpt(envelope, address, _NO_PARAMETERS, None)
            if not reply.positive:
                refused.append((reply, field, address))
                if len(refused) == 100 or reply.code < 500:
                    break
        if not refused:
            return
        errors = [error for reply, field, _ in refused for error in refused_by(reply, field).fields]
        first = refused_by(refused[0][0], refused[0][1])
        raise RequestRefused(first.kind, first.code_name, first.text, errors, first.explain_id, first.retry_after)

    def _parameters(self, request: SendRequest) -> dict[str, str]:
        """The parameters that a client of SMTP would give with MAIL."""
        parameters = {"SMTPUTF8": "", "BODY": "8BITMIME"} if request.draft.is_international else {}
        if request.send_at > self._clock.now():
            until = datetime.fromtimestamp(int(request.send_at), UTC)
            parameters["HOLDUNTIL"] = until.strftime("%Y-%m-%dT%H:%M:%SZ")
        return parameters


async def _composed(request: SendRequest) -> bytes:
    draft = request.draft
    size = len(draft.text or "") + len(draft.html or "") + sum(len(each.content) for each in draft.attachments)
    if size <= _AT_ONCE:
        return compose(draft, _boundary)
    return await asyncio.to_thread(compose, draft, _boundary)


def _boundary() -> str:
    return f"=_{secrets.token_hex(16)}"


def _shown(request: SendRequest) -> tuple[str, ...]:
    return tuple(str(address) for address in request.recipients)


def _namespace(caller: Caller) -> str:
    """Of the caller's idempotency keys, and the name of its credential."""
    if caller.key is not None:
        return f"key:{caller.key.id}"
    return "account:" + ("" if caller.user is None else caller.user.account)


def _fingerprint(request: SendRequest) -> str:
    """Of everything that the request asks for."""
    return hashlib.sha256(msgspec.msgpack.encode(request, enc_hook=str)).hexdigest()


def _not_allowed(field: str, text: str) -> RequestRefused:
    text = f"{field}: {text}"
    return RequestRefused(Kind.FORBIDDEN, "sender_not_allowed", text, [FieldError(field, "sender_not_allowed", text)])
