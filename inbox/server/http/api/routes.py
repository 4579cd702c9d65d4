"""All routes of the API."""

from __future__ import annotations

from starlette.routing import BaseRoute

from inbox.server.http.api.graphql import graphql_routes
from inbox.server.http.api.rest import rest_routes
from inbox.server.http.api.services import ApiServices


def routes(services: ApiServices) -> list[BaseRoute]:
    """REST below ``/v1``, and ``/graphql``."""
    return [*rest_routes(services), *graphql_routes(services)]
