"""Writes from the code: docs/reference (settings, commands, hooks, plugins, RFCs, log events), docs/share (manual,
completions), the tables in docs/rules.md, and the code blocks of docs/plugins.md (scripts/docblocks.py).

Usage: python scripts/gendocs.py [--check]

With --check nothing is written; the exit code is 1 if a page is not what the code says.
"""

from __future__ import annotations

import importlib
import inspect
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import typer

ROOT = Path(__file__).resolve().parents[1]
REFERENCE = ROOT / "docs" / "reference"
SHARE = ROOT / "docs" / "share"
NOTE = "<!-- Written by scripts/gendocs.py; change the code and run `make docs`. -->\n"
WIDTH = 100
#: Titles of RFCs as the RFC editor's index has them. A test requires one for each RFC that the code cites.
TITLES = {
    1035: "Domain names - implementation and specification",
    1047: "Duplicate messages and SMTP",
    1870: "SMTP Service Extension for Message Size Declaration",
    1951: "DEFLATE Compressed Data Format Specification version 1.3",
    2033: "Local Mail Transfer Protocol",
    2034: "SMTP Service Extension for Returning Enhanced Error Codes",
    2045: "MIME Part One: Format of Internet Message Bodies",
    2046: "MIME Part Two: Media Types",
    2047: "MIME Part Three: Message Header Extensions for Non-ASCII Text",
    2087: "IMAP4 QUOTA extension",
    2136: "Dynamic Updates in the Domain Name System (DNS UPDATE)",
    2142: "Mailbox Names for Common Services, Roles and Functions",
    2177: "IMAP4 IDLE command",
    2180: "IMAP4 Multi-Accessed Mailbox Practice",
    2181: "Clarifications to the DNS Specification",
    2183: "The Content-Disposition Header Field",
    2231: "MIME Parameter Value and Encoded Word Extensions",
    2308: "Negative Caching of DNS Queries (DNS NCACHE)",
    2342: "IMAP4 Namespace",
    2595: "Using TLS with IMAP, POP3 and ACAP",
    2782: "A DNS RR for specifying the location of services (DNS SRV)",
    2919: "List-Id: A Structured Field and Namespace for the Identification of Mailing Lists",
    2920: "SMTP Service Extension for Command Pipelining",
    2971: "IMAP4 ID extension",
    3030: "SMTP Service Extensions for Transmission of Large and Binary MIME Messages",
    3207: "SMTP Service Extension for Secure SMTP over Transport Layer Security",
    3282: "Content Language Headers",
    3339: "Date and Time on the Internet: Timestamps",
    3454: 'Preparation of Internationalized Strings ("stringprep")',
    3461: "SMTP Service Extension for Delivery Status Notifications",
    3463: "Enhanced Mail System Status Codes",
    3464: "An Extensible Message Format for Delivery Status Notifications",
    3490: "Internationalizing Domain Names in Applications (IDNA)",
    3491: "Nameprep: A Stringprep Profile for Internationalized Domain Names (IDN)",
    3492: "Punycode: A Bootstring encoding of Unicode for Internationalized Domain Names in Applications (IDNA)",
    3501: "Internet Message Access Protocol - Version 4rev1",
    3502: "IMAP MULTIAPPEND Extension",
    3596: "DNS Extensions to Support IP Version 6",
    3691: "IMAP UNSELECT command",
    3696: "Application Techniques for Checking and Transformation of Names",
    3834: "Recommendations for Automatic Responses to Electronic Mail",
    3848: "ESMTP and LMTP Transmission Types Registration",
    3986: "Uniform Resource Identifier (URI): Generic Syntax",
    4013: "SASLprep: Stringprep Profile for User Names and Passwords",
    4035: "Protocol Modifications for the DNS Security Extensions",
    4155: "The application/mbox Media Type",
    4291: "IP Version 6 Addressing Architecture",
    4314: "IMAP4 Access Control List (ACL) Extension",
    4315: "IMAP - UIDPLUS extension",
    4422: "Simple Authentication and Security Layer (SASL)",
    4468: "Message Submission BURL Extension",
    4616: "The PLAIN SASL Mechanism",
    4648: "The Base16, Base32, and Base64 Data Encodings",
    4731: "IMAP4 Extension to SEARCH Command for Controlling What Kind of Information Is Returned",
    4865: "SMTP Submission Service Extension for Future Message Release",
    4954: "SMTP Service Extension for Authentication",
    4959: "IMAP Extension for SASL Initial Client Response",
    5161: "The IMAP ENABLE Extension",
    5182: "IMAP Extension for Referencing the Last SEARCH Result",
    5198: "Unicode Format for Network Interchange",
    5208: "PKCS #8: Private-Key Information Syntax",
    5228: "Sieve: An Email Filtering Language",
    5246: "The Transport Layer Security (TLS) Protocol Version 1.2",
    5256: "IMAP SORT and THREAD Extensions",
    5258: "IMAP4 LIST Command Extensions",
    5280: "Internet X.509 PKI Certificate and CRL Profile",
    5321: "Simple Mail Transfer Protocol",
    5322: "Internet Message Format",
    5530: "IMAP Response Codes",
    5802: "Salted Challenge Response Authentication Mechanism (SCRAM) SASL and GSS-API Mechanisms",
    5803: "LDAP Schema for Storing SCRAM Secrets",
    5819: "IMAP4 Extension for Returning STATUS Information in Extended LIST",
    5890: "Internationalized Domain Names for Applications (IDNA): Definitions",
    5891: "Internationalized Domain Names in Applications (IDNA): Protocol",
    5965: "An Extensible Format for Email Feedback Reports",
    6008: "Authentication-Results Registration for Differentiating among Cryptographic Results",
    6068: "The 'mailto' URI Scheme",
    6152: "SMTP Service Extension for 8-bit MIME Transport",
    6154: "IMAP LIST Extension for Special-Use Mailboxes",
    6177: "IPv6 Address Assignment to End Sites",
    6186: "Use of SRV Records for Locating Email Submission/Access Services",
    6266: "Use of the Content-Disposition Header Field in HTTP",
    6376: "DomainKeys Identified Mail (DKIM) Signatures",
    6409: "Message Submission for Mail",
    6531: "SMTP Extension for Internationalized Email",
    6532: "Internationalized Email Headers",
    6533: "Internationalized Delivery Status and Disposition Notifications",
    6698: "The DNS-Based Authentication of Named Entities (DANE) Transport Layer Security (TLS) Protocol: TLSA",
    6710: "Simple Mail Transfer Protocol Extension for Message Transfer Priorities",
    6750: "The OAuth 2.0 Authorization Framework: Bearer Token Usage",
    6758: "Tunneling of SMTP Message Transfer Priorities",
    6764: "Locating Services for Calendaring Extensions to WebDAV (CalDAV) and vCard Extensions to WebDAV (CardDAV)",
    6840: "Clarifications and Implementation Notes for DNS Security (DNSSEC)",
    6851: "IMAP MOVE Extension",
    6854: 'Update to Internet Message Format to Allow Group Syntax in the "From:" and "Sender:" Header Fields',
    6891: "Extension Mechanisms for DNS (EDNS(0))",
    7162: "IMAP Extensions: CONDSTORE and QRESYNC",
    7208: "Sender Policy Framework (SPF)",
    7372: "Email Authentication Status Codes",
    7377: "IMAP4 Multimailbox SEARCH Extension",
    7489: "Domain-based Message Authentication, Reporting, and Conformance (DMARC)",
    7505: 'A "Null MX" No Service Resource Record for Domains That Accept No Mail',
    7617: "The 'Basic' HTTP Authentication Scheme",
    7628: "A Set of SASL Mechanisms for OAuth",
    7672: "SMTP Security via Opportunistic DANE TLS",
    7677: "SCRAM-SHA-256 and SCRAM-SHA-256-PLUS SASL Mechanisms",
    7766: "DNS Transport over TCP - Implementation Requirements",
    7888: "IMAP4 Non-synchronizing Literals",
    7889: "The IMAP APPENDLIMIT Extension",
    8259: "The JavaScript Object Notation (JSON) Data Interchange Format",
    8301: "Cryptographic Algorithm and Key Usage Update to DKIM",
    8314: "Cleartext Considered Obsolete: Use of TLS for Email Submission and Access",
    8438: "IMAP Extension for STATUS=SIZE",
    8446: "The Transport Layer Security (TLS) Protocol Version 1.3",
    8460: "SMTP TLS Reporting",
    8461: "SMTP MTA Strict Transport Security (MTA-STS)",
    8463: "A New Cryptographic Signature Method for DKIM: Ed25519-SHA256",
    8474: "IMAP Extension for Object Identifiers",
    8601: "Message Header Field for Indicating Message Authentication Status",
    8616: "Email Authentication for Internationalized Mail",
    8617: "The Authenticated Received Chain (ARC) Protocol",
    8689: "SMTP Require TLS Option",
    8767: "Serving Stale Data to Improve DNS Resiliency",
    8949: "Concise Binary Object Representation (CBOR)",
    8996: "Deprecating TLS 1.0 and TLS 1.1",
    9051: "Internet Message Access Protocol (IMAP) - Version 4rev2",
    9110: "HTTP Semantics",
    9112: "HTTP/1.1",
    9325: "Recommendations for Secure Use of TLS and DTLS",
    9457: "Problem Details for HTTP APIs",
    9520: "Negative Caching of DNS Resolution Failures",
    9525: "Service Identity in TLS",
    9989: "Domain-Based Message Authentication, Reporting, and Conformance (DMARC)",
    9990: "DMARC Aggregate Reporting",
}


