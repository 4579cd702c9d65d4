"""ARC (RFC 8617): validation of the chain of earlier hops, and sealing of messages that are passed on.

``chain`` finds the ARC Sets of a message and judges their structure, ``validate`` checks the signatures, ``seal``
makes the next set. Tag-lists, canonical forms, keys and arithmetic are those of DKIM.
"""
