"""Everything that plugin authors import; :mod:`inbox.plugin` re-exports it."""
