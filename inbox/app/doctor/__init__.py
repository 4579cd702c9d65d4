"""``inbox doctor``: checks of everything that the server depends on."""
