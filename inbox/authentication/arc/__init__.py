"""ARC (RFC 8617): validation of the chain of earlier hops, and sealing of forwarded messages.

``chain`` finds the ARC Sets of a message and checks their structure, ``validate`` checks the signatures, ``seal``
creates the next set. Tag-lists, canonical forms, keys and arithmetic are those of DKIM.
"""
