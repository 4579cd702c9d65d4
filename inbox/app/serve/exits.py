"""Exit codes of the program, for service managers."""

from __future__ import annotations

from typing import Final

#: Wrong usage, or a wrong setting in the environment: another attempt fails in the same way.
EX_USAGE: Final = 2
#: sysexits(3): default.yaml is invalid, and no tenant can be served without it.
EX_CONFIG: Final = 78
