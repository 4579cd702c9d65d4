"""L5: DNS records, signing keys and reports of hosted domains."""
