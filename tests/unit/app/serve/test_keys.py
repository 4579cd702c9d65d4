"""The running server looks at the DNS for keys that wait."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from inbox.app.config.loading import load
from inbox.app.serve import server as serving
from inbox.app.wiring import program as wiring
from inbox.app.wiring.installation import opened
from inbox.dns.answers import Answer
from inbox.hosting.keys.rotation import generate
from inbox.plugin.api.testing import MemoryResolver
from inbox.store.ports import DkimKeyRecord
from tests.support.dkim_keys import text_of


class Asked(MemoryResolver):
    """Tells when it is asked."""

    def __init__(self) -> None:
        super().__init__()
        self.event = asyncio.Event()

    async def txt(self, name: str) -> Answer[bytes]:
        self.event.set()
        return await super().txt(name)


@pytest.mark.parametrize("primary", [True, False])
async def test_the_first_process_lets_published_keys_sign(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, primary: bool
) -> None:
    dns, turned = Asked(), asyncio.Event()
    monkeypatch.setattr(wiring, "make_resolver", lambda config, clock: dns)
    monkeypatch.setattr(serving, "LOOK_SECONDS", 0.001)
    monkeypatch.setattr(serving, "CERTIFICATE_SECONDS", 0.001)
    monkeypatch.setattr(serving, "_settle_garbage_collector", lambda: None)
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "default.yaml").write_text("plugins: {}\n")
    names = {"INBOX_DATA_DIR": "data", "INBOX_POLICY_DIR": "policies", "INBOX_PLUGIN_DIR": "plugins"}
    config = load({name: str(tmp_path / folder) for name, folder in names.items()})
    async with opened(config) as installation, wiring.wire(installation) as parts:
        keys = installation.database.dkim_keys
        acme = await installation.database.tenants.add("acme")
        await installation.database.tenants.add_domain(acme.id, "acme.test")
        now = installation.clock.now()
        row = DkimKeyRecord(acme.id, "acme.test", "s1", "ed25519", generate("ed25519"), created_at=now)
        await keys.add(row)
        server = serving.Server(installation, parts, (), index=0 if primary else 1)
        monkeypatch.setattr(server._certificates, "refresh", turned.set)
        stop = asyncio.Event()
        running = asyncio.create_task(server.run(lambda: None, stop))
        async with asyncio.timeout(60):
            await turned.wait()
            if primary:
                await dns.event.wait()
                assert [one.selector for one in await keys.pending()] == ["s1"]
                dns.txt_records["s1._domainkey.acme.test"] = [text_of(row).encode()]
                while await keys.pending():
                    await asyncio.sleep(0)
                (active,) = await keys.all(acme.id, "acme.test")
                assert active.state == "active"
            stop.set()
            await running
    assert dns.event.is_set() is primary
