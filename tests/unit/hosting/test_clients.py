"""Settings of mail programs for a domain."""

from __future__ import annotations

import plistlib

import pytest
from lxml import etree

from inbox.hosting.clients import OUTLOOK_RESPONSE, MailPorts, apple, outlook, thunderbird

ALL = MailPorts("mx.test", 993, 143, 465, 587)
STARTTLS = MailPorts("mx.test", 0, 143, 0, 587)
NONE = MailPorts("mx.test", 0, 0, 0, 0)


@pytest.mark.parametrize(
    ("ports", "incoming", "outgoing"),
    [(ALL, (993, True), (465, True)), (STARTTLS, (143, False), (587, False)), (NONE, None, None)],
)
def test_tls_from_the_first_octet_is_preferred(
    ports: MailPorts, incoming: tuple[int, bool] | None, outgoing: tuple[int, bool] | None
) -> None:
    assert (ports.incoming, ports.outgoing) == (incoming, outgoing)


def test_thunderbird() -> None:
    root = etree.fromstring(thunderbird(STARTTLS, "demo.test"))
    provider = root.find("emailProvider")
    assert provider is not None
    assert (provider.get("id"), provider.findtext("domain")) == ("demo.test", "demo.test")
    for element, kind, port in (("incomingServer", "imap", "143"), ("outgoingServer", "smtp", "587")):
        server = provider.find(element)
        assert server is not None
        assert server.get("type") == kind
        assert [server.findtext(name) for name in ("hostname", "port", "socketType", "username")] == [
            "mx.test", port, "STARTTLS", "%EMAILADDRESS%",
        ]  # fmt: skip
    assert etree.fromstring(thunderbird(NONE, "demo.test")).find("emailProvider/incomingServer") is None


def test_outlook() -> None:
    root = etree.fromstring(outlook(ALL, "ann&bob@demo.test"))
    space = {"o": OUTLOOK_RESPONSE}
    assert root.findtext(".//o:Action", namespaces=space) == "settings"
    protocols = root.findall(".//o:Protocol", namespaces=space)
    found = [[each.findtext(f"o:{name}", namespaces=space) for name in ("Type", "Port", "SSL")] for each in protocols]
    assert found == [["IMAP", "993", "on"], ["SMTP", "465", "on"]]
    assert protocols[0].findtext("o:LoginName", namespaces=space) == "ann&bob@demo.test"
    starttls = etree.fromstring(outlook(STARTTLS, "ann@demo.test"))
    assert [each.text for each in starttls.iterfind(".//o:Encryption", namespaces=space)] == ["TLS", "TLS"]


def test_apple() -> None:
    profile = plistlib.loads(apple(ALL, "ann@demo.test", "demo.test"))
    (mail,) = profile["PayloadContent"]
    assert (mail["EmailAddress"], mail["IncomingMailServerPortNumber"], mail["OutgoingMailServerPortNumber"]) == (
        "ann@demo.test", 993, 465,
    )  # fmt: skip
    assert profile["PayloadIdentifier"] == "test.demo.mail"
    assert apple(ALL, "ann@demo.test", "demo.test") == apple(ALL, "ann@demo.test", "demo.test")
    other = plistlib.loads(apple(ALL, "bob@demo.test", "demo.test"))
    assert other["PayloadUUID"] != profile["PayloadUUID"]
    assert (
        "IncomingMailServerHostName" not in plistlib.loads(apple(NONE, "a@demo.test", "demo.test"))["PayloadContent"][0]
    )
