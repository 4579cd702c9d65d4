"""The database of installations with several instances: a SurrealDB 3.x server over a WebSocket.

``link`` holds the connection, ``gateway`` runs statements and transactions, ``batch`` lets concurrent writes share a
transaction, ``database`` puts the repositories together. Statements never contain a value: all are bound.
"""
