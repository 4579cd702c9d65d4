"""ARC: validates the chain of seals that servers added when they passed the message on (RFC 8617).

Returns at: data (the actions of ``results``: Reject, Defer, Quarantine, AddHeader, Score; none by default).
Answers:    550 5.7.29 (the chain failed), 550 5.7.1, 451 4.7.0.
Gives:      ArcFact: none, pass or fail, with the reason; the domain of each hop and the results that it claims.
Asks:       DNS, for the public keys of the sealers.
Applies to: mail from other servers, over SMTP and LMTP. For mail that users send, upload or store themselves the
            result is ``none``, and no action follows.
On error:   defer.

A valid chain shows which servers passed the message on, not that their results are true: anyone can make a valid chain.
Its value depends on whether you trust the sealers (``trusted_sealers`` of ``dmarc``). A broken chain proves nothing:
RFC 8617 requires such a message to be treated like one without a chain, so ``fail: reject`` rejects mail that other
servers accept.

Every failure is permanent for the chain, even a failed look-up of a key (§5.2.1). ``temperror`` sets a different
action for that case.

Bounds: 50 sets; RSA keys from 1024 to 4096 bits, or Ed25519; a signature over only a part of the body (``l=``) does
not count. Cheap checks come first, so a chain that does not match its message causes no DNS queries. Measured on one
core with cached 2048-bit keys: 0.5 ms for two sets and a mail of 8 KB, 3 ms for 1 MB; 60 to 80 ms for the worst case of
50 sets.

An example::

    plugins:
      arc: {results: {fail: {score: 0.5}, temperror: ignore}}
"""

from __future__ import annotations

from functools import partial

from pydantic import Field, field_validator

from inbox.authentication.arc.chain import NAMES
from inbox.authentication.arc.validate import validate
from inbox.authentication.dkim.canonical import BodyHashes
from inbox.mail.message import Message
from inbox.plugin import (
    Action,
    ArcFact,
    DkimFact,
    Door,
    Opinion,
    Plugin,
    PluginSettings,
    Result,
    Services,
    Transaction,
    action_for,
    hookimpl,
    opinion_of,
)

__version__ = "1.0.0"

#: Doors that other servers use.
_FOREIGN = frozenset({Door.SMTP, Door.LMTP})
_RESULTS = (Result.NONE, Result.PASS, Result.FAIL, Result.TEMPERROR)
_REPLIES = {
    Result.NONE: "The message has no ARC chain",
    Result.PASS: "Forwarded messages are not accepted here",
    Result.FAIL: "The ARC chain of the message is broken",
    Result.TEMPERROR: "The ARC chain of the message cannot be checked now",
}


class Settings(PluginSettings):
    """Actions for each state of a chain."""

    results: dict[Result, Action] = Field(
        {},
        description="Actions for none, pass, fail, and temperror (a fail because of DNS; treated as fail if it is not "
        "named): reject, defer, quarantine, tag, ignore, or {score: N}. Results that are not named are ignored.",
        examples=[{"fail": {"score": 0.5}, "temperror": "ignore"}],
    )

    @field_validator("results")
    @classmethod
    def _known(cls, value: dict[Result, Action]) -> dict[Result, Action]:
        for result in value:
            if result not in _RESULTS:
                raise ValueError(f"ARC has no result {result}; it has {', '.join(_RESULTS)}")
        return value


class Arc(Plugin):
    """Validates the chain and returns the action of the policy."""

    gives = (ArcFact,)
    needs = ()
    #: One pass over the body for both: DKIM signatures may need hashes of parts of it.
    after = (DkimFact,)
    shareable = True
    #: Far above two rounds of look-ups of five seconds each: in a flood the cryptography has to wait for threads, and a
    #: plugin that times out too often is disabled by its breaker for the mail of every tenant.
    timeout = 60.0

    def __init__(self, settings: Settings, services: Services) -> None:
        self.settings = settings
        self._services = services
        self._offload = partial(services.run_blocking, "crypto")

    @hookimpl
    async def data(self, tx: Transaction) -> Opinion | None:
        """The fact, and the opinion that follows from it."""
        if tx.message is None:
            return None
        if tx.session.identity is not None or tx.session.door not in _FOREIGN:
            tx.facts.put(ArcFact(Result.NONE))
            return None
        fact = await self._fact(tx.message)
        tx.facts.put(fact)
        result = fact.result
        if fact.temporary and Result.TEMPERROR in self.settings.results:
            result = Result.TEMPERROR
        action = action_for(result, self.settings.results, require_pass=False)
        # RFC 8617 §5.2.2: 5.7.29 means that a chain failed.
        enhanced = "5.7.29" if fact.result is Result.FAIL else "5.7.1"
        server = self._services.server_name
        return opinion_of(
            action, "arc", result, text=_REPLIES[result], enhanced=enhanced, why=fact.reason, server=server
        )

    async def _fact(self, message: Message) -> ArcFact:
        # Most mail has no chain: the index of its fields shows that cheaply.
        if not any(message.headers.count(name) for name in NAMES):
            return ArcFact(Result.NONE)
        services = self._services
        return await validate(
            message.content,
            services.dns,
            now=services.clock.now(),
            offload=self._offload,
            hashes=message.shared(BodyHashes),
        )
