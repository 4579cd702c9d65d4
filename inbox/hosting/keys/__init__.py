"""Signing keys of hosted domains: selection and rotation."""
