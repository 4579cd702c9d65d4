"""Webhooks: events of a tenant's mail, posted to its receivers as Standard Webhooks."""
