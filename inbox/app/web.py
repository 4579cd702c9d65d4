"""The HTTP server with the routes of everything that speaks HTTP.

Imported only by a process that listens for HTTP.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from starlette.routing import BaseRoute

from inbox.server.http.api.routes import routes
from inbox.server.http.api.services import ApiServices
from inbox.server.http.config import HttpConfig
from inbox.server.http.monitoring import Monitoring, monitoring_routes
from inbox.server.http.server import HttpServer
from inbox.server.listener import Listener

if TYPE_CHECKING:
    from inbox.app.listeners import ListenerInputs


def http_server(inputs: ListenerInputs) -> Listener:
    """The server for these inputs; it is not started."""
    installation, parts, certificates, log = inputs.installation, inputs.parts, inputs.certificates, inputs.log("http")

    def settings() -> HttpConfig:
        policy = parts.live.current.server.http
        return HttpConfig(
            # No client trusts a self-signed certificate; SMTP and IMAP use it, HTTP stays within the machine.
            tls=None if certificates.self_signed else certificates.context(),
            max_connections=installation.config.server.max_connections,
            proxies=policy.proxies,
            metrics=policy.metrics_networks,
            origins=policy.origins,
        )

    api = ApiServices(parts.callers, parts.sending, installation.clock, installation.ids, log)
    monitoring = Monitoring(inputs.health, inputs.metrics)

    def all_routes(config: HttpConfig) -> Sequence[BaseRoute]:
        return [*monitoring_routes(monitoring, config.metrics), *routes(api)]

    return HttpServer(settings, all_routes, installation.clock, installation.ids, log, inputs.turns)