def pages() -> dict[str, str]:
    """The text of each page, by file name."""
    from scripts.eventpages import event_page
    from scripts.pluginpages import plugin_pages

    return {
        "environment.md": environment(),
        "cli.md": commands(),
        "hooks.md": hooks(),
        "rfc.md": rfcs(),
        "events.md": event_page(NOTE),
        **plugin_pages(NOTE),
    }


def environment() -> str:
    """Every environment variable, by group."""
    from inbox.app.config.loading import groups, secret_variables
    from scripts.pluginpages import row

    lines = [
        "# Environment variables\n\n" + NOTE,
        "An empty value is as good as an unset one. Switches take `true` and `false`; durations are whole seconds, "
        "sizes are octets. An unknown variable with one of our prefixes, or a malformed value, stops the start with "
        "one line that names it.\n",
        f"Each secret ({', '.join(f'`{name}`' for name in secret_variables())}) can also be given as a file: its name "
        "with `_FILE` at the end names a file that holds the value. `inbox doctor` warns if every user may read it.\n",
    ]
    for group in groups():
        lines.append(f"## {_words(group.__name__)}\n\n{inspect.getdoc(group)}\n")
        lines.append("| variable | default | takes | meaning |\n|---|---|---|---|")
        for name, field in group.model_fields.items():
            meaning = field.description or ""
            if not group.is_used(name):
                meaning = f"*Checked, but nothing in this version acts on it.* {meaning}"
            cells = (f"`{group.variable(name)}`", _default(field.default), _takes(field), meaning)
            lines.append(row(*cells))
        lines.append("")
    return "\n".join(lines)


