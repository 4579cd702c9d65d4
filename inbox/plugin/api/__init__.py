"""Everything that a plugin author imports; :mod:`inbox.plugin` hands it on."""
