"""Hello world: the smallest useful plugin. It adds a header field to each message of the tenant.

Returns at: data (AddHeader).

To try it::

    cp examples/plugins/hello_world.py "$INBOX_PLUGIN_DIR"/
    inbox plugins list
    inbox plugins enable hello_world --tenant demo

and, in ``policies/tenants/demo.yaml``, if the greeting should be another one::

    plugins:
      hello_world: {greeting: "Good morning"}
"""

from __future__ import annotations

from pydantic import Field

from inbox.plugin import AddHeader, Opinion, Plugin, PluginSettings, Services, Transaction, hookimpl

__version__ = "1.0.0"


class Settings(PluginSettings):
    """Keys of a policy under ``hello_world:``. Anything else there is an error with file, line and column."""

    greeting: str = Field("Hello", pattern=r"^[ -~]{1,60}$", description="The first word of the field.")


class HelloWorld(Plugin):
    """One object for each different set of settings; it is shared by all messages."""

    def __init__(self, settings: Settings, services: Services) -> None:
        self.settings = settings
        self.log = services.log

    @hookimpl
    def data(self, tx: Transaction) -> Opinion:
        """Called with the whole message, before anything is promised to the sender."""
        self.log.info("hello", tenant=tx.tenant_name)
        return AddHeader("X-Hello", f"{self.settings.greeting}, {tx.tenant_name}")
