"""Address and credentials of the SurrealDB server."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

from inbox.base.errors import ConfigError

_NAME: Final = re.compile(r"[A-Za-z0-9_-]{1,64}\Z")
_EMBEDDED: Final = ("mem:", "memory", "surrealkv", "file:", "rocksdb:", "speedb:", "tikv:", "indxdb:", "fdb:")


@dataclass(frozen=True, slots=True)
class SurrealConfig:
    """Connection settings of a SurrealDB 3.x server.

    Args:
        url: ``ws://host:port`` or ``wss://host:port``; the path ``/rpc`` is added.
        timeout: seconds after which an unanswered call raises StoreUnavailable.

    Raises:
        ConfigError: the URL names an embedded engine or is not a WebSocket URL, or a name has characters other than
            letters, digits, ``_`` and ``-``.
    """

    url: str
    namespace: str = "inbox"
    database: str = "inbox"
    username: str = "root"
    password: str = field(default="", repr=False)
    timeout: float = 15.0

    def __post_init__(self) -> None:
        if self.url.startswith(_EMBEDDED):
            raise ConfigError(
                f"{self.url}: SurrealDB's embedded engines are not offered: they lose acknowledged updates and drop "
                "the rest of their log after one bad byte. Use sqlite:///… here, or a SurrealDB server (ws://…)."
            )
        if not self.url.startswith(("ws://", "wss://")):
            raise ConfigError(f"{self.url}: the URL of a SurrealDB server must begin with ws:// or wss://")
        for name in (self.namespace, self.database):
            if not _NAME.match(name):
                raise ConfigError(f"not a name of a namespace or database: {name!r}")

    @property
    def endpoint(self) -> str:
        base = self.url.rstrip("/")
        return base if base.endswith("/rpc") else f"{base}/rpc"