def commands() -> str:
    """Every command with its help, as the program prints it."""
    from inbox.cli.main import app

    intro = (
        "# Commands\n\n" + NOTE + "\nExit code 0: done. 1: the thing asked about is not so, or it failed. 2: wrong "
        "usage, or a wrong setting. `--json` prints an array of objects (one object where one thing is shown) whose "
        "fields are named as the table's columns.\n"
    )
    return "\n".join([intro, *_commands(typer.main.get_command(app), "inbox", None)])


def _commands(command: Any, name: str, parent: typer.Context | None) -> Iterator[str]:
    context = typer.Context(command, info_name=name, parent=parent, terminal_width=WIDTH, max_content_width=WIDTH)
    children = getattr(command, "commands", None)
    if children is None or parent is None:
        yield f"## {context.command_path}\n\n```\n{command.get_help(context).strip()}\n```\n"
    for child, sub in sorted((children or {}).items()):
        yield from _commands(sub, child, context)


def hooks() -> str:
    """The stages in the order in which a message meets them."""
    from inbox.plugin.api.hookspecs import Hooks
    from inbox.policy.stages import Stage

    guide = "The [guide for plugin authors](../plugins.md) explains what a hook gets, may return, and how to test it.\n"
    lines = ["# Hooks\n\n" + NOTE, guide, f"{inspect.getdoc(importlib.import_module('inbox.plugin.api.hookspecs'))}\n"]
    for stage in Stage:
        hook = getattr(Hooks, stage.value)
        arguments = [name for name in inspect.signature(hook).parameters if name != "self"]
        lines.append(f"## {stage.value}({', '.join(arguments)})\n\n{inspect.getdoc(hook)}\n")
    return "\n".join(lines)


def rfcs() -> str:
    """The page of RFCs: each one that the code follows, and the places."""
    from scripts.pluginpages import row

    found: dict[int, dict[str, set[str]]] = {}
    for path in sorted([*(ROOT / "inbox").rglob("*.py"), *(ROOT / "plugins").rglob("*.py")]):
        for number, section in mentions(path.read_text(encoding="utf-8")):
            sections = found.setdefault(number, {}).setdefault(str(path.relative_to(ROOT)), set())
            sections.update([section] if section else [])
    lines = ["# RFCs\n\n" + NOTE, "What the code names, and where.\n", "| RFC | title | where |\n|---|---|---|"]
    for number in sorted(found):
        places = [
            f"`{path}`" + (f" (§{', §'.join(sorted(sections))})" if sections else "")
            for path, sections in sorted(found[number].items())
        ]
        lines.append(row(str(number), TITLES[number], "<br>".join(places)))
    return "\n".join(lines) + "\n"


