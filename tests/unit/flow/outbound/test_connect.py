"""One session: implicit TLS, AUTH LOGIN, and its end."""

from __future__ import annotations

import pytest

from inbox.flow.outbound.connect import Connection, Failed, Target, dial
from inbox.flow.outbound.tls_policy import TlsRequirement
from tests.support.imap_world import client_tls, server_tls
from tests.support.remote_smtp import RemoteSmtp, remote

VERIFIED = TlsRequirement(required=True, verified=True, fallback=False, source="credentials")


async def begun(port: int) -> Connection:
    target = Target("127.0.0.1", port, "localhost", VERIFIED, None, "me.test", username="u", password="p")
    connection = await dial(target, client_tls(), 5, 5)
    await connection.begin(client_tls())
    return connection


async def test_auth_login_is_used_where_plain_is_not_offered() -> None:
    answers = {"AUTH": "334 VXNlcm5hbWU6", "dQ==": "334 UGFzc3dvcmQ6", "cA==": "235 2.7.0 Ok"}
    async with remote(RemoteSmtp({**answers}, ("AUTH LOGIN",), server_tls())) as server:
        connection = await begun(server.port)
        assert connection.verified
        await connection.quit()
        assert not connection.usable
    assert server.commands[-4:] == ["AUTH LOGIN", "dQ==", "cA==", "QUIT"]


async def test_a_mechanism_that_nobody_has_is_a_failure() -> None:
    async with remote(RemoteSmtp({}, ("AUTH GSSAPI",), server_tls())) as server:
        with pytest.raises(Failed, match="localhost offers neither AUTH SCRAM-SHA-256 nor PLAIN nor LOGIN") as caught:
            await begun(server.port)
    assert caught.value.reply.stage == "auth"
