"""L5: what a hosted domain needs: DNS records, signing keys, reports."""
