from tests.support.dns_world import dns_servers, dns_world  # noqa: F401 - fixtures
from tests.support.logs import plain_logs

plain_logs()
