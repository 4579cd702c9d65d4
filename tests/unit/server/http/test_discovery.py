"""Routes that mail programs and other servers look for."""

from __future__ import annotations

import httpx2
import pytest
from starlette.applications import Starlette

from inbox.base.errors import StoreUnavailable
from inbox.hosting.clients import OUTLOOK_REQUEST, MailPorts
from inbox.server.http.discovery import Discovery, discovery_routes

POLICY = "version: STSv1\r\nmode: enforce\r\nmx: mx.test\r\nmax_age: 604800\r\n"
REQUEST = (
    f'<?xml version="1.0"?><Autodiscover xmlns="{OUTLOOK_REQUEST}"><Request>'
    "<EMailAddress>ann@demo.test</EMailAddress></Request></Autodiscover>"
)


async def ask(
    method: str, path: str, host: str = "mx.test", content: str = "", *, away: bool = False
) -> httpx2.Response:
    async def is_hosted(domain: str) -> bool:
        if away:
            raise StoreUnavailable("away")
        return domain == "demo.test"

    routes = discovery_routes(Discovery(is_hosted, MailPorts("mx.test", 993, 0, 465, 0), POLICY))

    async def app(scope, receive, send):  # type: ignore[no-untyped-def]
        await Starlette(routes=routes)({**scope, "state": {"request_id": "r1"}}, receive, send)

    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="https://mx.test") as http:
        return await http.request(method, path, headers={"Host": host}, content=content)


async def test_the_policy_of_a_domain() -> None:
    path = "/.well-known/mta-sts.txt"
    answer = await ask("GET", path, "mta-sts.demo.test")
    assert (answer.status_code, answer.text) == (200, POLICY)
    assert answer.headers["content-type"].startswith("text/plain"), "RFC 8461 §3.2"
    assert (await ask("GET", path, "MTA-STS.Demo.test.:443")).text == POLICY
    for host in ("demo.test", "mx.test", "mta-sts.other.test", "mta-sts.", ""):
        assert (await ask("GET", path, host)).status_code == 404


@pytest.mark.parametrize(
    ("path", "host"),
    [
        ("/mail/config-v1.1.xml?emailaddress=ann%40demo.test", "autoconfig.demo.test"),
        ("/mail/config-v1.1.xml", "autoconfig.demo.test"),
        ("/.well-known/autoconfig/mail/config-v1.1.xml", "demo.test"),
    ],
)
async def test_thunderbird(path: str, host: str) -> None:
    answer = await ask("GET", path, host)
    assert answer.status_code == 200
    assert "<port>993</port>" in answer.text
    assert (await ask("GET", path.replace("demo", "other"), host.replace("demo", "other"))).status_code == 404


@pytest.mark.parametrize("path", ["/autodiscover/autodiscover.xml", "/Autodiscover/Autodiscover.xml"])
async def test_outlook(path: str) -> None:
    answer = await ask("POST", path, content=REQUEST)
    assert answer.status_code == 200
    assert "<LoginName>ann@demo.test</LoginName>" in answer.text
    assert (await ask("POST", path, content=REQUEST.replace("demo", "other"))).status_code == 404


@pytest.mark.parametrize(
    ("content", "status"),
    [
        ("", 404), ("no xml", 404), ("<a/>", 404), (REQUEST.replace("ann@", ""), 404),
        ('<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a><EMailAddress>&b;</EMailAddress></a>', 404),
        ("<a>" * 100_000, 413), ("<a>" * 5000, 404),
    ],
)  # fmt: skip
async def test_a_request_of_outlook_that_is_wrong(content: str, status: int) -> None:
    assert (await ask("POST", "/autodiscover/autodiscover.xml", content=content)).status_code == status


async def test_apple() -> None:
    answer = await ask("GET", "/.mobileconfig?emailaddress=ann%40demo.test")
    assert answer.headers["content-type"] == "application/x-apple-aspen-config"
    assert answer.headers["content-disposition"] == 'attachment; filename="demo.test.mobileconfig"'
    for wrong in ("", "?emailaddress=", "?emailaddress=ann", "?emailaddress=ann%40other.test"):
        assert (await ask("GET", "/.mobileconfig" + wrong)).status_code == 404


async def test_while_the_database_is_away() -> None:
    assert (await ask("GET", "/.well-known/mta-sts.txt", "mta-sts.demo.test", away=True)).status_code == 503
