"""Discovery, planning and calls of plugins."""
