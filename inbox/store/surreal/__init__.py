"""Database for installations with several instances: a SurrealDB 3.x server over a WebSocket.

``link`` holds the connection, ``gateway`` runs statements and transactions, ``batch`` lets concurrent writes share a
transaction, ``database`` assembles the repositories. Statements never contain values: all values are bound.
"""

from inbox.store.surreal.config import SurrealConfig
from inbox.store.surreal.database import SurrealDatabase

__all__ = ["SurrealConfig", "SurrealDatabase"]
