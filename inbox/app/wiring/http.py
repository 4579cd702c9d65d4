"""The HTTP server with the routes of everything that speaks HTTP.

Imported only by a process that listens for HTTP.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable, Sequence

from starlette.routing import BaseRoute

from inbox.app.wiring.hosting import make_mail_host
from inbox.app.wiring.installation import Installation
from inbox.app.wiring.program import Parts
from inbox.flow.sending.status import SentMessages
from inbox.flow.sending.suppressions import TenantSuppressions
from inbox.hosting.clients import MailPorts
from inbox.hosting.dns.records import policy_text
from inbox.plugin.api.services import Log
from inbox.server.fairness import Turns
from inbox.server.http.api.routes import routes
from inbox.server.http.api.services import ApiServices
from inbox.server.http.config import HttpConfig
from inbox.server.http.discovery import Discovery, discovery_routes
from inbox.server.http.monitoring import Monitoring, monitoring_routes
from inbox.server.http.server import HttpServer


def http_server(
    installation: Installation,
    parts: Parts,
    log: Log,
    turns: Turns,
    certificate: Callable[[], ssl.SSLContext | None],
    monitoring: Monitoring,
) -> HttpServer:
    """The server; it is not started.

    Args:
        certificate: returns the operator's certificate, if there is one.
    """

    def settings() -> HttpConfig:
        policy = parts.live.current.server.http
        return HttpConfig(
            tls=certificate(),
            max_connections=installation.config.server.max_connections,
            proxies=policy.proxies,
            metrics=policy.metrics_networks,
            origins=policy.origins,
        )

    api = make_api(installation, parts, log)

    def all_routes(config: HttpConfig) -> Sequence[BaseRoute]:
        discovery = discovery_routes(_discovery(installation, parts))
        return [*monitoring_routes(monitoring, config.metrics), *discovery, *routes(api)]

    return HttpServer(settings, all_routes, installation.clock, installation.ids, log, turns)


def _discovery(installation: Installation, parts: Parts) -> Discovery:
    config = installation.config
    host = make_mail_host(config, installation.clock)
    ports = MailPorts(
        config.server.hostname, config.server.imaps_port, config.server.imap_port, config.smtp.submissions_port,
        config.smtp.submission_port,
    )  # fmt: skip

    async def is_hosted(domain: str) -> bool:
        return await parts.directory.domain(domain) is not None

    # The same text as in `inbox domain records`, whose TXT record has its hash.
    return Discovery(is_hosted, ports, policy_text(host.hostname, "enforce" if host.trusted else "testing"))


def make_api(installation: Installation, parts: Parts, log: Log) -> ApiServices:
    """The services of the API's routes."""
    database, clock = installation.database, installation.clock
    most = installation.config.outbound.suppression_max_entries
    return ApiServices(
        parts.callers,
        parts.sending,
        SentMessages(database.decisions, database.queue, parts.directory, clock),
        TenantSuppressions(database.suppressions, clock, most),
        clock,
        installation.ids,
        log,
    )
