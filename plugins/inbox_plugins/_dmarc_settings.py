"""Settings of the plugin dmarc: actions for each result, and exceptions."""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network, ip_network
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from inbox.authentication.dmarc.discovery import Method
from inbox.authentication.dmarc.forwarding import Exemption, pattern
from inbox.mail.address import AddressError
from inbox.plugin import Action, BelievedName, HeaderOverride, PluginSettings, Result

#: Exceptions of one policy, and entries of each list in an exception: each may cost a look-up.
_MAX_EXCEPTIONS: Final = 100
_MAX_ENTRIES: Final = 1000
#: RFC 8601 §2.7 with RFC 9989 §9.1: DMARC has no other results.
RESULTS: Final = frozenset({Result.PASS, Result.FAIL, Result.NONE, Result.TEMPERROR, Result.PERMERROR})


def _pattern(text: str) -> str:
    try:
        return pattern(text)
    except AddressError:
        raise ValueError(f"{text[:80]!r} is not a domain; write a domain, or '*.' and a domain") from None


def _forwarder(text: str) -> str:
    try:
        return str(ip_network(text))
    except ValueError:
        return _pattern(text)


Pattern = Annotated[str, AfterValidator(_pattern)]
Patterns = Annotated[list[Pattern], Field(max_length=_MAX_ENTRIES)]
Forwarder = Annotated[str, AfterValidator(_forwarder)]


class NamedException(BaseModel):
    """Mail to which the policy of its domain is not applied. Every condition that is set must hold."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$", examples=["ietf"])
    """Its name in decision records and reports."""
    from_domains: Patterns = Field([], examples=[["example.org", "*.example.org"]])
    """Domains of From: ``example.org``, or ``*.example.org`` for all below it."""
    forwarders: list[Forwarder] = Field(
        [], max_length=_MAX_ENTRIES, examples=[["192.0.2.0/24", "forwarder.example.org"]]
    )
    """Peers: networks, or host names. A name (from HELO, or the PTR record) counts if it resolves to the address."""
    mailing_lists: list[str] = Field([], max_length=_MAX_ENTRIES, examples=[["dmarc.ietf.org"]])
    """List-Ids, such as ``dmarc.ietf.org``. One counts if a domain at its end passed SPF or DKIM."""
    sealers: Patterns = Field([], examples=[["lists.example.org"]])
    """Domains that sealed the message (ARC); see ``trusted_sealers``."""
    action: Action = "ignore"
    """The action instead."""

    @model_validator(mode="after")
    def _exempts_somebody(self) -> Self:
        if not (self.from_domains or self.forwarders or self.mailing_lists or self.sealers):
            raise ValueError("an exception needs from_domains, forwarders, mailing_lists or sealers")
        return self

    def exemption(self) -> Exemption:
        """The exception as a condition to evaluate."""
        networks: list[IPv4Network | IPv6Network] = []
        hosts: list[str] = []
        for text in self.forwarders:
            try:
                networks.append(ip_network(text))
            except ValueError:
                hosts.append(text)
        lists = tuple(each.lower().strip("<>") for each in self.mailing_lists)
        return Exemption(self.name, tuple(self.from_domains), tuple(networks), tuple(hosts), lists, tuple(self.sealers))


class Settings(PluginSettings):
    """Actions for each result, and exceptions."""

    require_pass: bool = Field(
        False,
        description="Reject mail that does not pass, apart from exceptions; defer it if the result is temperror.",
        json_schema_extra={"env": "SMTP_REQUIRE_DMARC_PASS"},
    )  # fmt: skip
    domain_require_pass: bool | None = Field(
        None, description="The same for one domain; it overrides all other settings and has no exceptions.",
        json_schema_extra={"domain_field": "require_dmarc_pass"},
    )  # fmt: skip
    results: dict[Result, Action] = Field(
        {}, description="Actions for pass, fail, none, temperror and permerror: reject, defer, quarantine, tag, "
        "ignore or {score: N}.", examples=[{"none": {"score": 0.5}, "permerror": "quarantine"}],
    )  # fmt: skip
    honour_policy: bool = Field(True, description="Apply the domain's own policy to mail that fails.")
    policies: dict[Literal["none", "quarantine", "reject"], Action] = Field(
        {},
        description="Actions for each policy that a domain may publish. Unset: the one that it asks for.",
        examples=[{"reject": "quarantine"}],
    )
    malformed_from: Action = Field(
        "reject", description="Action if From does not name exactly one domain, so that DMARC cannot be evaluated."
    )
    organizational_domain: Method = Field(
        Method.TREE_WALK,
        description="Method that finds the organizational domain: tree_walk (RFC 9989), public_suffix (RFC 7489), "
        "or both (the tree walk, corrected by the public suffix list).",
    )
    trusted_sealers: Patterns = Field(
        [],
        description="Domains whose ARC seals are trusted: mail that passed when it reached them is exempt.",
        examples=[["example.com"]],
    )
    exceptions: list[NamedException] = Field(
        [],
        max_length=_MAX_EXCEPTIONS,
        description="Mailing lists, forwarders and domains that are exempt.",
        examples=[[{"name": "ietf", "mailing_lists": ["dmarc.ietf.org"]}]],
    )
    report: bool = Field(True, description="Count messages for the aggregate reports that their domains request.")
    allow_header_override: HeaderOverride = False
    authserv_id: BelievedName = ""

    @model_validator(mode="after")
    def _known(self) -> Self:
        foreign = sorted(set(self.results) - RESULTS)
        if foreign:
            raise ValueError(f"results: DMARC has no result {foreign[0].value}; it has {', '.join(sorted(RESULTS))}")
        names = [each.name for each in self.exceptions]
        if len(set(names)) < len(names):
            raise ValueError("exceptions: two exceptions have the same name")
        return self
