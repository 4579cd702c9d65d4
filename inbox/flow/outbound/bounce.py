"""Notifications of senders about jobs of the queue (RFC 3461, RFC 3464).

A notification is a message from the null reverse-path: for a sender that is hosted here it comes in through
``inbox.flow`` like all mail, for another one it becomes a job of class ``dsn``. A crash between the report and the
end of the lease repeats the report; the same job, kind and recipients give the same octets and ids, which identify the
earlier notification.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Final, Protocol

from inbox.base.clock import Clock
from inbox.base.errors import AlreadyExists, NotFound, StoreError, StoreUnavailable
from inbox.base.ids import Ids
from inbox.flow.outbound.notifying import Form, NotifyHooks
from inbox.flow.outbound.ports import Contents, Kind
from inbox.flow.ports import Receiving
from inbox.mail.address import Address, AddressError
from inbox.mail.addresslist import addr_spec, parse_addresses
from inbox.mail.content import Content, MemoryContent
from inbox.mail.dsn.build import Dsn, DsnRecipient, build
from inbox.mail.headers import Headers, header_block
from inbox.mail.tenancy import HostedDomain
from inbox.plugin.api.context import Door, Session
from inbox.plugin.api.services import Log
from inbox.store.ports.ingest import Accepted, AcceptedMessage, Ingest
from inbox.store.ports.queue import Job, JobRecipient, Queue, QueuedJob, RecipientState

_FILE_NAME: Final = re.compile(r"[A-Za-z0-9_\-]{1,64}\Z")
_LOOPBACK: Final = IPv4Address("127.0.0.1")
_VISIBLE_FIELDS: Final = ("To", "Cc", "Resent-To", "Resent-Cc")


class Hosted(Protocol):
    """Finds out whether a domain is hosted here."""

    async def domain(self, fqdn: str) -> HostedDomain | None: ...


@dataclass(frozen=True, slots=True)
class BounceSettings:
    """Settings of notifications.

    Attributes:
        server_name: our host name.
        folder: receives a copy of each notification; ``most_files`` of them are kept, for ``file_seconds``.
        lifetime: seconds after which a notification to another server is abandoned.
    """

    server_name: str
    folder: Path
    lifetime: float
    most_files: int = 10_000
    file_seconds: float = 30 * 86_400.0


class SenderBounces:
    """``Bounces`` of ``inbox.flow.outbound.ports``."""

    def __init__(
        self,
        contents: Contents,
        receiving: Receiving,
        hosted: Hosted,
        ingest: Ingest,
        queue: Queue,
        clock: Clock,
        ids: Ids,
        settings: BounceSettings,
        log: Log,
        hooks: NotifyHooks | None = None,
    ) -> None:
        self._contents = contents
        self._receiving = receiving
        self._hosted = hosted
        self._ingest = ingest
        self._queue = queue
        self._clock = clock
        self._ids = ids
        self._settings = settings
        self._log = log
        self._hooks = hooks

    async def report(self, job: QueuedJob, states: Sequence[RecipientState], about: Sequence[int], kind: Kind) -> None:
        """Stores the notifications; see the protocol. The null reverse-path never gets one (RFC 5321 §4.5.5)."""
        wanted = [index for index in about if "NEVER" not in job.job.recipients[index].notify]
        if not wanted or not job.job.sender or job.job.job_class == "dsn":
            return
        try:
            sender = Address.parse(job.job.sender)
        except AddressError as error:
            self._log.error("notification_dropped", job=job.job.id, kind=kind, why=str(error))
            return
        original = await self._original(job)
        form = Form() if self._hooks is None else await self._hooks.form(job, states, wanted, kind, original)
        if form.is_dropped:
            self._log.info("notification_not_wanted", job=job.job.id, kind=kind)
            return
        is_local = await self._hosted.domain(sender.domain) is not None
        store = self._store_local if is_local else self._store_remote
        for group in visible_groups(original, [job.job.recipients[index].address for index in wanted]):
            indexes = [wanted[place] for place in group]
            dsn = self._dsn(job, states, indexes, kind, original)
            whole = dsn.returns_all and not form.headers_only
            dsn = replace(dsn, takes_8bit=is_local, note=form.note, returns_all=whole)
            octets = build(dsn)
            await store(job, sender, dsn, octets)
            for address in form.copies:
                await self._copy(job, address, dsn, octets)
            await self._write_file(job, kind, dsn, octets)

    async def prune(self) -> int:
        """Removes old copies in the folder, and the oldest beyond the limit; returns how many."""
        return await asyncio.to_thread(_prune, self._settings, self._clock.now())

    async def _original(self, job: QueuedJob) -> Content:
        """The message; empty if it is lost or damaged: a part of it could show one recipient another one of Bcc."""
        try:
            found = await self._contents.get(job.blob_path)
            if job.size in (0, found.size):
                return found
            why = f"it has {found.size} octets instead of {job.size}"
        except NotFound:
            why = "it does not exist"
        self._log.error("notification_without_message", job=job.job.id, blob=job.blob_path, why=why)
        return MemoryContent(b"")

    def _dsn(
        self, job: QueuedJob, states: Sequence[RecipientState], indexes: Sequence[int], kind: Kind, original: Content
    ) -> Dsn:
        """Depends on the job and its states alone: the repeated report must give the same octets."""
        recipients = []
        last = job.history[-1] if job.history else None
        for index in indexes:
            one, state = job.job.recipients[index], states[index]
            recipients.append(
                DsnRecipient(
                    one.address,
                    status_of(state, kind),
                    state.code,
                    state.reply,
                    one.orcpt,
                    last.host if last is not None and state.code else "",
                    state.at,
                    job.job.expires_at if kind == "delayed" else 0.0,
                )
            )
        addresses = "\n".join(job.job.recipients[index].address for index in indexes)
        digest = hashlib.sha256(f"{job.job.id}\n{kind}\n{addresses}".encode()).hexdigest()[:12]
        return Dsn(
            kind,
            job.job.sender,
            self._settings.server_name,
            f"{job.job.id}.{kind}.{digest}@{self._settings.server_name}",
            max([states[index].at for index in indexes] + [job.job.created_at]),
            job.job.created_at,
            tuple(recipients),
            original,
            # RFC 8689 §5: the content of a message that required TLS is not returned.
            returns_all=job.job.ret == "FULL" and kind == "failed" and not job.job.require_tls,
            envid=job.job.envid,
        )

    async def _store_local(self, job: QueuedJob, sender: Address, dsn: Dsn, octets: bytes) -> None:
        session = Session(self._ids.new(), Door.LOCAL, _LOOPBACK, started_at=self._clock.now())
        params = {} if octets.isascii() else {"BODY": "8BITMIME"}
        reply, envelope = await self._receiving.mail(session, None, params)
        if envelope is not None:
            reply = await self._receiving.rcpt(envelope, sender, frozenset({"NEVER"}), None)
            if reply.positive:
                (reply, *_) = await self._receiving.data(envelope, MemoryContent(octets))
        if reply.code // 100 == 4:
            raise StoreUnavailable(f"notification deferred: {reply.code} {reply.enhanced} {reply.text}")
        about = {"job": job.job.id, "kind": dsn.kind, "message_id": dsn.message_id}
        if reply.positive:
            self._log.info("notification_stored", **about)
        else:  # RFC 5321 §6.1: no notification about a notification
            self._log.warning("notification_dropped", **about, why=f"{reply.code} {reply.enhanced} {reply.text}")

    async def _copy(self, job: QueuedJob, address: str, dsn: Dsn, octets: bytes) -> None:
        """Stores a copy for another address of the tenant. The sender has the notification, so nothing fails for it."""
        try:
            to = Address.parse(address)
            home = await self._hosted.domain(to.domain)
            if home is None or home.tenant.id != job.tenant:
                raise NotFound("the address does not belong to the tenant")
            await self._store_local(job, to, dsn, octets)
        except (AddressError, NotFound, StoreError) as error:
            self._log.warning("notification_copy_dropped", job=job.job.id, to=address, why=str(error))

    async def _store_remote(self, job: QueuedJob, sender: Address, dsn: Dsn, octets: bytes) -> None:
        name = dsn.message_id.partition("@")[0].replace(".", "-")
        if await self._queue.get(job.tenant, name) or await self._queue.delivery(job.tenant, name):
            return
        now = self._clock.now()
        queued = Job(
            name, "", (JobRecipient(str(sender), ("NEVER",)),), sender.domain, now, now + self._settings.lifetime,
            job_class="dsn", body="7BIT" if octets.isascii() else "8BITMIME", smtputf8=not sender.is_ascii,
            transaction=job.job.transaction, door=Door.LOCAL.value, require_tls=job.job.require_tls,
        )  # fmt: skip
        message = AcceptedMessage(self._ids.new(), job.tenant, MemoryContent(octets), (), dsn.at, now, jobs=(queued,))
        try:
            await self._ingest.accept(Accepted((message,)))
        except AlreadyExists:
            return  # another worker stored it concurrently
        self._log.info("notification_queued", job=job.job.id, kind=dsn.kind, message_id=dsn.message_id)

    async def _write_file(self, job: QueuedJob, kind: Kind, dsn: Dsn, octets: bytes) -> None:
        """Writes the operator's copy. The sender has the notification already, so a full disk does not fail it."""
        if not _FILE_NAME.match(job.job.id):
            return
        first = self._settings.folder / f"{job.job.id}.eml"
        digest = dsn.message_id.partition("@")[0].rpartition(".")[2]
        other = self._settings.folder / f"{job.job.id}-{kind}-{digest}.eml"
        try:
            await asyncio.to_thread(_write, first, other, octets)
        except OSError as error:
            self._log.warning("notification_file_not_written", job=job.job.id, error=str(error))


