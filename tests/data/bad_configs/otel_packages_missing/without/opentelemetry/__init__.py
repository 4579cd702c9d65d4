"""Hides the installed package."""
