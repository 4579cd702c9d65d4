"""Decide who may send to domains that this server does not host: users who are logged in to submission or the API."""

from __future__ import annotations

from typing import Final

from inbox.flow.judge import Judge
from inbox.identity.directory import AddressDirectory
from inbox.mail.tenancy import HostedDomain
from inbox.plugin.api.context import Door, Identity, Transaction
from inbox.policy.submission import SubmissionPolicy

_SENDING: Final = frozenset({Door.SUBMISSION, Door.API})


class UsersOnly:
    """``Relaying`` of :mod:`inbox.flow.recipients`."""

    def __init__(self, directory: AddressDirectory) -> None:
        self._directory = directory

    async def on_behalf_of(self, tx: Transaction) -> HostedDomain | None:
        """The domain of the account that submits the message; None at every other door. Raises StoreUnavailable."""
        identity = tx.session.identity
        if identity is None or tx.session.door not in _SENDING:
            return None
        return await home(self._directory, identity)


async def policy_of(directory: AddressDirectory, judge: Judge, identity: Identity) -> SubmissionPolicy:
    """The settings of submission for an account. Raises StoreUnavailable, PolicyError."""
    domain = await home(directory, identity)
    policy = judge.for_server() if domain is None else judge.for_recipient(domain, identity.address)
    return policy.submission


async def home(directory: AddressDirectory, identity: Identity) -> HostedDomain | None:
    """The hosted domain of an account; None if it is no longer hosted. Raises StoreUnavailable."""
    domain = await directory.domain(identity.address.rpartition("@")[2])
    return domain if domain is not None and domain.tenant.id == identity.tenant else None