def status_of(state: RecipientState, kind: Kind) -> str:
    """The enhanced code for a recipient: the server's if it is one of the right class (RFC 3463 §3.1 otherwise)."""
    wanted = {"failed": "5", "delayed": "4", "relayed": "2", "delivered": "2"}[kind]
    if re.fullmatch(r"[245]\.\d{1,3}\.\d{1,3}", state.enhanced):
        # The time for delivery ended: the last reply has the reason, and the failure is permanent (RFC 3463 §3.5).
        return state.enhanced if state.enhanced[0] == wanted or kind == "failed" else f"{wanted}.0.0"
    return f"{wanted}.0.0"


def visible_groups(original: Content, addresses: Sequence[str]) -> list[list[int]]:
    """Positions of recipients that may be named together: those in the header section, and each other one alone.

    A notification that named a Bcc recipient beside others would reveal it to those to whom the sender forwards it.
    """
    block, _ = header_block(original)
    fields = Headers.parse(block)
    visible = {
        spec.lower()
        for name in _VISIBLE_FIELDS
        for raw in fields.raw_all(name)
        for one in parse_addresses(raw)
        if (spec := addr_spec((one,)))
    }
    together = [place for place, address in enumerate(addresses) if address.lower() in visible]
    alone = [[place] for place, address in enumerate(addresses) if address.lower() not in visible]
    return [together, *alone] if together else alone


def _write(first: Path, other: Path, octets: bytes) -> None:
    """Writes ``first``, or ``other`` if that exists with different octets; readers never see half a file."""
    first.parent.mkdir(parents=True, exist_ok=True)
    target = first
    if first.exists():
        if first.read_bytes() == octets:
            return
        target = other
    unfinished = target.with_suffix(f".{os.getpid()}.tmp")
    try:
        unfinished.write_bytes(octets)
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)


def _prune(settings: BounceSettings, now: float) -> int:
    if not settings.folder.is_dir():
        return 0
    with os.scandir(settings.folder) as entries:
        files = sorted((entry.stat().st_mtime, entry.path) for entry in entries if entry.is_file())
    surplus = len(files) - settings.most_files
    gone = [path for place, (at, path) in enumerate(files) if place < surplus or at < now - settings.file_seconds]
    for path in gone:
        Path(path).unlink(missing_ok=True)
    return len(gone)
