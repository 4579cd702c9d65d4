"""ARC sets of forwarded mail (RFC 8617), made with the signing keys of the forwarding domain."""

from __future__ import annotations

from functools import partial

from inbox.authentication.arc.seal import seal, sealing_key
from inbox.base.clock import Clock
from inbox.mail.content import Content
from inbox.mail.headers import Headers, header_block
from inbox.plugin.api.facts import ArcFact, Facts, Result
from inbox.plugin.api.services import RunBlocking
from inbox.plugin.api.signing import SigningKeys


class ArcSealing:
    """``Sealing`` of ``inbox.flow.forwarding``."""

    def __init__(self, keys: SigningKeys, run_blocking: RunBlocking, clock: Clock) -> None:
        self._keys = keys
        self._run_blocking = run_blocking
        self._clock = clock

    async def seal(self, content: Content, results: str, tenant: str, domain: str, facts: Facts) -> bytes:
        """See ``Sealing``. Without an RSA key, or if nothing validated an existing chain, there is no set: a set says
        what the chain was like on receipt."""
        chain = facts.get(ArcFact)
        if chain is None:
            if Headers(header_block(content)[0]).raw_all("arc-seal"):
                return b""
            chain = ArcFact(Result.NONE)
        key = sealing_key(await self._keys.keys(tenant, domain))
        if key is None:
            return b""
        made = await self._run_blocking("crypto", partial(seal, content, results, key, self._clock.now(), chain))
        return b"" if made is None else bytes(made)
