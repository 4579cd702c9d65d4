"""Fixtures of several files."""

from tests.support.queue_processes import sink, workers

__all__ = ["sink", "workers"]
