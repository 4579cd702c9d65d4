"""End of sessions whose user may not stay logged in: the account is disabled, or what opened it is no longer valid."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from inbox.plugin.api.context import Identity
from inbox.store.ports import Credentials, Hosting

DISABLED: Final = "this account is disabled"
CHANGED: Final = "the password was changed or revoked"


class Dismissal:
    """Decides which sessions end."""

    def __init__(self, hosting: Hosting, credentials: Credentials) -> None:
        self._hosting = hosting
        self._credentials = credentials

    async def ended(self, identities: Sequence[Identity]) -> dict[Identity, str]:
        """Those of the identities that may not stay logged in, each with the reason. An identity without a
        ``credential`` ends with its account only.

        Raises:
            StoreUnavailable: the answer is unknown now.
        """
        accounts = list({each.account for each in identities})
        if not accounts:
            return {}
        without_access = await self._hosting.without_access(accounts)
        marks = await self._credentials.marks(accounts)
        ended = {}
        for each in identities:
            if each.account in without_access:
                ended[each] = DISABLED
            elif each.credential and each.credential not in marks.get(each.account, frozenset()):
                ended[each] = CHANGED
        return ended
