"""One attempt to deliver a message to the hosts of a way: the order of hosts and addresses, and the final results.

A recipient is settled by a reply 2xx or 5xx, and by a final dot: without a reply to it the peer may have the message,
so no other host gets it in this attempt (RFC 1047). All other recipients are tried at the next address, then at the
next host.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import replace
from ipaddress import IPv4Network, IPv6Network
from typing import Final, Protocol

from inbox.base.clock import Clock
from inbox.dns.answers import DnsError, DnsTemporary, VerifiableResolver
from inbox.flow.outbound.connect import BLOCK_OCTETS, Connection, Failed, LeaseLost, Target, TlsFailed
from inbox.flow.outbound.eyeballs import Dialer
from inbox.flow.outbound.meters import OutboundMeters
from inbox.flow.outbound.mx import Denied, IpAddress, addresses_of, is_public, permanent, temporary
from inbox.flow.outbound.pool import Pool
from inbox.flow.outbound.ports import Attempted, HostReply, Outgoing, Way
from inbox.flow.outbound.tls_policy import TlsRequirement, TlsSettings, tls_policy
from inbox.mail.content import Content, MemoryContent
from inbox.wire.smtp.client import has_line_ends_only
from inbox.wire.smtp.sending import Mail, Outcome, Recipient, Transaction, body_obstacle, obstacle

#: Seconds for one attempt; recipients without a reply by then are deferred.
ATTEMPT_SECONDS: Final = 1800.0
#: Maximum number of sessions of one attempt: a peer with hundreds of addresses must not occupy a worker.
MOST_SESSIONS: Final = 6
#: Octets of a header section that are searched for characters outside ASCII.
_HEADER_OCTETS: Final = 256 * 1024

_LOST_LEASE: Final = HostReply(0, "4.3.0", "The lease was lost before the final dot", "data")


class Settings(TlsSettings, Protocol):
    """The settings SMTP_OUTBOUND_* that an attempt reads."""

    @property
    def port(self) -> int: ...
    @property
    def timeout_secs(self) -> float: ...


class SmtpAttempts:
    """``Attempts`` of ``inbox.flow.outbound.ports``, over SMTP and LMTP.

    Args:
        trusted: verifies certificates and names; the system's roots by default.
        routed: networks that are reached although they are private.
    """

    def __init__(
        self,
        resolver: VerifiableResolver,
        settings: Settings,
        clock: Clock,
        *,
        trusted: ssl.SSLContext | None = None,
        routed: Collection[IPv4Network | IPv6Network] = (),
        pool: Pool | None = None,
        meters: OutboundMeters | None = None,
    ) -> None:
        self.meters = meters if meters is not None else OutboundMeters()
        self.resolver = resolver
        self.settings = settings
        self.routed = tuple(routed)
        self.pool = pool if pool is not None else Pool()
        self.dialer = Dialer(clock, settings.timeout_secs)
        self._clock = clock
        self._trusted = trusted if trusted is not None else ssl.create_default_context()
        self._untrusting = ssl.create_default_context()
        self._untrusting.check_hostname = False
        self._untrusting.verify_mode = ssl.CERT_NONE

    def context(self, requirement: TlsRequirement) -> ssl.SSLContext:
        """The TLS context that a requirement needs."""
        return self._trusted if requirement.verified else self._untrusting

    async def attempt(self, mail: Outgoing, way: Way, before_dot: Callable[[], Awaitable[bool]]) -> Attempted:
        """Tries once to deliver. Does not raise because of a peer.

        Args:
            before_dot: is called when everything but the final dot is written or about to be written with it; False
                aborts the connection. Its exceptions are raised again, and no dot is sent.
        """
        started = self._clock.monotonic()
        run = _Attempt(self, mail, way, before_dot)
        try:
            async with asyncio.timeout(ATTEMPT_SECONDS):
                await run.hosts()
        except TimeoutError:
            run.settle_all(HostReply(0, "4.4.7", f"The attempt took more than {ATTEMPT_SECONDS:g} seconds", "data"))
        except LeaseLost:
            run.settle_all(_LOST_LEASE)
        return run.result(self._clock.monotonic() - started)

    async def close(self) -> None:
        """Ends all idle sessions."""
        await self.pool.close()


class _Attempt:
    """The state of one attempt."""

    def __init__(
        self, attempts: SmtpAttempts, mail: Outgoing, way: Way, before_dot: Callable[[], Awaitable[bool]]
    ) -> None:
        self._attempts = attempts
        self._mail = mail
        self._way = way
        self._before_dot = before_dot
        self._best: list[HostReply | None] = [None] * len(mail.recipients)
        self._open = list(range(len(mail.recipients)))
        self._failed_hosts: list[tuple[str, HostReply]] = []
        self._used: Connection | None = None
        self._sessions = 0
        self._converted: Content | HostReply | None = None
        # A small message is read once: its parts are joined for the checks and for the connection.
        small = mail.size <= BLOCK_OCTETS
        self._content: Content = MemoryContent(mail.content.read(0, mail.size)) if small else mail.content
        self._body = mail.body
        if small and mail.body == "7BIT" and not all(piece.isascii() for piece in self._content.chunks(BLOCK_OCTETS)):
            self._body = "8BITMIME"  # the client did not declare it
        smarthost = way.smarthost
        self._tls = tls_policy(
            attempts.settings,
            way.tls,
            require_tls=mail.require_tls,
            credentials=smarthost is not None and bool(smarthost.username),
        )
        # The header is searched only if the client asked for SMTPUTF8.
        self._smtputf8 = not mail.sender.isascii() or (mail.smtputf8 and not _header_is_ascii(mail))

    async def hosts(self) -> None:
        """Tries the hosts in turn; those that did not answer recently come last."""
        smarthost, hosts = self._way.smarthost, self._way.hosts
        names = [smarthost.host] if smarthost is not None else list(hosts.names if hosts is not None else ())
        late: list[str] = []
        for name in names:
            if self._open and not await self._host(name, later=late if len(names) > 1 else None):
                return
        for name in late:
            if self._open and not await self._host(name, later=None):
                return

    async def _host(self, name: str, later: list[str] | None) -> bool:
        """Tries the addresses of a host. False ends the attempt."""
        try:
            found = await addresses_of(self._attempts.resolver, name)
        except Denied as denied:
            self._host_failed(name, permanent("5.4.4", str(denied)))
            return True
        except DnsTemporary as error:
            self._host_failed(name, temporary(f"The address of {name} could not be looked up: {error}"))
            return True
        except DnsError as error:
            self._host_failed(name, permanent("5.4.4", f"The host {name} cannot exist: {error}"))
            return True
        usable = [each for each in found if self._permitted(each)]
        if not usable:
            self._host_failed(name, permanent("5.4.4", f"The host {name} has only addresses of private networks"))
            return True
        targets = [self._target(name, address) for address in usable]
        if later is not None and all(self._attempts.dialer.is_dead(target) for target in targets):
            later.append(name)
            return True
        while targets and self._open:
            if self._sessions >= MOST_SESSIONS:
                return False
            self._sessions += 1
            targets = await self._session(name, targets)
        return True

    def _permitted(self, address: IpAddress) -> bool:
        if self._way.smarthost is not None or is_public(address):
            return True
        return any(address.version == network.version and address in network for network in self._attempts.routed)

    def _target(self, name: str, address: IpAddress) -> Target:
        way, smarthost = self._way, self._way.smarthost
        of_family = [each for each in way.sources if (":" in each) == (address.version == 6)]
        source = of_family[0] if of_family else None
        if smarthost is None:
            return Target(str(address), self._attempts.settings.port, name, self._tls, source, way.ehlo_name)
        return Target(
            str(address), smarthost.port, name, self._tls, source, way.ehlo_name,
            lmtp=smarthost.protocol == "lmtp", implicit_tls=smarthost.implicit_tls,
            username=smarthost.username, password=smarthost.password.get_secret_value(),
        )  # fmt: skip

    async def _session(self, name: str, targets: list[Target]) -> list[Target]:
        """One session and transaction with one of the addresses. Returns the addresses that remain to be tried."""
        connection, rest = None, targets
        for target in targets:
            connection = self._attempts.pool.take(target)
            if connection is not None:
                rest = [each for each in targets if each is not target]
                if await self._transact(connection, reused=True):
                    return self._after(connection.target, rest)
                rest = [target, *rest]  # the peer has closed the idle connection in the meantime
                break
        meters, began = self._attempts.meters, time.monotonic()
        try:
            try:
                connection, rest = await self._attempts.dialer.first(rest, self._attempts.context(self._tls))
            finally:
                meters.phase("connect", time.monotonic() - began)
            try:
                await connection.begin(self._attempts.context(self._tls))
            except BaseException:
                connection.abort()
                raise
            if connection.tls_seconds:
                meters.phase("tls", connection.tls_seconds)
        except TlsFailed as error:
            if self._tls.fallback and connection is not None:
                return [replace(connection.target, plain=True), *rest]
            self._host_failed(name, error.reply)
            return rest
        except Failed as error:
            self._host_failed(name, error.reply)
            # Without a connection, all addresses have been tried.
            return [] if error.reply.stage == "connect" else rest
        await self._transact(connection, reused=False)
        return self._after(connection.target, rest)

    def _after(self, used: Target, rest: Sequence[Target]) -> list[Target]:
        """The addresses left. A refusal by policy over IPv6 is not final while the host has an IPv4 address."""
        fours = [target for target in rest if ":" not in target.address]
        if ":" in used.address and fours:
            again = [
                index
                for index, reply in enumerate(self._best)
                if reply is not None and reply.code >= 500 and reply.enhanced.startswith("5.7.")
                and index not in self._open and self._used is not None and self._used.target is used
            ]  # fmt: skip
            if again:
                self._open = sorted({*self._open, *again})
                return fours
        # A reply 4xx to a recipient is the same at every address of the host; only a broken session is tried again.
        broken = any(reply is not None and reply.code == 0 for reply in (self._best[index] for index in self._open))
        return list(rest) if broken else []

    async def _transact(self, connection: Connection, *, reused: bool) -> bool:
        """One transaction with all open recipients. False: the idle connection was closed before it began."""
        self._used = connection
        tried = self._addressable(connection)
        fitted = await self._fitted(tried, connection) if tried else None
        if fitted is None or isinstance(fitted, HostReply):
            # Another host of the set may accept what this one does not support.
            if fitted is not None:
                self._host_failed(connection.target.name, fitted)
            self._attempts.pool.give(connection, self._way.messages_per_connection)
            return True
        envelope, content = fitted
        bdat = self._way.chunking and "CHUNKING" in connection.capabilities and fits_bdat(content)
        transaction = Transaction(envelope, connection.capabilities, lmtp=connection.target.lmtp, bdat=bdat)
        try:
            connection.dot_at = 0.0
            await connection.deliver(transaction, content, self._before_dot)
            if connection.dot_at:
                self._attempts.meters.phase("dot", time.monotonic() - connection.dot_at)
        except ValueError as error:
            transaction.fail(Outcome(553, "5.1.3", str(error), "rcpt"))
        except BaseException:
            connection.abort()
            transaction.fail(Outcome(0, "4.4.2", "The attempt was ended", transaction.stage))
            self._note(tried, transaction)
            raise
        if reused and all(_is_stale(outcome) for outcome in transaction.outcomes):
            self._attempts.pool.give(connection, 0)
            return False
        self._note(tried, transaction)
        self._attempts.pool.give(connection, self._way.messages_per_connection)
        return True

    def _addressable(self, connection: Connection) -> list[int]:
        """The open recipients whose addresses the host accepts (RFC 6531 §3.5)."""
        if "SMTPUTF8" in connection.capabilities:
            return list(self._open)
        text = "The next host does not support SMTPUTF8, which this address needs"
        for index in self._open:
            if not self._mail.recipients[index].address.is_ascii:
                self._replace(index, HostReply(553, "5.6.7", text, "rcpt"))
        return [index for index in self._open if self._mail.recipients[index].address.is_ascii]

    async def _fitted(self, tried: Sequence[int], connection: Connection) -> tuple[Mail, Content] | HostReply:
        """Envelope and message as the host accepts them, or the reason why it cannot get them."""
        mail, content, capabilities = self._mail, self._content, connection.capabilities
        recipients = tuple(
            Recipient(str(each.address), each.notify, each.orcpt) for each in (mail.recipients[i] for i in tried)
        )
        envelope = Mail(
            mail.sender, recipients, mail.size, self._body, self._smtputf8, mail.require_tls, mail.ret, mail.envid
        )
        found = obstacle(envelope, capabilities)
        if found is None:
            eight_bit = "8BITMIME" not in capabilities and not all(piece.isascii() for piece in content.chunks())
            found = body_obstacle(envelope, capabilities, eight_bit=eight_bit)
            if found is not None and mail.in_seven_bits is not None:
                if self._converted is None:
                    self._converted = await mail.in_seven_bits()
                if isinstance(self._converted, HostReply):
                    return self._converted
                content = self._converted
                envelope = replace(envelope, body="7BIT", size=content.size)
                found = obstacle(envelope, capabilities)
        return (envelope, content) if found is None else HostReply(found.code, found.enhanced, found.text, "mail")

    def _note(self, tried: Sequence[int], transaction: Transaction) -> None:
        some_accepted = any(outcome is not None and outcome.stage != "rcpt" for outcome in transaction.outcomes)
        for index, outcome in zip(tried, transaction.outcomes, strict=True):
            assert outcome is not None
            code, enhanced = outcome.code, outcome.enhanced
            if some_accepted and _says_too_many(outcome):
                code, enhanced = 452, "4.5.3"
            enhanced = enhanced or f"{code // 100 if code // 100 in {2, 4, 5} else 4}.0.0"
            reply = HostReply(code, enhanced, outcome.text, outcome.stage)
            if outcome.stage == "dot" or 200 <= code <= 299 or code >= 500:
                self._best[index] = reply
                self._open.remove(index)
            else:
                self._replace(index, reply)

    def _host_failed(self, name: str, reply: HostReply) -> None:
        if self._mail.require_tls and reply.stage == "starttls" and 400 <= reply.code <= 499:
            # RFC 8689 §4.2.1: a host without the demanded TLS never gets the message; a later attempt finds the same.
            reply = replace(reply, code=550, enhanced="5.7.30")
        self._failed_hosts.append((name, reply))
        for index in self._open:
            self._replace(index, reply)

    def _replace(self, index: int, reply: HostReply) -> None:
        """Keeps the most informative reply: a temporary one, then none, then a host's refusal of the session."""
        known = self._best[index]
        if known is None or _rank(reply) >= _rank(known):
            self._best[index] = reply

    def settle_all(self, reply: HostReply) -> None:
        """The attempt ends here for all recipients without a final reply."""
        for index in self._open:
            known = self._best[index]
            if known is None or known.stage != "dot":
                self._best[index] = reply

    def result(self, seconds: float) -> Attempted:
        """The result of the attempt so far."""
        nothing = HostReply(0, "4.4.1", "No host was tried", "connect")
        results = tuple(reply if reply is not None else nothing for reply in self._best)
        dot = any(reply.stage == "dot" for reply in results)
        used = self._used
        hosts = tuple(self._failed_hosts)
        if used is None:
            return Attempted(results, hosts[-1][0] if hosts else "", seconds=seconds, hosts=hosts)
        return Attempted(
            results, used.target.name, used.target.address, used.tls, "DSN" in used.capabilities, seconds, dot, hosts
        )


def _rank(reply: HostReply) -> int:
    if reply.code == 0:
        return 1
    return 2 if reply.code < 500 else 0


def fits_bdat(content: Content) -> bool:
    """Whether BDAT may carry the message as it is: complete lines with CRLF (RFC 3030 §3).

    BDAT needs a fifth less processor time than DATA. A large message is not read twice for it.
    """
    return content.size <= BLOCK_OCTETS and has_line_ends_only(content.read(0, content.size))


def _says_too_many(outcome: Outcome) -> bool:
    """Whether a host takes no more recipients in this transaction: 552 at RCPT counts as 452 (RFC 5321 §4.5.3.1.10),
    unless its enhanced code gives another reason, such as a full mailbox."""
    return outcome.stage == "rcpt" and outcome.code == 552 and outcome.enhanced in {"", "5.0.0", "5.5.3"}


def _is_stale(outcome: Outcome | None) -> bool:
    return outcome is not None and outcome.stage == "mail" and outcome.code in {0, 421}


def _header_is_ascii(mail: Outgoing) -> bool:
    head = mail.content.read(0, _HEADER_OCTETS)
    end = head.find(b"\r\n\r\n")
    return (head if end < 0 else head[:end]).isascii()
