"""Parser of incoming aggregate reports (RFC 7489 Appendix C, RFC 9990 Appendix A), tolerant of real ones.

Elements may be in any namespace and order, unknown ones are ignored, and optional ones may be missing. The parser
builds no tree: it reads each part of a report when that part ends, and refuses a document type before it processes any
entity.
"""

from __future__ import annotations

import hashlib
import re
from contextlib import suppress
from ipaddress import ip_address
from typing import Any, Final

from lxml import etree

from inbox.authentication.aggregate.unpack import NotAReport, ReportUnfit, attached, unpack
from inbox.base.limits import (
    REPORT_ALL_ELEMENTS,
    REPORT_DEPTH,
    REPORT_ELEMENTS,
    REPORT_EQUALS_SIGNS,
    REPORT_RESULTS,
    REPORT_ROWS,
    REPORT_TEXT_CHARACTERS,
)
from inbox.mail.address import AddressError, canonical_domain
from inbox.mail.message import Message
from inbox.plugin.api.feedback import IncomingReport, ReportRow

#: Names of elements in ``policy_published``, and their tags.
_PUBLISHED: Final = {
    "adkim": "adkim", "aspf": "aspf", "p": "p", "sp": "sp", "np": "np", "pct": "pct", "fo": "fo", "testing": "t",
}  # fmt: skip
#: Other kinds of reports that arrive at the same addresses.
_OTHERS: Final = {
    "message/feedback-report": "an abuse or failure report (RFC 5965)",
    "application/tlsrpt+gzip": "a TLS report (RFC 8460)",
    "application/tlsrpt+json": "a TLS report (RFC 8460)",
    "application/tlsrpt": "a TLS report (RFC 8460)",
}
_END: Final = re.compile(rb"</(?:[\w.-]+:)?feedback\s*>\s*\Z")
_NUMBER: Final = re.compile(r"[0-9]{1,15}(?:\.0*)?\Z")
#: Seconds since the epoch below which a period may end: in the year 9999.
_LATEST: Final = 253_402_300_800
#: Messages of one row: more than all mail of a year.
_MOST: Final = 10**12
#: The content of an element: its elements by name, or its text.
Node = dict[str, list[Any]]


def parse_mail(message: Message) -> IncomingReport:
    """Parse the report in a mail: the first attachment that is a report.

    Raises:
        NotAReport: the mail has none.
        ReportUnfit: the report is broken or too large.
    """
    for data in attached(message):
        # A broken report ends the search: reading several would only cost time.
        with suppress(NotAReport):
            return parse_report(data)
    raise NotAReport(_what_else(message))


def _what_else(message: Message) -> str:
    """The reason for a mail without an aggregate report."""
    for part in message.parts:
        if part.content_type in _OTHERS:
            return f"it is {_OTHERS[part.content_type]}, not a DMARC aggregate report"
    return "no attachment is a DMARC aggregate report"


def parse_report(data: bytes) -> IncomingReport:
    """Parse the report in a file: plain XML, gzip, or zip.

    Raises:
        NotAReport, ReportUnfit: as above.
    """
    xml = unpack(data)
    # The parser builds a mapping of an element's attributes before it reports the element: a million take seconds.
    if xml.count(b"=") > REPORT_EQUALS_SIGNS:
        raise ReportUnfit("the XML has too many attributes")
    try:
        return _read(xml, _parser(recover=False))
    except etree.XMLSyntaxError:
        pass
    # Broken, as reports often are: a bare "&" in a name, or a charset other than the declared one. A truncated report
    # would count too little, so its end must be present.
    if _END.search(xml[-200:]) is None:
        raise ReportUnfit("the XML is broken, and its end is missing")
    try:
        xml.decode("utf-8")
    except UnicodeDecodeError:
        xml = xml.decode("windows-1252", "replace").encode("utf-8")
    try:
        return _read(xml, _parser(recover=True, encoding="utf-8"))
    except etree.XMLSyntaxError:
        raise ReportUnfit("the XML is broken") from None


def _parser(**options: Any) -> etree.XMLParser:
    # The target receives elements and texts; lxml builds no tree. huge_tree=False: libxml2's own limits hold.
    target: Any = _Target()
    return etree.XMLParser(
        target=target, resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False, **options
    )


def _read(xml: bytes, parser: etree.XMLParser) -> IncomingReport:
    parser.feed(xml)
    target: Any = parser.close()
    return _Target.report(target, xml)


