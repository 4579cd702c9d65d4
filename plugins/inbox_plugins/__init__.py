"""Shipped plugins, one file each."""
