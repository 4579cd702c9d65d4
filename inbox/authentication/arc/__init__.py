"""ARC (RFC 8617): what hops before us vouch for, and what we vouch for when we pass a message on.

``chain`` finds the ARC Sets of a message and judges their structure, ``validate`` checks the signatures, ``seal``
makes the next set. Tag-lists, canonical forms, keys and arithmetic are those of DKIM.
"""
