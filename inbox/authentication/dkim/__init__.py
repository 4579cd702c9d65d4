"""DKIM (RFC 6376, 8301, 8463): verifying and signing, and the parts shared with ARC.

``tags`` reads tag-lists, ``section`` and ``canonical`` make the octets that are signed, ``keys`` finds and judges
public keys, ``crypto`` is the arithmetic, ``verify`` and ``sign`` use them all.
"""
