"""Delivery status notifications: build them, parse them, and classify the failures that they report."""
