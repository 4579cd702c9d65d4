"""The limits of open files and connections of a process."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (SOFT, HARD))
from inbox.app.serve.descriptors import raise_limit
print(raise_limit(), resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


@pytest.mark.parametrize(
    ("soft", "hard", "said"), [(300, 1000, "744 1000"), (600, 600, "344 600"), (100, 100, "256 100")]
)
def test_as_many_as_we_may_have(soft: int, hard: int, said: str) -> None:
    program = PROGRAM.replace("SOFT", str(soft)).replace("HARD", str(hard))
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == said
