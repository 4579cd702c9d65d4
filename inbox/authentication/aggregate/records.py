"""Stored form of observations and report rows: JSON with the fields of ``inbox.plugin.api.feedback``."""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import dataclass
from typing import Final

import msgspec

from inbox.plugin.api.feedback import IncomingReport, Observation, ReportRow

#: Hexadecimal digits of an observation's key: 128 bits, so that two never share one.
_KEY_DIGITS: Final = 32


@dataclass(frozen=True, slots=True)
class ReportDetails:
    """The fields of an incoming report that its table has no columns for."""

    email: str
    published: tuple[tuple[str, str], ...]
    rows: tuple[ReportRow, ...]


_ENCODER: Final = msgspec.json.Encoder()
_OBSERVATION: Final = msgspec.json.Decoder(Observation)
_DETAILS: Final = msgspec.json.Decoder(ReportDetails)


def encode_observation(observation: Observation) -> bytes:
    """Equal observations give equal bytes."""
    return _ENCODER.encode(observation)


def observation_key(body: bytes) -> str:
    """The hash under which an encoded observation is counted."""
    return hashlib.sha256(body).hexdigest()[:_KEY_DIGITS]


def decode_observation(body: bytes) -> Observation:
    """Raises msgspec.MsgspecError for what :func:`encode_observation` did not write."""
    return _OBSERVATION.decode(body)


def encode_details(report: IncomingReport) -> bytes:
    """The part of a report that has no column. Compressed, as it came: a stranger's mail of 50 KB must not become 3 MB
    of our database. 10,000 rows take about 50 ms."""
    return zlib.compress(_ENCODER.encode(ReportDetails(report.email, report.published, report.rows)), 3)


def decode_details(body: bytes) -> ReportDetails:
    """Raises zlib.error or msgspec.MsgspecError for what :func:`encode_details` did not write."""
    return _DETAILS.decode(zlib.decompress(body))
