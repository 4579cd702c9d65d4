"""Mail authentication: SPF, DKIM, ARC and DMARC as functions over a message and a resolver.

The plugins of the same names turn what is found out here into facts and into what a policy makes of them. What
signs and seals is here, too, because the outbound path and the command line need it without a plugin.
"""
