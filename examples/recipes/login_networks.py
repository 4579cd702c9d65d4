"""Login networks: allows logins only from your own networks.

Returns at: auth (Reject 535 5.7.8).

An example::

    plugins:
      login_networks: {networks: ["10.0.0.0/8", "2001:db8::/32"], everywhere: [ann@acme.test]}
"""

from __future__ import annotations

from ipaddress import IPv4Network, IPv6Network

from pydantic import Field

from inbox.plugin import Identity, Plugin, PluginSettings, Reject, Services, Session, hookimpl

__version__ = "1.0.0"


class Settings(PluginSettings):
    """Networks, and exceptions."""

    networks: list[IPv4Network | IPv6Network] = Field(max_length=1000, description="Networks that may log in.")
    everywhere: list[str] = Field([], max_length=1000, description="Accounts that may log in from anywhere.")


class LoginNetworks(Plugin):
    """Runs after the password was verified."""

    def __init__(self, settings: Settings, services: Services) -> None:
        self.settings = settings
        self.log = services.log

    @hookimpl
    def auth(self, session: Session, identity: Identity) -> Reject | None:
        """``identity.tenant_name`` and ``identity.account`` name the tenant and the account."""
        if identity.address in self.settings.everywhere:
            return None
        if any(session.peer in network for network in self.settings.networks):
            return None
        self.log.warning("login_from_elsewhere", account=identity.address, peer=str(session.peer))
        return Reject(535, "5.7.8", "Logins are not allowed from your network")
