"""The check of the collector of traces."""

from __future__ import annotations

import asyncio
from typing import Literal

from inbox.app.config.loading import Config
from inbox.app.wiring.telemetry import make_sender
from inbox.base.errors import ConfigError

#: Seconds for the collector's answer.
TIMEOUT_SECONDS = 3.0


async def trace_findings(config: Config) -> list[tuple[Literal["ok", "warn", "fail"], str]]:
    """Sends a request without spans, if tracing is on."""
    settings = config.otel
    if not settings.enabled:
        return [("ok", "tracing is off (OTEL_ENABLED)")]
    try:
        sender = make_sender(settings, config.server.hostname, TIMEOUT_SECONDS)
    except ConfigError as error:
        return [("fail", str(error))]
    why = await asyncio.to_thread(sender.send, [])
    sender.close()
    if why:
        return [("warn", f"OTEL_EXPORTER_OTLP_ENDPOINT: {why}; spans are lost, mail is served without them")]
    return [("ok", f"the collector answers; {settings.sample_ratio:.0%} of messages are traced")]
