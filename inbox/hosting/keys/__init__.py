"""Signing keys of hosted domains: which one signs, and how they are rotated."""