def mentions(source: str) -> Iterator[tuple[int, str]]:
    """RFC and section (empty: none) of each mention; ``RFC 7489 §6.2, §7.1`` has two."""
    section = r"§\d+(?:\.\d+)*"
    for match in re.finditer(rf"RFC (\d{{3,5}})((?:(?:,| and|, and)?\s+{section})*)", source):
        for one in re.findall(section, match[2]) or ["§"]:
            yield int(match[1]), one[1:]


def _words(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)


def _default(value: object) -> str:
    if value is None:
        return ""
    return _code(str(value).lower() if isinstance(value, bool) else str(value))


def _code(text: str) -> str:
    return f"`{text}`" if text else ""


def _takes(field: Any) -> str:
    """Bounds and choices in a few words."""
    text = _kind(field.annotation)
    bounds = {name: getattr(m, name) for m in field.metadata for name in ("ge", "gt", "le", "lt") if hasattr(m, name)}
    signs = {"ge": "≥", "gt": ">", "le": "≤", "lt": "<"}
    if {"ge", "le"} <= bounds.keys():
        return f"{text}, {bounds['ge']} to {bounds['le']}"
    return ", ".join([text, *(f"{signs[name]} {value}" for name, value in bounds.items())])


def _kind(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return ", ".join(f"`{choice}`" for choice in arguments)
    if origin is not None and hasattr(annotation, "__metadata__"):
        return _kind(arguments[0])
    if arguments and (origin is None or type(None) in arguments):
        return " or ".join(_kind(argument) for argument in arguments if argument is not type(None))
    names = {"bool": "switch", "int": "number", "float": "number", "str": "text", "SecretStr": "secret", "Path": "path"}
    if origin is not None:
        return f"{origin.__name__} of {' and '.join(_kind(argument) for argument in arguments if argument is not ...)}"
    name: str = annotation.__name__
    return names.get(name, name)


def main() -> int:
    """Writes the pages and removes those that nothing is written about any more, or with --check compares them."""
    from scripts.docblocks import PAGES
    from scripts.manpages import share_files

    check = "--check" in sys.argv
    changed = _update(REFERENCE, pages(), check=check) + _update(SHARE, share_files(), check=check)
    changed += [name for path in PAGES if (name := _refresh(path, check=check))]
    changed += _update_filled(check=check)
    print("\n".join(changed) or "the generated files are what the code says")
    return 1 if changed and check else 0


def _refresh(path: Path, *, check: bool) -> str:
    """Updates the cut blocks of a page; returns its name if they differed from their files."""
    from scripts.docblocks import refreshed

    text = path.read_text(encoding="utf-8")
    wanted = refreshed(text)
    if text == wanted:
        return ""
    if not check:
        path.write_text(wanted, encoding="utf-8")
    return str(path.relative_to(ROOT))


def _update(folder: Path, wanted: dict[str, str], *, check: bool) -> list[str]:
    stale = [path for path in folder.rglob("*") if path.is_file() and str(path.relative_to(folder)) not in wanted]
    changed = [str(path.relative_to(ROOT)) for path in stale]
    for path in stale if not check else []:
        path.unlink()
    for name, text in wanted.items():
        path = folder / name
        if not path.exists() or path.read_text(encoding="utf-8") != text.rstrip() + "\n":
            changed.append(str(path.relative_to(ROOT)))
            if not check:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text.rstrip() + "\n", encoding="utf-8")
    return changed


def _update_filled(*, check: bool) -> list[str]:
    """Updates the generated parts of pages that people write."""
    from scripts import apipages, rulepages

    changed = []
    for name, filled in (("rules.md", rulepages.filled), ("api.md", apipages.filled)):
        path = ROOT / "docs" / name
        text = path.read_text(encoding="utf-8")
        wanted = filled(text)
        if text != wanted:
            changed.append(str(path.relative_to(ROOT)))
            if not check:
                path.write_text(wanted, encoding="utf-8")
    return changed


if __name__ == "__main__":
    sys.path[:0] = [str(ROOT), str(ROOT / "plugins")]
    sys.exit(main())
