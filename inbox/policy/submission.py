"""The section ``submission`` of a policy: mail that users submit on ports 587 and 465.

The levels are those of the author: ``default.yaml``, the account's tenant, domain and address.
"""

from __future__ import annotations

from pydantic import Field, field_validator

from inbox.base.errors import ProtocolError
from inbox.base.limits import SUBMITTED_MESSAGE_OCTETS
from inbox.mail.address import Address, canonical_domain
from inbox.policy.model import Shape


class SubmissionPolicy(Shape):
    """The section ``submission``."""

    hide_client: bool = False
    """Whether Received omits the address and the name of the user's computer."""
    save_sent: bool = False
    """Whether the server puts a copy into the user's Sent. Most mail programs do that themselves."""
    seven_bit: bool = False
    """Whether 8-bit parts are converted before signing, for servers on the way that take 7-bit text only."""
    max_message_octets: int = Field(SUBMITTED_MESSAGE_OCTETS, ge=1024, le=SUBMITTED_MESSAGE_OCTETS)
    """Octets of the largest message."""
    max_recipients: int | None = Field(None, ge=1, le=100_000)
    """Recipients of one message; ``null``: SMTP_INBOUND_MAX_RCPT_TO, which limits it in any case."""
    senders: tuple[str, ...] = Field((), max_length=1000)
    """Further sender addresses: each an address, or ``@`` and a domain. None of them may belong to another tenant."""

    @field_validator("senders")
    @classmethod
    def _addresses(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        return tuple(_sender(one) for one in value)

    def may_send_as(self, address: Address) -> bool:
        """Whether ``senders`` has the address or its domain."""
        return address.key in self.senders or f"@{address.domain}" in self.senders

    def under(self, inner: SubmissionPolicy | None) -> SubmissionPolicy:
        """This outer level's policy with the keys that ``inner`` sets."""
        if inner is None or not inner.model_fields_set:
            return self
        return self.model_copy(update={name: getattr(inner, name) for name in inner.model_fields_set})


def _sender(text: str) -> str:
    try:
        return f"@{canonical_domain(text[1:])}" if text.startswith("@") else Address.parse(text).key
    except ProtocolError:
        raise ValueError(f"{text!r} is neither an address nor a domain such as @example.com") from None
