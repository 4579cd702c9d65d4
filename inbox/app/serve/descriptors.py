"""The limit of open files and connections of this process."""

from __future__ import annotations

import resource

#: Descriptors besides those of connections: databases, blobs, spool files, plugins.
RESERVED = 256


def raise_limit() -> int:
    """Raises the limit of open files to its maximum; returns the number of connections that it allows.

    Many systems start programs with a limit of 1024: clients of one port could use up the descriptors of all ports.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
            soft = hard
        except (OSError, ValueError):
            pass  # some systems allow less than they report; the limit stays as it is
    return max(RESERVED, (2**31 if soft == resource.RLIM_INFINITY else soft) - RESERVED)
