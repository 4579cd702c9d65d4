"""Settings of mail programs for a hosted domain, in the formats that they look for.

None of the documents depends on whether an account exists: strangers read them before any login.
"""

from __future__ import annotations

import plistlib
from dataclasses import dataclass
from typing import Final
from uuid import NAMESPACE_DNS, uuid5
from xml.sax.saxutils import escape

#: The schemas of Outlook's request and response (MS-OXDSCLI §2.2.4).
OUTLOOK_REQUEST: Final = "http://schemas.microsoft.com/exchange/autodiscover/outlook/requestschema/2006"
OUTLOOK_RESPONSE: Final = "http://schemas.microsoft.com/exchange/autodiscover/outlook/responseschema/2006a"
_RESPONSE: Final = "http://schemas.microsoft.com/exchange/autodiscover/responseschema/2006"


@dataclass(frozen=True, slots=True)
class MailPorts:
    """The host that users connect to, and its ports; 0: off. ``imaps`` and ``submissions`` begin with TLS, ``imap``
    and ``submission`` with STARTTLS."""

    hostname: str
    imaps: int
    imap: int
    submissions: int
    submission: int

    @property
    def incoming(self) -> tuple[int, bool] | None:
        """The port to read mail and whether it begins with TLS (RFC 8314 §3 prefers that); None: there is none."""
        return (self.imaps, True) if self.imaps else (self.imap, False) if self.imap else None

    @property
    def outgoing(self) -> tuple[int, bool] | None:
        """The same to send mail."""
        return (self.submissions, True) if self.submissions else (self.submission, False) if self.submission else None


def thunderbird(ports: MailPorts, domain: str) -> bytes:
    """Thunderbird's ``config-v1.1.xml``, which many other programs read, too."""

    def server(element: str, kind: str, port: tuple[int, bool]) -> str:
        return (
            f'    <{element} type="{kind}">\n'
            f"      <hostname>{escape(ports.hostname)}</hostname>\n"
            f"      <port>{port[0]}</port>\n"
            f"      <socketType>{'SSL' if port[1] else 'STARTTLS'}</socketType>\n"
            "      <username>%EMAILADDRESS%</username>\n"
            "      <authentication>password-cleartext</authentication>\n"
            f"    </{element}>\n"
        )

    servers = server("incomingServer", "imap", ports.incoming) if ports.incoming else ""
    servers += server("outgoingServer", "smtp", ports.outgoing) if ports.outgoing else ""
    return (
        '<?xml version="1.0" encoding="UTF-8"?>\n<clientConfig version="1.1">\n'
        f'  <emailProvider id="{escape(domain)}">\n'
        f"    <domain>{escape(domain)}</domain>\n"
        f"    <displayName>{escape(domain)}</displayName>\n{servers}"
        "  </emailProvider>\n</clientConfig>\n"
    ).encode()


def outlook(ports: MailPorts, address: str) -> bytes:
    """Outlook's answer to an Autodiscover request for an address (MS-OXDSCLI §2.2.4.1)."""

    def protocol(kind: str, port: tuple[int, bool]) -> str:
        return (
            f"      <Protocol>\n        <Type>{kind}</Type>\n        <Server>{escape(ports.hostname)}</Server>\n"
            f"        <Port>{port[0]}</Port>\n        <LoginName>{escape(address)}</LoginName>\n"
            f"        <DomainRequired>off</DomainRequired>\n        <SPA>off</SPA>\n"
            f"        <SSL>{'on' if port[1] else 'off'}</SSL>\n"
            f"        <Encryption>{'SSL' if port[1] else 'TLS'}</Encryption>\n"
            "        <AuthRequired>on</AuthRequired>\n      </Protocol>\n"
        )

    protocols = protocol("IMAP", ports.incoming) if ports.incoming else ""
    protocols += protocol("SMTP", ports.outgoing) if ports.outgoing else ""
    return (
        f'<?xml version="1.0" encoding="utf-8"?>\n<Autodiscover xmlns="{_RESPONSE}">\n'
        f'  <Response xmlns="{OUTLOOK_RESPONSE}">\n    <Account>\n      <AccountType>email</AccountType>\n'
        f"      <Action>settings</Action>\n{protocols}    </Account>\n  </Response>\n</Autodiscover>\n"
    ).encode()


def apple(ports: MailPorts, address: str, domain: str) -> bytes:
    """A configuration profile for Apple's Mail; the device asks for the password when it installs the profile."""
    identifier = ".".join(reversed(domain.split(".")))

    def unique(of: str) -> str:
        # The same ones each time, so that a device replaces the profile instead of adding another.
        return str(uuid5(NAMESPACE_DNS, f"{of}:{address}")).upper()

    mail: dict[str, object] = {
        "PayloadType": "com.apple.mail.managed",
        "PayloadVersion": 1,
        "PayloadIdentifier": f"{identifier}.mail.account",
        "PayloadUUID": unique("account"),
        "PayloadDisplayName": address,
        "EmailAccountType": "EmailTypeIMAP",
        "EmailAccountDescription": address,
        "EmailAddress": address,
        "SMTPUsesIncomingPassword": True,
    }
    for side, port in (("Incoming", ports.incoming), ("Outgoing", ports.outgoing)):
        if port is not None:
            mail |= {
                f"{side}MailServerHostName": ports.hostname,
                f"{side}MailServerPortNumber": port[0],
                f"{side}MailServerUseSSL": True,
                f"{side}MailServerUsername": address,
                f"{side}MailServerAuthentication": "EmailAuthPassword",
            }
    profile = {
        "PayloadType": "Configuration",
        "PayloadVersion": 1,
        "PayloadIdentifier": f"{identifier}.mail",
        "PayloadUUID": unique("profile"),
        "PayloadDisplayName": f"Mail at {domain}",
        "PayloadDescription": f"Sets up {address} in Mail.",
        "PayloadContent": [mail],
    }
    return plistlib.dumps(profile)
