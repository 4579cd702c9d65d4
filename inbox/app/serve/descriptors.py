"""The limit of open files and connections of this process."""

from __future__ import annotations

import resource

#: Descriptors besides those of connections: databases, blobs, spool files, plugins.
RESERVED = 256


def raise_limit() -> int:
    """Asks for as many descriptors as we may have; returns how many connections that is enough for.

    Many systems start programs with 1024 of them: strangers on one port would use up what all ports need.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
        except (OSError, ValueError):
            pass  # some systems allow less than they say; what we have must do
    return max(RESERVED, (2**31 if soft == resource.RLIM_INFINITY else soft) - RESERVED)
