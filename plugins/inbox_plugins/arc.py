"""ARC: what servers that passed a message on found out about it, and whether their chain of seals holds (RFC 8617).

Returns at: data (what ``results`` says: Reject, Defer, Quarantine, AddHeader, Score; nothing by itself).
Answers:    550 5.7.29 (the chain failed), 550 5.7.1, 451 4.7.0.
Gives:      ArcFact: none, pass or fail, with the reason; each hop's domain and what it says to have found.
Asks:       DNS, for the public keys of those who sealed.
Applies to: mail from other servers, over SMTP and LMTP. Of what users send, upload and file themselves the result is
            none, and nothing follows from it.
On error:   defer.

A chain that holds says who passed the message on, and not that they told the truth: its worth is up to who trusts
them, which is a setting of ``dmarc``. Anybody can make a chain that holds. And a broken one proves nothing: RFC 8617
wants such a message treated as one without a chain, so that ``fail: reject`` refuses mail that others take.

Every failure is permanent for the chain, also a key that could not be looked up (§5.2.1). ``temperror`` says what
is done with those, where it should be something else than for ``fail``.

Bounded: 50 sets, signatures of RSA keys from 1024 to 4096 bits or Ed25519; a signature over a part of the body
only (``l=``) does not count. What is cheap comes first, so that a chain that does not fit its message asks the DNS
nothing. Measured on one core, with keys of 2048 bits that are known: 0.5 ms for two sets and a mail of 8 KB, 3 ms for
1 MB; 60 to 80 ms for the worst of 50 sets.

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

#: Doors that other servers come through.
_FOREIGN = frozenset({Door.SMTP, Door.LMTP})
_RESULTS = (Result.NONE, Result.PASS, Result.FAIL, Result.TEMPERROR)
_SAID = {
    Result.NONE: "The message has no ARC chain",
    Result.PASS: "Messages that were passed on are not accepted here",
    Result.FAIL: "The ARC chain of the message is broken",
    Result.TEMPERROR: "The ARC chain of the message cannot be checked now",
}


class Settings(PluginSettings):
    """What follows from a chain's state."""

    results: dict[Result, Action] = Field(
        {},
        description="What is done for none, pass, fail, and temperror (a fail because of DNS; like fail if it is not "
        "named): reject, defer, quarantine, tag, ignore, or {score: N}. What is not named is ignored.",
        examples=[{"fail": {"score": 0.5}, "temperror": "ignore"}],
    )

    @field_validator("results")
    @classmethod
    def _known(cls, value: dict[Result, Action]) -> dict[Result, Action]:
        for result in value:
            if result not in _RESULTS:
                raise ValueError(f"ARC has no result {result}; there are {', '.join(_RESULTS)}")
        return value


class Arc(Plugin):
    """Validates the chain and says what the policy makes of it."""

    gives = (ArcFact,)
    needs = ()
    #: One pass over the body for both: DKIM's signatures may want hashes of parts of it.
    after = (DkimFact,)
    shareable = True
    #: Far above two rounds of look-ups of five seconds each: in a flood the arithmetic has to wait for threads, and a
    #: plugin that is late too often is kept from everybody's mail.
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
        # RFC 8617 §5.2.2: 5.7.29 says that a chain failed.
        enhanced = "5.7.29" if fact.result is Result.FAIL else "5.7.1"
        server = self._services.server_name
        return opinion_of(action, "arc", result, said=_SAID[result], enhanced=enhanced, why=fact.reason, server=server)

    async def _fact(self, message: Message) -> ArcFact:
        # Most mail has no chain: to know that costs a look into the index of its fields.
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
