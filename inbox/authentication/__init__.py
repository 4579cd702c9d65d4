"""Mail authentication: SPF, DKIM, ARC and DMARC as functions over a message and a resolver.

The plugins of the same names turn these results into facts, and apply policies to them. Signing and sealing are here,
too, because the outbound path and the command line need them without a plugin.
"""
