"""DKIM: verifies the signatures of mail that comes in, and signs mail that goes out.

Returns at: data (the action of ``require_pass`` and ``results``), deliver (AddHeader: our signatures).
Answers:    550 5.7.20 (no valid signature), 550 5.7.21 (no acceptable one), 451 4.7.0 (a key cannot be looked up now).
Gives:      DkimFact: each signature with its result, domain, selector and the reason; ``result`` is that of the best.
Asks:       the DNS for the keys, all at once; at deliver, the store for the domain's signing keys.
Applies to: mail from other servers, over SMTP and LMTP. Mail that users send, upload and store themselves is not
            signed yet: its result is ``none``, no action follows, and the fact's source is ``exempt``.
On error:   defer. A DNS failure is not an error of the plugin; it gives the result ``temperror``.

The results are those of RFC 8601: ``pass``; ``fail`` (the message was changed, or the signature is forged);
``policy`` (valid, but not acceptable: ``l=`` lets anyone append to the body, the key is shorter than
``minimum_bits``, or a second field of a kind that RFC 5322 allows once is not signed); ``permerror``
(unusable: malformed, expired, no key, rsa-sha1); ``temperror`` (a key cannot be looked up now); ``none``. A domain
that publishes ``t=y`` is testing: if its signature fails, the message counts as unsigned.

Mail is signed with the keys of the domain in From (see ``inbox domain dkim``) or, if it has none, with that of
``SMTP_DKIM_DOMAIN``. Only mail that a local user or this server wrote is signed: a forwarded message may be forged, and
our signature would make it look genuine. Bodies are signed whole. Fields that a reader sees are signed once more than
they occur, so that none can be added; the fields of ``SMTP_DKIM_HEADERS`` or ``dkim_headers`` are always signed.

``allow_header_override`` trusts the Authentication-Results field of a gateway instead of checking the message. It is
dangerous: anyone who reaches this server without the gateway, and anyone whose forged field the gateway does not
remove, can then claim any domain.

An example::

    plugins:
      dkim:
        require_pass: true
        results: {none: {score: 1.5}, policy: quarantine, permerror: tag}

Measured on one core: 0.2 ms for an 8 KB mail with one signature and a known key; 3 ms for 1 MB of text, 1.3 ms
without white space to canonicalize; signing 10 KB takes 0.5 ms with RSA-2048, 0.15 ms with Ed25519.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from pydantic import Field

from inbox.authentication.dkim.canonical import BodyHashes
from inbox.authentication.dkim.sign import FIELD, CannotBeSigned, sign_all
from inbox.authentication.dkim.verify import Limits, best, verify
from inbox.authentication.results import MethodResult, believed
from inbox.mail.address import AddressError, canonical_domain
from inbox.mail.message import Message
from inbox.plugin import (
    Action,
    AddHeader,
    BelievedName,
    Delivery,
    DkimFact,
    DkimSignature,
    Door,
    HeaderOverride,
    Opinion,
    Plugin,
    PluginSettings,
    Result,
    Services,
    Session,
    SigningKey,
    Transaction,
    action_for,
    hookimpl,
    opinion_of,
)
from inbox.plugin.limits import DKIM_SIGNATURES, RSA_BITS_LEAST, RSA_BITS_MOST

__version__ = "1.0.0"

#: Doors that other servers use; mail through the others comes from our users, or from this server.
_FOREIGN = frozenset({Door.SMTP, Door.LMTP})
#: RFC 7372 §3.1: no signature passes; one passes, but none is acceptable.
_NO_PASS, _NOT_ACCEPTABLE = "5.7.20", "5.7.21"
_REPLIES = {
    Result.NONE: "The message has no DKIM signature",
    Result.POLICY: "No DKIM signature of the message is acceptable",
    Result.TEMPERROR: "The DKIM signature of the message cannot be verified now",
}
_SECONDS_OF_A_DAY = 86_400
#: A message up to this size is signed in less than a millisecond, with RSA keys that have together so many bits.
_SHORT_OCTETS = 32 * 1024
_SHORT_BITS = 2048


class Settings(PluginSettings):
    """Actions for each result, limits of verification, and whether to sign."""

    require_pass: bool = Field(
        False,
        description="Reject mail without a valid signature, and defer it if a key cannot be looked up; ``results`` may "
        "name exceptions.",
        json_schema_extra={"env": "SMTP_REQUIRE_DKIM_PASS"},
    )
    domain_require_pass: bool | None = Field(
        None,
        description="The domain's field require_dkim_pass: true rejects every result but pass, false "
        "overrides ``require_pass``.",
        json_schema_extra={"domain_field": "require_dkim_pass"},
    )
    results: dict[Result, Action] = Field(
        {},
        description="Actions for each result: reject, defer, quarantine, tag, ignore, or {score: N}; it has "
        "precedence over ``require_pass``.",
        examples=[{"fail": "quarantine", "none": {"score": 1.5}}],
    )
    max_signatures: int = Field(
        DKIM_SIGNATURES, ge=1, le=50, description="Signatures of one message that are verified, from the top."
    )
    minimum_bits: int = Field(
        RSA_BITS_LEAST,
        ge=RSA_BITS_LEAST,
        le=RSA_BITS_MOST,
        description="Signatures of RSA keys with fewer bits have the result ``policy``. RFC 8301 requires at "
        "least 1024 and recommends 2048.",
    )
    allow_header_override: HeaderOverride = False
    authserv_id: BelievedName = ""
    sign: bool = Field(True, description="Sign outgoing mail if its domain or this installation has a key.")
    valid_days: int | None = Field(
        None, ge=1, le=365, description="Days until our signatures expire (x=). Unset: never.", examples=[30]
    )


class Dkim(Plugin):
    """Verifies at data, signs at deliver."""

    gives = (DkimFact,)
    needs = ()
    shareable = True
    on_error = "defer"
    #: Above the resolver's time-outs for keys that cannot be looked up.
    timeout = 60.0

    def __init__(self, settings: Settings, services: Services) -> None:
        self.settings = settings
        self._services = services
        self._limits = Limits(settings.max_signatures, settings.minimum_bits)
        self._offload = partial(services.run_blocking, "crypto")

    @hookimpl
    async def data(self, tx: Transaction) -> Opinion | None:
        """Verifies all signatures and returns the action of the policy."""
        if tx.message is None:
            return None
        if _is_ours(tx.session):
            tx.facts.put(DkimFact(Result.NONE, source="exempt"))
            return None
        fact = self._believed(tx.message) or await verify(
            tx.message.content,
            self._services.dns,
            now=self._services.clock.now(),
            limits=self._limits,
            offload=self._offload,
            hashes=tx.message.shared(BodyHashes),
        )
        tx.facts.put(fact)
        settings = self.settings
        action = action_for(
            fact.result,
            settings.results,
            require_pass=settings.require_pass,
            domain_requires=settings.domain_require_pass,
        )
        return opinion_of(
            action,
            "dkim",
            fact.result,
            text=_REPLIES.get(fact.result, "No DKIM signature of the message is valid"),
            enhanced=_NOT_ACCEPTABLE if fact.result is Result.POLICY else _NO_PASS,
            why=_why(fact),
            server=self._services.server_name,
        )

    @hookimpl
    async def deliver(self, delivery: Delivery) -> list[Opinion] | None:
        """Signs mail of our users to other servers. Raises StoreUnavailable."""
        tx = delivery.transaction
        if not self.settings.sign or delivery.kind != "remote" or tx.message is None or not _is_ours(tx.session):
            return None
        if delivery.signed:
            return None
        domain = _author_domain(tx.message)
        keys = await self._services.signing_keys.keys(_tenant(tx), domain) if domain else ()
        if not keys:
            return None
        days = self.settings.valid_days
        signing = partial(
            sign_all,
            now=self._services.clock.now(),
            expire_after=None if days is None else days * _SECONDS_OF_A_DAY,
        )
        try:
            kind = "signature" if _is_short(tx.message.content.size, keys) else "crypto"
            values = await self._services.run_blocking(kind, signing, tx.message.content, keys)
        except CannotBeSigned as error:
            # No server would accept the signature; whether to refuse a malformed message is up to other rules.
            self._services.log.warning("dkim_not_signed", transaction=tx.id, domain=domain, why=str(error))
            return None
        # The last one added is on top: the RSA signature, which every verifier supports.
        return [AddHeader(FIELD, value) for value in reversed(values)]

    def _believed(self, message: Message) -> DkimFact | None:
        """The result of a gateway in front, if the settings trust it and it has one for DKIM."""
        if not self.settings.allow_header_override:
            return None
        name = self.settings.authserv_id or self._services.server_name
        results = believed(message.headers, name).get("dkim", [])
        signatures = tuple(_signature(result, known) for result in results if (known := result.known) is not None)
        if not signatures:
            return None
        found = tuple(one for one in signatures if one.result is not Result.NONE)
        return DkimFact(best(signatures), found[: self.settings.max_signatures], source="header")


def _is_ours(session: Session) -> bool:
    return session.identity is not None or session.door not in _FOREIGN


def _is_short(octets: int, keys: Sequence[SigningKey]) -> bool:
    """Whether signing takes less than a millisecond."""
    return octets <= _SHORT_OCTETS and sum(getattr(key.private, "key_size", 0) for key in keys) <= _SHORT_BITS


def _tenant(tx: Transaction) -> str:
    """The tenant whose keys sign: that of the user, or of the transaction."""
    return tx.session.identity.tenant if tx.session.identity is not None else tx.tenant


def _author_domain(message: Message) -> str:
    """The domain of the first address in From; empty if there is none."""
    try:
        return canonical_domain(message.from_address.rpartition("@")[2])
    except AddressError:
        return ""


def _signature(result: MethodResult, known: Result) -> DkimSignature:
    try:
        domain = canonical_domain(result.get("header.d") or result.get("header.i").rpartition("@")[2])
    except AddressError:
        domain = ""
    texts = (result.get("header.s"), result.get("header.i"), result.get("header.a"), result.get("header.b"))
    selector, identity, algorithm, signature = (_printable(text) for text in texts)
    return DkimSignature(
        known, domain, selector, identity, algorithm, signature=signature, reason=_printable(result.reason)
    )


def _printable(text: str) -> str:
    """The form of texts in facts: printable ASCII of bounded length."""
    return "".join(mark if " " <= mark <= "~" else "?" for mark in text[:254])


def _why(fact: DkimFact) -> str:
    """The best signature's domain and reason."""
    one = next((one for one in fact.signatures if one.result is fact.result), None)
    return ": ".join(filter(None, (one.domain, one.reason))) if one is not None else ""