class _Target:
    """Receives the parser's events; raises ReportError to stop reading."""

    def __init__(self) -> None:
        self._stack: list[tuple[str, Node]] = []
        self._text: list[str] = []
        self._characters = 0
        self._elements = self._all = 0
        self._metadata: Node = {}
        self._published: Node = {}
        self._rows: list[ReportRow] = []
        self._rooted = False

    def doctype(self, name: str, public: str | None, system: str | None) -> None:
        """Refuse it: a report needs no document type, and an attack may use one."""
        del name, public, system
        raise ReportUnfit("the XML has a document type")

    def start(self, tag: str, attributes: object) -> None:
        """Start of an element."""
        del attributes
        name = tag if tag.isalpha() else tag.rpartition("}")[2].rpartition(":")[2]
        if not self._rooted:
            if name != "feedback":
                raise NotAReport("the XML is not a DMARC aggregate report")
            self._rooted = True
        self._elements += 1
        self._all += 1
        if len(self._stack) >= REPORT_DEPTH or self._elements > REPORT_ELEMENTS or self._all > REPORT_ALL_ELEMENTS:
            raise ReportUnfit("the XML is nested too deeply, or has too many elements")
        self._stack.append((name, {}))
        self._text.clear()
        self._characters = 0

    def data(self, text: str) -> None:
        """Text of an element."""
        if self._characters < REPORT_TEXT_CHARACTERS:
            self._text.append(text[:REPORT_TEXT_CHARACTERS])
            self._characters += len(text)

    def end(self, tag: str) -> None:
        """End of an element."""
        del tag
        name, node = self._stack.pop()
        if len(self._stack) == 1:
            self._part(name, node)
            self._elements = 0
        elif self._stack:
            here = self._stack[-1][1].setdefault(name, [])
            here.append(node or "".join(self._text))
        self._text.clear()

    def close(self) -> _Target:
        """End of the document."""
        return self

    def report(self, xml: bytes) -> IncomingReport:
        """The report. Raises ReportUnfit if a required part is missing."""
        if not self._rooted:
            raise NotAReport("the XML is empty")
        period = _node(self._metadata, "date_range")
        begin, end = _seconds(period, "begin"), _seconds(period, "end")
        if begin > end:
            raise ReportUnfit("its period ends before it begins")
        organization = _text(self._metadata, "org_name") or _text(self._metadata, "email")
        if not organization:
            raise ReportUnfit("it does not name the reporter")
        return IncomingReport(
            domain=_reported_domain(self._published),
            organization=organization,
            # Without an id, equal octets identify the same report.
            report_id=_text(self._metadata, "report_id") or hashlib.sha256(xml).hexdigest(),
            begin=begin,
            end=end,
            email=_text(self._metadata, "email"),
            published=tuple(
                (tag, value) for name, tag in _PUBLISHED.items() if (value := _word(self._published, name))
            ),
            rows=tuple(self._rows),
        )

    def _part(self, name: str, node: Node) -> None:
        if name == "record":
            if len(self._rows) >= REPORT_ROWS:
                raise ReportUnfit(f"it has more than {REPORT_ROWS} rows")
            self._rows.append(_row(node))
        elif name == "report_metadata":
            self._metadata = node
        elif name == "policy_published":
            self._published = node


def _row(record: Node) -> ReportRow:
    row, results = _node(record, "row"), _node(record, "auth_results")
    evaluated, identifiers = _node(row, "policy_evaluated"), _node(record, "identifiers")
    return ReportRow(
        source_ip=_address(_text(row, "source_ip")),
        count=_count(row),
        disposition=_word(evaluated, "disposition"),
        dkim_aligned=_word(evaluated, "dkim") == "pass",
        spf_aligned=_word(evaluated, "spf") == "pass",
        header_from=_word(identifiers, "header_from"),
        envelope_from=_word(identifiers, "envelope_from"),
        dkim=tuple(
            (_word(one, "domain"), _text(one, "selector"), _word(one, "result")) for one in _nodes(results, "dkim")
        ),
        spf=tuple((_word(one, "domain"), _word(one, "scope"), _word(one, "result")) for one in _nodes(results, "spf")),
        exception=_word(_node(evaluated, "reason"), "type"),
    )


def _nodes(node: Node, name: str) -> list[Node]:
    return [one for one in node.get(name, ()) if isinstance(one, dict)][:REPORT_RESULTS]


def _node(node: Node, name: str) -> Node:
    values = node.get(name)
    return values[0] if values and isinstance(values[0], dict) else {}


def _text(node: Node, name: str) -> str:
    """One line of printable text; empty if there is none."""
    values = node.get(name)
    found = values[0] if values else ""
    if not isinstance(found, str):
        return ""
    if not found.isprintable() or " " in found:
        found = "".join(c for c in " ".join(found.split()) if c.isprintable())
    return found[:REPORT_TEXT_CHARACTERS]


def _word(node: Node, name: str) -> str:
    """A domain or a keyword."""
    return _text(node, name).lower()


def _address(text: str) -> str:
    """An IP address in its usual form; empty if ``text`` is not one."""
    try:
        return str(ip_address(text))
    except ValueError:
        return ""


def _count(row: Node) -> int:
    text = _text(row, "count")
    count = int(text.partition(".")[0]) if _NUMBER.match(text) else -1
    if not 0 <= count <= _MOST:
        raise ReportUnfit("a row has no message count")
    return count


def _seconds(period: Node, name: str) -> float:
    text = _text(period, name)
    seconds = int(text.partition(".")[0]) if _NUMBER.match(text) else _LATEST
    if seconds >= _LATEST:
        raise ReportUnfit("it has no valid period")
    return float(seconds)


def _reported_domain(published: Node) -> str:
    try:
        return canonical_domain(_text(published, "domain").rstrip("."))
    except AddressError:
        raise ReportUnfit("it does not name its domain") from None
